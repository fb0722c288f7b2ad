//! `read_chat`: dialogues from files, in a stated shape. Knows columns and turns; does not know
//! templates or tokens.

use std::path::PathBuf;

use serde_json::Value;

use crate::train::data::columns::{Columns, each_file, not_empty, optional_text, quoted, text};
use crate::train::data::files::{self, Record, name_of};
use crate::train::data::rows::{Chat, Message, Writer};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadChat {
    pub files: Vec<PathBuf>,
    pub shape: ChatShape,
    pub ignore: Vec<String>,
}

/// How a row holds a dialogue; the values are the names of columns.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatShape {
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
}

/// Makes `out`, rows of [`Chat`].
pub fn run(params: &ReadChat, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let (required, optional) = params.shape.columns();
    let mut columns = Columns::new(required, optional, &params.ignore);
    let mut turns = 0;
    each_file(&params.files, ctx, |path| {
        files::records(path, &mut |place, record| {
            columns.check(place, &record).map_err(|failure| suggest(failure, &record, &columns))?;
            let messages = params.shape.messages(place, &record, &mut columns)?;
            check_turns(place, &messages)?;
            turns += messages.len();
            out.write(&Chat { messages })
        })
    })?;
    let rows = out.finish()?;
    not_empty(rows, &params.files)?;
    columns.finish()?;
    Ok(vec![("rows".into(), rows as f64), ("turns".into(), turns as f64)])
}

impl ChatShape {
    /// The columns that every row must have, and those it may have.
    fn columns(&self) -> (Vec<&str>, Vec<&str>) {
        match self {
            ChatShape::Messages { messages, .. } => (vec![messages], vec![]),
            ChatShape::Alpaca { instruction, input, output, system } => {
                (vec![instruction, output], input.iter().chain(system).map(|c| &**c).collect())
            }
            ChatShape::PromptCompletion { prompt, completion, system } => {
                (vec![prompt, completion], system.iter().map(|c| &**c).collect())
            }
        }
    }

    fn messages(
        &self,
        place: &str,
        record: &Record,
        columns: &mut Columns<'_>,
    ) -> Result<Vec<Message>, Failure> {
        let (user, answer, system) = match self {
            ChatShape::Messages { messages, role, content } => {
                let list = turns(place, record, messages)?;
                let places = (1..).map(|at| format!("{place} turn {at}"));
                return places
                    .zip(list)
                    .map(|(place, value)| turn(&place, value, role, content, columns))
                    .collect();
            }
            ChatShape::Alpaca { instruction, input, output, system } => {
                let instruction = text(place, record, instruction)?;
                let user = match optional_text(place, record, input.as_deref())? {
                    Some(input) => format!("{instruction}\n{input}"),
                    None => instruction.to_owned(),
                };
                (user, output, system)
            }
            ChatShape::PromptCompletion { prompt, completion, system } => {
                (text(place, record, prompt)?.to_owned(), completion, system)
            }
        };
        let system = optional_text(place, record, system.as_deref())?;
        let mut messages: Vec<Message> =
            system.into_iter().map(|system| Message::new("system", system)).collect();
        messages.push(Message::new("user", user));
        messages.push(Message::new("assistant", text(place, record, answer)?));
        Ok(messages)
    }
}

/// The list of turns of a row.
fn turns<'r>(place: &str, record: &'r Record, column: &str) -> Result<&'r [Value], Failure> {
    match &record[column] {
        Value::Array(turns) => Ok(turns),
        other => Err(Failure::input(format!(
            "{place}: column `{column}` holds {}, not a list of turns",
            name_of(other)
        ))),
    }
}

/// A role and a text. ShareGPT's names of the roles are understood.
fn turn(
    place: &str,
    value: &Value,
    role: &str,
    content: &str,
    columns: &mut Columns<'_>,
) -> Result<Message, Failure> {
    let none = Record::new();
    let fields = value.as_object().unwrap_or(&none);
    if let Some(missing) = [role, content].into_iter().find(|name| !fields.contains_key(*name)) {
        return Err(Failure::input(format!(
            "{place} has no `{missing}`; its fields are {}",
            quoted(fields.keys())
        ))
        .remedy("name them: `shape: messages { role: \"…\", content: \"…\" }`"));
    }
    columns.check_used(place, fields, &[role, content])?;
    let role = match text(place, fields, role)? {
        known @ ("system" | "user" | "assistant") => known,
        "human" => "user",
        "gpt" => "assistant",
        other => {
            return Err(Failure::input(format!("{place} has the role `{other}`"))
                .remedy("roles are `system`, `user` and `assistant`, or `human` and `gpt`"));
        }
    };
    Ok(Message::new(role, text(place, fields, content)?))
}

/// What no template could make a lesson of.
fn check_turns(place: &str, messages: &[Message]) -> Result<(), Failure> {
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

/// A missing column, with the shapes that this row would fit.
fn suggest(failure: Failure, record: &Record, columns: &Columns<'_>) -> Failure {
    if columns.required.iter().all(|name| record.contains_key(*name)) {
        return failure;
    }
    match fitting(record).as_slice() {
        [] => failure.remedy("set the fields of `shape` to the names of your columns"),
        shapes => failure.remedy(format!("`shape: {}` would fit", shapes.join("` or `shape: "))),
    }
}

/// The shapes that fit a row, as a recipe writes them, told by names that are in wide use.
fn fitting(record: &Record) -> Vec<String> {
    let found = |names: &[&'static str]| names.iter().copied().find(|n| record.contains_key(*n));
    let mut shapes: Vec<String> = record.iter().filter_map(|(n, v)| as_messages(n, v)).collect();
    let answer = found(&["output", "response", "completion", "answer"]);
    if let (Some(instruction), Some(output)) = (found(&["instruction"]), answer) {
        shapes.push(shape("alpaca", &[("instruction", instruction), ("output", output)]));
    }
    if let (Some(prompt), Some(completion)) = (found(&["prompt", "question", "query"]), answer) {
        shapes.push(shape("prompt_completion", &[("prompt", prompt), ("completion", completion)]));
    }
    shapes
}

fn as_messages(column: &str, value: &Value) -> Option<String> {
    let turn = value.as_array()?.first()?.as_object()?;
    let named = |names: [&'static str; 2]| names.into_iter().find(|name| turn.contains_key(*name));
    let fields = [
        ("messages", column),
        ("role", named(["role", "from"])?),
        ("content", named(["content", "value"])?),
    ];
    Some(shape("messages", &fields))
}

/// A record of the language, without the fields that have their default: their own name.
fn shape(name: &str, fields: &[(&str, &str)]) -> String {
    let stated: Vec<String> = fields
        .iter()
        .filter(|(field, column)| field != column)
        .map(|(field, column)| format!("{field}: {column:?}"))
        .collect();
    match stated.is_empty() {
        true => format!("{name} {{}}"),
        false => format!("{name} {{ {} }}", stated.join(", ")),
    }
}
