//! The parameters of stages that align a chat model with what people prefer. Knows fields; does not
//! know losses.

use anyhow::{Result, bail};

use super::training::training_of;
use crate::exec::inputs::Fields;
use crate::train::model::judge::Gate;
use crate::train::objective::ranking::Margins;
use crate::train::stage::{RewardModel, SafetyGate};

pub fn reward_model_of(fields: &Fields<'_>) -> Result<RewardModel> {
    Ok(RewardModel {
        init: fields.artifact("init")?,
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

pub fn safety_gate_of(fields: &Fields<'_>) -> Result<SafetyGate> {
    Ok(SafetyGate {
        helpful: fields.artifact("helpful")?,
        safe: fields.artifact("safe")?,
        gate: Gate { below: fields.number("below")? },
    })
}
