//! What a training stage needs of a device, as settings that can be turned one by one. Knows the
//! recipe's values and the ledger; not which device there is.

use std::collections::BTreeMap;

use super::asking;
use super::decode::adapters::targets_in;
use super::decode::training::batch_of;
use super::inputs::adapter_in;
use super::ledger::{architecture, quantity, whole};
use super::local::find;
use super::work::is_in_halves;
use crate::lang::value::{Artifact, Module, Stage, Value};
use crate::train::model::activations::Keep;
use crate::train::model::encoding::Encoding;
use crate::train::model::lora::LoraSettings;
use crate::train::model::{Head, ModelConfig};
use crate::train::optim::Bits;
use crate::train::stage::Numerics;
use crate::train::stage::ledger::{
    Kept, Learnt, MemoryLedger, Width, device_memory, device_sampling_memory, device_weights,
    gradients_of_a_block, halves_memory, memory, parameters, sampling_memory, scoring_memory,
    weight_bytes,
};

/// The shape of the model that each stage of a module has to do with: its own, or that of the model
/// it begins with. Found once, so that a long chain of stages is walked once.
pub struct Shapes<'m> {
    module: &'m Module,
    by_stage: Vec<Option<ModelConfig>>,
}

impl<'m> Shapes<'m> {
    /// Those of every stage for which the recipe states one.
    pub fn of(module: &'m Module) -> Shapes<'m> {
        let mut by_stage: Vec<Option<ModelConfig>> = vec![None; module.stages.len()];
        let mut walked = vec![false; module.stages.len()];
        for first in 0..module.stages.len() {
            let (mut path, mut at) = (Vec::new(), first);
            while !walked[at] {
                walked[at] = true;
                path.push(at);
                match described(&module.stages[at]) {
                    Some(Value::Artifact(other)) => at = other.stage.0 as usize,
                    model => by_stage[at] = model.and_then(architecture),
                }
            }
            for stage in path {
                by_stage[stage] = by_stage[at].clone();
            }
        }
        Shapes { module, by_stage }
    }

    /// That of the model a stage has to do with.
    pub(super) fn config(&self, stage: &Stage) -> Option<&ModelConfig> {
        self.by_stage[stage.id.0 as usize].as_ref()
    }

    pub(super) fn stage(&self, artifact: &Artifact) -> &'m Stage {
        &self.module.stages[artifact.stage.0 as usize]
    }
}

/// The parameter that says what model a stage has to do with.
fn described(stage: &Stage) -> Option<&Value> {
    let names = ["model", "is", "init", "policy", "base", "into"];
    names.iter().find_map(|name| stage.params.get(*name))
}

/// The settings of a training stage that its memory follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// The shape of what is trained, with the head it has meanwhile.
    pub config: ModelConfig,
    pub learnt: Learnt,
    /// Rows of a step, and how many of them at once.
    pub rows: u64,
    pub micro_batch: u64,
    /// Texts of a row, of which a pair has two, and tokens of a text.
    pub texts: u64,
    pub context: u64,
    /// Whether the stage says how long texts may be.
    pub shortens: bool,
    pub keep: Keep,
    /// Whether weights move as soon as their gradients are there.
    pub in_backward: bool,
    pub kept: Kept,
    pub numerics: Numerics,
    /// Bytes of the models beside; on a GPU, or what keeps them from it.
    pub beside: u64,
    pub beside_there: Result<u64, &'static str>,
    pub asks: Asks,
    /// The kind that learns an adapter from the same data, if there is one.
    pub adapted: Option<&'static str>,
}

/// What a model is asked besides its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nothing,
    /// Every text is scored before the first step.
    Scores,
    /// So many answers are sampled between steps.
    Answers(u64),
}

impl Needs {
    /// Those of a stage, if it trains a model whose shape the recipe states.
    pub fn of(shapes: &Shapes<'_>, stage: &Stage) -> Option<Needs> {
        let number = |name: &str| whole(stage.params.get(name)?);
        let begun = shapes.by_stage[stage.id.0 as usize].clone()?;
        let context = number("context").unwrap_or(begun.context as u64);
        let (rows, texts, asks) = match stage.kind.as_str() {
            "lora" | "pretrain" | "sft" => {
                let batch = batch_of(quantity(stage.params.get("batch")?)?).ok()?;
                (batch.sequences(context).ok()?, 1, Asks::Nothing)
            }
            "lora_reward" | "reward_model" => (number("batch")?, 2, Asks::Nothing),
            "dpo" | "lora_dpo" => (number("batch")?, 2, Asks::Scores),
            "grpo" => {
                let samples = number("samples")?;
                let answers = number("batch")?.checked_mul(samples)?;
                (number("mini_batch")?.checked_mul(samples)?, 1, Asks::Answers(answers))
            }
            "ppo" => (number("mini_batch")?, 1, Asks::Answers(number("batch")?)),
            _ => return None,
        };
        Some(Needs {
            learnt: learnt(shapes, stage)?,
            rows,
            micro_batch: number("micro_batch")?.min(rows),
            texts,
            context,
            shortens: stage.params.contains_key("context"),
            keep: keep(&stage.params),
            in_backward: moves_in_backward(stage),
            kept: kept(stage.params.get("optimizer")?)?,
            numerics: match is_in_halves(&stage.params) {
                true => Numerics::Bf16,
                false => Numerics::ExactF32,
            },
            beside: beside(shapes, stage, &begun)?,
            beside_there: beside_there(shapes, stage, &begun),
            asks,
            adapted: adapted(&stage.kind),
            config: headed(&stage.kind, begun),
        })
    }

    /// What the ledger says of them.
    pub fn memory(&self) -> MemoryLedger {
        let tokens = self.texts.saturating_mul(self.context);
        let rows = [self.micro_batch, tokens];
        let memory = match self.numerics {
            Numerics::ExactF32 => memory(&self.config, &self.learnt, rows, self.keep, self.kept),
            Numerics::Bf16 => halves_memory(&self.config, &self.learnt, rows, self.keep, self.kept),
        };
        let memory = self.released(memory);
        // What is scored before the first step has its room to itself.
        let later = memory.gradients + memory.optimizer + memory.workspace;
        let later = later.saturating_add(memory.activations);
        let sampling = match self.asks {
            Asks::Nothing => 0,
            Asks::Scores => scoring_memory(&self.config, tokens).saturating_sub(later),
            Asks::Answers(answers) => sampling_memory(&self.config, answers, self.context),
        };
        MemoryLedger { beside: self.beside, sampling, ..memory }
    }
}

impl Needs {
    /// How many parts a step can have: one for each row, but in the class `bf16`, where what is
    /// computed at once decides on bits.
    pub fn parts(&self) -> usize {
        if self.in_backward {
            return 1;
        }
        let at_once = match self.numerics {
            Numerics::ExactF32 => 1,
            Numerics::Bf16 => self.micro_batch.max(1),
        };
        usize::try_from(self.rows.div_ceil(at_once)).unwrap_or(usize::MAX)
    }

    /// What is held from the first step to the last, however long texts are. What does not learn
    /// may stay in its files.
    pub fn held(&self) -> u64 {
        let MemoryLedger { weights, adapter, gradients, optimizer, .. } = self.memory();
        let learns = match self.learnt {
            Learnt::All => weights,
            Learnt::Adapter { .. } => adapter,
        };
        learns.saturating_add(gradients).saturating_add(optimizer)
    }

    /// With the gradients that are kept.
    fn released(&self, memory: MemoryLedger) -> MemoryLedger {
        match self.in_backward {
            true => MemoryLedger { gradients: gradients_of_a_block(&self.config), ..memory },
            false => memory,
        }
    }

    /// What the ledger says of the same on a GPU, or what is not done there.
    pub fn device_memory(&self) -> Result<MemoryLedger, &'static str> {
        let tokens = self.texts.saturating_mul(self.context);
        let rows = [self.micro_batch, tokens];
        if self.numerics == Numerics::Bf16 {
            device_weights(&self.config, Width::F32)?;
            return Ok(self.memory());
        }
        let learns = device_memory(&self.config, &self.learnt, rows, self.keep, self.kept)?;
        let learns = self.released(learns);
        let base = match self.learnt {
            Learnt::All => Width::F32,
            Learnt::Adapter { base, .. } => base,
        };
        // What learns and what is asked are copies of their own.
        let copy = device_weights(&self.config, base)?;
        let asked = device_sampling_memory(&self.config, tokens) + copy;
        let [beside, sampling] = match self.asks {
            Asks::Nothing => [0, 0],
            // Before the first step nothing is there that learns.
            Asks::Scores => [0, asked.saturating_sub(learns.total())],
            Asks::Answers(_) => [self.beside_there?, asked],
        };
        Ok(MemoryLedger { beside, sampling, ..learns })
    }
}

/// The kind that learns an adapter where this one learns all weights.
fn adapted(kind: &str) -> Option<&'static str> {
    let adapted = match kind {
        "dpo" => "lora_dpo",
        "reward_model" => "lora_reward",
        "sft" => "lora",
        _ => return None,
    };
    find(adapted).map(|kind| kind.name)
}

/// With the head that a kind trains.
fn headed(kind: &str, config: ModelConfig) -> ModelConfig {
    match kind {
        "lora_reward" | "reward_model" => config.scoring(),
        "ppo" => ModelConfig { head: Head::LanguageAndValue, ..config },
        _ => config,
    }
}

/// All weights, or an adapter over the base.
fn learnt(shapes: &Shapes<'_>, stage: &Stage) -> Option<Learnt> {
    let Some(rank) = stage.params.get("rank") else { return Some(Learnt::All) };
    let flag = |name: &str| stage.params.get(name) == Some(&Value::Bool(true));
    let settings = LoraSettings {
        rank: usize::try_from(whole(rank)?).ok()?,
        // No cost depends on how much it counts.
        alpha: 1.0,
        rslora: false,
        dropout: match stage.params.get("dropout") {
            Some(Value::Quantity(share)) => share.as_f64() / 100.0,
            _ => 0.0,
        },
        targets: targets_in(stage.params.get("targets")?).ok()?,
        dora: flag("dora"),
    };
    let base = width(shapes, stage.params.get("base").or(stage.params.get("init"))?);
    Some(Learnt::Adapter { settings, base })
}

/// How the weights of a result are kept. A model that was made elsewhere may be narrower than the
/// recipe can know: that is f32 here, the most it can be.
pub(super) fn width(shapes: &Shapes<'_>, made: &Value) -> Width {
    let Value::Artifact(artifact) = made else { return Width::F32 };
    let stage = shapes.stage(artifact);
    let encoding = |name: &str| named(stage, name).unwrap_or(Encoding::F32);
    match (stage.kind.as_str(), named(stage, "to")) {
        ("merge", _) => Width { encoding: encoding("dtype"), nf4: None },
        ("quantize", Some(encoding)) => Width { encoding, nf4: None },
        ("quantize", None) => {
            Width { encoding: encoding("dtype"), nf4: Some(is_double(shapes, stage)) }
        }
        _ => Width::F32,
    }
}

/// An encoding that a parameter names; NF4 is none.
fn named(stage: &Stage, parameter: &str) -> Option<Encoding> {
    match stage.params.get(parameter) {
        Some(Value::Text(name)) => Encoding::named(name),
        _ => None,
    }
}

/// Whether scales are in 8 bits. Blocks stay as they were first made.
fn is_double(shapes: &Shapes<'_>, stage: &Stage) -> bool {
    let mut stage = stage;
    while let Some(Value::Artifact(model)) = stage.params.get("model") {
        let before = shapes.stage(model);
        if before.kind != "quantize" || named(before, "to").is_some() {
            break;
        }
        stage = before;
    }
    stage.params.get("double_quant") == Some(&Value::Bool(true))
}

/// Whether weights move as soon as their gradients are there.
pub(super) fn moves_in_backward(stage: &Stage) -> bool {
    stage.params.get("optimizer_in_backward") == Some(&Value::Bool(true))
}

/// What the forward pass keeps.
fn keep(params: &BTreeMap<String, Value>) -> Keep {
    match params.get("gradient_checkpointing") {
        Some(Value::Bool(true)) => Keep::Residuals,
        _ => Keep::Activations,
    }
}

/// How an optimizer keeps its moments.
fn kept(optimizer: &Value) -> Option<Kept> {
    let Value::Record { name: Some(name), fields } = optimizer else { return None };
    let bits = if name == "adamw8" { Bits::Eight } else { Bits::Full };
    Some(Kept { bits, budget: fields.get("page_budget").and_then(whole) })
}

/// Bytes of the models that a policy learns beside: itself as it began, one or two judges and,
/// where held-out prompts decide, the best policy so far.
fn beside(shapes: &Shapes<'_>, stage: &Stage, policy: &ModelConfig) -> Option<u64> {
    if !matches!(stage.kind.as_str(), "grpo" | "ppo") {
        return Some(0);
    }
    let width = width(shapes, stage.params.get("policy")?);
    let reference: u64 = weight_bytes(policy, width).iter().sum();
    let held_out = stage.params.get("held_out").is_some_and(|held_out| *held_out != Value::None);
    let best = if held_out { 4 * parameters(&headed("ppo", policy.clone())) } else { 0 };
    Some(reference + best + judges(shapes, stage.params.get("judge")?)?)
}

/// The same on a GPU, where the best is not kept.
fn beside_there(
    shapes: &Shapes<'_>,
    stage: &Stage,
    policy: &ModelConfig,
) -> Result<u64, &'static str> {
    let [Some(begun), Some(judge)] = ["policy", "judge"].map(|name| stage.params.get(name)) else {
        return Ok(0);
    };
    let reference = device_weights(policy, width(shapes, begun))?;
    Ok(reference + asking::weights(shapes, judge)?)
}

/// Bytes of a judge: a reward model, or both of a gate. One that is an adapter brings its base.
fn judges(shapes: &Shapes<'_>, judge: &Value) -> Option<u64> {
    let made = adapter_in(judge).map_or(judge, |[adapter, _]| adapter);
    let Value::Artifact(artifact) = made else { return None };
    let stage = shapes.stage(artifact);
    if stage.kind == "safety_gate" {
        let both = ["helpful", "safe"].map(|name| judges(shapes, stage.params.get(name)?));
        return both.into_iter().sum();
    }
    let memory = Needs::of(shapes, stage)?.memory();
    Some(memory.weights + memory.blocks + memory.adapter)
}
