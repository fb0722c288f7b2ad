//! The dispatch: which stage kinds there are, how each is decoded from plain values, and which
//! function does its work. Knows no digests and no schedules.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use anyhow::{Result, bail};

use super::decode::{adapters, align, data, eval as examination, hub as repositories};
use super::decode::{model, sampling, training};
use super::inputs::Fields;
use super::local::find;
use crate::build::action::Action;
use crate::build::executor::{Job, Keyed};
use crate::eval;
use crate::eval::compare::{self, Compare};
use crate::eval::expect::{self, Expect};
use crate::lang::value::Value;
use crate::train::progress::{Context, Failure, Metrics};
use crate::train::stage::command::{self, Command};
use crate::train::stage::fetch::{self, Fetch};
use crate::train::stage::hub::{self, HubModel, HubTokenizer, Rows};
use crate::train::stage::merge::{self, Merge, ReadAdapter};
use crate::train::stage::read_benchmark::{self, ReadBenchmark};
use crate::train::stage::read_chat::{self, ReadChat};
use crate::train::stage::read_model::{self, ReadModel};
use crate::train::stage::read_preferences::{self, ReadPreferences};
use crate::train::stage::read_prompts::{self, ReadPrompts};
use crate::train::stage::read_text::{self, ReadText};
use crate::train::stage::read_tokenizer::{self, ReadTokenizer};
use crate::train::stage::smallworld::{self, Smallworld};
use crate::train::stage::split::{self, Split};
use crate::train::stage::train_tokenizer::{self, TrainTokenizer};
use crate::train::stage::{Combine, ContextDistill, GhostAttention, PromptsOf, RejectionSampling};
use crate::train::stage::{Dpo, Grpo, Ppo, RewardModel, SafetyGate};
use crate::train::stage::{Export, Generate, Lora, Pretrain, Quantize, Sft};
use crate::train::stage::{
    combine, context_distill, ghost_attention, prompts_of, rejection_sampling,
};
use crate::train::stage::{dpo, grpo, ppo, reward_model, safety_gate};
use crate::train::stage::{export, generate, lora, pretrain, quantize, sft};

/// A stage kind: its name in the library, and its semantic version, which is bumped whenever the
/// bits of its results change.
pub struct Kind {
    pub name: &'static str,
    pub version: u32,
    /// What decides on those bits.
    pub keyed: Keyed,
}

const fn kind(name: &'static str, version: u32) -> Kind {
    const KEYED: Keyed = Keyed { outside: &[], input_names: false, of_machine: false };
    Kind { name, version, keyed: KEYED }
}

/// A kind that trains: how many rows are computed at once, what is computed twice, and what was
/// promised of memory, does not change a bit.
const fn trains(name: &'static str, version: u32) -> Kind {
    const OUTSIDE: &[&str] =
        &["fits", "gradient_checkpointing", "micro_batch", "optimizer_in_backward"];
    const KEYED: Keyed = Keyed { outside: OUTSIDE, input_names: false, of_machine: false };
    Kind { name, version, keyed: KEYED }
}

/// What decides on the bits of an action. In the class `bf16` sums over tokens go over all rows
/// that are computed at once, in the order that suits the kind of GPU.
pub fn keyed(action: &Action) -> Keyed {
    let keyed = find(&action.kind).map(|kind| kind.keyed).unwrap_or_default();
    match is_in_halves(&action.params) {
        true => {
            let outside = &["fits", "gradient_checkpointing", "optimizer_in_backward"];
            Keyed { outside, of_machine: true, ..keyed }
        }
        false => keyed,
    }
}

/// Whether a stage computes in the class `bf16`.
pub fn is_in_halves(params: &BTreeMap<String, Value>) -> bool {
    params.get("numerics") == Some(&Value::Text("bf16".into()))
}

/// A kind whose result calls models and reports by their names.
const fn judges(name: &'static str, version: u32) -> Kind {
    const KEYED: Keyed = Keyed { outside: &[], input_names: true, of_machine: false };
    Kind { name, version, keyed: KEYED }
}

/// Every stage kind that can be run here.
pub const KINDS: &[Kind] = &[
    kind("combine", 1),
    kind("command", 1),
    judges("compare", 1),
    judges("contamination", 1),
    kind("context_distill", 1),
    trains("dpo", 1),
    judges("eval", 4),
    judges("expect", 1),
    kind("export", 2),
    kind("fetch", 1),
    kind("generate", 2),
    kind("ghost_attention", 1),
    trains("grpo", 1),
    kind("hub_base_model", 1),
    kind("hub_benchmark", 1),
    kind("hub_chat", 1),
    kind("hub_chat_model", 1),
    kind("hub_preferences", 1),
    kind("hub_prompts", 1),
    kind("hub_text", 1),
    kind("hub_tokenizer", 1),
    trains("lora", 1),
    trains("lora_dpo", 1),
    trains("lora_reward", 1),
    kind("merge", 1),
    trains("ppo", 1),
    trains("pretrain", 1),
    kind("prompts_of", 1),
    kind("quantize", 1),
    kind("read_adapter", 1),
    kind("read_base_model", 1),
    kind("read_benchmark", 1),
    kind("read_chat", 1),
    kind("read_chat_model", 1),
    kind("read_preferences", 1),
    kind("read_prompts", 1),
    kind("read_text", 1),
    kind("read_tokenizer", 1),
    kind("rejection_sampling", 1),
    trains("reward_model", 1),
    kind("safety_gate", 1),
    trains("sft", 1),
    kind("smallworld.generate", 3),
    kind("split", 1),
    kind("train_tokenizer", 1),
];

/// The parameters of one action, decoded.
#[derive(Debug)]
pub enum Work {
    Combine(Combine),
    Command(Command),
    Compare(Compare),
    Contamination(eval::overlap::run::Params),
    ContextDistill(ContextDistill),
    Dpo(Dpo),
    Eval(eval::run::Params),
    Expect(Expect),
    Export(Export),
    Fetch(Fetch),
    Generate(Generate),
    GhostAttention(GhostAttention),
    Grpo(Grpo),
    HubBenchmark(Rows<ReadBenchmark>),
    HubChat(Rows<ReadChat>),
    HubModel(HubModel),
    HubPreferences(Rows<ReadPreferences>),
    HubPrompts(Rows<ReadPrompts>),
    HubText(Rows<ReadText>),
    HubTokenizer(HubTokenizer),
    Lora(Lora<Sft>),
    LoraDpo(Lora<Dpo>),
    LoraReward(Lora<RewardModel>),
    Merge(Merge),
    Ppo(Ppo),
    Pretrain(Pretrain),
    PromptsOf(PromptsOf),
    Quantize(Quantize),
    ReadAdapter(ReadAdapter),
    ReadBenchmark(ReadBenchmark),
    ReadChat(ReadChat),
    ReadModel(ReadModel),
    ReadPreferences(ReadPreferences),
    ReadPrompts(ReadPrompts),
    ReadText(ReadText),
    ReadTokenizer(ReadTokenizer),
    RejectionSampling(RejectionSampling),
    RewardModel(RewardModel),
    SafetyGate(SafetyGate),
    Sft(Sft),
    Smallworld(Smallworld),
    Split(Split),
    TrainTokenizer(TrainTokenizer),
}

impl Work {
    /// Reads every parameter of the job's action, once, and refuses leftovers.
    pub fn decode(job: &Job<'_>) -> Result<Work> {
        let fields = Fields::of(job);
        let work = match job.action.kind.as_str() {
            "combine" => Work::Combine(adapters::combine_of(&fields)?),
            "command" => Work::Command(data::command_of(&fields)?),
            "compare" => Work::Compare(examination::compare_of(&fields)?),
            "contamination" => Work::Contamination(examination::contamination_of(&fields)?),
            "context_distill" => Work::ContextDistill(sampling::context_distill_of(&fields)?),
            "dpo" => Work::Dpo(align::dpo_of(&fields)?),
            "eval" => Work::Eval(examination::eval_of(&fields)?),
            "expect" => Work::Expect(examination::expect_of(&fields)?),
            "export" => Work::Export(model::export_of(&fields)?),
            "fetch" => Work::Fetch(data::fetch_of(&fields)?),
            "generate" => Work::Generate(model::generate_of(&fields)?),
            "ghost_attention" => Work::GhostAttention(sampling::ghost_attention_of(&fields)?),
            "grpo" => Work::Grpo(align::grpo_of(&fields)?),
            "hub_base_model" => Work::HubModel(repositories::hub_model_of(&fields, false)?),
            "hub_benchmark" => {
                Work::HubBenchmark(repositories::rows_of(&fields, data::benchmark_of)?)
            }
            "hub_chat" => Work::HubChat(repositories::rows_of(&fields, data::chat_of)?),
            "hub_chat_model" => Work::HubModel(repositories::hub_model_of(&fields, true)?),
            "hub_preferences" => {
                Work::HubPreferences(repositories::rows_of(&fields, data::preferences_of)?)
            }
            "hub_prompts" => Work::HubPrompts(repositories::rows_of(&fields, data::prompts_of)?),
            "hub_text" => Work::HubText(repositories::rows_of(&fields, data::text_of)?),
            "hub_tokenizer" => Work::HubTokenizer(repositories::hub_tokenizer_of(&fields)?),
            "lora" => Work::Lora(adapters::lora_of(&fields)?),
            "lora_dpo" => Work::LoraDpo(adapters::lora_dpo_of(&fields)?),
            "lora_reward" => Work::LoraReward(adapters::lora_reward_of(&fields)?),
            "merge" => Work::Merge(adapters::merge_of(&fields)?),
            "ppo" => Work::Ppo(align::ppo_of(&fields)?),
            "pretrain" => Work::Pretrain(training::pretrain_of(&fields)?),
            "prompts_of" => Work::PromptsOf(sampling::prompts_of(&fields)?),
            "quantize" => Work::Quantize(model::quantize_of(&fields)?),
            "read_adapter" => Work::ReadAdapter(adapters::read_adapter_of(&fields)?),
            "read_benchmark" => Work::ReadBenchmark(data::read_benchmark_of(&fields)?),
            "read_base_model" => Work::ReadModel(model::read_model_of(&fields, false)?),
            "read_chat" => Work::ReadChat(data::read_chat_of(&fields)?),
            "read_chat_model" => Work::ReadModel(model::read_model_of(&fields, true)?),
            "read_preferences" => Work::ReadPreferences(data::read_preferences_of(&fields)?),
            "read_prompts" => Work::ReadPrompts(data::read_prompts_of(&fields)?),
            "read_text" => Work::ReadText(data::read_text_of(&fields)?),
            "read_tokenizer" => Work::ReadTokenizer(model::read_tokenizer_of(&fields)?),
            "rejection_sampling" => {
                Work::RejectionSampling(sampling::rejection_sampling_of(&fields)?)
            }
            "reward_model" => Work::RewardModel(align::reward_model_of(&fields)?),
            "safety_gate" => Work::SafetyGate(align::safety_gate_of(&fields)?),
            "sft" => Work::Sft(training::sft_of(&fields)?),
            "smallworld.generate" => Work::Smallworld(data::smallworld_of(&fields)?),
            "split" => Work::Split(data::split_of(&fields)?),
            "train_tokenizer" => Work::TrainTokenizer(training::train_tokenizer_of(&fields)?),
            other => bail!("there is no stage kind `{other}`"),
        };
        fields.finish()?;
        Ok(work)
    }

    /// Does the work. `search_path` is the `PATH` that external programs see.
    pub fn run(&self, search_path: &OsStr, context: &mut Context<'_>) -> Result<Metrics, Failure> {
        match self {
            Work::Combine(params) => combine::run(params, context),
            Work::Command(params) => command::run(params, search_path, context),
            Work::Compare(params) => compare::run(params, context),
            Work::Contamination(params) => eval::overlap::run::run(params, context),
            Work::ContextDistill(params) => context_distill::run(params, context),
            Work::Dpo(params) => dpo::run(params, context),
            Work::Eval(params) => eval::run::run(params, context),
            Work::Expect(params) => expect::run(params, context),
            Work::Export(params) => export::run(params, context),
            Work::Fetch(params) => fetch::run(params, context),
            Work::Generate(params) => generate::run(params, context),
            Work::GhostAttention(params) => ghost_attention::run(params, context),
            Work::Grpo(params) => grpo::run(params, context),
            Work::HubBenchmark(params) => hub::benchmark(params, context),
            Work::HubChat(params) => hub::chat(params, context),
            Work::HubModel(params) => hub::model(params, context),
            Work::HubPreferences(params) => hub::preferences(params, context),
            Work::HubPrompts(params) => hub::prompts(params, context),
            Work::HubText(params) => hub::text(params, context),
            Work::HubTokenizer(params) => hub::tokenizer(params, context),
            Work::Lora(params) => lora::run(params, context),
            Work::LoraDpo(params) => lora::run_dpo(params, context),
            Work::LoraReward(params) => lora::run_reward(params, context),
            Work::Merge(params) => merge::run(params, context),
            Work::Ppo(params) => ppo::run(params, context),
            Work::Pretrain(params) => pretrain::run(params, context),
            Work::PromptsOf(params) => prompts_of::run(params, context),
            Work::Quantize(params) => quantize::run(params, context),
            Work::ReadAdapter(params) => merge::read(params, context),
            Work::ReadBenchmark(params) => read_benchmark::run(params, context),
            Work::ReadChat(params) => read_chat::run(params, context),
            Work::ReadModel(params) => read_model::run(params, context),
            Work::ReadPreferences(params) => read_preferences::run(params, context),
            Work::ReadPrompts(params) => read_prompts::run(params, context),
            Work::ReadText(params) => read_text::run(params, context),
            Work::ReadTokenizer(params) => read_tokenizer::run(params, context),
            Work::RejectionSampling(params) => rejection_sampling::run(params, context),
            Work::RewardModel(params) => reward_model::run(params, context),
            Work::SafetyGate(params) => safety_gate::run(params, context),
            Work::Sft(params) => sft::run(params, context),
            Work::Smallworld(params) => smallworld::run(params, context),
            Work::Split(params) => split::run(params, context),
            Work::TrainTokenizer(params) => train_tokenizer::run(params, context),
        }
    }
}
