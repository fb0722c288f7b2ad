//! What a stage needs of a GPU that asks finished models: their weights, and room for an answer.
//! Knows the recipe's values and the ledger; not what is asked.

use super::inputs::adapter_in;
use super::needs::{Needs, Shapes, width};
use crate::lang::value::{Artifact, Stage, Value};
use crate::train::model::ModelConfig;
use crate::train::stage::ledger::{MemoryLedger, device_sampling_memory, device_weights};

/// Why a stage is asked here, where its models cannot be known.
pub const UNKNOWN: &str = "a shape that the recipe does not state";

/// Whether a kind of stage asks finished models, and learns nothing.
pub fn asks(kind: &str) -> bool {
    matches!(kind, "eval" | "generate" | "ghost_attention" | "rejection_sampling")
}

/// Bytes at the peak, or what is not done on a GPU.
pub fn device_memory(shapes: &Shapes<'_>, stage: &Stage) -> Result<MemoryLedger, &'static str> {
    let of = |name: &str| stage.params.get(name).ok_or(UNKNOWN);
    match stage.kind.as_str() {
        "eval" => {
            let (mut most, mut beside) = (MemoryLedger::default(), 0);
            for model in listed(of("models")?) {
                let one = answering(shapes, model)?;
                most = if one.total() > most.total() { one } else { most };
            }
            for task in listed(of("tasks")?) {
                let Value::Record { fields, .. } = task else { continue };
                for name in ["judge", "reference"] {
                    if let Some(model) = fields.get(name).filter(|model| **model != Value::None) {
                        beside += weights(shapes, model)?;
                    }
                }
            }
            Ok(MemoryLedger { beside, ..most })
        }
        "rejection_sampling" => {
            let beside = weights(shapes, of("judge")?)?;
            Ok(MemoryLedger { beside, ..answering(shapes, of("policy")?)? })
        }
        _ => answering(shapes, of("model")?),
    }
}

fn listed(value: &Value) -> &[Value] {
    match value {
        Value::List(values) => values,
        one => std::slice::from_ref(one),
    }
}

/// A model that answers prompts.
fn answering(shapes: &Shapes<'_>, model: &Value) -> Result<MemoryLedger, &'static str> {
    let weights = weights(shapes, model)?;
    let [first, ..] = members(shapes, model)?[..] else { return Err(UNKNOWN) };
    let config = config(shapes, first)?;
    let sampling = device_sampling_memory(config, config.context as u64);
    Ok(MemoryLedger { weights, sampling, ..MemoryLedger::default() })
}

/// Weights of a model, of an adapter with its base, or of both members of a gate.
pub fn weights(shapes: &Shapes<'_>, model: &Value) -> Result<u64, &'static str> {
    let mut bytes = 0;
    for member in members(shapes, model)? {
        let Some([adapter, base]) = adapter_in(member) else {
            bytes += device_weights(config(shapes, member)?, width(shapes, member))?;
            continue;
        };
        let needs = Needs::of(shapes, shapes.stage(artifact(adapter)?)).ok_or(UNKNOWN)?;
        bytes += needs.memory().adapter;
        bytes += device_weights(config(shapes, base)?, width(shapes, base))?;
    }
    Ok(bytes)
}

/// The members of a gate, or the only model.
fn members<'v>(shapes: &Shapes<'v>, model: &'v Value) -> Result<Vec<&'v Value>, &'static str> {
    if adapter_in(model).is_some() {
        return Ok(vec![model]);
    }
    let stage = shapes.stage(artifact(model)?);
    if stage.kind != "safety_gate" {
        return Ok(vec![model]);
    }
    ["helpful", "safe"].map(|name| stage.params.get(name).ok_or(UNKNOWN)).into_iter().collect()
}

fn artifact(model: &Value) -> Result<&Artifact, &'static str> {
    match model {
        Value::Artifact(artifact) => Ok(artifact),
        _ => Err(UNKNOWN),
    }
}

fn config<'s>(shapes: &'s Shapes<'_>, model: &Value) -> Result<&'s ModelConfig, &'static str> {
    let made = adapter_in(model).map_or(model, |[_, base]| base);
    shapes.config(shapes.stage(artifact(made)?)).ok_or(UNKNOWN)
}
