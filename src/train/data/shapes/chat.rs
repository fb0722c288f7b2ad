//! Rows that hold dialogues. Knows columns and turns; does not know templates or tokens.

use serde_json::Value;

use super::faulty::Refusal;
use super::turns::{Fields, check_dialogue, list, listed, spoken};
use super::{fit, tree};
use crate::train::data::columns::{Columns, optional_text, text};
use crate::train::data::files::{Record, name_of};
use crate::train::data::rows::Message;
use crate::train::progress::Failure;

/// How a row holds a dialogue; the values are the names of columns.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatShape {
    /// `messages`, and `sharegpt` under its own names.
    Messages {
        messages: String,
        role: String,
        content: String,
    },
    /// The input, where a row has one, follows the instruction on a line of its own.
    Alpaca {
        instruction: String,
        input: Option<String>,
        output: String,
        system: Option<String>,
    },
    PromptCompletion {
        prompt: String,
        completion: String,
        system: Option<String>,
    },
    /// Each instance is a dialogue.
    SelfInstruct {
        instruction: String,
        instances: String,
        input: String,
        output: String,
    },
    Oasst {
        tree: String,
        paths: tree::Paths,
    },
}

impl ChatShape {
    /// The columns that a row has.
    pub fn columns<'a>(&'a self, ignore: &'a [String]) -> Columns<'a> {
        let (required, optional): (Vec<&str>, Vec<&Option<String>>) = match self {
            ChatShape::Messages { messages, .. } => (vec![messages], vec![]),
            ChatShape::Alpaca { instruction, input, output, system } => {
                (vec![instruction, output], vec![input, system])
            }
            ChatShape::PromptCompletion { prompt, completion, system } => {
                (vec![prompt, completion], vec![system])
            }
            ChatShape::SelfInstruct { instruction, instances, .. } => {
                (vec![instruction, instances], vec![])
            }
            ChatShape::Oasst { tree, .. } => (vec![tree], vec![]),
        };
        let optional = optional.into_iter().flatten().map(String::as_str).collect();
        Columns::new(required, optional, ignore)
    }

    /// The dialogues of a row, each fit to learn from.
    pub fn read(
        &self,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<Vec<Vec<Message>>, Refusal> {
        columns.check(place, record).map_err(|failure| fit::chat(failure, record))?;
        let dialogues = self.dialogues(place, record, columns)?;
        dialogues.iter().try_for_each(|messages| check_dialogue(place, messages))?;
        Ok(dialogues)
    }

    fn dialogues(
        &self,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<Vec<Vec<Message>>, Refusal> {
        match self {
            ChatShape::Messages { messages, role, content } => {
                Ok(vec![listed(place, record, messages, Fields { role, content }, columns)?])
            }
            ChatShape::Alpaca { instruction, input, output, system } => {
                let user = asked(place, record, instruction, input.as_deref())?;
                let mut messages = opening(place, record, system.as_deref())?;
                messages.push(Message::new("user", user));
                messages.push(Message::new("assistant", text(place, record, output)?));
                Ok(vec![messages])
            }
            ChatShape::PromptCompletion { prompt, completion, system } => {
                let mut messages = opening(place, record, system.as_deref())?;
                messages.extend(spoken(place, record, prompt, "user", columns)?);
                messages.extend(spoken(place, record, completion, "assistant", columns)?);
                Ok(vec![messages])
            }
            ChatShape::SelfInstruct { instruction, instances, input, output } => {
                let list = list(place, record, instances)?;
                if list.is_empty() {
                    let message = format!("{place}: column `{instances}` is empty");
                    return Err(Failure::input(message).into());
                }
                let instruction = text(place, record, instruction)?;
                let each = (1..).zip(list).map(|(at, value)| {
                    let place = format!("{place} instance {at}");
                    instance(&place, instruction, value, [input, output], columns)
                });
                each.collect()
            }
            ChatShape::Oasst { tree, paths } => Ok(tree::dialogues(place, &record[tree], *paths)?),
        }
    }
}

/// The instruction, and the input where there is one.
pub fn asked(
    place: &str,
    record: &Record,
    instruction: &str,
    input: Option<&str>,
) -> Result<String, Failure> {
    let instruction = text(place, record, instruction)?;
    Ok(with_input(instruction, optional_text(place, record, input)?))
}

fn with_input(instruction: &str, input: Option<&str>) -> String {
    match input {
        Some(input) => format!("{instruction}\n{input}"),
        None => instruction.to_owned(),
    }
}

/// The system's turn, where a row has one.
pub fn opening(
    place: &str,
    record: &Record,
    system: Option<&str>,
) -> Result<Vec<Message>, Failure> {
    let system = optional_text(place, record, system)?;
    Ok(system.into_iter().map(|system| Message::new("system", system)).collect())
}

/// One instance of an instruction.
fn instance(
    place: &str,
    instruction: &str,
    value: &Value,
    [input, output]: [&str; 2],
    columns: &mut Columns<'_>,
) -> Result<Vec<Message>, Refusal> {
    let Value::Object(record) = value else {
        let message = format!("{place} is {}, not an object", name_of(value));
        return Err(Failure::input(message).into());
    };
    columns.check_used(place, record, &[input, output]).map_err(Refusal::Recipe)?;
    if !record.contains_key(output) {
        return Err(Refusal::Recipe(Failure::input(format!("{place} has no `{output}`"))));
    }
    let user = with_input(instruction, optional_text(place, record, Some(input))?);
    let answer = text(place, record, output)?;
    Ok(vec![Message::new("user", user), Message::new("assistant", answer)])
}
