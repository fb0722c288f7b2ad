//! Turns of dialogues: a role and a text. Knows the names that roles have in wide use; does not
//! know which column holds what.

use serde_json::Value;

use super::faulty::Refusal;
use super::fit;
use crate::train::data::columns::{Columns, quoted, text};
use crate::train::data::files::{Record, name_of};
use crate::train::data::rows::Message;
use crate::train::progress::Failure;

/// The fields of a turn.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    pub role: &'a str,
    pub content: &'a str,
}

/// Those of a list of messages where a shape names none.
pub const MESSAGE: Fields<'static> = Fields { role: "role", content: "content" };

/// The turns in a column.
pub fn listed(
    place: &str,
    record: &Record,
    column: &str,
    fields: Fields<'_>,
    columns: &mut Columns<'_>,
) -> Result<Vec<Message>, Refusal> {
    let list = list(place, record, column)?;
    let turns = (1..).zip(list);
    turns.map(|(at, value)| turn(&format!("{place} turn {at}"), value, fields, columns)).collect()
}

/// The turns in a column that holds a list of messages, or a text that is one turn of `role`.
pub fn spoken(
    place: &str,
    record: &Record,
    column: &str,
    role: &str,
    columns: &mut Columns<'_>,
) -> Result<Vec<Message>, Refusal> {
    match &record[column] {
        Value::Array(_) => listed(place, record, column, MESSAGE, columns),
        _ => Ok(vec![Message::new(role, text(place, record, column)?)]),
    }
}

/// A list in a column.
pub fn list<'r>(place: &str, record: &'r Record, column: &str) -> Result<&'r [Value], Failure> {
    match &record[column] {
        Value::Array(list) => Ok(list),
        other => Err(Failure::input(format!(
            "{place}: column `{column}` holds {}, not a list",
            name_of(other)
        ))),
    }
}

/// A role and a text.
pub fn turn(
    place: &str,
    value: &Value,
    fields: Fields<'_>,
    columns: &mut Columns<'_>,
) -> Result<Message, Refusal> {
    let Value::Object(record) = value else {
        return Err(Failure::input(format!("{place} is {}, not a turn", name_of(value))).into());
    };
    let names = [fields.role, fields.content];
    if let Some(missing) = names.into_iter().find(|name| !record.contains_key(*name)) {
        return Err(Refusal::Recipe(fit::turn(
            Failure::input(format!(
                "{place} has no `{missing}`; its fields are {}",
                quoted(record.keys())
            )),
            record,
        )));
    }
    columns.check_used(place, record, &names).map_err(Refusal::Recipe)?;
    let role = role(place, text(place, record, fields.role)?)?;
    Ok(Message::new(role, text(place, record, fields.content)?))
}

/// A role under one of the names it has.
pub fn role(place: &str, name: &str) -> Result<&'static str, Failure> {
    match name {
        "system" => Ok("system"),
        "user" | "human" | "prompter" => Ok("user"),
        "assistant" | "gpt" => Ok("assistant"),
        other => Err(Failure::input(format!("{place} has the role `{other}`"))
            .remedy("roles are `system`, `user` and `assistant`, or `human` and `gpt`")),
    }
}

/// What no template could make a lesson of.
pub fn check_dialogue(place: &str, messages: &[Message]) -> Result<(), Failure> {
    let mut answers = messages.iter().filter(|turn| turn.role == "assistant").peekable();
    if answers.peek().is_none() {
        return Err(Failure::input(format!("{place} has no answer of the assistant"))
            .remedy("remove the row: there is nothing in it to learn"));
    }
    if answers.any(|answer| answer.content.trim().is_empty()) {
        return Err(Failure::input(format!("{place}: an answer is empty"))
            .remedy("remove the row: it would teach the model to say nothing"));
    }
    Ok(())
}

/// Turns that wait for an answer: perhaps a system text, then user and assistant in turn, the
/// user last.
pub fn check_prompt(place: &str, turns: &[Message]) -> Result<(), Failure> {
    let fault = |what: String| Err(Failure::input(format!("{place}: {what}")));
    let said = match turns {
        [first, rest @ ..] if first.role == "system" => rest,
        all => all,
    };
    if said.last().is_none_or(|last| last.role != "user") {
        return fault("the prompt does not end with a turn of the user".into());
    }
    for (at, turn) in said.iter().enumerate() {
        let due = ["user", "assistant"][at % 2];
        if turn.role != due {
            let number = at + 1 + turns.len() - said.len();
            return fault(format!("turn {number} is the {}'s and the {due}'s is due", turn.role));
        }
        if turn.content.trim().is_empty() {
            return fault(format!("a turn of the {due} is empty"));
        }
    }
    Ok(())
}
