//! Which shapes fit a row, told by names that are in wide use, as they can be pasted into a recipe.
//! Knows names and kinds of values; does not read rows.

use serde_json::Value;

use super::faulty::Refusal;
use super::transcript;
use crate::train::data::files::Record;
use crate::train::progress::Failure;

/// A shape, and the stage kind that takes it.
struct Fit {
    stage: &'static str,
    shape: String,
}

/// A row that is not of the stated shape of dialogues.
pub fn chat(failure: Failure, record: &Record) -> Refusal {
    Refusal::Recipe(suggest(failure, "read_chat", "", record))
}

/// A row that is not of the shape of preferences named `own`.
pub fn preference(failure: Failure, own: &str, record: &Record) -> Refusal {
    Refusal::Recipe(suggest(failure, "read_preferences", own, record))
}

/// A row that is not of the stated shape of prompts.
pub fn prompt(failure: Failure, record: &Record) -> Refusal {
    Refusal::Recipe(suggest(failure, "read_prompts", "", record))
}

/// A turn without the stated fields, with the shape that has its own.
pub fn turn(failure: Failure, turn: &Record) -> Failure {
    let found = |names: &[&'static str]| names.iter().copied().find(|n| turn.contains_key(*n));
    match (found(&["role", "from"]), found(&["content", "value", "text"])) {
        (Some(role), Some(content)) => failure.remedy(format!(
            "name them in `shape`: {role:?} holds the role and {content:?} the text"
        )),
        _ => failure.remedy("name the fields of a turn in `shape`"),
    }
}

/// The failure with what would be right: a shape for the same stage kind, or else another kind. A
/// remedy it has is kept; a preference that is read as something else is named beside it.
fn suggest(failure: Failure, stage: &str, own: &str, record: &Record) -> Failure {
    let Failure::Input { message, remedy } = failure else { return failure };
    let fits = fitting(record);
    let elsewhere = |kind: &str| {
        let fit = fits.iter().find(|fit| fit.stage == kind)?;
        Some(format!("read it with `{kind}` and `shape: {}`", fit.shape))
    };
    let here = || {
        let shapes = fits.iter().filter(|fit| fit.stage == stage).map(|fit| fit.shape.as_str());
        let shapes = shapes.collect::<Vec<_>>().join("` or `shape: ");
        (!shapes.is_empty()).then(|| format!("`shape: {shapes}` would fit"))
    };
    let preference = || match stage {
        "read_preferences" => here().filter(|told| !told.contains(&format!("shapes.{own} "))),
        _ => elsewhere("read_preferences"),
    };
    let told = match (remedy, preference()) {
        (Some(remedy), Some(better)) => format!("{remedy}, or {better}"),
        (Some(remedy), None) => remedy,
        (None, Some(better)) => better,
        (None, None) => here()
            .or_else(|| elsewhere("read_chat"))
            .or_else(|| elsewhere("read_prompts"))
            .unwrap_or_else(|| "set the fields of `shape` to the names of your columns".into()),
    };
    Failure::input(message).remedy(told)
}

/// The first of some names that a row has.
fn first(record: &Record, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| record.contains_key(*name))
}

fn fitting(record: &Record) -> Vec<Fit> {
    let mut fits = Vec::new();
    let mut add = |stage, shape: Option<String>| {
        fits.extend(shape.map(|shape| Fit { stage, shape }));
    };
    add("read_preferences", as_preference(record));
    record.iter().for_each(|(column, value)| add("read_chat", as_turns(column, value)));
    let answer = first(record, &["output", "response", "completion", "answer"]);
    let asked = first(record, &["prompt", "question", "query"]);
    if let (Some(instruction), Some(output)) = (first(record, &["instruction"]), answer) {
        let fields = [("instruction", instruction), ("output", output)];
        add("read_chat", Some(shape("alpaca", &fields)));
    }
    if let (Some(prompt), Some(completion)) = (asked, answer) {
        let fields = [("prompt", prompt), ("completion", completion)];
        add("read_chat", Some(shape("prompt_completion", &fields)));
    }
    if record.contains_key("instruction") && record.contains_key("instances") {
        add("read_chat", Some(shape("self_instruct", &[])));
    }
    if let (Some(prompt), None) = (asked.filter(|name| is_asked(&record[*name])), answer) {
        add("read_prompts", Some(shape("prompt", &[("prompt", prompt)])));
    }
    record.iter().for_each(|(column, value)| add("read_prompts", as_texts(column, value)));
    fits
}

fn as_preference(record: &Record) -> Option<String> {
    let (chosen, _) = (record.get("chosen")?, record.get("rejected")?);
    let turns = record.iter().find(|(_, value)| turn_fields(value).is_some());
    match (chosen, turns) {
        (Value::Object(answer), Some((column, _))) => {
            let named = |names: [&'static str; 2]| first(answer, &names);
            let fields = [
                ("conversations", column.as_str()),
                ("from", named(["from", "role"])?),
                ("value", named(["value", "content"])?),
            ];
            Some(shape("sharegpt_preference", &fields))
        }
        (Value::String(text), _) if transcript::begins(text) => Some(shape("hh", &[])),
        _ => match first(record, &["prompt", "question", "query"]) {
            Some(prompt) => Some(shape("preference", &[("prompt", prompt)])),
            None if record.contains_key("instruction") => Some(shape("alpaca_preference", &[])),
            None => chosen.is_array().then(|| shape("preference", &[])),
        },
    }
}

/// The names that the first turn of a list has.
fn turn_fields(value: &Value) -> Option<(&'static str, &'static str)> {
    let turn = value.as_array()?.first()?.as_object()?;
    Some((first(turn, &["role", "from"])?, first(turn, &["content", "value"])?))
}

fn as_turns(column: &str, value: &Value) -> Option<String> {
    if value.get("replies").is_some() {
        return Some(shape("oasst", &[("tree", if column == "prompt" { "tree" } else { column })]));
    }
    match turn_fields(value)? {
        ("from", "value") => Some(shape("sharegpt", &[("conversations", column)])),
        (role, content) => {
            let fields = [("messages", column), ("role", role), ("content", content)];
            Some(shape("messages", &fields))
        }
    }
}

fn as_texts(column: &str, value: &Value) -> Option<String> {
    value.as_array()?.first()?.is_string().then(|| shape("turns", &[("turns", column)]))
}

fn is_asked(value: &Value) -> bool {
    value.is_string() || turn_fields(value).is_some()
}

/// A record of the language, without the fields that have their default: their own name.
fn shape(name: &str, fields: &[(&str, &str)]) -> String {
    let stated: Vec<String> = fields
        .iter()
        .filter(|(field, column)| field != column)
        .map(|(field, column)| format!("{field}: {column:?}"))
        .collect();
    match stated.is_empty() {
        true => format!("shapes.{name} {{}}"),
        false => format!("shapes.{name} {{ {} }}", stated.join(", ")),
    }
}
