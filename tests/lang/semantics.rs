//! Checking recipes: one case for each error id, drawn; many mistakes in one run.

use crate::snapshot;
use llamake::cli::draw::draw;
use llamake::lang::compile;
use llamake::lang::diagnostic::Diagnostic;
use llamake::lang::errors::semantics;
use llamake::lang::source::{Source, Sources};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lang")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compiles a case; a first line `// -p name=value` is given on its command line. The module
/// `std/trial` is there for what the library does not declare.
fn compiled(id: &str) -> (Sources, Vec<Diagnostic>) {
    let text = read(&folder().join(format!("cases/{id}.recipe")));
    let mut sources = Sources::default();
    let root = sources.add(Source::new(format!("{id}.recipe"), text.as_str()));
    let trial = read(&folder().join("fixtures/trial.recipe"));
    sources.add(Source::new("std/trial.recipe", trial));
    let given = text.lines().map_while(|line| line.strip_prefix("// -p "));
    let given = given.map(|given| given.split_once('=').expect("name=value"));
    let given: Vec<_> = given.map(|(name, value)| (name.into(), value.into())).collect();
    let (_, faults) = compile(&mut sources, root, &given);
    (sources, faults)
}

fn compare(id: &str) -> Vec<Diagnostic> {
    let (sources, faults) = compiled(id);
    snapshot::check(&folder().join(format!("cases/{id}.out")), &draw(&sources, &faults, false));
    faults
}

#[test]
fn every_error_id_has_a_case_that_draws_it() {
    let mut wrong = Vec::new();
    for id in semantics::ALL {
        let faults = compare(id);
        if faults.is_empty() {
            wrong.push(format!("{id} has no fault"));
        }
        for fault in faults {
            if fault.id != *id {
                wrong.push(format!("{id} also has {}: {}", fault.id, fault.message));
            }
            if fault.message.ends_with('.') || fault.message.starts_with(char::is_uppercase) {
                wrong.push(format!("{id} is told in another manner: {}", fault.message));
            }
            if fault.labels.is_empty() {
                wrong.push(format!("{id} has no label: {}", fault.message));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ids_are_sorted_and_unique() {
    assert!(semantics::ALL.is_sorted_by(|a, b| a < b));
}

#[test]
fn ten_mistakes_give_ten_errors() {
    let faults = compare("ten_mistakes");
    let ids: Vec<&str> = faults.iter().map(|fault| fault.id).collect();
    assert_eq!(ids.len(), 10, "{ids:#?}");
}
