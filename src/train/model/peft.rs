//! An adapter's folder as PEFT lays it out:
//!
//! ```text
//! adapter_config.json          rank, alpha, dropout, targets, rsLoRA, DoRA
//! adapter_model.safetensors    A and B of each adapted projection, and magnitudes, f32; of a
//!                              reward model also its head, whole
//! ```
//!
//! What else a configuration can ask for (ranks by layer, biases, whole modules) is refused by
//! name: an adapter that is read in part would be another adapter. Knows files; does not know
//! which base an adapter was trained on.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::config::{Head, ModelConfig};
use super::lora::{Adapter, LoraSettings};
use super::parameters::{Role, TensorSpec};
use super::projection::Which;
use super::tensor::Stored;
use super::weights;
use crate::train::progress::Failure;

/// The settings.
pub const CONFIG: &str = "adapter_config.json";
/// The numbers.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT calls a head that scores, and what else it looks for to keep whole beside an adapter.
const HEADS: [&str; 2] = ["score", "classifier"];
/// The head of a reward model among the numbers.
const HEAD: &str = "base_model.model.score.weight";

/// How A and B may have begun. Under any other name the base changed with them, and the adapter is
/// one of that base, which its folder does not hold.
const BEGINNINGS: [&str; 4] = ["eva", "gaussian", "mica", "orthogonal"];

/// Settings that change nothing here, whatever they say.
const WITHOUT_EFFECT: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "lora_ga_config",
    "loftq_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

#[derive(Deserialize)]
struct Config {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    lora_dropout: f64,
    target_modules: Value,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    modules_to_save: Value,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Reads the settings alone.
pub fn read_settings(folder: &Path) -> Result<LoraSettings, Failure> {
    Ok(read_kind(folder)?.1)
}

/// Whether an adapter makes a reward model of its base, which then has a head of its own.
pub fn scores(folder: &Path) -> Result<bool, Failure> {
    Ok(read_kind(folder)?.0 == Head::Score)
}

fn read_kind(folder: &Path) -> Result<(Head, LoraSettings), Failure> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::io(&path)(error).remedy("name the folder that PEFT's `save_pretrained` wrote")
    })?;
    let fail = |fact: String| Failure::input(format!("`{}`: {fact}", path.display()));
    let config: Config =
        serde_json::from_str(&text).map_err(|error| fail(format!("it is no adapter: {error}")))?;
    let head = head_of(&config.modules_to_save).map_err(&fail)?;
    Ok((head, settings_of(&config).map_err(fail)?))
}

/// The head that the whole modules of a configuration are.
fn head_of(modules: &Value) -> Result<Head, String> {
    let names: Option<Vec<&str>> =
        modules.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    match names {
        _ if is_off(modules) => Ok(Head::Language),
        Some(names)
            if names.contains(&HEADS[0]) && names.iter().all(|name| HEADS.contains(name)) =>
        {
            Ok(Head::Score)
        }
        _ => Err(format!("`modules_to_save` is {modules}, which is not supported")),
    }
}

fn settings_of(config: &Config) -> Result<LoraSettings, String> {
    let Config { r, lora_alpha, lora_dropout, use_rslora, use_dora, .. } = *config;
    if config.rest.get("peft_type").is_some_and(|kind| *kind != "LORA") {
        return Err(format!("`peft_type` is {}, and only LORA is read", config.rest["peft_type"]));
    }
    let asks = |(name, value): &(&String, &Value)| {
        !WITHOUT_EFFECT.contains(&name.as_str()) && !is_off(value)
    };
    if let Some((name, value)) = config.rest.iter().find(asks) {
        return Err(format!("`{name}` is {value}, which is not supported"));
    }
    if let Some(begun) = config.rest.get("init_lora_weights").filter(|begun| !is_plain(begun)) {
        return Err(format!(
            "`init_lora_weights` is {begun}, which changed the base as well; let PEFT convert it \
             with `save_pretrained(path_initial_model_for_weight_conversion=...)`"
        ));
    }
    if r == 0 || !(lora_alpha > 0.0 && lora_alpha.is_finite()) {
        return Err(format!("rank {r} with alpha {lora_alpha} is no adapter"));
    }
    if !(0.0..1.0).contains(&lora_dropout) {
        return Err(format!("`lora_dropout` is {lora_dropout}, outside 0..1"));
    }
    Ok(LoraSettings {
        rank: r,
        alpha: lora_alpha,
        dropout: lora_dropout,
        targets: targets_of(&config.target_modules)?,
        rslora: use_rslora,
        dora: use_dora,
    })
}

/// Whether an adapter began beside a base that stayed as it was.
fn is_plain(begun: &Value) -> bool {
    match begun {
        Value::Null | Value::Bool(_) => true,
        Value::String(name) => BEGINNINGS.contains(&name.to_lowercase().as_str()),
        _ => false,
    }
}

/// Whether a setting asks for nothing.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == "none" || text == "megatron.core",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn targets_of(value: &Value) -> Result<Vec<Which>, String> {
    if *value == "all-linear" {
        return Ok(Which::ALL.to_vec());
    }
    let names: Option<Vec<&str>> =
        value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
    let names = names.ok_or("`target_modules` is no list of names")?;
    let target = |name: &&str| {
        let end = |which: &Which| {
            which.module() == *name || which.module().rsplit('.').next() == Some(name)
        };
        let found = Which::ALL.into_iter().find(end);
        found.ok_or_else(|| format!("`target_modules` names `{name}`, which no block has"))
    };
    let mut targets = names.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    targets.sort();
    targets.dedup();
    match targets.is_empty() {
        true => Err("`target_modules` is empty".into()),
        false => Ok(targets),
    }
}

/// Reads an adapter of a language model of this shape; it is still to be settled.
pub fn read(folder: &Path, config: &ModelConfig) -> Result<Adapter, Failure> {
    Ok(read_under(Head::Language, folder, config)?.0)
}

/// Reads an adapter that makes a reward model of a decoder of this shape, still to be settled, and
/// the head.
pub fn read_scorer(folder: &Path, config: &ModelConfig) -> Result<(Adapter, Vec<f32>), Failure> {
    read_under(Head::Score, folder, config)
}

fn read_under(
    head: Head,
    folder: &Path,
    config: &ModelConfig,
) -> Result<(Adapter, Vec<f32>), Failure> {
    let (found, settings) = read_kind(folder)?;
    if found != head {
        let place = folder.display();
        return Err(Failure::input(match head {
            Head::Score => {
                format!("`{place}` is an adapter of a language model, which scores nothing")
            }
            _ => format!("`{place}` makes a reward model, which scores texts and writes none"),
        }));
    }
    let mut table = Adapter::table_of(config, &settings);
    let of_adapter = table.len();
    table.extend((head == Head::Score).then(|| head_spec(config)));
    let tensors = weights::open_table(&folder.join(WEIGHTS), &table)?;
    let mut tensors: Vec<Vec<f32>> = tensors.into_iter().map(Stored::into_floats).collect();
    let score_d = tensors.split_off(of_adapter).pop().unwrap_or_default();
    Ok((Adapter::from_tensors(config, &settings, tensors), score_d))
}

fn head_spec(config: &ModelConfig) -> TensorSpec {
    TensorSpec::new(HEAD, &[1, config.dim], Role::Head)
}

/// Writes an adapter. Which base it belongs to is not said: paths differ between machines.
pub fn write(folder: &Path, config: &ModelConfig, adapter: &Adapter) -> Result<(), Failure> {
    write_under(folder, config, adapter, None)
}

/// The same of a reward model, with its head.
pub fn write_scorer(
    folder: &Path,
    config: &ModelConfig,
    adapter: &Adapter,
    score_d: &[f32],
) -> Result<(), Failure> {
    write_under(folder, config, adapter, Some(score_d))
}

fn write_under(
    folder: &Path,
    config: &ModelConfig,
    adapter: &Adapter,
    score_d: Option<&[f32]>,
) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    let path = folder.join(CONFIG);
    let mut settings = to_json(&adapter.settings);
    let (mut table, mut tensors) = (adapter.table(config), adapter.tensors());
    if let Some(score_d) = score_d {
        settings["task_type"] = json!("SEQ_CLS");
        settings["modules_to_save"] = json!([HEADS[0]]);
        table.push(head_spec(config));
        tensors.push(score_d);
    }
    std::fs::write(&path, format!("{settings:#}\n")).map_err(Failure::io(&path))?;
    weights::save_table(&folder.join(WEIGHTS), &table, &tensors)
}

fn to_json(settings: &LoraSettings) -> Value {
    let LoraSettings { rank, alpha, dropout, targets, rslora, dora } = settings;
    let name = |which: &Which| which.module().rsplit('.').next().expect("it has a last part");
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": null,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": targets.iter().map(name).collect::<Vec<_>>(),
        "use_rslora": rslora,
        "use_dora": dora,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "rank_pattern": {},
        "alpha_pattern": {},
        "modules_to_save": null,
    })
}
