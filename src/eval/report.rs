//! What an evaluation found: models × tasks, as JSON for programs and Markdown for people. Does not
//! know how the figures came about.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::task::Scores;
use crate::train::progress::{Failure, Metrics};

/// All tasks of one evaluation.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub limit: Option<u64>,
    pub tasks: Vec<TaskReport>,
}

/// One task: a cell a model, and what needs no model.
#[derive(Clone, Debug)]
pub struct TaskReport {
    pub name: String,
    pub cells: Vec<Cell>,
    pub baselines: Vec<Baseline>,
}

/// One model on one task.
#[derive(Clone, Debug)]
pub struct Cell {
    pub model: String,
    pub scores: Scores,
    pub samples: Vec<Sample>,
}

/// An answer shown for people to read.
#[derive(Clone, Debug)]
pub struct Sample {
    pub question: String,
    pub answer: String,
    pub right: bool,
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
            let (name, value) = cell.scores[0];
            (format!("{}: {} {name}", cell.model, task.name), value)
        };
        cells.map(headline).collect()
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
        let mut tasks = Map::new();
        for task in &self.tasks {
            let mut models = Map::new();
            for cell in &task.cells {
                let scores =
                    cell.scores.iter().map(|(name, value)| (name.to_string(), json!(value)));
                let mut scores = scores.collect::<Map<_, _>>();
                if !cell.samples.is_empty() {
                    scores.insert("samples".into(), cell.samples.iter().map(sample_json).collect());
                }
                models.insert(cell.model.clone(), scores.into());
            }
            let baselines =
                task.baselines.iter().map(|base| (base.name.clone(), json!(base.right)));
            let baselines = baselines.collect::<Map<_, _>>();
            tasks.insert(task.name.clone(), json!({ "models": models, "baselines": baselines }));
        }
        json!({ "seed": self.seed, "limit": self.limit, "tasks": tasks })
    }

    /// A table a task, then some answers.
    pub fn text(&self) -> String {
        let mut out = String::from("# Scores\n");
        for task in &self.tasks {
            write!(out, "\n## {}\n\n", task.name).unwrap();
            out.push_str(&task.table());
            for cell in task.cells.iter().filter(|cell| !cell.samples.is_empty()) {
                write!(out, "\n`{}` says:\n\n", cell.model).unwrap();
                for sample in &cell.samples {
                    let verdict = if sample.right { "right" } else { "wrong" };
                    let answer = shortened(&sample.answer);
                    writeln!(out, "- {} → {answer} ({verdict})", shortened(&sample.question))
                        .unwrap();
                }
            }
        }
        out
    }
}

fn sample_json(sample: &Sample) -> Value {
    json!({ "question": sample.question, "answer": sample.answer, "right": sample.right })
}

/// One line of at most 120 characters.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

impl TaskReport {
    fn table(&self) -> String {
        let Some(first) = self.cells.first() else { return String::new() };
        let names = first.scores.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let mut out = format!("| model | {} |\n|---|", names.join(" | "));
        out.push_str(&"---:|".repeat(names.len()));
        out.push('\n');
        for cell in &self.cells {
            let figures = cell.scores.iter().map(|(_, value)| figure(*value));
            let figures = figures.collect::<Vec<_>>().join(" | ");
            writeln!(out, "| {} | {figures} |", cell.model).unwrap();
        }
        for baseline in &self.baselines {
            let blanks = " |".repeat(names.len() - 1);
            writeln!(out, "| *{}* | {} |{blanks}", baseline.name, figure(baseline.right)).unwrap();
        }
        out
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

    #[test]
    fn a_report_reads_as_a_table() {
        let cell = Cell {
            model: "chat".into(),
            scores: vec![("exact_match", 0.5), ("questions", 10.0)],
            samples: vec![Sample { question: "a?".into(), answer: "b\nc".into(), right: true }],
        };
        let baselines = vec![Baseline { name: "always “x”".into(), right: 0.1 }];
        let task = TaskReport { name: "quiz".into(), cells: vec![cell], baselines };
        let report = Report { seed: 1, limit: None, tasks: vec![task] };
        let expected = "# Scores\n\n## quiz\n\n\
            | model | exact_match | questions |\n|---|---:|---:|\n\
            | chat | 0.5000 | 10 |\n| *always “x”* | 0.1000 | |\n\n\
            `chat` says:\n\n- a? → b c (right)\n";
        assert_eq!(report.text(), expected);
        assert_eq!(report.headlines(), [("chat: quiz exact_match".to_string(), 0.5)]);
    }
}
