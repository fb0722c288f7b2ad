//! How turns become the tokens of one model: its tokenizer, and the chat template where it has one.
//! Does not know weights.

use std::path::Path;

use super::finding::Card;
use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::jinja::is_blank;
use crate::train::data::pack::Example;
use crate::train::data::rows::{Chat, Message};
use crate::train::data::tokenizer::{Special, Tokenizer};
use crate::train::model::endings::Ending;
use crate::train::model::folder;
use crate::train::progress::Failure;

/// A tokenizer with the template that goes with it.
pub struct Wording {
    pub tokenizer: Tokenizer,
    pub chat_template: Option<String>,
    format: Option<ChatFormat>,
}

impl Wording {
    /// Fails where the template is not Jinja.
    pub fn new(tokenizer: Tokenizer, chat_template: Option<String>) -> Result<Wording, Failure> {
        let format = chat_template.clone().map(|jinja| {
            ChatFormat::new(&Template {
                name: "chat_template".into(),
                jinja,
                bos: tokenizer.bos().text.clone(),
                eos: tokenizer.eos().text.clone(),
                forbidden: Vec::new(),
            })
        });
        Ok(Wording { format: format.transpose()?, chat_template, tokenizer })
    }

    /// What the folder of a model carries.
    pub fn open(folder: &Path) -> Result<Wording, Failure> {
        Wording::new(Tokenizer::load(folder)?, folder::read_chat_template(folder)?)
    }

    /// What it tells of the model whose it is; the rest of the card is blank.
    pub fn card(&self) -> Card {
        let special = |special: &Special| (special.text.clone(), special.id);
        Card {
            tokenizer: blake3::hash(self.tokenizer.identity().as_bytes()).to_string(),
            bos: special(self.tokenizer.bos()),
            eos: special(self.tokenizer.eos()),
            chat_template: self.chat_template.clone(),
            ..Card::default()
        }
    }

    /// Whether there is a chat template.
    pub fn is_chat(&self) -> bool {
        self.format.is_some()
    }

    fn format(&self) -> Result<&ChatFormat, Failure> {
        self.format.as_ref().ok_or_else(|| {
            Failure::input("the model has no chat template to write turns with")
                .remedy("fine-tune the model on dialogues first, with `sft`")
        })
    }

    /// One question; without a template it stands as plain text.
    pub fn question(&self, row: usize, question: &str) -> Result<Vec<u32>, Failure> {
        self.asked(row, &[Message::new("user", question)])
    }

    /// Turns that wait for an answer; without a template they stand as plain text, one a line.
    pub fn asked(&self, row: usize, turns: &[Message]) -> Result<Vec<u32>, Failure> {
        match self.is_chat() {
            true => self.prompt(row, turns),
            false => Ok(self.plain(&lines(turns))),
        }
    }

    /// The same in words, special tokens of the template written out.
    pub fn asked_text(&self, row: usize, turns: &[Message]) -> Result<String, Failure> {
        match self.is_chat() {
            true => self.prompt_text(row, turns),
            false => Ok(lines(turns)),
        }
    }

    /// A dialogue with its answers, as the model learns it.
    pub fn dialogue(&self, row: usize, chat: &Chat) -> Result<Example, Failure> {
        self.format()?.learned(&self.tokenizer, row, chat)
    }

    /// The same in words.
    pub fn dialogue_text(&self, row: usize, chat: &Chat) -> Result<String, Failure> {
        self.format()?.text(row, &chat.messages)
    }

    /// Plain text, begun with `bos`.
    pub fn plain(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![self.tokenizer.bos().id];
        self.tokenizer.encoder().encode(text, &mut ids);
        ids
    }

    /// A turn of the user that waits for an answer.
    pub fn turn(&self, row: usize, text: &str) -> Result<Vec<u32>, Failure> {
        self.prompt(row, &[Message::new("user", text)])
    }

    /// A prompt with each of some continuations. In plain text both are encoded together and parted
    /// where the prompt alone ends; blanks at its end belong to the continuation. In a template the
    /// continuation is the answer as the model learnt to write it, without `eos`.
    pub fn endings(
        &self,
        row: usize,
        prompt: &str,
        continuations: &[String],
        chat: bool,
    ) -> Result<Vec<Ending>, Failure> {
        let nothing = |text: &str| {
            Failure::input(format!("row {row}: `{text}` adds no token to its prompt"))
                .remedy("write prompt and choices so that a choice begins with a token of its own")
        };
        if chat {
            let turns = [Message::new("user", prompt)];
            let ending = |text: &String| {
                let mut example = self.format()?.reply(&self.tokenizer, row, &turns, text)?;
                example.tokens.pop();
                let from = example.learned.iter().position(|learned| *learned);
                let from = from.filter(|from| (1..example.tokens.len()).contains(from));
                Ok(Ending { from: from.ok_or_else(|| nothing(text))?, tokens: example.tokens })
            };
            return continuations.iter().map(ending).collect();
        }
        let from = self.plain(prompt.trim_end_matches(is_blank)).len();
        let ending = |text: &String| {
            let tokens = self.plain(&format!("{prompt}{text}"));
            if tokens.len() <= from { Err(nothing(text)) } else { Ok(Ending { tokens, from }) }
        };
        continuations.iter().map(ending).collect()
    }

    /// Turns that wait for an answer.
    pub fn prompt(&self, row: usize, turns: &[Message]) -> Result<Vec<u32>, Failure> {
        self.format()?.prompt(&self.tokenizer, row, turns)
    }

    /// The same question in words, special tokens of the template written out.
    pub fn question_text(&self, row: usize, question: &str) -> Result<String, Failure> {
        self.asked_text(row, &[Message::new("user", question)])
    }

    /// Turns that wait for an answer, in words.
    pub fn prompt_text(&self, row: usize, turns: &[Message]) -> Result<String, Failure> {
        self.format()?.prompt_text(row, turns)
    }

    /// Turns with an answer, which may be empty, and `eos` after it.
    pub fn reply(&self, row: usize, turns: &[Message], answer: &str) -> Result<Vec<u32>, Failure> {
        Ok(self.format()?.reply(&self.tokenizer, row, turns, answer)?.tokens)
    }

    /// Whether the tokens of one are those of the other.
    pub fn same_tokens(&self, other: &Wording) -> bool {
        self.tokenizer.identity() == other.tokenizer.identity()
    }
}

/// What turns say, without who says it.
fn lines(turns: &[Message]) -> String {
    turns.iter().map(|turn| turn.content.as_str()).collect::<Vec<_>>().join("\n")
}
