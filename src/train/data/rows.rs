//! The rows of our own data files: one JSON object a line. A data artifact is one such file. Knows
//! the shapes; does not know where rows came from or what they are used for.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::lines::Lines;
use crate::train::progress::Failure;

/// A document of running text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub text: String,
}

/// A turn of a dialogue. The role is `system`, `user` or `assistant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    pub role: String,
    pub content: String,
}

impl Message {
    /// A turn of this role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// A dialogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    pub messages: Vec<Message>,
    /// Which answers are learned; absent: every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learn: Option<Learn>,
}

/// Which answers of a dialogue are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    /// Only the last; those before it are context, as Ghost Attention wants them.
    Last,
}

impl Chat {
    /// A dialogue of which every answer is learned.
    pub fn new(messages: Vec<Message>) -> Chat {
        Chat { messages, learn: None }
    }
}

/// Turns that wait for an answer. A bare string is read as one turn of the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    #[serde(deserialize_with = "turns")]
    pub prompt: Vec<Message>,
    /// Whether an answer can do harm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<bool>,
}

/// Two answers to a prompt, one of them preferred.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    #[serde(deserialize_with = "turns")]
    pub prompt: Vec<Message>,
    pub chosen: String,
    pub rejected: String,
    /// How much better: from 1, negligibly or unsure, to 4, significantly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
    /// Whether an answer can do harm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<bool>,
    /// Whether the chosen answer is harmless, as whoever rated it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_safe: Option<bool>,
    /// Whether the rejected answer is harmless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_safe: Option<bool>,
    /// What sort of pair it is, for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Named columns of a task.
pub type Benchmark = serde_json::Map<String, serde_json::Value>;

fn turns<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Message>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Turns {
        One(String),
        Many(Vec<Message>),
    }
    Ok(match Turns::deserialize(from)? {
        Turns::One(content) => vec![Message::new("user", content)],
        Turns::Many(messages) => messages,
    })
}

/// The rows of a data file, read one at a time.
pub struct Reader<T> {
    lines: Lines,
    row: PhantomData<T>,
}

impl<T: DeserializeOwned> Reader<T> {
    /// Begins with the first row.
    pub fn open(path: &Path) -> Result<Reader<T>, Failure> {
        let file = File::open(path).map_err(Failure::io(path))?;
        let reader = Box::new(BufReader::with_capacity(1 << 16, file));
        let lines = Lines::new(path.display().to_string(), reader);
        Ok(Reader { lines, row: PhantomData })
    }

    /// How many bytes of the file were read.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }
}

impl<T: DeserializeOwned> Iterator for Reader<T> {
    type Item = Result<T, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let parsed = match self.lines.next_line() {
            Ok(None) => return None,
            Ok(Some(line)) => serde_json::from_str(line),
            Err(failure) => return Some(Err(failure)),
        };
        Some(parsed.map_err(|error| malformed(&self.lines.place(), &error)))
    }
}

/// All rows of a data file.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Failure> {
    Reader::open(path)?.collect()
}

/// JSON that cannot be read, named by the place of its line; the column is serde's.
pub fn malformed(place: &str, error: &serde_json::Error) -> Failure {
    let text = error.to_string();
    let at = text.rfind(" at line ").unwrap_or(text.len());
    let column = match error.column() {
        0 => String::new(),
        column => format!(" at column {column}"),
    };
    Failure::input(format!("{place} is not a row that can be read: {}{column}", &text[..at]))
}

/// Writes rows as canonical bytes: fields in declared order, no blanks, one line feed each.
pub struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    rows: usize,
}

impl Writer {
    /// Begins a file that does not exist yet.
    pub fn create(path: &Path) -> Result<Writer, Failure> {
        let file = File::create_new(path).map_err(Failure::io(path))?;
        Ok(Writer { path: path.into(), out: BufWriter::with_capacity(1 << 16, file), rows: 0 })
    }

    /// Adds a row.
    pub fn write(&mut self, row: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(row).expect("rows have string keys");
        self.write_line(&line)
    }

    /// Adds a row that is already in canonical bytes.
    pub fn write_line(&mut self, line: &str) -> Result<(), Failure> {
        self.rows += 1;
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(Failure::io(&self.path))
    }

    /// Flushes, and says how many rows there are.
    pub fn finish(mut self) -> Result<usize, Failure> {
        self.out.flush().map_err(Failure::io(&self.path))?;
        Ok(self.rows)
    }
}
