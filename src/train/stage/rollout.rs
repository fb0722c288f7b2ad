//! Answers that a policy in training gives, with what they are worth: what PPO and GRPO learn from.
//! Nothing changes the support of what is sampled: neither top-k nor top-p, so the sampled
//! log-probability is the scored one (trl's issues 235, 925 and 1005 are what happens otherwise).
//! Knows prompts, a judge and a policy; does not know a loss.

use std::path::{Path, PathBuf};

use crate::train::data::batch::{Batches, Rows};
use crate::train::data::chat::ChatFormat;
use crate::train::data::mixture::{Mix, Source};
use crate::train::data::pack::{IGNORE, Row};
use crate::train::data::rows::{Prompt, read_rows};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::rng::Stream;
use crate::train::kernels::sample::Sampling;
use crate::train::model::asked::At;
use crate::train::model::judge::{Judge, Judged, Verdict};
use crate::train::model::sample::{GenerateOptions, Generated, as_row};
use crate::train::progress::{Failure, Progress, Quiet};

/// Turns that wait for an answer, encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub tokens: Vec<u32>,
    /// Whether an answer can do harm.
    pub safety: bool,
}

/// Prompts to draw from.
#[derive(Debug)]
pub struct Prompts {
    batches: Batches,
    asked: Vec<Vec<Asked>>,
}

impl Prompts {
    /// Reads every prompt; so many are drawn at a time.
    pub fn read(
        mix: &Mix<PathBuf>,
        tokenizer: &Tokenizer,
        format: &ChatFormat,
        at_a_time: usize,
        seed: u64,
    ) -> Result<Prompts, Failure> {
        let read = |paths: &[&PathBuf]| {
            let asked = paths.iter().map(|path| asked(path, tokenizer, format));
            Ok(asked.collect::<Result<Vec<_>, Failure>>()?.concat())
        };
        let sources = mix.sources(read)?;
        let asked: Vec<Vec<Asked>> = sources.iter().map(|source| source.of.clone()).collect();
        let rows = |source: Source<Vec<Asked>>| Source {
            percent: source.percent,
            of: Box::new(source.of) as Box<dyn Rows>,
        };
        let batches = Batches::new(sources.into_iter().map(rows).collect(), at_a_time, seed)?;
        Ok(Prompts { batches, asked })
    }

    /// The prompts of an iteration, counted from 0.
    pub fn at(&mut self, iteration: u64) -> Vec<Asked> {
        let picks = self.batches.picks(iteration);
        picks.into_iter().map(|(source, row)| self.asked[source][row].clone()).collect()
    }

    /// Every prompt, in order.
    pub fn all(&self) -> Vec<Asked> {
        self.asked.concat()
    }

    /// Tokens of the longest prompt.
    pub fn longest(&self) -> usize {
        self.batches.longest()
    }
}

fn asked(path: &Path, tokenizer: &Tokenizer, format: &ChatFormat) -> Result<Vec<Asked>, Failure> {
    let prompts = read_rows::<Prompt>(path)?;
    let one = |(row, prompt): (usize, &Prompt)| {
        let tokens = format.prompt(tokenizer, row, &prompt.prompt)?;
        Ok(Asked { tokens, safety: prompt.safety.unwrap_or(false) })
    };
    (1..).zip(&prompts).map(one).collect()
}

/// Shares count prompts alike, whatever their length.
impl Rows for Vec<Asked> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn tokens(&self, row: usize) -> usize {
        self[row].tokens.len()
    }

    fn row(&self, row: usize) -> Row {
        let tokens = self[row].tokens.clone();
        let segment = 0..tokens.len();
        Row { targets: vec![IGNORE; tokens.len()], segments: vec![segment], tokens }
    }
}

/// How a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asking {
    pub samples: usize,
    pub max_answer: usize,
    pub temperature: f64,
    pub eos: u32,
}

/// An answer, its place in a row of its own, and its worth.
#[derive(Clone, Debug)]
pub struct Answered {
    pub made: Generated,
    /// Only the answer is asked for.
    pub row: Row,
    pub verdict: Verdict,
}

/// `samples` answers to each prompt, prompt by prompt. The draws follow from `seed` and `name`.
pub fn rollouts(
    policy: At<'_>,
    judge: &Judge,
    asked: &[Asked],
    asking: Asking,
    (seed, name): (u64, &str),
    progress: &mut dyn Progress,
) -> Result<Vec<Answered>, Failure> {
    let mut quiet = Quiet(progress);
    let [low, high, ..] = Stream::new(seed, name).bits(0, 0);
    let sampling = Sampling { temperature: asking.temperature as f32, top_k: None, top_p: 1.0 };
    let Asking { samples, max_answer, eos, .. } = asking;
    let seed = u64::from(low) | u64::from(high) << 32;
    let options = GenerateOptions { samples, max_answer, sampling, seed, eos };
    let prompts: Vec<Vec<u32>> = asked.iter().map(|asked| asked.tokens.clone()).collect();
    let answers = policy.generate(&prompts, &options, &mut quiet)?;
    let of = |at: usize| &asked[at / samples];
    let text = |(at, made): (usize, &Generated)| {
        let mut tokens = [&of(at).tokens[..], &made.tokens].concat();
        tokens.extend(made.ended.then_some(eos));
        Judged { tokens, safety: of(at).safety }
    };
    let texts: Vec<Judged> = answers.iter().enumerate().map(text).collect();
    let verdicts = judge.score(&texts, &mut quiet)?;
    let answered = |((at, made), verdict): ((usize, Generated), Verdict)| Answered {
        row: as_row(&of(at).tokens, &made, eos),
        made,
        verdict,
    };
    Ok(answers.into_iter().enumerate().zip(verdicts).map(answered).collect())
}
