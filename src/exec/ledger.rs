//! What a stage costs before it runs: threads, arithmetic, memory, and how its batch and length
//! work out. Pure functions of parameters; joins the trainer's ledger to the recipe's values.

use std::collections::BTreeMap;

use crate::build::action::Action;
use crate::build::executor::{Demand, OnGpu};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::{Place, Sources, Span};
use crate::lang::value::{Module, Quantity, Stage, Value};
use crate::train::model::{Head, ModelConfig};
use crate::train::stage::ledger::{MemoryLedger, parameters, training_flops_per_token};

use super::needs::{Needs, Shapes};
use super::work::is_in_halves;
use super::{adapted, asking, blocks, course, device, fits, questions, senseless};

/// Bytes that a stage will need: of the machine where it trains, and of a GPU that computes it, or
/// what keeps it from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    pub memory: u64,
    /// What of it is held from the first step to the last, however long texts are.
    pub held: u64,
    pub gpu: Result<MemoryLedger, &'static str>,
    /// The parts of a step that several GPUs can share.
    pub parts: usize,
}

pub(super) fn trains(kind: &str) -> bool {
    let adapters = ["lora", "lora_dpo", "lora_reward"];
    let models = ["dpo", "grpo", "ppo", "pretrain", "reward_model", "sft"];
    adapters.contains(&kind) || models.contains(&kind)
}

/// The most threads that a stage kind uses well, and the bytes it will need where `bytes` says it
/// by the stage's name. Where a GPU computes, losses other than that of the next token and what an
/// exam makes of answers are still found here.
pub fn demand(action: &Action, bytes: &BTreeMap<String, Bytes>) -> Demand {
    let threads = match action.kind.as_str() {
        "contamination" | "context_distill" | "ghost_attention" | "rejection_sampling" => {
            usize::MAX
        }
        kind if trains(kind) => usize::MAX,
        "eval" | "export" | "generate" | "merge" | "quantize" | "train_tokenizer" => usize::MAX,
        _ => 1,
    };
    let bytes = bytes.get(&action.name);
    let memory_bytes = bytes.map_or(0, |bytes| bytes.memory);
    let beside = match action.kind.as_str() {
        "generate" | "ghost_attention" | "lora" | "pretrain" | "rejection_sampling" | "sft" => 1,
        _ => threads,
    };
    let gpu = bytes.and_then(|bytes| bytes.gpu.ok());
    let most = bytes.map_or(1, |bytes| bytes.parts);
    let gpu = gpu.map(|ledger| {
        let gpu_bytes = ledger.total();
        OnGpu { threads: beside, memory_bytes, gpu_bytes, most }
    });
    Demand { threads, memory_bytes, gpu, gpu_only: is_in_halves(&action.params) }
}

/// The bytes of every stage that computes with a model, by its name; none are known where the
/// recipe does not state the shape of it.
pub fn bytes(module: &Module) -> BTreeMap<String, Bytes> {
    let shapes = Shapes::of(module);
    let of = |stage: &Stage| {
        let bytes = match Needs::of(&shapes, stage) {
            _ if asking::asks(&stage.kind) => {
                Bytes { memory: 0, held: 0, gpu: asking::device_memory(&shapes, stage), parts: 1 }
            }
            Some(needs) => Bytes {
                memory: needs.memory().total(),
                held: needs.held(),
                gpu: needs.device_memory(),
                parts: needs.parts(),
            },
            None => Bytes { memory: 0, held: 0, gpu: Err(asking::UNKNOWN), parts: 1 },
        };
        (stage.name.clone(), bytes)
    };
    let computes = |stage: &&Stage| trains(&stage.kind) || asking::asks(&stage.kind);
    module.stages.iter().filter(computes).map(of).collect()
}

/// What a training stage costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The numbers of the model, and how many numbers are learnt.
    pub parameters: u64,
    pub learnt: u64,
    pub memory: MemoryLedger,
    /// How the length works out: `1075 steps of 16 sequences`; where it is in epochs, what one
    /// step is.
    pub course: String,
    /// Tokens of the whole run and the floating-point operations on them, where the length tells.
    pub total: Option<(u64, f64)>,
}

/// The cost of a stage, if it trains a model whose shape the recipe states. Memory is the most it
/// can be, since only the rows tell how long a text is; none outgrows the context.
pub fn cost(shapes: &Shapes<'_>, stage: &Stage) -> Option<Cost> {
    let needs = Needs::of(shapes, stage)?;
    let course::Run { text, tokens } = course::run(stage, &needs)?;
    let Needs { config, learnt, context, .. } = &needs;
    let flops = training_flops_per_token(config, learnt, *context) as f64;
    Some(Cost {
        parameters: parameters(config),
        learnt: learnt.count(config),
        memory: needs.memory(),
        course: text,
        total: tokens.map(|tokens| (tokens, tokens as f64 * flops)),
    })
}

/// The shape that a record states.
pub(super) fn architecture(value: &Value) -> Option<ModelConfig> {
    let Value::Record { fields, .. } = value else { return None };
    let size = |name: &str| usize::try_from(whole(fields.get(name)?)?).ok();
    let number = |name: &str| match fields.get(name)? {
        Value::Float(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        _ => None,
    };
    Some(ModelConfig {
        dim: size("dim")?,
        layers: size("layers")?,
        heads: size("heads")?,
        kv_heads: size("kv_heads")?,
        ffn: size("ffn")?,
        vocab: size("vocab")?,
        context: size("context")?,
        norm_eps: number("norm_eps")?,
        rope: number("rope")?,
        // No cost depends on it.
        rope_scaling: None,
        tied: fields.get("tied") == Some(&Value::Bool(true)),
        head: Head::Language,
    })
}

pub(super) fn whole(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Quantity(quantity) => quantity.as_whole(),
        _ => None,
    };
    number.and_then(|number| number.try_into().ok())
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::Quantity(quantity) => Some(*quantity),
        _ => None,
    }
}

/// What only a stage kind can know to be wrong with its parameters, found without running it.
pub fn prove(sources: &Sources, module: &Module) -> Vec<Diagnostic> {
    let shapes = Shapes::of(module);
    let of_stage = |stage| {
        let unfit = fits::unfit(sources, module, stage);
        let adapter = adapted::unfit(sources, module, stage);
        let broken = device::broken_promise(sources, &shapes, stage);
        let unrunnable = fits::unrunnable(sources, stage);
        let blocks =
            [blocks::outside_gguf(sources, stage), blocks::parted_rows(sources, &shapes, stage)];
        let parted = fits::parted(sources, stage);
        let own = [even_heads(sources, stage), unfit, adapter, broken, unrunnable, parted];
        let own = blocks.into_iter().chain(own).flatten();
        let own = own.chain(senseless::faults(sources, stage));
        own.chain(questions::faults(sources, module, stage))
    };
    module.stages.iter().flat_map(of_stage).collect()
}

/// Rotary positions turn pairs, so a head must have an even width.
fn even_heads(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let config = architecture(stage.params.get("model")?)?;
    if (config.dim / config.heads).is_multiple_of(2) {
        return None;
    }
    let width = config.dim / config.heads;
    let message =
        format!("heads of `{}` are {width} wide, and rotary positions need pairs", stage.name);
    let label = format!("dim {} over {} heads", config.dim, config.heads);
    Some(
        Diagnostic::error("odd-head", message)
            .label(line_of(sources, stage, "model")?, label)
            .note("choose `dim` and `heads` so that dim / heads is even"),
    )
}

/// The line on which a parameter got its value, without its indentation.
pub(super) fn line_of(sources: &Sources, stage: &Stage, parameter: &str) -> Option<Span> {
    let Place { path, line } = stage.places.get(parameter).unwrap_or(&stage.place);
    let file = sources.find(path)?;
    let source = sources.get(file);
    let text = source.line(*line);
    let start = text.as_ptr() as usize - source.text.as_ptr() as usize;
    let indent = text.len() - text.trim_start().len();
    let end = start + text.trim_end().trim_end_matches(',').len();
    Some(Span { file, start: (start + indent) as u32, end: end as u32 })
}

/// `1.0 GB`, as people write sizes.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] =
        [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} B"),
    }
}
