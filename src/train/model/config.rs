//! The shape of a decoder, and its `config.json` in Hugging Face's words. Knows no weights; does
//! not know where a shape was declared.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::train::kernels::rope::RopeScaling;
use crate::train::progress::Failure;

/// The sizes that make a decoder, named as `llama2.architecture` names them.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    pub dim: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub ffn: usize,
    pub vocab: usize,
    pub context: usize,
    pub norm_eps: f64,
    pub rope: f64,
    /// How rotary angles are stretched beyond the context they were learnt at.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the head is the embedding.
    pub tied: bool,
    pub head: Head,
}

/// What stands on top of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The logits of the next token.
    Language,
    /// One number, which scores the text up to a token: a reward model.
    Score,
    /// The logits, and beside them the value of each position, while PPO trains.
    LanguageAndValue,
}

/// The entries of the vocabulary that begin and end a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    pub bos: u32,
    pub eos: u32,
}

/// How Hugging Face calls a decoder with a head that scores.
const SCORER: &str = "LlamaForSequenceClassification";

/// No size of a decoder is larger, so that products of three of them fit in 128 bits and no file
/// can ask for absurd memory.
const LARGEST_SIZE: u64 = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;
const LONGEST_CONTEXT: usize = 1 << 17;

impl ModelConfig {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.heads
    }

    /// Width of all keys, or of all values, of a token.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim()
    }

    /// How many numbers the head gives a token.
    pub fn outputs(&self) -> usize {
        match self.head {
            Head::Language | Head::LanguageAndValue => self.vocab,
            Head::Score => 1,
        }
    }

    /// The same decoder with a head that scores.
    pub fn scoring(&self) -> ModelConfig {
        ModelConfig { head: Head::Score, tied: false, ..self.clone() }
    }

    /// Whether the head has numbers of its own.
    pub fn has_own_head(&self) -> bool {
        !self.tied || self.head == Head::Score
    }

    /// What makes the sizes impossible, if anything.
    pub fn validate(&self) -> Result<(), String> {
        let sizes = [
            ("dim", self.dim),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("ffn", self.ffn),
            ("vocab", self.vocab),
            ("context", self.context),
        ];
        for (name, size) in sizes {
            if size == 0 || size as u64 > LARGEST_SIZE {
                return Err(format!("`{name}` is {size}, outside 1..={LARGEST_SIZE}"));
            }
        }
        if self.layers > MOST_LAYERS {
            return Err(format!("`layers` is {}, more than {MOST_LAYERS}", self.layers));
        }
        if self.context > LONGEST_CONTEXT {
            return Err(format!("`context` is {}, more than {LONGEST_CONTEXT}", self.context));
        }
        if !self.dim.is_multiple_of(2 * self.heads) {
            let (dim, heads) = (self.dim, self.heads);
            return Err(format!("`dim` {dim} does not give {heads} heads of an even width"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            return Err(format!("`kv_heads` {kv_heads} does not divide `heads` {heads}"));
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !positive(self.norm_eps) || !positive(self.rope) {
            return Err("`norm_eps` and `rope` must be positive numbers".into());
        }
        self.rope_scaling.map_or(Ok(()), check_scaling)
    }

    /// The text of `config.json`, read alike by transformers 4 (`rope_theta`) and 5
    /// (`rope_parameters`).
    pub fn to_json(&self, special: SpecialTokens) -> String {
        self.to_json_in(special, "float32")
    }

    /// The same for weights in another dtype, by torch's name.
    pub fn to_json_in(&self, special: SpecialTokens, dtype: &str) -> String {
        format!("{:#}\n", self.to_value(special, dtype))
    }

    /// The same for matrices in NF4, their scales in 8 bits where `double` says so.
    pub fn to_json_nf4(&self, special: SpecialTokens, dtype: &str, double: bool) -> String {
        let mut value = self.to_value(special, dtype);
        value["quantization_config"] = json!({
            "_load_in_4bit": true,
            "_load_in_8bit": false,
            "bnb_4bit_compute_dtype": dtype,
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": double,
            "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false,
            "llm_int8_skip_modules": null,
            "llm_int8_threshold": 6.0,
            "load_in_4bit": true,
            "load_in_8bit": false,
            "quant_method": "bitsandbytes",
        });
        format!("{value:#}\n")
    }

    fn to_value(&self, special: SpecialTokens, dtype: &str) -> Value {
        let (parameters, legacy) = rope_json(self.rope, self.rope_scaling);
        let mut value = json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": special.bos,
            "dtype": dtype,
            "eos_token_id": special.eos,
            "head_dim": self.head_dim(),
            "hidden_act": "silu",
            "hidden_size": self.dim,
            "initializer_range": 0.02,
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pretraining_tp": 1,
            "rms_norm_eps": self.norm_eps,
            "rope_parameters": parameters,
            "rope_scaling": legacy,
            "rope_theta": self.rope,
            "tie_word_embeddings": self.tied,
            "torch_dtype": dtype,
            "use_cache": true,
            "vocab_size": self.vocab,
        });
        if self.head == Head::Score {
            value["architectures"] = json!([SCORER]);
            value["id2label"] = json!({ "0": "score" });
            value["label2id"] = json!({ "score": 0 });
            value["problem_type"] = json!("regression");
        }
        value
    }

    /// Reads a `config.json`; what this trainer does not compute is an error, never ignored.
    pub fn from_json(text: &str, path: &Path) -> Result<(ModelConfig, SpecialTokens), Failure> {
        let fail = |fact: String| Failure::input(format!("`{}`: {fact}", path.display()));
        let value: Value = serde_json::from_str(text)
            .map_err(|error| fail(format!("this is not JSON: {error}")))?;
        let object = value.as_object().ok_or_else(|| fail("the file holds no object".into()))?;
        refuse_unknown_arithmetic(object).map_err(fail)?;
        let config = read_sizes(object).map_err(fail)?;
        config.validate().map_err(fail)?;
        let token = |key: &str| {
            let id = first_size(object, key)?;
            if id < config.vocab { Ok(id as u32) } else { Err(outside(key, id, config.vocab)) }
        };
        let bos = token("bos_token_id").map_err(fail)?;
        let eos = token("eos_token_id").map_err(fail)?;
        Ok((config, SpecialTokens { bos, eos }))
    }
}

fn outside(key: &str, id: usize, vocab: usize) -> String {
    format!("`{key}` is {id}, outside the vocabulary of {vocab}")
}

fn read_sizes(object: &Map<String, Value>) -> Result<ModelConfig, String> {
    let heads = size(object, "num_attention_heads")?;
    let given = |key: &str| object.get(key).is_some_and(|value| !value.is_null());
    let config = ModelConfig {
        dim: size(object, "hidden_size")?,
        layers: size(object, "num_hidden_layers")?,
        heads,
        kv_heads: match given("num_key_value_heads") {
            true => size(object, "num_key_value_heads")?,
            false => heads,
        },
        ffn: size(object, "intermediate_size")?,
        vocab: size(object, "vocab_size")?,
        context: size(object, "max_position_embeddings")?,
        norm_eps: number(object, "rms_norm_eps")?,
        rope: rope_base(object)?,
        rope_scaling: rope_scaling(object)?,
        tied: tied(object)?,
        head: head(object)?,
    };
    if given("head_dim") && size(object, "head_dim")?.checked_mul(heads) != Some(config.dim) {
        return Err("`head_dim` times `num_attention_heads` is not `hidden_size`".into());
    }
    Ok(config)
}

fn size(object: &Map<String, Value>, key: &str) -> Result<usize, String> {
    let value = object.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
    match value.as_u64() {
        Some(size) if size <= LARGEST_SIZE => Ok(size as usize),
        _ => Err(format!("`{key}` is {value}, no whole number up to {LARGEST_SIZE}")),
    }
}

/// A size, or the first of a list of them: several tokens may end a text.
fn first_size(object: &Map<String, Value>, key: &str) -> Result<usize, String> {
    match object.get(key).and_then(Value::as_array).and_then(|list| list.first()) {
        Some(first) => size(&Map::from_iter([(key.to_string(), first.clone())]), key),
        None => size(object, key),
    }
}

fn number(object: &Map<String, Value>, key: &str) -> Result<f64, String> {
    let value = object.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
    value.as_f64().ok_or_else(|| format!("`{key}` is {value}, not a number"))
}

/// The base of the rotary angles; transformers 5 moved it into `rope_parameters`.
fn rope_base(object: &Map<String, Value>) -> Result<f64, String> {
    match object.get("rope_parameters").and_then(Value::as_object) {
        Some(rope) => number(rope, "rope_theta"),
        None if object.contains_key("rope_theta") => number(object, "rope_theta"),
        None => Ok(10_000.0),
    }
}

/// The scaling of rotary angles, in either place where transformers has kept it.
fn rope_scaling(object: &Map<String, Value>) -> Result<Option<RopeScaling>, String> {
    for holder in ["rope_parameters", "rope_scaling"] {
        let Some(rope) = object.get(holder).and_then(Value::as_object) else { continue };
        let kind = rope.get("rope_type").or(rope.get("type")).and_then(Value::as_str);
        match kind.unwrap_or("default") {
            "default" => {}
            "llama3" => {
                return Ok(Some(RopeScaling {
                    factor: number(rope, "factor")?,
                    low_freq_factor: number(rope, "low_freq_factor")?,
                    high_freq_factor: number(rope, "high_freq_factor")?,
                    original_context: size(rope, "original_max_position_embeddings")?,
                }));
            }
            kind => return Err(format!("rotary scaling `{kind}` in `{holder}` is not supported")),
        }
    }
    Ok(None)
}

fn check_scaling(scaling: RopeScaling) -> Result<(), String> {
    let RopeScaling { factor, low_freq_factor, high_freq_factor, original_context } = scaling;
    let positive = |x: f64| x.is_finite() && x > 0.0;
    let sound = positive(factor)
        && positive(low_freq_factor)
        && positive(high_freq_factor)
        && high_freq_factor > low_freq_factor
        && original_context > 0;
    if sound {
        return Ok(());
    }
    Err("rotary scaling needs positive factors, `high_freq_factor` above `low_freq_factor`".into())
}

/// `rope_parameters` of transformers 5 and `rope_scaling` of transformers 4.
fn rope_json(theta: f64, scaling: Option<RopeScaling>) -> (Value, Value) {
    let Some(scaling) = scaling else {
        return (json!({ "rope_theta": theta, "rope_type": "default" }), Value::Null);
    };
    let legacy = json!({
        "factor": scaling.factor,
        "high_freq_factor": scaling.high_freq_factor,
        "low_freq_factor": scaling.low_freq_factor,
        "original_max_position_embeddings": scaling.original_context,
        "rope_type": "llama3",
    });
    let mut parameters = legacy.clone();
    parameters["rope_theta"] = json!(theta);
    (parameters, legacy)
}

/// A language model, unless the file says that it scores texts, and then by one number.
fn head(object: &Map<String, Value>) -> Result<Head, String> {
    let names = object.get("architectures").and_then(Value::as_array);
    if !names.is_some_and(|names| names.iter().any(|name| name == SCORER)) {
        return Ok(Head::Language);
    }
    // Without labels Hugging Face means two.
    match object.get("id2label").and_then(Value::as_object).map_or(2, Map::len) {
        1 => Ok(Head::Score),
        labels => Err(format!("it gives a text {labels} scores; only one is supported")),
    }
}

fn tied(object: &Map<String, Value>) -> Result<bool, String> {
    match object.get("tie_word_embeddings") {
        None => Ok(false),
        Some(Value::Bool(tied)) => Ok(*tied),
        Some(value) => Err(format!("`tie_word_embeddings` is {value}, not true or false")),
    }
}

fn refuse_unknown_arithmetic(object: &Map<String, Value>) -> Result<(), String> {
    let expected = [
        ("model_type", json!("llama")),
        ("hidden_act", json!("silu")),
        ("attention_bias", json!(false)),
        ("mlp_bias", json!(false)),
    ];
    for (key, expected) in expected {
        match object.get(key) {
            Some(value) if *value != expected => {
                return Err(format!("`{key}` is {value}; only {expected} is supported"));
            }
            _ => {}
        }
    }
    let method = object.get("quantization_config").and_then(|config| config.get("quant_method"));
    match method {
        Some(method) if method != "bitsandbytes" => {
            Err(format!("its weights are quantised by {method}; only bitsandbytes' NF4 is read"))
        }
        _ => Ok(()),
    }
}
