//! Whether an action must run, and why, in the user's words. Knows the parts of keys, now and as
//! they were last time; does not know stores or executors.

use std::collections::BTreeMap;
use std::fmt;

use super::action::Action;
use super::executor::Failure;
use super::key::{Fact, Part};
use crate::lang::source::Place;
use crate::lang::value::SINGLE_PORT;

/// What is known of an action before anything runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Its result is in the store.
    Fresh,
    Stale(StaleReason),
    /// This input is not built yet: whether its bytes will differ is not known.
    Maybe(String),
    /// It cannot be built as the world is: a file is missing.
    Blocked(Failure),
}

/// Why an action has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaleReason {
    NeverBuilt,
    /// At least one change since the stage was last built or found fresh.
    Changed(Vec<Change>),
    /// Its result was evicted, or is corrupt: a sentence.
    Lost(String),
}

/// One difference between two keys of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Kind { old: String, new: String },
    Parameter { name: String, old: Option<String>, new: Option<String>, place: Place },
    Input { name: String },
    File { path: String, place: Place },
}

impl fmt::Display for StaleReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StaleReason::NeverBuilt => out.write_str("never built"),
            StaleReason::Lost(why) => out.write_str(why),
            StaleReason::Changed(changes) => {
                write!(out, "{}", changes[0])?;
                match changes.len() - 1 {
                    0 => Ok(()),
                    more => write!(out, ", and {more} more"),
                }
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Kind { old, new } => write!(out, "kind {old} → {new}"),
            Change::Input { name } => write!(out, "input `{name}` changed"),
            Change::File { path, place } => write!(out, "file `{path}` changed, named at {place}"),
            Change::Parameter { name, old: Some(old), new: Some(new), place } => {
                write!(out, "parameter `{name}` {old} → {new} at {place}")
            }
            Change::Parameter { name, old: None, new, place } => {
                let new = new.as_deref().unwrap_or("none");
                write!(out, "parameter `{name}` is now {new} at {place}")
            }
            Change::Parameter { name, old: Some(old), new: None, place } => {
                write!(out, "parameter `{name}` is no longer {old} at {place}")
            }
        }
    }
}

/// What differs between the parts of an action's last key and of the present one.
pub fn changes(action: &Action, before: &[Part], now: &[Part]) -> Vec<Change> {
    let index = |parts: &[Part]| -> BTreeMap<String, Fact> {
        parts.iter().map(|part| (part.path.clone(), part.fact.clone())).collect()
    };
    let (before, now) = (index(before), index(now));
    let mut paths: Vec<&String> = before.keys().chain(now.keys()).collect();
    paths.sort();
    paths.dedup();
    let differs = |path: &&String| before.get(*path) != now.get(*path);
    let change = |path: &String| change(action, path, before.get(path), now.get(path));
    let mut found: Vec<Change> = paths.into_iter().filter(differs).filter_map(change).collect();
    found.dedup();
    found
}

fn change(
    action: &Action,
    path: &str,
    before: Option<&Fact>,
    now: Option<&Fact>,
) -> Option<Change> {
    let parameter = path.split(['.', '[']).next().unwrap_or(path);
    let place = action.places.get(parameter).unwrap_or(&action.place).clone();
    match (before, now) {
        (Some(Fact::Kind(old)), Some(Fact::Kind(new))) => {
            Some(Change::Kind { old: old.clone(), new: new.clone() })
        }
        (Some(Fact::Input(from, old)), Some(Fact::Input(to, new))) if from == to || old == new => {
            let single = to.strip_suffix(&format!(".{SINGLE_PORT}"));
            (old != new).then(|| Change::Input { name: single.unwrap_or(to).to_string() })
        }
        (Some(Fact::File(from, old)), Some(Fact::File(to, new))) if from == to || old == new => {
            (old != new).then(|| Change::File { path: to.clone(), place })
        }
        _ => {
            let name = path.to_string();
            let (old, new) = (before.map(shown), now.map(shown));
            Some(Change::Parameter { name, old, new, place })
        }
    }
}

fn shown(fact: &Fact) -> String {
    match fact {
        Fact::Kind(text) | Fact::Value(text) => text.clone(),
        Fact::Input(from, _) => format!("`{from}`"),
        Fact::File(written, _) => format!("`{written}`"),
    }
}
