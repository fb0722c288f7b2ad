//! Parameters that no run could do anything with, found before one begins. Knows values of the
//! recipe; each of these a run would refuse as well.

use std::collections::BTreeSet;

use super::ledger::{line_of, trains};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::value::{Stage, Value};

/// All of a stage.
pub fn faults(sources: &Sources, stage: &Stage) -> Vec<Diagnostic> {
    let found = match stage.kind.as_str() {
        "eval" => twins(sources, stage),
        "expect" => no_bound(sources, stage),
        "train_tokenizer" => one_end(sources, stage),
        kind if trains(kind) => no_data(sources, stage),
        _ => None,
    };
    found.into_iter().collect()
}

/// Two tasks of one name could not be told apart in a report.
fn twins(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let tasks = match stage.params.get("tasks")? {
        Value::List(tasks) => tasks.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut seen = BTreeSet::new();
    let name = tasks.iter().find_map(|task| {
        let Value::Record { fields, .. } = task else { return None };
        let Some(Value::Text(name)) = fields.get("name") else { return None };
        (!seen.insert(name)).then_some(name)
    })?;
    let message = format!("two tasks of `{}` are called `{name}`", stage.name);
    Some(
        Diagnostic::error("twin-tasks", message)
            .label(line_of(sources, stage, "tasks")?, "they are among these")
            .note("give one of them another `name`"),
    )
}

/// A demand that asks for nothing, or for what nothing is.
fn no_bound(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let bound = |name: &str| match stage.params.get(name) {
        Some(Value::Float(bound)) => Some(*bound),
        Some(Value::Int(bound)) => Some(*bound as f64),
        _ => None,
    };
    let name = &stage.name;
    match (bound("at_least"), bound("at_most")) {
        (None, None) => Some(
            Diagnostic::error("no-bound", format!("`{name}` expects nothing of its figure"))
                .label(line_of(sources, stage, "metric")?, "this one")
                .note("give `at_least`, `at_most` or both"),
        ),
        (Some(least), Some(most)) if least > most => {
            let message =
                format!("`{name}` expects at least {least} and at most {most}, which nothing is");
            Some(
                Diagnostic::error("no-bound", message)
                    .label(line_of(sources, stage, "at_least")?, "the least")
                    .label(line_of(sources, stage, "at_most")?, "the most"),
            )
        }
        _ => None,
    }
}

/// A text that begins as another ends cannot be parted from it.
fn one_end(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let [bos, eos] = ["bos", "eos"].map(|name| stage.params.get(name));
    if bos? != eos? {
        return None;
    }
    let message = format!("texts of `{}` begin and end with the same token", stage.name);
    Some(
        Diagnostic::error("one-end", message)
            .label(line_of(sources, stage, "bos")?, "the one they begin with")
            .label(line_of(sources, stage, "eos")?, "the one they end with"),
    )
}

/// Training on no data, or on none of some.
fn no_data(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let Value::List(items) = stage.params.get("data")? else { return None };
    let is_nothing = |item: &Value| match item {
        Value::Share { percent, .. } => percent.millionths == 0,
        _ => false,
    };
    let message = match items.is_empty() {
        true => format!("`{}` learns from nothing", stage.name),
        false if items.iter().any(is_nothing) => {
            format!("`{}` takes 0% of a part of its data", stage.name)
        }
        false => return None,
    };
    let line = line_of(sources, stage, "data")?;
    Some(Diagnostic::error("no-data", message).label(line, "its data"))
}
