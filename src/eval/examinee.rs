//! A model that can be asked in words: weights, and how turns become its tokens. Does not know what
//! the answers are worth.

use std::path::Path;
use std::rc::Rc;

use super::finding::Card;
use super::notes::Notes;
use super::wording::Wording;
use crate::train::kernels::Threads;
use crate::train::kernels::sample::Sampling;
use crate::train::model::sample::{GenerateOptions, Generated, as_row};
use crate::train::model::{Anywhere, LoadedModel, folder};
use crate::train::progress::{Failure, Progress};
use crate::train::stage::ledger::parameters;

/// A model ready to be asked.
pub struct Examinee {
    pub wording: Wording,
    model: LoadedModel,
    /// The template that the model carries without an adapter.
    chat_template: Option<String>,
    /// Whether it is asked under an adapter.
    adapted: bool,
    /// Where what it says is kept.
    notes: Rc<Notes>,
}

/// What it said, and whether it ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub ended: bool,
}

/// How often, how long and how freely it may answer.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Answers a prompt.
    pub samples: usize,
    pub max_answer: usize,
    pub sampling: Sampling,
    pub seed: u64,
}

/// Tokens drawn from the model's own distribution at a temperature; at 0 the most likely each time.
pub fn tempered(temperature: f64) -> Sampling {
    Sampling { temperature: temperature as f32, top_k: None, top_p: 1.0 }
}

impl Examinee {
    /// Opens a model's folder, or a GGUF file.
    pub fn open(path: &Path, threads: Threads) -> Result<Examinee, Failure> {
        let Anywhere { model, tokenizer, chat_template } = Anywhere::open(path)?;
        let wording = Wording::new(tokenizer, chat_template.clone())?;
        let (model, notes) = (LoadedModel::of(model, threads), Rc::default());
        Ok(Examinee { wording, model, chat_template, adapted: false, notes })
    }

    /// The same, with what it says kept in these notes.
    pub fn noting(self, notes: &Rc<Notes>) -> Examinee {
        Examinee { notes: notes.clone(), ..self }
    }

    /// From here on it is asked under this adapter, in the template that carries, or as it is.
    pub fn wear(&mut self, adapter: Option<&Path>) -> Result<(), Failure> {
        let carried = adapter.map(folder::read_chat_template).transpose()?.flatten();
        let template = carried.or_else(|| self.chat_template.clone());
        self.wording = Wording::new(self.wording.tokenizer.clone(), template)?;
        self.adapted = adapter.is_some();
        self.model.wear(adapter)
    }

    /// What tells a reader which model it is.
    pub fn card(&self) -> Card {
        Card {
            parameters: parameters(self.model.config()),
            dtype: self.model.dtype().into(),
            adapter: self.adapted,
            context: self.context(),
            ..self.wording.card()
        }
    }

    /// The most tokens that a prompt and its answer hold.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// Answers to questions, question by question.
    pub fn ask(
        &self,
        questions: &[String],
        manner: Manner,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Answer>, Failure> {
        let prompts = (1..).zip(questions).map(|(row, text)| self.wording.question(row, text));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let made = self.generate(&prompts, manner, progress)?;
        Ok(made.iter().map(|made| self.answer(made)).collect())
    }

    /// Continuations of prompts in tokens, prompt by prompt.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        manner: Manner,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        let Manner { samples, max_answer, sampling, seed } = manner;
        let eos = self.wording.tokenizer.eos().id;
        let options = GenerateOptions { samples, max_answer, sampling, seed, eos };
        self.notes.answers(&self.model, prompts, &options, progress)
    }

    /// A continuation in words.
    pub fn answer(&self, made: &Generated) -> Answer {
        let text = self.wording.tokenizer.decode(&made.tokens).trim().to_string();
        Answer { text, ended: made.ended }
    }

    /// log p of each continuation, whoever made it, its ending token included.
    pub fn log_probs(
        &self,
        replies: &[(&[u32], &Generated)],
        progress: &mut dyn Progress,
    ) -> Result<Vec<f64>, Failure> {
        let eos = self.wording.tokenizer.eos().id;
        let rows = replies.iter().map(|(prompt, made)| as_row(prompt, made, eos));
        let rows = rows.collect::<Vec<_>>();
        self.model.check_rows(&rows)?;
        let texts = rows.iter().map(|row| row.tokens.clone()).collect::<Vec<_>>();
        let losses = self.notes.scores("replies", &texts, progress, &mut |range, progress| {
            self.model.score(&rows[range], progress)
        })?;
        let whole = |losses: Vec<f32>| -losses.into_iter().map(f64::from).sum::<f64>();
        Ok(losses.into_iter().map(whole).collect())
    }

    /// The negative log-likelihood of every token of each text but the `bos` it begins with; a text
    /// longer than the context is cut into windows, each seeing only itself.
    pub fn losses(
        &self,
        texts: &[String],
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let documents = self.wording.tokenizer.encode_documents(texts, threads);
        self.notes.scores("documents", &documents, progress, &mut |range, progress| {
            self.model.document_losses(&documents[range], progress)
        })
    }
}
