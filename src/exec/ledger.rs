//! What a stage costs before it runs: threads, arithmetic, memory, and how its batch and length
//! work out. Pure functions of parameters; joins the trainer's ledger to the recipe's values.

use std::collections::BTreeMap;

use crate::build::action::Action;
use crate::build::executor::Demand;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::{Place, Sources, Span};
use crate::lang::value::{Module, Quantity, Stage, Value};
use crate::train::model::activations::Keep;
use crate::train::model::{Head, ModelConfig};
use crate::train::optim::Bits;
use crate::train::stage::ledger::{
    self, Kept, Learnt, MemoryLedger, Width, training_flops_per_token,
};

use super::decode::training::{batch_of, length_of};
use super::{adapted, aligning, fits};

/// The most threads that a stage kind uses well, and the memory it will need where that is known.
pub fn demand(action: &Action) -> Demand {
    let threads = match action.kind.as_str() {
        "context_distill" | "ghost_attention" | "rejection_sampling" => usize::MAX,
        "lora" | "lora_dpo" | "lora_reward" | "pretrain" | "sft" | "reward_model" | "dpo"
        | "grpo" | "ppo" => usize::MAX,
        "eval" | "export" | "generate" | "merge" | "quantize" | "train_tokenizer" => usize::MAX,
        _ => 1,
    };
    let config = action.params.get("model").and_then(architecture);
    let memory = config.and_then(|config| memory(&config, &action.params));
    Demand { threads, memory_bytes: memory.map_or(0, |memory| memory.total()) }
}

/// What a training stage costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    pub parameters: u64,
    pub memory: MemoryLedger,
    /// How the length works out: `1075 steps of 16 sequences`; where it is in epochs, what one
    /// step is.
    pub course: String,
    /// Tokens of the whole run and the floating-point operations on them, where the length tells.
    pub total: Option<(u64, f64)>,
}

/// The cost of a stage, if it trains a model whose shape the recipe states.
pub fn cost(module: &Module, stage: &Stage) -> Option<Cost> {
    let config = shape(module, stage)?;
    match stage.kind.as_str() {
        "ppo" => return aligning::ppo(module, stage, config),
        "reward_model" => return aligning::reward_model(stage, config),
        _ => {}
    }
    let context = whole(stage.params.get("context")?)?;
    let batch = batch_of(quantity(stage.params.get("batch")?)?).ok()?;
    let length = length_of(quantity(stage.params.get("length")?)?).ok()?;
    let sequences = batch.sequences(context).ok()?;
    let course = length.course(batch, context, None).ok()?;
    let total = course.as_ref().map(|course| {
        let tokens = course.steps * course.sequences * context;
        (tokens, tokens as f64 * training_flops_per_token(&config, context) as f64)
    });
    let course = match course {
        Some(course) => course.to_string(),
        None => format!("steps of {sequences} sequences until the epochs are over"),
    };
    let at_once = whole(stage.params.get("micro_batch")?)?.min(sequences);
    let needs = Needs { micro_batch: at_once, ..Needs::of(&stage.params)? };
    let memory = needs.memory(&config);
    let parameters = ledger::parameters(&config);
    Some(Cost { parameters, memory, course, total })
}

/// What the forward pass keeps.
pub(super) fn keep(stage: &Stage) -> Keep {
    keep_of(&stage.params)
}

fn keep_of(params: &BTreeMap<String, Value>) -> Keep {
    match params.get("gradient_checkpointing") {
        Some(Value::Bool(true)) => Keep::Residuals,
        _ => Keep::Activations,
    }
}

/// The shape of the model that a stage trains: its own, or that of the model it begins with.
pub(super) fn shape(module: &Module, stage: &Stage) -> Option<ModelConfig> {
    let mut stage = stage;
    for _ in 0..=module.stages.len() {
        let made_of = stage.params.get("model").or(stage.params.get("is"));
        let begun_with = ["init", "policy", "base"].iter().find_map(|name| stage.params.get(*name));
        match made_of.or(begun_with)? {
            Value::Artifact(other) => stage = &module.stages[other.stage.0 as usize],
            model => return architecture(model),
        }
    }
    None
}

fn memory(config: &ModelConfig, params: &BTreeMap<String, Value>) -> Option<MemoryLedger> {
    Some(Needs::of(params)?.memory(config))
}

/// The settings of a training stage that its memory follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) micro_batch: u64,
    pub(super) context: u64,
    pub(super) keep: Keep,
    pub(super) kept: Kept,
    pub(super) learnt: Learnt,
}

impl Needs {
    pub(super) fn of(params: &BTreeMap<String, Value>) -> Option<Needs> {
        Some(Needs {
            micro_batch: whole(params.get("micro_batch")?)?,
            context: whole(params.get("context")?)?,
            keep: keep_of(params),
            kept: kept(params.get("optimizer")?)?,
            learnt: learnt(params),
        })
    }

    pub(super) fn memory(&self, config: &ModelConfig) -> MemoryLedger {
        let rows = [self.micro_batch, self.context];
        ledger::memory(config, self.learnt, rows, self.keep, self.kept)
    }
}

/// All weights, or an adapter; one with fewer targets needs less than is counted.
fn learnt(params: &BTreeMap<String, Value>) -> Learnt {
    match params.get("rank").and_then(whole) {
        Some(rank) => Learnt::Adapters { rank, base: Width::F32 },
        None => Learnt::All,
    }
}

/// How an optimizer keeps its moments.
fn kept(optimizer: &Value) -> Option<Kept> {
    let Value::Record { name: Some(name), fields } = optimizer else { return None };
    let bits = if name == "adamw8" { Bits::Eight } else { Bits::Full };
    Some(Kept { bits, budget: fields.get("page_budget").and_then(whole) })
}

fn architecture(value: &Value) -> Option<ModelConfig> {
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
    let of_stage = |stage| {
        let unfit = fits::unfit(sources, module, stage);
        let adapter = adapted::unfit(sources, module, stage);
        let unrunnable = fits::unrunnable(sources, stage);
        let whole = [even_heads(sources, stage), blocks_in_gguf(sources, stage)];
        whole.into_iter().chain([unfit, adapter, unrunnable])
    };
    module.stages.iter().flat_map(of_stage).flatten().collect()
}

/// Safetensors have no blocks of integers but those of bitsandbytes.
fn blocks_in_gguf(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let text = |name: &str| match stage.params.get(name) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let dtype = text("dtype").filter(|dtype| matches!(*dtype, "q8_0" | "q4_0"))?;
    if stage.kind != "export" || matches!(text("to"), Some("gguf" | "peft")) {
        return None;
    }
    let name = &stage.name;
    let message = format!("`{name}` writes {dtype}, which a Hugging Face folder cannot hold");
    Some(
        Diagnostic::error("export-dtype", message)
            .label(line_of(sources, stage, "dtype")?, format!("only GGUF files have {dtype}"))
            .note("choose `to: \"gguf\"`, or `dtype: \"bf16\"`"),
    )
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
