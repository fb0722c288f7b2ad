//! What the stages that align cost: their batches of pairs and prompts, and the models that a
//! policy is trained beside. Memory is the most it can be, since only the rows tell how long a
//! prompt is; a text never outgrows the context. Knows parameters of the recipe; does not know
//! rows.

use super::decode::training::length_of;
use super::inputs::adapter_in;
use super::ledger::{Cost, keep, quantity, shape, whole};
use crate::lang::value::{Artifact, Module, Stage, Value};
use crate::train::model::{Head, ModelConfig};
use crate::train::stage::ledger::{
    parameters, sampling_memory, training_flops_per_token, training_memory,
};
use crate::train::stage::length::{BatchSize, Length};

/// The cost of a reward model's training, which began with a model of this shape. A pair is one row
/// of two texts.
pub fn reward_model(stage: &Stage, config: ModelConfig) -> Option<Cost> {
    let config = config.scoring();
    let number = |name: &str| whole(stage.params.get(name)?);
    let (context, pairs) = (number("context")?, number("batch")?);
    let length = length_of(quantity(stage.params.get("length")?)?).ok()?;
    let course = length.course(BatchSize::Sequences(pairs), 2 * context, None).ok()?;
    let at_once = number("micro_batch")?.min(pairs);
    let flops = training_flops_per_token(&config, context) as f64;
    Some(Cost {
        parameters: parameters(&config),
        memory: training_memory(&config, at_once, 2 * context, keep(stage)),
        total: course.as_ref().map(|course| {
            let tokens = course.steps * pairs * 2 * context;
            (tokens, tokens as f64 * flops)
        }),
        course: match course {
            Some(course) => format!("{} steps of {pairs} pairs", course.steps),
            None => format!("steps of {pairs} pairs until the epochs are over"),
        },
    })
}

/// The cost of PPO on a policy of this shape: it learns with a value head, beside the policy as it
/// began, one or two judges and, where held-out prompts decide, the best policy so far. How much
/// work it is depends on how much the policy says.
pub fn ppo(module: &Module, stage: &Stage, policy: ModelConfig) -> Option<Cost> {
    let number = |name: &str| whole(stage.params.get(name)?);
    let (batch, mini_batch) = (number("batch")?, number("mini_batch")?);
    let Length::Steps(iterations) = length_of(quantity(stage.params.get("length")?)?).ok()? else {
        return None;
    };
    let held_out = stage.params.get("held_out").is_some_and(|held_out| *held_out != Value::None);
    let valued = ModelConfig { head: Head::LanguageAndValue, ..policy.clone() };
    let (context, at_once) = (policy.context as u64, number("micro_batch")?.min(mini_batch));
    let mut memory = training_memory(&valued, at_once, context, keep(stage));
    let best = if held_out { parameters(&valued) } else { 0 };
    memory.beside = 4 * (parameters(&policy) + best) + judges(module, stage.params.get("judge")?)?;
    memory.sampling = sampling_memory(&policy, batch, context);
    Some(Cost {
        parameters: parameters(&valued),
        memory,
        total: None,
        course: format!("{iterations} iterations of {batch} prompts, {mini_batch} a step"),
    })
}

/// Bytes of a judge: a reward model, or both of a gate.
fn judges(module: &Module, judge: &Value) -> Option<u64> {
    let judge = adapter_in(judge).map_or(judge, |[adapter, _]| adapter);
    let Value::Artifact(Artifact { stage, .. }) = judge else { return None };
    let stage = &module.stages[stage.0 as usize];
    if stage.kind == "safety_gate" {
        let both = ["helpful", "safe"].map(|name| judges(module, stage.params.get(name)?));
        return both.into_iter().sum();
    }
    Some(4 * parameters(&shape(module, stage)?.scoring()))
}
