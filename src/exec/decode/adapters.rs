//! The parameters of stages that make adapters, or models of them. Knows fields; does not know
//! weights.

use anyhow::{Context as _, Result, bail};

use super::align;
use super::model::{encoding_of, template_of};
use super::training::{batch_of, training_of};
use crate::exec::inputs::Fields;
use crate::lang::value::Value;
use crate::train::data::pack::Packing;
use crate::train::model::lora::LoraSettings;
use crate::train::model::projection::Which;
use crate::train::stage::merge::{Merge, ReadAdapter};
use crate::train::stage::{Combine, Dpo, Lora, RewardModel, Sft};

pub fn lora_of(fields: &Fields<'_>) -> Result<Lora<Sft>> {
    let tuning = Sft {
        init: fields.artifact("base")?,
        data: fields.mix("data")?,
        template: fields.within("template", |_, fields| template_of(fields))?,
        context: fields.size("context")?,
        batch: batch_of(fields.quantity("batch")?)?,
        packing: Packing::Isolated,
        training: training_of(fields)?,
    };
    Ok(Lora { tuning, settings: settings_of(fields)? })
}

pub fn lora_dpo_of(fields: &Fields<'_>) -> Result<Lora<Dpo>> {
    Ok(Lora { tuning: align::dpo_from("base", fields)?, settings: settings_of(fields)? })
}

pub fn lora_reward_of(fields: &Fields<'_>) -> Result<Lora<RewardModel>> {
    Ok(Lora { tuning: align::reward_model_from("base", fields)?, settings: settings_of(fields)? })
}

fn settings_of(fields: &Fields<'_>) -> Result<LoraSettings> {
    Ok(LoraSettings {
        rank: fields.size("rank")?,
        alpha: fields.number("alpha")?,
        dropout: fields.number("dropout")?,
        targets: targets_of(fields)?,
        rslora: fields.flag("rslora")?,
        dora: fields.flag("dora")?,
    })
}

pub fn combine_of(fields: &Fields<'_>) -> Result<Combine> {
    Ok(Combine {
        base: fields.artifact("base")?,
        adapters: fields.models("adapters")?,
        weights: fields.numbers("weights")?,
        template: fields.within("template", |_, fields| template_of(fields))?,
    })
}

pub fn merge_of(fields: &Fields<'_>) -> Result<Merge> {
    Ok(Merge {
        adapter: fields.model("adapter")?,
        into: fields.artifact("into")?,
        dtype: encoding_of(fields)?,
        original: fields.optional("original", Fields::artifact)?,
        data: fields.optional("data", Fields::artifact)?,
    })
}

pub fn read_adapter_of(fields: &Fields<'_>) -> Result<ReadAdapter> {
    Ok(ReadAdapter {
        files: fields.files("files")?,
        base: fields.artifact("base")?,
        template: fields.within("template", |_, fields| template_of(fields))?,
        rank: fields.size("rank")?,
        targets: targets_of(fields)?,
    })
}

/// All projections, or those that are named, in their order.
fn targets_of(fields: &Fields<'_>) -> Result<Vec<Which>> {
    targets_in(&fields.take("targets")?)
}

/// The projections that a value names.
pub fn targets_in(value: &Value) -> Result<Vec<Which>> {
    let names = match value {
        Value::Text(text) if text == "all-linear" => return Ok(Which::ALL.to_vec()),
        Value::List(names) => names,
        other => bail!("{other:?} are no targets"),
    };
    let target = |name: &Value| {
        let named = |which: &Which| *name == Value::Text(which.short().into());
        let found = Which::ALL.into_iter().find(named);
        found.with_context(|| format!("{name:?} is no projection"))
    };
    let mut targets = names.iter().map(target).collect::<Result<Vec<_>>>()?;
    targets.sort();
    targets.dedup();
    Ok(targets)
}
