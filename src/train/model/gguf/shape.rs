//! The shape of a decoder as the facts of a GGUF file, and back. A fact about the arithmetic that
//! is not computed here is refused. Knows `llama.*`; does not know the tokenizer.

use super::facts::{Fact, Value};
use super::file::Gguf;
use super::layout::ROPE_FREQUENCIES;
use crate::train::kernels::rope::{RopeScaling, inverse_frequencies};
use crate::train::model::{Head, ModelConfig};
use crate::train::progress::Failure;

/// Facts about the arithmetic that are read.
const KNOWN: [&str; 18] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "expert_used_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "tensor_data_layout",
    "vocab_size",
];

/// The settings of stretched positions, for which llama.cpp has only the divisors they give.
const SCALING: [&str; 4] = [
    "llamake.rope.factor",
    "llamake.rope.low_freq_factor",
    "llamake.rope.high_freq_factor",
    "llamake.rope.original_context",
];

/// What Llama 3's files leave unsaid.
const LLAMA3_LOW_FREQ_FACTOR: f64 = 1.0;
const LLAMA3_HIGH_FREQ_FACTOR: f64 = 4.0;
const LLAMA3_ORIGINAL_CONTEXT: usize = 8192;

/// How far a divisor may lie from what settings give, as a share of it.
const NEAR: f32 = 1e-4;

/// The shape that a file states.
pub fn config_of(file: &Gguf<'_>) -> Result<ModelConfig, Failure> {
    let architecture = file.needed("general.architecture", Value::as_text)?;
    if architecture != "llama" {
        let fact = format!("its architecture is `{architecture}`; only `llama` is supported");
        return Err(file.fault(fact));
    }
    refuse_unknown_arithmetic(file)?;
    let heads = size(file, "attention.head_count")?;
    let config = ModelConfig {
        dim: size(file, "embedding_length")?,
        layers: size(file, "block_count")?,
        heads,
        kv_heads: match file.facts.contains_key("llama.attention.head_count_kv") {
            true => size(file, "attention.head_count_kv")?,
            false => heads,
        },
        ffn: size(file, "feed_forward_length")?,
        vocab: vocabulary(file)?,
        context: size(file, "context_length")?,
        norm_eps: file.needed("llama.attention.layer_norm_rms_epsilon", Value::as_number)?,
        rope: file.fact("llama.rope.freq_base", Value::as_number)?.unwrap_or(10_000.0),
        rope_scaling: None,
        tied: !file.tensors.contains_key("output.weight"),
        head: Head::Language,
    };
    config.validate().map_err(|fact| file.fault(fact))?;
    refuse_other_heads(file, &config)?;
    let rope_scaling = scaling_of(file, &config)?;
    let config = ModelConfig { rope_scaling, ..config };
    config.validate().map_err(|fact| file.fault(fact))?;
    Ok(config)
}

/// The facts of a shape, in the order in which llama.cpp's own converter writes them.
pub fn facts_of(config: &ModelConfig) -> Vec<(String, Fact)> {
    let count = |number: usize| Fact::U32(u32::try_from(number).expect("checked sizes"));
    let llama = |key: &str, fact: Fact| (format!("llama.{key}"), fact);
    let mut facts = vec![
        llama("context_length", count(config.context)),
        llama("embedding_length", count(config.dim)),
        llama("block_count", count(config.layers)),
        llama("feed_forward_length", count(config.ffn)),
        llama("attention.head_count", count(config.heads)),
        llama("attention.head_count_kv", count(config.kv_heads)),
        llama("rope.dimension_count", count(config.head_dim())),
        llama("rope.freq_base", Fact::F32(config.rope as f32)),
        llama("attention.layer_norm_rms_epsilon", Fact::F32(config.norm_eps as f32)),
        llama("vocab_size", count(config.vocab)),
    ];
    if let Some(scaling) = config.rope_scaling {
        let settings = [
            Fact::F64(scaling.factor),
            Fact::F64(scaling.low_freq_factor),
            Fact::F64(scaling.high_freq_factor),
            count(scaling.original_context),
        ];
        facts.extend(SCALING.iter().map(|key| key.to_string()).zip(settings));
    }
    facts
}

/// What each rotary frequency is divided by where positions are stretched.
pub fn divisors(config: &ModelConfig) -> Option<Vec<f32>> {
    let scaled = inverse_frequencies(config.head_dim(), config.rope, config.rope_scaling);
    let plain = inverse_frequencies(config.head_dim(), config.rope, None);
    let divisor = |(plain, scaled): (f32, f32)| (f64::from(plain) / f64::from(scaled)) as f32;
    config.rope_scaling.map(|_| plain.into_iter().zip(scaled).map(divisor).collect())
}

fn size(file: &Gguf<'_>, key: &str) -> Result<usize, Failure> {
    let key = format!("llama.{key}");
    if let Some(Value::Array(_)) = file.facts.get(key.as_str()) {
        return Err(file.fault(format!("`{key}` differs by block, which is not supported")));
    }
    let size = file.needed(&key, Value::as_count)?;
    u32::try_from(size)
        .map(|size| size as usize)
        .map_err(|_| file.fault(format!("`{key}` is {size}, too large for a model")))
}

/// The embedding has a row for each entry, whatever else is said.
fn vocabulary(file: &Gguf<'_>) -> Result<usize, Failure> {
    let embedding = file.tensors.get("token_embd.weight");
    let embedding = embedding.ok_or_else(|| file.fault("tensor `token_embd.weight` is missing"))?;
    let rows = embedding.shape[0];
    match file.fact("llama.vocab_size", Value::as_count)? {
        Some(stated) if stated != rows as u64 => Err(file.fault(format!(
            "`llama.vocab_size` is {stated} and `token_embd.weight` has {rows} rows"
        ))),
        _ => Ok(rows),
    }
}

fn refuse_unknown_arithmetic(file: &Gguf<'_>) -> Result<(), Failure> {
    let arithmetic = file.facts.keys().filter_map(|key| key.strip_prefix("llama."));
    for key in arithmetic {
        if !KNOWN.contains(&key) {
            return Err(file.fault(format!("`llama.{key}` is not supported")));
        }
    }
    for key in ["llama.expert_count", "llama.expert_used_count"] {
        if file.fact(key, Value::as_count)?.is_some_and(|experts| experts > 0) {
            return Err(file.fault(format!("`{key}` is not 0; mixtures are not supported")));
        }
    }
    let stretched = file.fact("llama.rope.scaling.type", Value::as_text)?;
    if let Some(kind) = stretched.filter(|kind| *kind != "none") {
        return Err(file.fault(format!("rotary scaling `{kind}` is not supported")));
    }
    match file.fact("llama.rope.scale_linear", Value::as_number)? {
        Some(scale) if scale != 1.0 => Err(file.fault("rotary scaling `linear` is not supported")),
        _ => Ok(()),
    }
}

/// Every head has the width that the sizes give, and all of it turns.
fn refuse_other_heads(file: &Gguf<'_>, config: &ModelConfig) -> Result<(), Failure> {
    let width = config.head_dim();
    for key in ["rope.dimension_count", "attention.key_length", "attention.value_length"] {
        let key = format!("llama.{key}");
        match file.fact(&key, Value::as_count)? {
            Some(found) if found != width as u64 => {
                return Err(file.fault(format!("`{key}` is {found} and a head is {width} wide")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The settings that give the divisors in the file.
fn scaling_of(file: &Gguf<'_>, config: &ModelConfig) -> Result<Option<RopeScaling>, Failure> {
    let Some(tensor) = file.tensors.get(ROPE_FREQUENCIES) else {
        return match SCALING.iter().find(|key| file.facts.contains_key(**key)) {
            Some(key) => {
                Err(file.fault(format!("`{key}` is stated and `{ROPE_FREQUENCIES}` is missing")))
            }
            None => Ok(None),
        };
    };
    if tensor.shape != [config.head_dim() / 2] {
        let (found, expected) = (&tensor.shape, config.head_dim() / 2);
        return Err(file.fault(format!(
            "tensor `{ROPE_FREQUENCIES}` has shape {found:?}, expected [{expected}]"
        )));
    }
    let found = tensor.numbers();
    // Settings that stretch nothing at these frequencies are settings all the same.
    let is_stated = SCALING.iter().any(|key| file.facts.contains_key(*key));
    if !is_stated && found.iter().all(|divisor| *divisor == 1.0) {
        return Ok(None);
    }
    let scaling = stated_scaling(file, &found)?;
    let stretched = ModelConfig { rope_scaling: Some(scaling), ..config.clone() };
    stretched.validate().map_err(|fact| file.fault(fact))?;
    let expected = divisors(&stretched).expect("positions are stretched");
    let near = |(found, expected): (&f32, &f32)| (found - expected).abs() <= NEAR * expected;
    match found.iter().zip(&expected).all(near) {
        true => Ok(Some(scaling)),
        false => Err(file.fault(format!(
            "`{ROPE_FREQUENCIES}` stretches positions in another way than Llama 3's, which is not \
             supported"
        ))),
    }
}

/// Stated by a file of our own; else Llama 3's, with the largest divisor for the factor.
fn stated_scaling(file: &Gguf<'_>, divisors: &[f32]) -> Result<RopeScaling, Failure> {
    let [factor, low, high, original] = SCALING;
    if file.facts.contains_key(factor) {
        return Ok(RopeScaling {
            factor: file.needed(factor, Value::as_number)?,
            low_freq_factor: file.needed(low, Value::as_number)?,
            high_freq_factor: file.needed(high, Value::as_number)?,
            original_context: file.needed(original, Value::as_count)? as usize,
        });
    }
    let largest = divisors.iter().fold(0.0f32, |largest, divisor| largest.max(*divisor));
    let original = file.fact("llama.rope.scaling.original_context_length", Value::as_count)?;
    Ok(RopeScaling {
        factor: Value::F32(largest).as_number().expect("a float is a number"),
        low_freq_factor: LLAMA3_LOW_FREQ_FACTOR,
        high_freq_factor: LLAMA3_HIGH_FREQ_FACTOR,
        original_context: original.map_or(LLAMA3_ORIGINAL_CONTEXT, |context| context as usize),
    })
}
