//! `grpo`: a chat model learns to give answers that a judge finds better than its other answers to
//! the same prompt, without a value head. Shao et al. 2024; the formulas are in
//! `train::objective::grpo`. Knows folders and iterations; does not know how steps are made.

use std::path::PathBuf;

use super::generate::template_of;
use super::group::Group;
use super::length::Length;
use super::train_loop::{Training, train};
use crate::train::data::chat::ChatFormat;
use crate::train::data::mixture::Mix;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::{ModelPath, Transformer};
use crate::train::objective::grpo::Share;
use crate::train::objective::ppo::Clip;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `grpo`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Grpo {
    pub policy: PathBuf,
    pub judge: ModelPath,
    pub prompts: Mix<PathBuf>,
    /// Answers to a prompt.
    pub samples: usize,
    /// Prompts of an iteration, and of a step.
    pub batch: usize,
    pub mini_batch: usize,
    pub beta: f64,
    pub clip: Clip,
    pub loss: Share,
    pub max_answer: usize,
    pub temperature: f64,
    pub training: Training,
}

/// Trains the policy and writes its folder at port `out`.
pub fn run(params: &Grpo, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let tokenizer = Tokenizer::load(&params.policy)?;
    let template = template_of(&params.policy, &tokenizer)?;
    let ModelFolder { config, special, weights } = folder::read(&params.policy)?;
    let Length::Steps(iterations) = params.training.length else {
        return Err(Failure::input("the length of `grpo` is counted in steps"));
    };
    let mut group = Group::open(params, &tokenizer, &ChatFormat::new(&template)?, context)?;
    let steps = iterations * group.steps_an_iteration();
    let positions = config.context;
    let mut model = Transformer::new(config, weights, positions);
    let metrics = train(&mut model, &mut group, steps, &params.training, context)?;
    group.seen().warn(params.beta, context);

    let (config, weights) = model.into_parts();
    let made = ModelFolder { config, special, weights };
    folder::write(&context.out.join("out"), &made, &params.policy, Some(&template.jinja))?;
    Ok(metrics)
}
