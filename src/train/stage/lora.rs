//! `lora`, `lora_dpo` and `lora_reward`: a low-rank adapter learns what a whole model would learn
//! from the same rows, beside a base that is never changed. With B = 0 it begins as its base, which
//! is therefore the reference of `lora_dpo`: no second model is in memory. Knows which stage learns
//! what; how an adapter is computed is `train::model::lora`.

use super::{Dpo, RewardModel, Sft, dpo, reward_model, sft};
use crate::train::model::lora::LoraSettings;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of a stage that trains an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora<T> {
    /// What is learnt, and how; its `init` is the base.
    pub tuning: T,
    pub settings: LoraSettings,
}

/// Dialogues. Writes the adapter's folder at port `out`, as all of these do.
pub fn run(params: &Lora<Sft>, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    sft::learn(&params.tuning, Some(&params.settings), context)
}

/// Which of two answers is preferred, without a judge.
pub fn run_dpo(params: &Lora<Dpo>, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    dpo::learn(&params.tuning, Some(&params.settings), context)
}

/// To score answers. The head is learnt too, as it is in a reward model.
pub fn run_reward(
    params: &Lora<RewardModel>,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    reward_model::learn(&params.tuning, Some(&params.settings), context)
}
