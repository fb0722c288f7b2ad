//! What an evaluation found: models × tasks, as JSON for programs and Markdown for people. Does not
//! know how the figures came about.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::finding::{Breakdown, Figure, Finding, Sample, Worth};
use crate::train::progress::{Failure, Metrics};

/// All tasks of one evaluation.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub limit: Option<u64>,
    pub tasks: Vec<TaskReport>,
}

/// One task: a cell for each model it fits, and what needs no model.
#[derive(Clone, Debug, Default)]
pub struct TaskReport {
    pub name: String,
    /// What a reader should know of it.
    pub about: Option<String>,
    pub cells: Vec<Cell>,
    pub baselines: Vec<Baseline>,
}

/// One model on one task.
#[derive(Clone, Debug)]
pub struct Cell {
    pub model: String,
    pub finding: Finding,
}

/// The share of right answers that a way without a model reaches.
#[derive(Clone, Debug)]
pub struct Baseline {
    pub name: String,
    pub right: f64,
}

impl Report {
    /// The first figure of every cell, as `chat: held-out text perplexity`.
    pub fn headlines(&self) -> Metrics {
        let cells =
            self.tasks.iter().flat_map(|task| task.cells.iter().map(move |cell| (task, cell)));
        let headline = |(task, cell): (&TaskReport, &Cell)| {
            let Figure { name, value, .. } = cell.finding.scores.first()?;
            Some((format!("{}: {} {name}", cell.model, task.name), (*value)?))
        };
        cells.filter_map(headline).collect()
    }

    /// Writes `report.json` and `report.md` into a new folder.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(folder).map_err(Failure::io(folder))?;
        let json = serde_json::to_string_pretty(&self.json()).expect("string keys") + "\n";
        for (name, text) in [("report.json", json), ("report.md", self.text())] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Failure::io(&path))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let tasks = self.tasks.iter().map(|task| (task.name.clone(), task.json()));
        let tasks = tasks.collect::<Map<_, _>>();
        json!({ "seed": self.seed, "limit": self.limit, "tasks": tasks })
    }

    /// A table a task, then some answers.
    pub fn text(&self) -> String {
        let mut out = String::from("# Scores\n");
        for task in &self.tasks {
            write!(out, "\n## {}\n\n", task.name).unwrap();
            task.about.iter().for_each(|about| write!(out, "{about}\n\n").unwrap());
            out.push_str(&task.table());
            for at in 0..task.cells.first().map_or(0, |cell| cell.finding.breakdowns.len()) {
                out.push_str(&task.breakdown(at));
            }
            for Cell { model, finding } in &task.cells {
                for remark in &finding.remarks {
                    write!(out, "\n**`{model}` {remark}**\n").unwrap();
                }
            }
            for Cell { model, finding } in &task.cells {
                if !finding.samples.is_empty() {
                    write!(out, "\n`{model}` says:\n\n").unwrap();
                    finding.samples.iter().for_each(|sample| out.push_str(&sample.line()));
                }
            }
        }
        out
    }
}

impl TaskReport {
    fn json(&self) -> Value {
        let models = self.cells.iter().map(|cell| (cell.model.clone(), cell.finding.json()));
        let models = models.collect::<Map<_, _>>();
        let baselines = self.baselines.iter().map(|base| (base.name.clone(), json!(base.right)));
        let baselines = baselines.collect::<Map<_, _>>();
        json!({ "models": models, "baselines": baselines })
    }

    /// A row a model; figures that no model has are left out.
    fn table(&self) -> String {
        let Some(first) = self.cells.first() else { return String::new() };
        let exists =
            |at: &usize| self.cells.iter().any(|cell| cell.finding.scores[*at].value.is_some());
        let columns = (0..first.finding.scores.len()).filter(exists).collect::<Vec<_>>();
        let names = columns.iter().map(|at| first.finding.scores[*at].name.as_str());
        let mut out = head("model", names);
        for cell in &self.cells {
            let figures = columns.iter().map(|at| cell.finding.scores[*at].text());
            line(&mut out, &cell.model, figures);
        }
        for Baseline { name, right } in &self.baselines {
            let blanks = columns.iter().skip(1).map(|_| String::new());
            line(&mut out, &format!("*{name}*"), std::iter::once(figure(*right)).chain(blanks));
        }
        out
    }

    /// A row a group, a column a model: all models were asked the same rows.
    fn breakdown(&self, at: usize) -> String {
        let of = |cell: &Cell| -> Breakdown { cell.finding.breakdowns[at].clone() };
        let all = self.cells.iter().map(of).collect::<Vec<_>>();
        let models = self.cells.iter().map(|cell| cell.model.as_str());
        let mut out = format!("\n{}", head(&all[0].by, std::iter::once("rows").chain(models)));
        for (at, group) in all[0].groups.iter().enumerate() {
            let shares = all.iter().map(|breakdown| breakdown.groups[at].share.text());
            let rows = std::iter::once(group.rows.to_string());
            line(&mut out, &group.name, rows.chain(shares));
        }
        out
    }
}

impl Finding {
    fn json(&self) -> Value {
        let mut all = Map::new();
        self.scores.iter().for_each(|figure| figure.add_to(&mut all));
        for Breakdown { by, groups } in &self.breakdowns {
            let mut parts = Map::new();
            for group in groups {
                let mut part = Map::new();
                group.share.add_to(&mut part);
                part.insert("rows".into(), json!(group.rows));
                parts.insert(group.name.clone(), part.into());
            }
            all.insert(format!("by_{by}"), parts.into());
        }
        if !self.remarks.is_empty() {
            all.insert("remarks".into(), json!(self.remarks));
        }
        if !self.samples.is_empty() {
            all.insert("samples".into(), self.samples.iter().map(Sample::json).collect());
        }
        all.into()
    }
}

impl Figure {
    /// The value, and the interval beside it as `…_95`.
    fn add_to(&self, object: &mut Map<String, Value>) {
        if let Some(value) = self.value {
            object.insert(self.name.clone(), json!(value));
        }
        if let Some((low, high)) = self.interval {
            object.insert(format!("{}_95", self.name), json!([low, high]));
        }
    }

    fn text(&self) -> String {
        let Some(value) = self.value else { return String::new() };
        match self.interval {
            Some((low, high)) => format!("{} ({low:.2}–{high:.2})", figure(value)),
            None if self.signed => format!("{value:+.4}"),
            None => figure(value),
        }
    }
}

impl Sample {
    fn json(&self) -> Value {
        let (name, worth) = match self.worth {
            Worth::Right(right) => ("right", json!(right)),
            Worth::Kept(kept) => ("kept", json!(kept)),
            Worth::Reward(reward) => ("reward", json!(reward)),
        };
        json!({ "question": self.question, "answer": self.answer, name: worth })
    }

    fn line(&self) -> String {
        let worth = match self.worth {
            Worth::Right(true) => "right".to_string(),
            Worth::Right(false) => "wrong".to_string(),
            Worth::Kept(true) => "kept".to_string(),
            Worth::Kept(false) => "not kept".to_string(),
            Worth::Reward(reward) => format!("reward {reward:.2}"),
        };
        format!("- {} → {} ({worth})\n", shortened(&self.question), shortened(&self.answer))
    }
}

/// The first two lines of a table: one column for names, the others for figures.
fn head<'a>(first: &str, columns: impl Iterator<Item = &'a str>) -> String {
    let columns = columns.map(cell_text).collect::<Vec<_>>();
    let mut out = format!("| {first} | {} |\n|---|", columns.join(" | "));
    out.push_str(&"---:|".repeat(columns.len()));
    out.push('\n');
    out
}

fn line(out: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    write!(out, "| {} |", cell_text(name)).unwrap();
    for cell in cells {
        let blank = if cell.is_empty() { "" } else { " " };
        write!(out, "{blank}{cell} |").unwrap();
    }
    out.push('\n');
}

/// A bar inside a cell would end it.
fn cell_text(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// One line of at most 120 characters.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Counts whole, everything else with four digits.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() >= 2.0 {
        format!("{value}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::finding::Group;

    fn report(cells: Vec<Cell>, baselines: Vec<Baseline>) -> Report {
        let task = TaskReport { name: "quiz".into(), about: None, cells, baselines };
        Report { seed: 1, limit: None, tasks: vec![task] }
    }

    fn cell(model: &str, right: f64) -> Cell {
        let scores =
            vec![Figure::share("exact_match", Some(right), 10), Figure::count("questions", 10)];
        let rows = vec![right, right, 1.0];
        Cell { model: model.into(), finding: Finding { scores, rows, ..Finding::default() } }
    }

    #[test]
    fn a_report_reads_as_a_table() {
        let mut chat = cell("chat", 0.5);
        let worth = Worth::Right(true);
        chat.finding.samples = vec![Sample { question: "a?".into(), answer: "b\nc".into(), worth }];
        let report = report(vec![chat], vec![Baseline { name: "always “x”".into(), right: 0.1 }]);
        let expected = "# Scores\n\n## quiz\n\n\
            | model | exact_match | questions |\n|---|---:|---:|\n\
            | chat | 0.5000 (0.24–0.76) | 10 |\n| *always “x”* | 0.1000 | |\n\n\
            `chat` says:\n\n- a? → b c (right)\n";
        assert_eq!(report.text(), expected);
        assert_eq!(report.headlines(), [("chat: quiz exact_match".to_string(), 0.5)]);
    }

    #[test]
    fn changes_stand_beside_the_headline() {
        let mut cells = vec![cell("one", 0.25), cell("two", 0.5)];
        let first = cells[0].finding.clone();
        cells[1].finding.compare(Some(&first));
        cells[0].finding.compare(None);
        let report = report(cells, Vec::new());
        let expected = "| model | exact_match | change | change_se | questions |\n\
            |---|---:|---:|---:|---:|\n\
            | one | 0.2500 (0.08–0.56) | | | 10 |\n\
            | two | 0.5000 (0.24–0.76) | +0.1667 | 0.0833 | 10 |\n";
        assert!(report.text().contains(expected), "{}", report.text());
        let json = report.json();
        let models = &json["tasks"]["quiz"]["models"];
        assert!(models["one"].get("change").is_none());
        assert!((models["two"]["change"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-12);
        assert!(models["two"]["exact_match_95"][0].as_f64().unwrap() > 0.23);
    }

    #[test]
    fn groups_are_a_table_of_their_own() {
        let mut cells = vec![cell("one", 0.5), cell("two", 1.0)];
        for (cell, share) in cells.iter_mut().zip([0.5, 1.0]) {
            let share = Figure::share("accuracy", Some(share), 2);
            let groups = vec![Group { name: "a|b".into(), rows: 2, share }];
            cell.finding.breakdowns = vec![Breakdown { by: "kind".into(), groups }];
            cell.finding.remarks = vec!["drifted.".into()];
        }
        let report = report(cells, Vec::new());
        let expected = "\n| kind | rows | one | two |\n|---|---:|---:|---:|\n\
            | a\\|b | 2 | 0.5000 (0.09–0.91) | 1.0000 (0.34–1.00) |\n\
            \n**`one` drifted.**\n\n**`two` drifted.**\n";
        assert!(report.text().contains(expected), "{}", report.text());
        let groups = &report.json()["tasks"]["quiz"]["models"]["two"]["by_kind"]["a|b"];
        assert_eq!((groups["accuracy"].as_f64(), groups["rows"].as_u64()), (Some(1.0), Some(2)));
    }
}
