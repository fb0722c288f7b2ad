//! Model folders: written, read back, and broken in every way that a disk or a stranger can.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use llamake::train::model::folder::{self, ModelFolder};
use llamake::train::model::parameters::table;
use llamake::train::model::{ModelConfig, Parameters, SpecialTokens, weights};
use serde_json::{Value, json};

use super::fixtures::{config, lively, message};

const SPECIAL: SpecialTokens = SpecialTokens { bos: 1, eos: 2 };

#[test]
fn weights_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let written = lively(&config(), 1);
    weights::save(&path, &config(), &written).unwrap();
    assert_eq!(weights::load(folder.path(), &config()).unwrap(), written);
    let again = folder.path().join("again.safetensors");
    weights::save(&again, &config(), &written).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
}

#[test]
fn narrower_floats_are_widened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let weights = lively(&config(), 1);
    for dtype in [DType::BF16, DType::F16, DType::F64] {
        save_tensors(&path, &weights, |_, tensor| Some(tensor.to_dtype(dtype).unwrap()));
        let read = weights::load(folder.path(), &config()).unwrap();
        for (read, written) in read.tensors().iter().zip(weights.tensors()) {
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 128.0;
            assert!(read.iter().zip(written).all(near), "{dtype:?}");
        }
    }
}

/// Saves with candle, each tensor as `change` wants it, or not at all.
fn save_tensors(
    path: &Path,
    weights: &Parameters,
    change: impl Fn(&str, Tensor) -> Option<Tensor>,
) {
    let mut tensors = std::collections::HashMap::new();
    for (spec, values) in table(&config()).iter().zip(weights.tensors()) {
        let tensor = Tensor::from_slice(values, spec.shape.as_slice(), &Device::Cpu).unwrap();
        if let Some(tensor) = change(&spec.name, tensor) {
            tensors.insert(spec.name.clone(), tensor);
        }
    }
    candle_core::safetensors::save(&tensors, path).unwrap();
}

/// A model that says its head is its embedding, and brings one.
#[test]
fn a_head_that_is_not_the_embedding_after_all_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let tied = ModelConfig { tied: true, ..config() };
    let own = lively(&config(), 1);
    let shape = [config().vocab, config().dim];
    for (head, is_refused) in [(&own.embedding_vd, false), (&own.head_vd, true)] {
        save_tensors(&path, &own, |name, tensor| match name {
            "lm_head.weight" => Some(Tensor::from_slice(head, &shape, &Device::Cpu).unwrap()),
            _ => Some(tensor),
        });
        let read = weights::load(folder.path(), &tied);
        if is_refused {
            let told = message(read);
            assert!(
                told.contains("`lm_head.weight` is another matrix than the embedding"),
                "{told}"
            );
        } else {
            assert_eq!(read.unwrap().embedding_vd, own.embedding_vd);
        }
    }
}

#[test]
fn wrong_tensors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let weights = lively(&config(), 1);
    let load = || message(weights::load(folder.path(), &config()));
    save_tensors(&path, &weights, |name, tensor| match name {
        "model.norm.weight" => Some(tensor.reshape((4, 6)).unwrap()),
        _ => Some(tensor),
    });
    assert!(load().ends_with("tensor `model.norm.weight` has shape [4, 6], expected [24]"));
    save_tensors(&path, &weights, |name, tensor| match name {
        "lm_head.weight" => Some(tensor.to_dtype(DType::I64).unwrap()),
        _ => Some(tensor),
    });
    assert!(load().contains("tensor `lm_head.weight` has dtype I64"), "{}", load());
    save_tensors(&path, &weights, |name, tensor| (name != "model.norm.weight").then_some(tensor));
    assert!(load().contains("20 tensors are too few for 2 layers"), "{}", load());
    let deeper = ModelConfig { layers: 4096, ..config() };
    let said = message(weights::load(folder.path(), &deeper));
    assert!(said.contains("too few for 4096 layers"), "{said}");
    weights::save(&path, &config(), &weights).unwrap();
    let shallower = ModelConfig { layers: 1, ..config() };
    let said = message(weights::load(folder.path(), &shallower));
    assert!(said.contains("`model.layers.1.input_layernorm.weight` belongs to no part"), "{said}");
}

#[test]
fn broken_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    weights::save(&path, &config(), &lively(&config(), 1)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let try_bytes = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let said = message(weights::load(folder.path(), &config()));
        assert!(said.contains("no whole safetensors file"), "{said}");
    };
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        try_bytes(&whole[..length]);
    }
    try_bytes(&[&whole[..], b"more"].concat());
    // Headers that lie about their own length, a tensor's place, or a tensor's size.
    for length in [u64::MAX, 1 << 40, whole.len() as u64, 3] {
        let mut lying = whole.clone();
        lying[..8].copy_from_slice(&length.to_le_bytes());
        try_bytes(&lying);
    }
    let lie = |shape: Value, offsets: Value| {
        let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets });
        let header = json!({ "lm_head.weight": tensor }).to_string();
        let length = (header.len() as u64).to_le_bytes();
        try_bytes(&[&length[..], header.as_bytes(), &[0; 16]].concat());
    };
    lie(json!([1u64 << 40]), json!([0, 16]));
    lie(json!([4]), json!([0, 1u64 << 40]));
    lie(json!([1u64 << 62, 1u64 << 62]), json!([0, 16]));
    lie(json!([4]), json!([16, 0]));
}

#[test]
fn a_folder_holds_what_others_read() {
    let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(tokenizer.path().join("tokenizer.json"), "{\"x\": 1}").unwrap();
    let settings = "{\"bos_token\": \"<s>\", \"add_bos_token\": false}";
    std::fs::write(tokenizer.path().join("tokenizer_config.json"), settings).unwrap();
    let weights = lively(&config(), 1);
    let model = ModelFolder { config: config(), special: SPECIAL, weights };
    folder::write(folder.path(), &model, tokenizer.path(), Some("{{ x }}")).unwrap();

    let read = folder::read(folder.path()).unwrap();
    assert_eq!((read.config, read.special), (config(), SPECIAL));
    assert_eq!(read.weights, model.weights);
    let template = folder::read_chat_template(folder.path()).unwrap();
    assert_eq!(template.as_deref(), Some("{{ x }}"));
    assert_eq!(folder::read_chat_template(tokenizer.path()).unwrap(), None);
    let mut files: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(files, expected);
    let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..80]).into_owned();
    assert!(header.contains("\"format\":\"pt\""), "transformers asks for it: {header}");
}

fn scaling(factor: f64, low: f64, high: f64) -> Value {
    json!({
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": 64,
    })
}

#[test]
fn a_config_that_is_not_computed_is_refused() {
    let path = Path::new("config.json");
    let whole: Value = serde_json::from_str(&config().to_json(SPECIAL)).unwrap();
    assert_eq!(ModelConfig::from_json(&whole.to_string(), path).unwrap().0, config());
    let cases = [
        ("model_type", json!("mistral"), "only \"llama\" is supported"),
        ("tie_word_embeddings", json!("yes"), "not true or false"),
        ("attention_bias", json!(true), "only false is supported"),
        ("hidden_act", json!("gelu"), "only \"silu\" is supported"),
        ("rope_scaling", json!({ "type": "linear", "factor": 2.0 }), "rotary scaling `linear`"),
        ("rope_scaling", json!({ "rope_type": "llama3", "factor": 8 }), "`low_freq_factor` is"),
        ("rope_scaling", scaling(8.0, 4.0, 4.0), "`high_freq_factor` above"),
        ("rope_scaling", scaling(0.0, 1.0, 4.0), "positive factors"),
        ("hidden_size", json!(25), "`head_dim` times `num_attention_heads`"),
        ("hidden_size", json!(u64::MAX), "no whole number up to"),
        ("num_hidden_layers", json!(5000), "`layers` is 5000, more than 4096"),
        ("num_key_value_heads", json!(4), "`kv_heads` 4 does not divide `heads` 6"),
        ("vocab_size", json!(0), "`vocab` is 0"),
        ("eos_token_id", json!(50), "outside the vocabulary of 50"),
        ("max_position_embeddings", json!(-3), "no whole number"),
        ("rms_norm_eps", json!("x"), "not a number"),
        ("intermediate_size", Value::Null, "no whole number"),
    ];
    for (key, value, expected) in cases {
        let mut broken = whole.clone();
        broken[key] = value;
        let said = message(ModelConfig::from_json(&broken.to_string(), path));
        assert!(said.starts_with("`config.json`: ") && said.contains(expected), "{key}: {said}");
    }
    for text in ["", "[]", "{", "{}"] {
        message(ModelConfig::from_json(text, path));
    }
}
