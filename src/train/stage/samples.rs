//! What stages share that let a chat model answer: the model with its format, answers that outlive
//! their process, what they are worth to a judge, and which of them can be learned from. Knows
//! prompts and answers; does not know which of them a stage keeps.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::answers::Answers;
use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::mixture::Mix;
use crate::train::data::pack::Example;
use crate::train::data::rows::{Chat, Message, read_rows};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::sample::Sampling;
use crate::train::model::judge::{Judge, Judged, Verdict};
use crate::train::model::sample::{GenerateOptions, Generated};
use crate::train::model::{LoadedModel, ModelPath};
use crate::train::progress::{Context, Failure, Progress};

/// Texts that are scored between two reports.
const SCORED_AT_ONCE: usize = 256;

/// A chat model that answers.
pub struct Sampler {
    pub tokenizer: Tokenizer,
    pub format: ChatFormat,
    model: LoadedModel,
}

/// How the stages that align let a model answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answering {
    pub samples: usize,
    pub max_answer: usize,
    pub temperature: f64,
    pub seed: u64,
}

impl Sampler {
    /// Opens a model, which is to be spoken to in this template.
    pub fn open(
        folder: &Path,
        tokenizer: Tokenizer,
        template: &Template,
        context: &Context<'_>,
    ) -> Result<Sampler, Failure> {
        let format = ChatFormat::new(template)?;
        let model = LoadedModel::load(folder, context.engine())?;
        Ok(Sampler { tokenizer, format, model })
    }

    /// Puts an adapter on.
    pub fn wear(&mut self, adapter: Option<&Path>) -> Result<(), Failure> {
        self.model.wear(adapter)
    }

    /// The most tokens of a prompt with its answer.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// Turns that wait for an answer, as the model sees them.
    pub fn prompt(&self, row: usize, turns: &[Message]) -> Result<Vec<u32>, Failure> {
        self.format.prompt(&self.tokenizer, row, turns)
    }

    /// Answers to each prompt, prompt by prompt. Those that an earlier run of the same attempt has
    /// kept under this name are not sampled again.
    pub fn sample(
        &self,
        name: &str,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        context: &mut Context<'_>,
    ) -> Result<Vec<Generated>, Failure> {
        let Some(attempt) = &context.attempt else {
            return self.model.generate(prompts, options, context.progress);
        };
        let path = attempt.folder.join(name);
        let (mut answers, made) = Answers::open(&path, prompts, options, context.progress);
        let hear = &mut |at: usize, made: &Generated, progress: &mut dyn Progress| {
            answers.add(at, made, progress);
        };
        self.model.generate_rest(prompts, options, made, hear, context.progress)
    }

    /// The same in the manner of the stages that align.
    pub fn answer(
        &self,
        name: &str,
        prompts: &[Vec<u32>],
        how: Answering,
        context: &mut Context<'_>,
    ) -> Result<Vec<Generated>, Failure> {
        let Answering { samples, max_answer, temperature, seed } = how;
        let sampling = Sampling { temperature: temperature as f32, top_k: None, top_p: 1.0 };
        let eos = self.eos();
        let options = GenerateOptions { samples, max_answer, sampling, seed, eos };
        self.sample(name, prompts, &options, context)
    }

    /// The token that ends an answer.
    pub fn eos(&self) -> u32 {
        self.model.special.eos
    }

    /// An answer as dialogues hold it.
    pub fn text(&self, made: &Generated) -> String {
        self.tokenizer.decode(&made.tokens).trim().to_string()
    }

    /// The prompt with this answer as a row to learn from, unless it is none: an answer that was
    /// cut or says nothing, that holds what the template keeps for itself, or that is too long.
    pub fn learnable(&self, row: usize, turns: &[Message], made: &Generated) -> Option<Example> {
        let text = self.text(made);
        if !made.ended || text.is_empty() {
            return None;
        }
        let example = self.format.reply(&self.tokenizer, row, turns, &text).ok()?;
        (example.tokens.len() <= self.context()).then_some(example)
    }

    /// Whether a dialogue can be learned from.
    pub fn fits(&self, row: usize, chat: &Chat) -> bool {
        let example = self.format.learned(&self.tokenizer, row, chat);
        example.is_ok_and(|example| example.tokens.len() <= self.context())
    }

    /// What a judge is to score: the row that would be learned from, and where there is none what
    /// was sampled, to the token.
    pub fn judged(
        &self,
        prompt: &[u32],
        made: &Generated,
        example: Option<Example>,
        safety: bool,
    ) -> Judged {
        let tokens = example.map(|example| example.tokens).unwrap_or_else(|| {
            let mut tokens = [prompt, &made.tokens].concat();
            tokens.extend(made.ended.then_some(self.eos()));
            tokens
        });
        Judged { tokens, safety }
    }

    /// Opens a judge that can read every answer, however long; told before one is sampled.
    pub fn judge(
        &self,
        judge: &ModelPath,
        prompts: &[Vec<u32>],
        max_answer: usize,
        context: &Context<'_>,
    ) -> Result<Judge, Failure> {
        let judge = Judge::open(judge, context.engine())?;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let (needed, has) = ((longest + max_answer).min(self.context()), judge.context());
        if needed > has {
            return Err(Failure::input(format!(
                "a prompt of {longest} tokens with an answer of up to {max_answer} does not fit \
                 into the judge's context of {has}"
            ))
            .remedy("lower `max_answer`, or train the reward model with a longer `context`"));
        }
        Ok(judge)
    }
}

/// What each text is worth, in order.
pub fn scores(
    judge: &Judge,
    texts: &[Judged],
    context: &mut Context<'_>,
) -> Result<Vec<Verdict>, Failure> {
    let mut verdicts = Vec::with_capacity(texts.len());
    for part in texts.chunks(SCORED_AT_ONCE) {
        verdicts.extend(judge.score(part, context.progress)?);
        context.progress.at(verdicts.len() as u64, texts.len() as u64, "scores", &[]);
    }
    Ok(verdicts)
}

/// The rows of a mixture. By shares there are as many of them as there can be with none taken
/// twice, the first of each source.
pub fn rows_of<T: DeserializeOwned>(mix: &Mix<PathBuf>) -> Result<Vec<T>, Failure> {
    let sources = mix.items().into_iter().map(|path| read_rows::<T>(path));
    let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
    if let Mix::Shares(shares) = mix {
        let fits = |(rows, (percent, _)): (&Vec<T>, &(f64, PathBuf))| rows.len() as f64 / percent;
        let least = sources.iter().zip(shares).map(fits).fold(f64::INFINITY, f64::min);
        for (rows, (percent, _)) in sources.iter_mut().zip(shares) {
            rows.truncate((least * percent).round() as usize);
        }
    }
    let rows: Vec<T> = sources.into_iter().flatten().collect();
    if rows.is_empty() {
        let paths = mix.items().into_iter().map(|path| format!("`{}`", path.display()));
        let paths = paths.collect::<Vec<_>>().join(" and ");
        return Err(Failure::input(format!("{paths}: there is no row to begin with")));
    }
    Ok(rows)
}
