//! What the rows of a task say, in words: what is asked, then what would be answered; and what a
//! row of training data asks. Instructions of the system are left out of a task's rows: many share
//! them, and they give nothing away. Knows rows; does not know tokens.

use std::path::Path;

use serde_json::Value;

use crate::eval::metric::blanks;
use crate::eval::run::Task;
use crate::eval::task::answers::Question;
use crate::eval::task::perplexity::Passage;
use crate::train::data::rows::{Benchmark, Message, Preference, Prompt, Text, read_rows};
use crate::train::progress::Failure;

/// The texts of one row of a task, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Turn by turn what a model is given; of running text nothing.
    pub asked: Vec<String>,
    /// What it is measured by.
    pub answered: Vec<String>,
}

impl Said {
    /// All texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.asked.iter().chain(&self.answered).map(String::as_str)
    }

    /// What is asked, as one text that can be compared; `None` where that is nothing.
    pub fn prompt(&self) -> Option<String> {
        prompt_of(self.asked.iter().map(String::as_str))
    }
}

/// Turns as one text in which blanks do not count.
pub fn prompt_of<'t>(turns: impl Iterator<Item = &'t str>) -> Option<String> {
    let words = turns.flat_map(blanks::words).collect::<Vec<_>>().join(" ");
    (!words.is_empty()).then_some(words)
}

/// Every row of a task.
pub fn said(task: &Task) -> Result<Vec<Said>, Failure> {
    match task {
        Task::Answers(task) => {
            let questions = task.questions(&read_rows(&task.data)?)?.into_iter();
            let row = |one: Question| Said { asked: turns(one.turns), answered: vec![one.gold] };
            Ok(questions.map(row).collect())
        }
        Task::Asked(task) => {
            let row = |(prompt, answered)| Said { asked: vec![prompt], answered };
            Ok(task.said()?.into_iter().map(row).collect())
        }
        Task::Kept(task) => columns(&task.data, &task.turns),
        Task::Pairs(task) => {
            let row = |pair: Preference| Said {
                asked: turns(pair.prompt),
                answered: vec![pair.chosen, pair.rejected],
            };
            rows(&task.data, row)
        }
        Task::Perplexity(task) => rows(&task.data, |passage: Passage| match passage {
            Passage::Text(Text { text }) => Said { asked: Vec::new(), answered: vec![text] },
            Passage::Dialogue(chat) => {
                let is_answer = |turn: &Message| turn.role == "assistant";
                let (answered, asked) = chat.messages.into_iter().partition(is_answer);
                Said { asked: turns(asked), answered: turns(answered) }
            }
        }),
        Task::Rewards(task) => rows(&task.prompts, |row: Prompt| Said {
            asked: turns(row.prompt),
            answered: Vec::new(),
        }),
    }
}

fn rows<T: serde::de::DeserializeOwned>(
    path: &Path,
    said: impl Fn(T) -> Said,
) -> Result<Vec<Said>, Failure> {
    Ok(read_rows::<T>(path)?.into_iter().map(said).collect())
}

fn turns(messages: Vec<Message>) -> Vec<String> {
    let spoken = messages.into_iter().filter(|message| message.role != "system");
    spoken.map(|message| message.content).collect()
}

/// What a named column of a benchmark asks.
fn columns(path: &Path, column: &str) -> Result<Vec<Said>, Failure> {
    let row = |(at, row): (usize, &Benchmark)| {
        let value = row.get(column).ok_or_else(|| {
            Failure::input(format!("row {}: there is no column `{column}`", at + 1))
        })?;
        let mut asked = Vec::new();
        texts_in(value, &mut asked);
        Ok(Said { asked, answered: Vec::new() })
    };
    read_rows::<Benchmark>(path)?.iter().enumerate().map(row).collect()
}

/// Every text and number of a value, in order.
fn texts_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| texts_in(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts_in(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_do_not_tell_prompts_apart() {
        let said = Said { asked: vec![" Who\n is ".into(), "it?".into()], answered: vec![] };
        assert_eq!(said.prompt().as_deref(), Some("Who is it?"));
        assert_eq!(Said { asked: vec![" ".into()], ..said }.prompt(), None);
    }

    #[test]
    fn every_text_of_a_value_is_said() {
        let mut found = Vec::new();
        let value = serde_json::json!(["a", 2, null, { "x": "b", "y": [true, "c"] }]);
        texts_in(&value, &mut found);
        assert_eq!(found, ["a", "2", "b", "c"]);
    }
}
