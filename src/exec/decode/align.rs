//! The parameters of stages that align a chat model with what people prefer. Knows fields; does not
//! know losses.

use anyhow::{Result, bail};

use super::training::training_of;
use crate::exec::inputs::Fields;
use crate::train::model::judge::Gate;
use crate::train::objective::dpo::PairLoss;
use crate::train::objective::grpo::Share;
use crate::train::objective::ppo::Clip;
use crate::train::objective::ranking::Margins;
use crate::train::stage::{Dpo, Grpo, Ppo, RewardModel, SafetyGate};

pub fn reward_model_of(fields: &Fields<'_>) -> Result<RewardModel> {
    reward_model_from("init", fields)
}

/// A reward model that begins as the model in this field.
pub fn reward_model_from(init: &str, fields: &Fields<'_>) -> Result<RewardModel> {
    Ok(RewardModel {
        init: fields.artifact(init)?,
        data: fields.mix("data")?,
        context: fields.size("context")?,
        batch: fields.count("batch")?,
        margins: match fields.text("margins")?.as_str() {
            "none" => Margins::None,
            "small" => Margins::Small,
            "large" => Margins::Large,
            other => bail!("`{other}` are no margins"),
        },
        safety_loss: fields.flag("safety_loss")?,
        training: training_of(fields)?,
    })
}

pub fn ppo_of(fields: &Fields<'_>) -> Result<Ppo> {
    Ok(Ppo {
        policy: fields.artifact("policy")?,
        judge: fields.model("judge")?,
        prompts: fields.mix("prompts")?,
        held_out: fields.optional("held_out", Fields::artifact)?,
        check_every: fields.count("check_every")?,
        patience: fields.count("patience")?,
        batch: fields.size("batch")?,
        mini_batch: fields.size("mini_batch")?,
        beta: fields.number("beta")?,
        gamma: fields.number("gamma")?,
        lambda: fields.number("lambda")?,
        clip_ratio: fields.number("clip_ratio")?,
        clip_value: fields.number("clip_value")?,
        value_weight: fields.number("value_weight")?,
        max_answer: fields.size("max_answer")?,
        temperature: fields.number("temperature")?,
        training: training_of(fields)?,
    })
}

pub fn dpo_of(fields: &Fields<'_>) -> Result<Dpo> {
    dpo_from("init", fields)
}

/// DPO of the model in this field.
pub fn dpo_from(init: &str, fields: &Fields<'_>) -> Result<Dpo> {
    Ok(Dpo {
        init: fields.artifact(init)?,
        data: fields.mix("data")?,
        context: fields.size("context")?,
        batch: fields.count("batch")?,
        beta: fields.number("beta")?,
        loss: match fields.text("loss")?.as_str() {
            "sigmoid" => PairLoss::Sigmoid,
            "hinge" => PairLoss::Hinge,
            "ipo" => PairLoss::Ipo,
            other => bail!("`{other}` is no loss of pairs"),
        },
        training: training_of(fields)?,
    })
}

pub fn grpo_of(fields: &Fields<'_>) -> Result<Grpo> {
    Ok(Grpo {
        policy: fields.artifact("policy")?,
        judge: fields.model("judge")?,
        prompts: fields.mix("prompts")?,
        samples: fields.size("samples")?,
        batch: fields.size("batch")?,
        mini_batch: fields.size("mini_batch")?,
        beta: fields.number("beta")?,
        clip: Clip { low: fields.number("clip_ratio")?, high: fields.number("clip_high")? },
        loss: match fields.text("loss")?.as_str() {
            "grpo" => Share::Grpo,
            "bnpo" => Share::Bnpo,
            "dr_grpo" => Share::DrGrpo,
            "dapo" => Share::Dapo,
            other => bail!("`{other}` is no loss of groups"),
        },
        max_answer: fields.size("max_answer")?,
        temperature: fields.number("temperature")?,
        training: training_of(fields)?,
    })
}

pub fn safety_gate_of(fields: &Fields<'_>) -> Result<SafetyGate> {
    Ok(SafetyGate {
        helpful: fields.model("helpful")?,
        safe: fields.model("safe")?,
        gate: Gate { below: fields.number("below")? },
    })
}
