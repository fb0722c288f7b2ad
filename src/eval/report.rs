//! What an evaluation found: models × tasks, as JSON for programs and Markdown for people. Does not
//! know how the figures came about.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::about::About;
use super::finding::{Breakdown, CLEAN_ROWS, Card, Figure, Finding, Learning, Sample, Worth};
use super::reference::Reference;
use crate::train::progress::Metrics;

/// All tasks of one evaluation.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub limit: Option<u64>,
    pub tasks: Vec<TaskReport>,
    pub references: Vec<Reference>,
}

/// One task: a cell for each model it fits, and what needs no model.
#[derive(Clone, Debug, Default)]
pub struct TaskReport {
    pub name: String,
    pub about: About,
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
        let headline = |(task, cell): (&TaskReport, &Cell)| {
            let Figure { name, value, .. } = cell.finding.scores.first()?;
            Some((format!("{}: {} {name}", cell.model, task.name), (*value)?))
        };
        self.cells().filter_map(headline).collect()
    }

    /// Every model on every task that fits it.
    pub fn cells(&self) -> impl Iterator<Item = (&TaskReport, &Cell)> {
        self.tasks.iter().flat_map(|task| task.cells.iter().map(move |cell| (task, cell)))
    }

    /// The models, in the order in which tasks name them first.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = Vec::new();
        for (_, cell) in self.cells() {
            if !models.contains(&cell.model.as_str()) {
                models.push(&cell.model);
            }
        }
        models
    }

    /// What the first table says of each task between its figure and the models: a column is there
    /// if it says anything of any.
    pub fn particulars(&self) -> Vec<(&'static str, Vec<String>)> {
        let shots = |task: &TaskReport| (task.about.shots > 0).then_some(task.about.shots);
        let mut columns = Vec::new();
        if self.tasks.iter().any(|task| shots(task).is_some()) {
            let told = self.tasks.iter().map(|task| task.about.shots.to_string());
            columns.push(("shots", told.collect()));
        }
        if self.tasks.iter().any(|task| task.clean_rows().is_some()) {
            let told = |share: f64| format!("{:.1}%", 100.0 * share);
            let told = self.tasks.iter().map(|task| task.clean_rows().map_or("".into(), told));
            columns.push(("clean rows", told.collect()));
        }
        columns
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        let card = |model: &str| {
            let (_, cell) = self.cells().find(|(_, cell)| cell.model == model)?;
            Some((model.to_string(), cell.finding.card.json()))
        };
        let models = self.models().into_iter().filter_map(card).collect::<Map<_, _>>();
        let tasks = self.tasks.iter().map(|task| (task.name.clone(), task.json()));
        let tasks = tasks.collect::<Map<_, _>>();
        json!({ "seed": self.seed, "limit": self.limit, "models": models, "tasks": tasks })
    }

    /// The headline of every cell, a row a task and a column a model.
    fn summary(&self) -> String {
        let models = self.models();
        let particulars = self.particulars();
        let between = particulars.iter().map(|(name, _)| *name);
        let mut out = head("task", ["figure"].into_iter().chain(between).chain(models.clone()));
        for (at, task) in self.tasks.iter().enumerate() {
            let figure = task.headline().map_or(String::new(), |figure| figure.name.clone());
            let between = particulars.iter().map(|(_, told)| told[at].clone());
            let of = |model: &&str| task.cell(model).and_then(|cell| cell.finding.scores.first());
            let text = |model: &&str| of(model).map_or(String::new(), Figure::text);
            let cells = [cell_text(&figure)].into_iter().chain(between);
            line(&mut out, &task.name, cells.chain(models.iter().map(text)));
        }
        out
    }

    /// What each model is, and what learning it takes.
    fn cards(&self) -> String {
        let columns = ["parameters", "stored as", "learnt", "bytes learnt", "peak of a step"];
        let mut out = format!("\n## Models\n\n{}", head("model", columns.into_iter()));
        for model in self.models() {
            let cell = self.cells().find(|(_, cell)| cell.model == model);
            let Some((_, Cell { finding: Finding { card, .. }, .. })) = cell else { continue };
            let learning = card.learning.map_or(Default::default(), |learning| {
                let Learning { numbers, bytes, peak } = learning;
                [numbers.to_string(), bytes.to_string(), peak.to_string()]
            });
            let fixed = [card.parameters.to_string(), card.dtype.clone()];
            line(&mut out, model, fixed.into_iter().chain(learning));
        }
        out.push_str(&format!("\n{LEARNING}\n"));
        out
    }

    /// A table a task, then some answers; last what others have published.
    pub fn text(&self) -> String {
        let mut out = format!("# Scores\n\n{}{}", self.summary(), self.cards());
        for task in &self.tasks {
            write!(out, "\n## {}\n\n", task.name).unwrap();
            task.about.line().iter().for_each(|line| write!(out, "{line}\n\n").unwrap());
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
        self.references.iter().for_each(|reference| out.push_str(&published(reference)));
        out
    }
}

/// A table that was not measured here, and how it came about.
fn published(reference: &Reference) -> String {
    let Reference { source, setup, columns, rows } = reference;
    let mut out = format!("\n## Published elsewhere: {source}\n\n{setup}\n\n");
    out.push_str(&head("model", columns.iter().map(String::as_str)));
    for row in rows {
        let figures = row.figures.iter().map(|figure| figure.map_or("–".into(), plain));
        line(&mut out, &row.model, figures);
    }
    out
}

/// A figure as it was published: no more digits than it had.
pub fn plain(value: f64) -> String {
    format!("{value}")
}

impl TaskReport {
    /// What one model showed, if the task fits it.
    pub fn cell(&self, model: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.model == model)
    }

    /// The figure that counts most, of the first model.
    pub fn headline(&self) -> Option<&Figure> {
        self.cells.first()?.finding.scores.first()
    }

    /// The share of its rows that training data does not have, where that is known.
    fn clean_rows(&self) -> Option<f64> {
        let scores = &self.cells.first()?.finding.scores;
        scores.iter().find(|figure| figure.name == CLEAN_ROWS)?.value
    }

    fn json(&self) -> Value {
        let models = self.cells.iter().map(|cell| (cell.model.clone(), cell.finding.json()));
        let models = models.collect::<Map<_, _>>();
        let baselines = self.baselines.iter().map(|base| (base.name.clone(), json!(base.right)));
        let baselines = baselines.collect::<Map<_, _>>();
        let About { kind, version, shots, source, .. } = &self.about;
        json!({
            "kind": kind,
            "version": version,
            "shots": shots,
            "source": source,
            "models": models,
            "baselines": baselines,
        })
    }

    /// The figures that at least one model has, by their place.
    pub fn columns(&self) -> Vec<usize> {
        let exists =
            |at: &usize| self.cells.iter().any(|cell| cell.finding.scores[*at].value.is_some());
        let figures = self.cells.first().map_or(0, |cell| cell.finding.scores.len());
        (0..figures).filter(exists).collect()
    }

    /// A row a model; figures that no model has are left out.
    fn table(&self) -> String {
        let Some(first) = self.cells.first() else { return String::new() };
        let columns = self.columns();
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

/// What the table of models says.
pub const LEARNING: &str = "Learnt: all of a model, or the adapter it wears. The peak is what the \
    ledger says, in bytes, of one training step on one row that fills the context, with AdamW in \
    32 bits and all activations kept.";

impl Card {
    fn json(&self) -> Value {
        let Card { parameters, dtype, adapter, tokenizer, chat_template, context, .. } = self;
        let template = chat_template.as_ref().map(|text| blake3::hash(text.as_bytes()).to_string());
        let learning = self.learning.map(|Learning { numbers, bytes, peak }| {
            json!({ "parameters": numbers, "bytes": bytes, "peak_memory_bytes": peak })
        });
        json!({
            "parameters": parameters,
            "learning": learning,
            "dtype": dtype,
            "adapter": adapter,
            "tokenizer": tokenizer,
            "chat_template": template,
            "context": context,
        })
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
        all.insert("rows".into(), json!([self.asked.rows, self.asked.of]));
        if let Some(hash) = self.hash() {
            all.insert("task_hash".into(), json!(hash));
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

    /// The value with its interval.
    pub fn text(&self) -> String {
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

    /// What the answer is worth, in a word.
    pub fn verdict(&self) -> String {
        match self.worth {
            Worth::Right(true) => "right".to_string(),
            Worth::Right(false) => "wrong".to_string(),
            Worth::Kept(true) => "kept".to_string(),
            Worth::Kept(false) => "not kept".to_string(),
            Worth::Reward(reward) => format!("reward {reward:.2}"),
        }
    }

    fn line(&self) -> String {
        let (question, answer) = (shortened(&self.question), shortened(&self.answer));
        format!("- {question} → {answer} ({})\n", self.verdict())
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
pub fn figure(value: f64) -> String {
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
        let task = TaskReport { name: "quiz".into(), about: About::default(), cells, baselines };
        Report { seed: 1, limit: None, tasks: vec![task], references: Vec::new() }
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
        let expected = "# Scores\n\n| task | figure | chat |\n|---|---:|---:|\n\
            | quiz | exact_match | 0.5000 (0.24–0.76) |\n\n## Models\n\n\
            | model | parameters | stored as | learnt | bytes learnt | peak of a step |\n\
            |---|---:|---:|---:|---:|---:|\n| chat | 0 | | | | |\n\nLEARNING\n\n## quiz\n\n\
            | model | exact_match | questions |\n|---|---:|---:|\n\
            | chat | 0.5000 (0.24–0.76) | 10 |\n| *always “x”* | 0.1000 | |\n\n\
            `chat` says:\n\n- a? → b c (right)\n";
        assert_eq!(report.text(), expected.replace("LEARNING", LEARNING));
        assert_eq!(report.headlines(), [("chat: quiz exact_match".to_string(), 0.5)]);
    }

    #[test]
    fn changes_stand_beside_the_headline() {
        let mut cells = vec![cell("one", 0.25), cell("two", 0.5)];
        let first = cells[0].finding.clone();
        cells[1].finding.compare(Some(&first), 1);
        cells[0].finding.compare(None, 1);
        let report = report(cells, Vec::new());
        let expected = "| model | exact_match | change | change_se | change_p | questions |\n\
            |---|---:|---:|---:|---:|---:|\n\
            | one | 0.2500 (0.08–0.56) | | | | 10 |\n\
            | two | 0.5000 (0.24–0.76) | +0.1667 | 0.0833 | 0.5000 | 10 |\n";
        assert!(report.text().contains(expected), "{}", report.text());
        let json = report.json();
        let models = &json["tasks"]["quiz"]["models"];
        assert!(models["one"].get("change").is_none());
        assert!((models["two"]["change"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-12);
        assert!(models["two"]["exact_match_95"][0].as_f64().unwrap() > 0.23);
    }

    #[test]
    fn shots_and_clean_rows_stand_before_the_models() {
        let mut known = cell("chat", 0.5);
        known.finding.scores.push(Figure::new(CLEAN_ROWS, Some(0.125)));
        let mut report = report(vec![known], Vec::new());
        let mut other = TaskReport { cells: vec![cell("chat", 1.0)], ..TaskReport::default() };
        (other.name, other.about.shots) = ("other".into(), 5);
        report.tasks.push(other);
        let expected = "| task | figure | shots | clean rows | chat |\n|---|---:|---:|---:|---:|\n\
            | quiz | exact_match | 0 | 12.5% | 0.5000 (0.24–0.76) |\n\
            | other | exact_match | 5 | | 1.0000 (0.72–1.00) |\n";
        assert!(report.text().contains(expected), "{}", report.text());
    }

    #[test]
    fn groups_are_a_table_of_their_own() {
        let mut cells = vec![cell("one", 0.5), cell("two", 1.0)];
        for (cell, share) in cells.iter_mut().zip([0.5, 1.0]) {
            let figure = Figure::share("accuracy", Some(share), 2);
            let groups = vec![Group::of("a|b", &figure, &[1.0, 2.0 * share - 1.0])];
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
