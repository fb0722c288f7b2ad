//! The folder of a report. Knows which files there are; does not know what stands in them.
//!
//! ```text
//! report.json                    all of it
//! report.md, report.html         the same to be read
//! results_MODEL.json             one model in the shape of lm-evaluation-harness
//! samples_TASK_MODEL.jsonl       its rows, in the same shape
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::report::Report;
use super::{harness, page};
use crate::train::progress::Failure;

/// Writes every file into a new folder.
pub fn write(report: &Report, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    for (name, text) in files(report) {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Failure::io(&path))?;
    }
    Ok(())
}

fn files(report: &Report) -> BTreeMap<String, String> {
    let pretty = |json| serde_json::to_string_pretty(&json).expect("string keys") + "\n";
    let mut files = BTreeMap::from([
        ("report.json".to_string(), pretty(report.json())),
        ("report.md".to_string(), report.text()),
        ("report.html".to_string(), page::page(report)),
    ]);
    for model in report.models() {
        if let Some(results) = harness::results(report, model) {
            add(&mut files, &["results", model], "json", pretty(results));
        }
    }
    for (task, cell) in report.cells().filter(|(_, cell)| !cell.finding.records.is_empty()) {
        let name = ["samples", &task.name, &cell.model];
        add(&mut files, &name, "jsonl", harness::samples(task, cell));
    }
    files
}

/// Adds a file; where its name is taken, under the next free number.
fn add(files: &mut BTreeMap<String, String>, name: &[&str], end: &str, text: String) {
    let stem = name.iter().map(|part| harness::file_stem(part)).collect::<Vec<_>>().join("_");
    let numbered = (2..).map(|number| format!("{stem}-{number}.{end}"));
    let mut names = std::iter::once(format!("{stem}.{end}")).chain(numbered);
    let name = names.find(|name| !files.contains_key(name)).expect("some number is free");
    files.insert(name, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_numbered() {
        let mut files = BTreeMap::new();
        for name in ["a b", "a/b", "é", "../c"] {
            add(&mut files, &["samples", name, "m"], "jsonl", String::new());
        }
        let names = files.into_keys().collect::<Vec<_>>();
        let expected = [
            "samples_.._c_m.jsonl",
            "samples___m.jsonl",
            "samples_a_b_m-2.jsonl",
            "samples_a_b_m.jsonl",
        ];
        let mut sorted = expected.to_vec();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
    }
}
