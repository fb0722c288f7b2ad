//! The rows of each port, as they are written: one JSON object a line. Knows columns only.

use serde::Serialize;

/// Running text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Text {
    pub text: String,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Assistant,
}

/// What somebody says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

/// A dialogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chat {
    pub messages: Vec<Message>,
}

/// Something to answer; `safety` where an answer might do harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prompt {
    pub prompt: String,
    pub safety: bool,
}

/// Two answers to the end of a dialogue, from 1 (negligibly better) to 4 (significantly better).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preference {
    pub prompt: Vec<Message>,
    pub chosen: String,
    pub rejected: String,
    pub rating: u8,
    pub safety: bool,
}

/// A question of an exam. Columns that the exam does not use are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Benchmark {
    pub question: String,
    pub answer: String,
    /// Forms of a good answer, `*` standing for the value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forms: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// Something said by the user.
pub fn user(content: impl Into<String>) -> Message {
    Message { role: Role::User, content: content.into() }
}

/// Something said by the assistant.
pub fn assistant(content: impl Into<String>) -> Message {
    Message { role: Role::Assistant, content: content.into() }
}
