//! Rows that hold a prompt. Knows columns and turns; does not know who answers.

use serde_json::Value;

use super::faulty::Refusal;
use super::turns::{check_prompt, list, spoken};
use super::{chat, fit};
use crate::train::data::columns::Columns;
use crate::train::data::files::{Record, name_of};
use crate::train::data::rows::{Message, Prompt};
use crate::train::progress::Failure;

/// How a row holds a prompt; the values are the names of columns.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptShape {
    Prompt {
        prompt: String,
        system: Option<String>,
    },
    /// The user's turns; the first is asked.
    Turns {
        turns: String,
    },
}

impl PromptShape {
    /// The columns that a row has.
    pub fn columns<'a>(&'a self, ignore: &'a [String]) -> Columns<'a> {
        match self {
            PromptShape::Prompt { prompt, system } => {
                Columns::new(vec![prompt], system.iter().map(String::as_str).collect(), ignore)
            }
            PromptShape::Turns { turns } => Columns::new(vec![turns], vec![], ignore),
        }
    }

    /// The prompt of a row, and how many later turns of the user it has.
    pub fn read(
        &self,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<(Prompt, usize), Refusal> {
        columns.check(place, record).map_err(|failure| fit::prompt(failure, record))?;
        let (prompt, later) = match self {
            PromptShape::Prompt { prompt, system } => {
                let mut turns = chat::opening(place, record, system.as_deref())?;
                turns.extend(spoken(place, record, prompt, "user", columns)?);
                (turns, 0)
            }
            PromptShape::Turns { turns } => first(place, list(place, record, turns)?)?,
        };
        check_prompt(place, &prompt)?;
        Ok((Prompt { prompt, safety: None }, later))
    }
}

/// The first of the user's turns, and how many follow.
fn first(place: &str, turns: &[Value]) -> Result<(Vec<Message>, usize), Failure> {
    if let Some((at, other)) = turns.iter().enumerate().find(|(_, turn)| !turn.is_string()) {
        let what = name_of(other);
        return Err(Failure::input(format!("{place} turn {} is {what}, not a text", at + 1)));
    }
    let asked = turns.first().and_then(Value::as_str);
    let asked: Vec<Message> = asked.into_iter().map(|text| Message::new("user", text)).collect();
    Ok((asked, turns.len().saturating_sub(1)))
}
