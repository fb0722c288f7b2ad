//! What an answer is worth to reward models. A judge is one reward model, or a gate of two: the
//! safety model decides where the prompt is one of safety or where it finds the answer unsafe,
//! the helpfulness model elsewhere. Llama 2, section 3.2.3:
//!
//! ```text
//! R_c = R_s  if the prompt is one of safety, or R_s < 0.15
//!       R_h  otherwise
//! ```
//!
//! with R = σ(score). Scores here are before the sigmoid, which is monotone. A text is scored at
//! its last token, found by length. Knows token ids; does not know where answers came from.
//!
//! The folder of a gate:
//!
//! ```text
//! gate.json    { "below": 0.15 }
//! helpful/     a reward model, or an adapter that makes one of the model in `helpful/base/`
//! safe/        the same
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::activations::Activations;
use super::anywhere::ModelPath;
use super::asked::{Asked, Engine};
use super::batch::Batch;
use super::config::ModelConfig;
use super::folder::{self, ModelFolder};
use super::inference::{Inference, check_finite};
use super::peft;
use super::transformer::Transformer;
use crate::train::data::pack::{IGNORE, Row};
use crate::train::kernels::math::sigmoid;
use crate::train::progress::{Failure, Progress};

/// What makes a folder a gate.
pub const GATE: &str = "gate.json";
/// The two models of a gate.
pub const MEMBERS: [&str; 2] = ["helpful", "safe"];
/// The base of a member that is an adapter, in its folder.
pub const BASE: &str = "base";

/// Tokens that are scored at once, unless one text is longer.
const TOKENS_AT_ONCE: usize = 4096;

/// A dialogue to be scored: prompt, answer, and `eos` where the answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub tokens: Vec<u32>,
    /// Whether the prompt is one of safety.
    pub safety: bool,
}

/// Scores before the sigmoid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Of the helpfulness model, or of the only one.
    pub helpful: f32,
    /// Of the safety model of a gate.
    pub safe: Option<f32>,
    /// The one that counts.
    pub combined: f32,
}

/// Settings of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The safety model decides on an answer whose σ(score) is below this.
    pub below: f64,
}

/// Reward models, opened.
#[derive(Debug)]
pub struct Judge {
    helpful: Scorer,
    safe: Option<(Scorer, Gate)>,
}

/// One reward model.
#[derive(Debug)]
struct Scorer {
    asked: Asked,
}

impl Judge {
    /// Opens a reward model, or a gate of two.
    pub fn open(judge: &ModelPath, engine: impl Into<Engine>) -> Result<Judge, Failure> {
        let (path, engine) = (judge.base.join(GATE), engine.into());
        if !path.is_file() {
            return Ok(Judge { helpful: Scorer::open(judge, &engine)?, safe: None });
        }
        let text = std::fs::read_to_string(&path).map_err(Failure::io(&path))?;
        let gate: Gate = serde_json::from_str(&text)
            .map_err(|error| Failure::input(format!("`{}`: {error}", path.display())))?;
        let [helpful, safe] = members(&judge.base).map(|member| Scorer::open(&member, &engine));
        Ok(Judge { helpful: helpful?, safe: Some((safe?, gate)) })
    }

    /// Whether a prompt of safety is judged otherwise than another.
    pub fn is_gate(&self) -> bool {
        self.safe.is_some()
    }

    /// The shape of the only model, or of both of a gate.
    pub fn configs(&self) -> Vec<&ModelConfig> {
        let scorers = [Some(&self.helpful), self.safe.as_ref().map(|(safe, _)| safe)];
        scorers.into_iter().flatten().map(|scorer| scorer.config()).collect()
    }

    /// How the matrices of the first are stored.
    pub fn dtype(&self) -> &'static str {
        self.helpful.asked.model.dtype()
    }

    /// The longest text that can be scored, in tokens.
    pub fn context(&self) -> usize {
        let safe = self.safe.as_ref().map(|(safe, _)| safe.config().context);
        self.helpful.config().context.min(safe.unwrap_or(usize::MAX))
    }

    /// Fails at the first text that cannot be scored, which it names by its number.
    pub fn check(&self, texts: &[Judged]) -> Result<(), Failure> {
        let scorers = [Some(&self.helpful), self.safe.as_ref().map(|(safe, _)| safe)];
        scorers.into_iter().flatten().try_for_each(|scorer| {
            (1..).zip(texts).try_for_each(|(number, text)| scorer.check(number, &text.tokens))
        })
    }

    /// What each text is worth, in order.
    pub fn score(
        &self,
        texts: &[Judged],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Verdict>, Failure> {
        let helpful = self.helpful.score(texts, progress)?;
        let Some((safe, gate)) = &self.safe else {
            let alone = |score| Verdict { helpful: score, safe: None, combined: score };
            return Ok(helpful.into_iter().map(alone).collect());
        };
        let safe = safe.score(texts, progress)?;
        let verdict = |((text, helpful), safe): ((&Judged, f32), f32)| {
            let combined = if gate.picks_safe(text.safety, safe) { safe } else { helpful };
            Verdict { helpful, safe: Some(safe), combined }
        };
        Ok(texts.iter().zip(helpful).zip(safe).map(verdict).collect())
    }
}

/// The two models of a gate.
pub fn members(gate: &Path) -> [ModelPath; 2] {
    MEMBERS.map(|name| {
        let member = gate.join(name);
        match member.join(peft::CONFIG).is_file() {
            true => ModelPath { base: member.join(BASE), adapter: Some(member) },
            false => member.into(),
        }
    })
}

impl Gate {
    /// Whether the safety model decides, whose score this is.
    pub fn picks_safe(self, safety_prompt: bool, safe: f32) -> bool {
        safety_prompt || f64::from(sigmoid(safe)) < self.below
    }
}

impl Scorer {
    fn open(path: &ModelPath, engine: &Engine) -> Result<Scorer, Failure> {
        let (folder, adapter) = match &path.adapter {
            None => (folder::open_scorer(&path.base)?, None),
            Some(adapter) => {
                let base = folder::open(&path.base)?;
                let (adapter, score_d) = peft::read_scorer(adapter, &base.config)?;
                (base.scoring(score_d), Some(adapter))
            }
        };
        let ModelFolder { config, weights, .. } = folder;
        let positions = config.context;
        let mut model = Transformer::new(config, weights, positions);
        model.adapter = adapter;
        Ok(Scorer { asked: Asked::new(model, engine)? })
    }

    fn config(&self) -> &ModelConfig {
        &self.asked.model.config
    }

    fn score(&self, texts: &[Judged], progress: &mut dyn Progress) -> Result<Vec<f32>, Failure> {
        let mut passes = self.asked.at().passes();
        let mut scores = Vec::with_capacity(texts.len());
        while scores.len() < texts.len() {
            if progress.cancelled() {
                return Err(Failure::Interrupted);
            }
            let rows = self.rows_at_once(&texts[scores.len()..], scores.len())?;
            let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
            passes.read(&batch);
            scores.extend(passes.scores(&batch)?);
        }
        Ok(scores)
    }

    /// The first rows of what is left; `done` texts came before.
    fn rows_at_once(&self, texts: &[Judged], done: usize) -> Result<Vec<Row>, Failure> {
        let (mut rows, mut tokens) = (Vec::new(), 0);
        for (at, text) in texts.iter().enumerate() {
            let length = text.tokens.len();
            tokens += length;
            if at > 0 && tokens > TOKENS_AT_ONCE {
                break;
            }
            self.check(done + at + 1, &text.tokens)?;
            let segments = std::iter::once(0..length).collect();
            let targets = vec![IGNORE; length];
            rows.push(Row { tokens: text.tokens.clone(), targets, segments });
        }
        Ok(rows)
    }

    fn check(&self, row: usize, tokens: &[u32]) -> Result<(), Failure> {
        let (context, vocab) = (self.config().context, self.config().vocab);
        let length = tokens.len();
        if length == 0 || length > context {
            return Err(Failure::input(format!(
                "text {row} is {length} tokens long, outside 1..={context}, the reward model's \
                 context"
            )));
        }
        match tokens.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(Failure::input(format!(
                "text {row} holds token {id}, outside the reward model's vocabulary of {vocab}"
            ))
            .remedy("train the reward model with the tokenizer of the policy")),
            None => Ok(()),
        }
    }
}

/// The scores of texts after a forward pass: the head at the last token of each; `ends` are the
/// places behind those.
pub fn scores_at<M: Inference>(
    m: &M,
    model: &Transformer<M>,
    ends: &[usize],
    a: &Activations<M>,
) -> Result<Vec<f32>, Failure> {
    let last: Vec<usize> = ends.iter().map(|end| end - 1).collect();
    let mut last_bd = M::Floats::default();
    m.pick(&last, model.config.dim, &a.hidden_td, &mut last_bd);
    let scores = m.outputs(&model.weights.head_vd, &last_bd, [ends.len(), model.config.dim])?;
    check_finite(scores.iter().copied())?;
    Ok(scores)
}
