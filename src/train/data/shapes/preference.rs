//! Rows that hold a prompt and two answers, one of them preferred. Knows columns and turns; does
//! not know rewards.

use serde_json::Value;

use super::faulty::Refusal;
use super::turns::{Fields, check_prompt, listed, spoken, turn};
use super::{chat, fit, transcript};
use crate::train::data::columns::{Columns, no_column, text};
use crate::train::data::files::{Record, name_of};
use crate::train::data::rows::{Message, Preference};
use crate::train::progress::Failure;

/// How a row holds a preference; the values are the names of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct PreferenceShape {
    pub prompt: PromptColumns,
    pub chosen: String,
    pub rejected: String,
    /// Holds 1 to 4.
    pub rating: Option<String>,
}

/// Where the prompt of a preference stands, and with it the form of its answers.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptColumns {
    /// A text or messages; without it, the answers are whole dialogues.
    Prompt(Option<String>),
    /// In both transcripts.
    Transcript,
    Alpaca {
        instruction: String,
        input: Option<String>,
    },
    /// A list of turns; the answers are turns too.
    Turns {
        conversations: String,
        from: String,
        value: String,
    },
}

impl PreferenceShape {
    /// The record that a recipe states it by.
    fn name(&self) -> &'static str {
        match &self.prompt {
            PromptColumns::Prompt(_) => "preference",
            PromptColumns::Transcript => "hh",
            PromptColumns::Alpaca { .. } => "alpaca_preference",
            PromptColumns::Turns { .. } => "sharegpt_preference",
        }
    }

    /// The columns that a row has.
    pub fn columns<'a>(&'a self, ignore: &'a [String]) -> Columns<'a> {
        let mut required: Vec<&str> = vec![&self.chosen, &self.rejected];
        let mut optional: Vec<&str> = self.rating.iter().map(String::as_str).collect();
        match &self.prompt {
            PromptColumns::Prompt(prompt) => optional.extend(prompt.as_deref()),
            PromptColumns::Transcript => {}
            PromptColumns::Alpaca { instruction, input } => {
                required.insert(0, instruction);
                optional.extend(input.as_deref());
            }
            PromptColumns::Turns { conversations, .. } => required.insert(0, conversations),
        }
        Columns::new(required, optional, ignore)
    }

    /// The preference of a row.
    pub fn read(
        &self,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<Preference, Refusal> {
        let checked = self.check_prompt_column(place, record);
        let checked = checked.and_then(|()| columns.check(place, record));
        checked.map_err(|failure| fit::preference(failure, self.name(), record))?;
        let (prompt, [chosen, rejected]) = self.pair(place, record, columns)?;
        check_prompt(place, &prompt)?;
        let answers = [(&self.chosen, &chosen), (&self.rejected, &rejected)];
        if let Some((column, _)) = answers.iter().find(|(_, answer)| answer.trim().is_empty()) {
            let message = format!("{place}: the answer in column `{column}` is empty");
            return Err(Failure::input(message).remedy("remove the row").into());
        }
        if chosen.trim() == rejected.trim() {
            return Err(Failure::input(format!("{place}: the two answers are equal"))
                .remedy("remove the row: it prefers nothing")
                .into());
        }
        let rating = self.rating(place, record)?;
        Ok(Preference { prompt, chosen, rejected, rating, ..Preference::default() })
    }

    /// Answers that are texts need a prompt of its own column.
    fn check_prompt_column(&self, place: &str, record: &Record) -> Result<(), Failure> {
        let PromptColumns::Prompt(Some(prompt)) = &self.prompt else { return Ok(()) };
        let answers = [&self.chosen, &self.rejected].map(|column| record.get(column));
        let texts = answers.iter().all(|answer| answer.is_some_and(Value::is_string));
        if !texts || record.contains_key(prompt) {
            return Ok(());
        }
        Err(no_column(place, prompt, record))
    }

    fn pair(
        &self,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<(Vec<Message>, [String; 2]), Refusal> {
        let [chosen, rejected] = [&self.chosen, &self.rejected];
        match &self.prompt {
            PromptColumns::Prompt(prompt) => {
                let prompt = prompt
                    .as_deref()
                    .filter(|name| record.get(*name).is_some_and(|value| !value.is_null()));
                self.answers_to(prompt, place, record, columns)
            }
            PromptColumns::Transcript => {
                let [chosen, rejected] = [chosen, rejected].map(|column| {
                    let transcript = text(place, record, column)?;
                    transcript::turns(place, column, transcript)
                });
                Ok(parted(place, chosen?, rejected?)?)
            }
            PromptColumns::Alpaca { instruction, input } => {
                let user = chat::asked(place, record, instruction, input.as_deref())?;
                let answers = [text(place, record, chosen)?, text(place, record, rejected)?];
                Ok((vec![Message::new("user", user)], answers.map(str::to_owned)))
            }
            PromptColumns::Turns { conversations, from, value } => {
                let fields = Fields { role: from, content: value };
                let prompt = listed(place, record, conversations, fields, columns)?;
                let mut answer = |column: &str| {
                    let place = format!("{place}: column `{column}`");
                    let said = turn(&place, &record[column], fields, columns)?;
                    Ok::<String, Refusal>(answer(&place, &[said])?)
                };
                Ok((prompt, [answer(chosen)?, answer(rejected)?]))
            }
        }
    }

    /// Answers to a prompt of their own column, or to the beginning they share.
    fn answers_to(
        &self,
        prompt: Option<&str>,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<(Vec<Message>, [String; 2]), Refusal> {
        let names = [&self.chosen, &self.rejected];
        let whole = names.iter().all(|column| record[*column].is_array());
        let Some(prompt) = prompt else {
            if !whole {
                let message = format!("{place} has no prompt, and its answers are no dialogues");
                return Err(Failure::input(message).into());
            }
            let [chosen, rejected] =
                names.map(|column| spoken(place, record, column, "assistant", columns));
            return Ok(parted(place, chosen?, rejected?)?);
        };
        let prompt = spoken(place, record, prompt, "user", columns)?;
        let [chosen, rejected] = names.map(|column| {
            let said = spoken(place, record, column, "assistant", columns)?;
            // Some data sets repeat the prompt before each answer.
            let said = said.strip_prefix(prompt.as_slice()).unwrap_or(&said);
            Ok::<String, Refusal>(answer(&format!("{place}: column `{column}`"), said)?)
        });
        let answers = [chosen?, rejected?];
        Ok((prompt, answers))
    }

    fn rating(&self, place: &str, record: &Record) -> Result<Option<u8>, Failure> {
        let Some(column) = &self.rating else { return Ok(None) };
        let value = match record.get(column) {
            None | Some(Value::Null) => return Ok(None),
            // A CSV file has texts alone.
            Some(Value::String(text)) => text.trim().parse::<u64>().ok(),
            Some(other) => other.as_u64(),
        };
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(rating @ 1..=4) => Ok(Some(rating)),
            _ => Err(Failure::input(format!(
                "{place}: column `{column}` holds {}, not a rating",
                match &record[column] {
                    plain @ (Value::String(_) | Value::Number(_)) => format!("`{plain}`"),
                    other => name_of(other).to_owned(),
                }
            ))
            .remedy("a rating is 1, 2, 3 or 4; 4 says that the chosen answer is much better")),
        }
    }
}

/// The one turn of an answer.
fn answer(place: &str, said: &[Message]) -> Result<String, Failure> {
    match said {
        [turn] if turn.role == "assistant" => Ok(turn.content.clone()),
        _ => Err(Failure::input(format!("{place} is not one turn of the assistant"))),
    }
}

/// Two dialogues, cut before the answers in which alone they differ.
fn parted(
    place: &str,
    mut chosen: Vec<Message>,
    mut rejected: Vec<Message>,
) -> Result<(Vec<Message>, [String; 2]), Failure> {
    let lasts = [chosen.pop(), rejected.pop()];
    if chosen != rejected {
        return Err(Failure::input(format!("{place}: the two dialogues do not begin alike"))
            .remedy("they may differ in their last turn alone"));
    }
    match lasts {
        [Some(one), Some(other)] if one.role == "assistant" && other.role == "assistant" => {
            Ok((chosen, [one.content, other.content]))
        }
        _ => Err(Failure::input(format!("{place}: a dialogue does not end with the assistant"))),
    }
}
