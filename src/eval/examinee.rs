//! A model that can be asked in words: weights, tokenizer, and the chat template where it has one.
//! Does not know what the answers are worth.

use std::path::Path;

use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::pack::{IGNORE, Row};
use crate::train::data::rows::Message;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::Threads;
use crate::train::kernels::sample::Sampling;
use crate::train::model::sample::GenerateOptions;
use crate::train::model::{Anywhere, LoadedModel};
use crate::train::progress::{Failure, Progress};

/// A model ready to be asked.
pub struct Examinee {
    model: LoadedModel,
    tokenizer: Tokenizer,
    format: Option<ChatFormat>,
}

/// What it said, and whether it ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub ended: bool,
}

/// How long and how freely it may answer.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub max_answer: usize,
    pub sampling: Sampling,
    pub seed: u64,
}

/// The most likely token each time.
pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };

impl Examinee {
    /// Opens a model's folder, or a GGUF file.
    pub fn open(path: &Path, threads: Threads) -> Result<Examinee, Failure> {
        let Anywhere { model, tokenizer, chat_template } = Anywhere::open(path)?;
        let format = chat_template.map(|jinja| {
            ChatFormat::new(&Template {
                name: "chat_template".into(),
                jinja,
                bos: tokenizer.bos().text.clone(),
                eos: tokenizer.eos().text.clone(),
                forbidden: Vec::new(),
            })
        });
        let format = format.transpose()?;
        Ok(Examinee { model: LoadedModel::of(model, threads), tokenizer, format })
    }

    /// Whether it is asked through a chat template; without one the question stands as plain text.
    pub fn is_chat(&self) -> bool {
        self.format.is_some()
    }

    /// Answers to questions, in order.
    pub fn ask(
        &self,
        questions: &[String],
        manner: Manner,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Answer>, Failure> {
        let prompt = |(at, question): (usize, &String)| match &self.format {
            Some(format) => {
                let turns = [Message::new("user", question.as_str())];
                format.prompt(&self.tokenizer, at + 1, &turns)
            }
            None => {
                let mut ids = vec![self.tokenizer.bos().id];
                ids.extend(self.tokenizer.encode(question));
                Ok(ids)
            }
        };
        let prompts = questions.iter().enumerate().map(prompt).collect::<Result<Vec<_>, _>>()?;
        let Manner { max_answer, sampling, seed } = manner;
        let eos = self.tokenizer.eos().id;
        let options = GenerateOptions { samples: 1, max_answer, sampling, seed, eos };
        let made = self.model.generate(&prompts, &options, progress)?;
        let answer = |made: &crate::train::model::sample::Generated| Answer {
            text: self.tokenizer.decode(&made.tokens).trim().to_string(),
            ended: made.ended,
        };
        Ok(made.iter().map(answer).collect())
    }

    /// The negative log-likelihood of every token of each text but the `bos` it begins with; a text
    /// longer than the context is cut into windows, each seeing only itself.
    pub fn losses(
        &self,
        texts: &[String],
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let mut rows = Vec::new();
        let mut owner = Vec::new();
        let documents = self.tokenizer.encode_documents(texts, threads);
        for (at, tokens) in documents.iter().enumerate() {
            for row in windows(tokens, self.model.config().context) {
                rows.push(row);
                owner.push(at);
            }
        }
        let scores = self.model.score(&rows, progress)?;
        let mut losses = vec![Vec::new(); texts.len()];
        for ((at, row), scores) in owner.into_iter().zip(&rows).zip(scores) {
            let scored = row.targets.iter().zip(scores).filter(|(target, _)| **target != IGNORE);
            losses[at].extend(scored.map(|(_, loss)| loss));
        }
        Ok(losses)
    }
}

/// Rows that predict every token of a document once, given those before it in its window.
fn windows(tokens: &[u32], context: usize) -> Vec<Row> {
    let inputs = &tokens[..tokens.len() - 1];
    let starts = (0..inputs.len()).step_by(context);
    let row = |start: usize| {
        let end = (start + context).min(inputs.len());
        Row {
            tokens: inputs[start..end].to_vec(),
            targets: tokens[start + 1..end + 1].to_vec(),
            segments: std::iter::once(0..end - start).collect(),
        }
    };
    starts.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_predicted_once() {
        let tokens = (0..11).collect::<Vec<u32>>();
        let rows = windows(&tokens, 4);
        let targets = rows.iter().flat_map(|row| row.targets.clone()).collect::<Vec<_>>();
        assert_eq!(targets, (1..11).collect::<Vec<u32>>());
        assert_eq!(rows.iter().map(|row| row.tokens.len()).collect::<Vec<_>>(), [4, 4, 2]);
    }
}
