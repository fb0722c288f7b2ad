//! A report as one page of HTML: no script, nothing fetched, plots drawn in place, light or dark as
//! the reader's machine is. What models and data say is a stranger's text and is escaped wherever
//! it stands. Knows reports; does not know how the figures came about.

use std::fmt::Write as _;

use super::finding::{Breakdown, Figure, Learning, Sample, Worth};
use super::reference::Reference;
use super::report::{self, Cell, Report, TaskReport, figure, plain};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Scores</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Scores</h1>\n"
    );
    let limit = report.limit.map_or(String::new(), |limit| format!(", {limit} rows of each task"));
    let (tasks, models) = (report.tasks.len(), report.models().len());
    let count =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (models, tasks) = (count(models, "model"), count(tasks, "task"));
    let note = format!("{models}, {tasks}{limit}, seed {}", report.seed);
    writeln!(out, "<p class=\"note\">{note}</p>").unwrap();
    out.push_str("<section class=\"summary\">\n");
    summary(&mut out, report);
    out.push_str("</section>\n");
    section(&mut out, |out| cards(out, report));
    for task in &report.tasks {
        section(&mut out, |out| one_task(out, task));
    }
    for reference in &report.references {
        section(&mut out, |out| published(out, reference));
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn section(out: &mut String, inside: impl FnOnce(&mut String)) {
    out.push_str("<section>\n");
    inside(out);
    out.push_str("</section>\n");
}

/// A row a task, a column a model.
fn summary(out: &mut String, report: &Report) {
    let models = report.models();
    let particulars = report.particulars();
    let between = particulars.iter().map(|(name, _)| escaped(name));
    let heads = ["task", "figure"].map(escaped).into_iter().chain(between);
    let heads = heads.chain(models.iter().map(escaped));
    let rows = report.tasks.iter().enumerate().map(|(at, task)| {
        let name = task.headline().map_or(String::new(), |figure| escaped(&figure.name));
        let between = particulars.iter().map(|(_, told)| escaped(&told[at]));
        let cell = |model: &&str| {
            let headline = task.cell(model).and_then(|cell| cell.finding.scores.first());
            headline.map_or(String::new(), value)
        };
        let start = [escaped(&task.name), name].into_iter();
        start.chain(between).chain(models.iter().map(cell)).collect()
    });
    table(out, heads, rows);
}

/// What each model is.
fn cards(out: &mut String, report: &Report) {
    out.push_str("<h2>Models</h2>\n");
    let heads = [
        "model",
        "parameters",
        "stored as",
        "learnt",
        "bytes learnt",
        "peak of a step",
        "context",
        "tokenizer",
        "chat template",
    ];
    let rows = report.models().into_iter().filter_map(|model| {
        let (_, cell) = report.cells().find(|(_, cell)| cell.model == model)?;
        let card = &cell.finding.card;
        let adapter = if card.adapter { " + adapter" } else { "" };
        let tokenizer = card.tokenizer.get(..12).unwrap_or(&card.tokenizer);
        let template = if card.chat_template.is_some() { "yes" } else { "none" };
        let learning = card.learning.map_or(Default::default(), |learning| {
            let Learning { numbers, bytes, peak } = learning;
            [numbers, bytes, peak].map(grouped)
        });
        let [numbers, bytes, peak] = learning;
        Some(vec![
            escaped(model),
            format!("{}{adapter}", grouped(card.parameters)),
            escaped(&card.dtype),
            numbers,
            bytes,
            peak,
            grouped(card.context as u64),
            escaped(tokenizer),
            template.to_string(),
        ])
    });
    table(out, heads.map(escaped).into_iter(), rows);
    writeln!(out, "<p class=\"note\">{}</p>", escaped(report::LEARNING)).unwrap();
}

fn one_task(out: &mut String, task: &TaskReport) {
    let about = &task.about;
    let asked = task.cells.first().map(|cell| cell.finding.asked).unwrap_or_default();
    let of = if asked.of > asked.rows { format!(" of {}", asked.of) } else { String::new() };
    let shots = if about.shots > 0 { format!(", {} shots", about.shots) } else { String::new() };
    writeln!(out, "<h2>{}</h2>", escaped(&task.name)).unwrap();
    let source = if about.source.is_empty() { "" } else { "; " };
    let note =
        format!("{} version {}, {}{of} rows{shots}{source}", about.kind, about.version, asked.rows);
    writeln!(out, "<p class=\"note\">{note}{}</p>", escaped(&about.source)).unwrap();
    plot(out, task);
    figures(out, task);
    for at in 0..task.cells.first().map_or(0, |cell| cell.finding.breakdowns.len()) {
        breakdown(out, task, at);
    }
    for Cell { model, finding } in &task.cells {
        for remark in &finding.remarks {
            let (model, remark) = (escaped(model), escaped(remark));
            writeln!(out, "<p class=\"remark\"><b>{model}</b> {remark}</p>").unwrap();
        }
    }
    for Cell { model, finding } in &task.cells {
        if !finding.samples.is_empty() {
            let model = escaped(model);
            writeln!(out, "<details><summary>{model} says</summary>\n<dl>").unwrap();
            finding.samples.iter().for_each(|sample| answer(out, sample));
            out.push_str("</dl></details>\n");
        }
    }
}

fn figures(out: &mut String, task: &TaskReport) {
    let Some(first) = task.cells.first() else { return };
    let columns = task.columns();
    let heads = columns.iter().map(|at| escaped(&first.finding.scores[*at].name));
    let rows = task.cells.iter().map(|cell| {
        let values = columns.iter().map(|at| value(&cell.finding.scores[*at]));
        std::iter::once(escaped(&cell.model)).chain(values).collect()
    });
    let baselines = task.baselines.iter().map(|base| {
        let blanks = columns.iter().skip(1).map(|_| String::new());
        let start = [escaped(&base.name), figure(base.right)].into_iter();
        start.chain(blanks).collect()
    });
    table(out, std::iter::once("model".to_string()).chain(heads), rows.chain(baselines));
}

fn breakdown(out: &mut String, task: &TaskReport, at: usize) {
    let of = |cell: &Cell| -> Breakdown { cell.finding.breakdowns[at].clone() };
    let all = task.cells.iter().map(of).collect::<Vec<_>>();
    let models = task.cells.iter().map(|cell| escaped(&cell.model));
    let heads = [escaped(&all[0].by), "rows".to_string()].into_iter().chain(models);
    let rows = all[0].groups.iter().enumerate().map(|(at, group)| {
        let shares = all.iter().map(|breakdown| value(&breakdown.groups[at].share));
        [escaped(&group.name), group.rows.to_string()].into_iter().chain(shares).collect()
    });
    table(out, heads, rows);
}

fn answer(out: &mut String, sample: &Sample) {
    let class = match sample.worth {
        Worth::Right(true) | Worth::Kept(true) => "right",
        Worth::Right(false) | Worth::Kept(false) => "wrong",
        Worth::Reward(_) => "note",
    };
    let (question, said) = (escaped(&sample.question), escaped(&sample.answer));
    let verdict = escaped(sample.verdict());
    let worth = format!("<span class=\"{class}\">({verdict})</span>");
    writeln!(out, "<dt>{question}</dt><dd>{said} {worth}</dd>").unwrap();
}

fn published(out: &mut String, reference: &Reference) {
    let Reference { source, setup, columns, rows } = reference;
    writeln!(out, "<h2>Published elsewhere: {}</h2>", escaped(source)).unwrap();
    writeln!(out, "<p class=\"note\">{}</p>", escaped(setup)).unwrap();
    let heads = std::iter::once("model".to_string()).chain(columns.iter().map(escaped));
    let rows = rows.iter().map(|row| {
        let figures = row.figures.iter().map(|figure| figure.map_or("–".to_string(), plain));
        std::iter::once(escaped(&row.model)).chain(figures).collect()
    });
    table(out, heads, rows);
}

/// A table of cells that are escaped already.
fn table(
    out: &mut String,
    heads: impl Iterator<Item = String>,
    rows: impl Iterator<Item = Vec<String>>,
) {
    out.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    heads.for_each(|head| write!(out, "<th>{head}</th>").unwrap());
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        row.iter().for_each(|cell| write!(out, "<td>{cell}</td>").unwrap());
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

/// A figure, its interval small beside it.
fn value(figure: &Figure) -> String {
    let text = escaped(figure.text());
    match text.split_once(' ') {
        Some((value, interval)) => format!("{value} <small>{interval}</small>"),
        None => text,
    }
}

// Where things stand in a plot, in its own units.
const WIDTH: f64 = 720.0;
const NAMES: f64 = 180.0;
const VALUES: f64 = 150.0;
const ROW: f64 = 26.0;

/// One bar of a plot.
struct Bar<'a> {
    name: &'a str,
    value: f64,
    interval: Option<(f64, f64)>,
    text: String,
    is_model: bool,
}

/// The headline of each model as a bar, with its interval, then of what needs no model.
fn plot(out: &mut String, task: &TaskReport) {
    let model = |cell: &'_ Cell| {
        let headline = cell.finding.scores.first()?;
        Some((headline.value.filter(|value| value.is_finite())?, headline.clone()))
    };
    let models = task.cells.iter().filter_map(|cell| {
        let (value, headline) = model(cell)?;
        let (interval, text) = (headline.interval, headline.text());
        Some(Bar { name: &cell.model, value, interval, text, is_model: true })
    });
    let baselines = task.baselines.iter().map(|base| {
        let (name, value, text) = (base.name.as_str(), base.right, figure(base.right));
        Bar { name, value, interval: None, text, is_model: false }
    });
    let bars = models.chain(baselines).collect::<Vec<_>>();
    if bars.is_empty() {
        return;
    }
    let ends = bars.iter().flat_map(|bar| {
        let (low, high) = bar.interval.unwrap_or((bar.value, bar.value));
        [low, high, bar.value]
    });
    let (low, high) = ends.fold((0.0f64, 0.0f64), |(low, high), end| (low.min(end), high.max(end)));
    // Shares are seen against the whole.
    let is_share = bars.iter().all(|bar| bar.interval.is_some() || !bar.is_model);
    let high = if is_share { 1.0f64.max(high) } else { high };
    let span = if high > low { high - low } else { 1.0 };
    let place = |value: f64| NAMES + (value - low) / span * (WIDTH - NAMES - VALUES);
    let height = ROW * bars.len() as f64;
    let label = escaped(format!("{} of each model", task.headline().map_or("", |f| &f.name)));
    writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">")
        .unwrap();
    let zero = place(0.0);
    writeln!(out, "<path class=\"axis\" d=\"M{zero:.1} 0V{height}\"/>").unwrap();
    for (at, one) in bars.iter().enumerate() {
        bar(out, ROW * at as f64, one, &place);
    }
    out.push_str("</svg>\n");
}

fn bar(out: &mut String, top: f64, bar: &Bar<'_>, place: &dyn Fn(f64) -> f64) {
    let (zero, end) = (place(0.0), place(bar.value));
    let (left, width) = (zero.min(end), (end - zero).abs());
    let class = if bar.is_model { "bar" } else { "other" };
    let (middle, text) = (top + ROW / 2.0, top + ROW / 2.0 + 4.5);
    let name = escaped(clipped(bar.name));
    writeln!(out, "<text x=\"0\" y=\"{text:.1}\">{name}</text>").unwrap();
    let (y, height) = (top + 5.0, ROW - 10.0);
    let box_ = format!("x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"");
    writeln!(out, "<rect class=\"{class}\" {box_} rx=\"2\"/>").unwrap();
    let reach = bar.interval.map(|(low, high)| (place(low), place(high)));
    if let Some((low, high)) = reach {
        let (up, down) = (middle - 4.0, middle + 4.0);
        let line = format!(
            "M{low:.1} {middle:.1}H{high:.1}M{low:.1} {up:.1}V{down:.1}M{high:.1} {up:.1}V{down:.1}"
        );
        writeln!(out, "<path class=\"reach\" d=\"{line}\"/>").unwrap();
    }
    let x = reach.map_or(end, |(_, high)| high.max(end)).max(zero) + 8.0;
    let value = escaped(&bar.text);
    writeln!(out, "<text class=\"value\" x=\"{x:.1}\" y=\"{text:.1}\">{value}</text>").unwrap();
}

/// As much of a name as fits beside a bar.
fn clipped(name: &str) -> String {
    match name.char_indices().nth(26) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}

/// 1234567 as 1 234 567, with narrow spaces.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Text as it may stand anywhere in the page, inside quotes too. Control characters that HTML does
/// not know are shown as such.
fn escaped(text: impl AsRef<str>) -> String {
    let mut out = String::new();
    for c in text.as_ref().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::about::About;
    use crate::eval::finding::{Finding, Group};
    use crate::eval::reference::Published;
    use crate::eval::report::Baseline;

    const EVIL: &str = "</dd><script>alert(\"1\")</script><img src=x onerror='a'>&\u{0}";

    /// Every text that a stranger can have a say in is an attack.
    fn attack() -> Report {
        let share = Figure::share(EVIL, Some(0.5), 10);
        let worth = Worth::Right(true);
        let finding = Finding {
            scores: vec![share.clone()],
            breakdowns: vec![Breakdown {
                by: EVIL.into(),
                groups: vec![Group::of(EVIL, &share, &[0.5])],
            }],
            samples: vec![Sample { question: EVIL.into(), answer: EVIL.into(), worth }],
            remarks: vec![EVIL.into()],
            ..Finding::default()
        };
        let cells = vec![Cell { model: EVIL.into(), finding }];
        let baselines = vec![Baseline { name: EVIL.into(), right: 0.25 }];
        let about = About { kind: "answers", ..About::default() };
        let rows = vec![Published { model: EVIL.into(), figures: vec![Some(16.8), None] }];
        let columns = vec![EVIL.to_string(), "two".into()];
        let (source, setup) = (EVIL.to_string(), EVIL.to_string());
        Report {
            seed: 1,
            limit: None,
            tasks: vec![TaskReport { name: EVIL.into(), about, cells, baselines }],
            references: vec![Reference { source, setup, columns, rows }],
        }
    }

    #[test]
    fn a_strangers_text_is_only_text() {
        let page = page(&attack());
        for never in ["<script", "<img", "onerror='", "alert(\"", "&\u{0}"] {
            assert!(!page.contains(never), "{never}");
        }
        assert!(page.matches("&lt;script&gt;").count() >= 12, "{page}");
        // Nothing is fetched and nothing runs.
        for never in ["http:", "https:", "url(", "@import", "src=", "href="] {
            let found = page.replace("&lt;img src=x", "").contains(never);
            assert!(!found, "{never}");
        }
    }

    #[test]
    fn tags_are_closed_in_order() {
        let page = page(&attack());
        let mut open = Vec::new();
        for tag in page.split('<').skip(1).filter(|tag| !tag.starts_with('!')) {
            let name = tag.split([' ', '>']).next().unwrap();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
                None if tag.split('>').next().unwrap().ends_with('/') || name == "meta" => {}
                None => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn bars_lie_inside_the_plot() {
        let cell = |model: &str, value: f64, interval| {
            let score = Figure { interval, ..Figure::new("x", value) };
            let finding = Finding { scores: vec![score], ..Finding::default() };
            Cell { model: model.into(), finding }
        };
        let mut task = TaskReport { name: "t".into(), ..TaskReport::default() };
        task.cells = vec![cell("a", -2.0, None), cell("b", 6.0, Some((5.0, 7.0)))];
        task.cells.push(cell("none", f64::INFINITY, None));
        let mut out = String::new();
        plot(&mut out, &task);
        // Zero lies at two ninths of the room between names and values.
        let zero = NAMES + 2.0 / 9.0 * (WIDTH - NAMES - VALUES);
        assert!(out.contains(&format!("M{zero:.1} 0V52")), "{out}");
        assert!(out.contains(&format!("x=\"{NAMES:.1}\" y=\"5.0\" width=\"{:.1}\"", zero - NAMES)));
        assert!(!out.contains("inf") && !out.contains("NaN"), "{out}");
    }

    #[test]
    fn numbers_are_grouped() {
        let cases = [(7, "7"), (123, "123"), (1234, "1\u{202f}234"), (6738415616, "6 738 415 616")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text.replace(' ', "\u{202f}"));
        }
    }
}
