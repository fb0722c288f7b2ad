//! `ppo`: a chat model learns to give answers that a judge finds good, without going far from where
//! it began. Llama 2, section 3.2.3; the formulas are in `train::objective::ppo`. An iteration
//! samples an answer to each of a batch of prompts, scores them, and learns from them once, a
//! mini-batch a step. Knows folders and iterations; does not know how steps are made.

use std::path::PathBuf;

use super::generate::template_of;
use super::length::Length;
use super::policy::Policy;
use super::train_loop::{Training, train};
use crate::train::data::chat::ChatFormat;
use crate::train::data::mixture::Mix;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::{Head, ModelConfig, ModelPath, Transformer};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `ppo`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Ppo {
    pub policy: PathBuf,
    pub judge: ModelPath,
    pub prompts: Mix<PathBuf>,
    /// Prompts that no step learns from, on which the run is stopped early.
    pub held_out: Option<PathBuf>,
    /// Iterations from one look at the held-out prompts to the next.
    pub check_every: u64,
    /// Looks without a better reward before the run is over.
    pub patience: u64,
    /// Prompts of an iteration, and of a step.
    pub batch: usize,
    pub mini_batch: usize,
    pub beta: f64,
    pub gamma: f64,
    pub lambda: f64,
    pub clip_ratio: f64,
    pub clip_value: f64,
    pub value_weight: f64,
    pub max_answer: usize,
    pub temperature: f64,
    pub training: Training,
}

/// Trains the policy and writes its folder at port `out`.
pub fn run(params: &Ppo, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let tokenizer = Tokenizer::load(&params.policy)?;
    let template = template_of(&params.policy, &tokenizer)?;
    let ModelFolder { config, special, weights } = folder::read(&params.policy)?;
    let Length::Steps(iterations) = params.training.length else {
        return Err(Failure::input("the length of `ppo` is counted in steps"));
    };
    let mut policy = Policy::open(params, &tokenizer, &ChatFormat::new(&template)?, context)?;
    let steps = iterations * policy.steps_an_iteration();

    let valued = ModelConfig { head: Head::LanguageAndValue, ..config.clone() };
    let head_vd = weights.head_vd.clone();
    let weights = weights.under(&valued, head_vd, vec![0.0; config.dim]);
    policy.begin_run(steps, &weights);
    let mut model = Transformer::new(valued, weights, config.context);
    let metrics = train(&mut model, &mut policy, steps, &params.training, context)?;
    policy.seen().warn(params.beta, context);

    let weights = policy.best().unwrap_or_else(|| model.into_parts().1);
    let head_vd = weights.head_vd.clone();
    let weights = weights.under(&config, head_vd, Vec::new());
    let made = ModelFolder { config, special, weights };
    folder::write(&context.out.join("out"), &made, &params.policy, Some(&template.jinja))?;
    Ok(metrics)
}
