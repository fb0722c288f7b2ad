//! Weights that stay in their files: of 16 bits, in several files with an index, and with indices
//! that lie. What they compute has the bits of the same weights in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use llamake::train::data::pack::Row;
use llamake::train::kernels::{Elements, Isa, Threads};
use llamake::train::model::activations::Activations;
use llamake::train::model::parameters::table;
use llamake::train::model::tensor::{Stored, Tensor as _};
use llamake::train::model::{Batch, ModelConfig, Transformer, weights};
use serde_json::{Value, json};

use super::fixtures::{config, lively, message, row};

/// Sizes on both sides of the edges of tiles, panels and blocks.
fn wide() -> ModelConfig {
    ModelConfig { dim: 288, heads: 4, kv_heads: 2, ffn: 520, vocab: 600, ..config() }
}

/// Saves with candle in so many files, tensors dealt out in turn, and their index.
fn save(folder: &Path, config: &ModelConfig, dtype: DType, files: usize) {
    let name = |at: usize| format!("model-{:05}-of-{files:05}.safetensors", at % files + 1);
    let mut tensors: BTreeMap<String, HashMap<String, Tensor>> = BTreeMap::new();
    let mut index = serde_json::Map::new();
    for (at, (spec, values)) in table(config).iter().zip(lively(config, 7).tensors()).enumerate() {
        let tensor = Tensor::from_slice(values, spec.shape.as_slice(), &Device::Cpu).unwrap();
        let tensor = tensor.to_dtype(dtype).unwrap();
        tensors.entry(name(at)).or_default().insert(spec.name.clone(), tensor);
        index.insert(spec.name.clone(), json!(name(at)));
    }
    for (file, tensors) in &tensors {
        candle_core::safetensors::save(tensors, folder.join(file)).unwrap();
    }
    let index = json!({ "metadata": { "total_size": 1 }, "weight_map": index });
    std::fs::write(folder.join(weights::INDEX), index.to_string()).unwrap();
}

fn hidden(model: &Transformer, t: &Threads, rows: &[Row]) -> (Vec<f32>, Vec<f32>) {
    let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
    let mut a = Activations::for_inference(&model.config, batch.len());
    model.forward(t, &batch, &mut a);
    model.losses(t, &batch, &mut a);
    (a.hidden_td, a.nll_t)
}

#[test]
fn mapped_weights_compute_the_bits_of_those_in_memory() {
    let rows = [row(1, 600, &[32]), row(2, 600, &[5, 7])];
    for dtype in [DType::BF16, DType::F16, DType::F32] {
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &wide(), dtype, 3);
        let mapped = weights::open(folder.path(), &wide()).unwrap();
        let narrow = |stored: &Stored| !matches!(stored.elements(), Elements::F32(_));
        assert_eq!(narrow(&mapped.blocks[1].down_df), dtype != DType::F32);
        assert!(matches!(mapped.embedding_vd, Stored::File { .. }));
        let mapped = Transformer::new(wide(), mapped, 32);
        let memory = weights::load(folder.path(), &wide()).unwrap();
        let memory = Transformer::new(wide(), memory, 32);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let t = Threads::with_isa(2, isa);
            let (mapped, memory) = (hidden(&mapped, &t, &rows), hidden(&memory, &t, &rows));
            assert!(mapped == memory, "{dtype:?} {isa:?}");
            assert!(memory.1.iter().any(|loss| *loss > 0.0));
        }
    }
}

#[test]
fn an_index_that_lies_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &config(), DType::F32, 2);
    let path = folder.path().join(weights::INDEX);
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let said = |map: Value| {
        std::fs::write(&path, json!({ "weight_map": map }).to_string()).unwrap();
        message(weights::open(folder.path(), &config()))
    };
    assert!(said(json!({ "lm_head.weight": "../secret" })).contains("`../secret` is no file"));
    assert!(said(json!({ "lm_head.weight": "/etc/passwd" })).contains("is no file of this"));
    assert!(said(json!({})).contains("it names no file"));
    assert!(said(json!([])).contains("no file for each tensor"));
    // One file of the two holds half of the tensors.
    let half = json!({ "lm_head.weight": "model-00001-of-00002.safetensors" });
    assert!(said(half).contains("tensors are too few for 2 layers"));
    std::fs::write(&path, whole.to_string()).unwrap();
    weights::open(folder.path(), &config()).unwrap();
    let [first, second] = ["model-00001-of-00002", "model-00002-of-00002"]
        .map(|name| folder.path().join(format!("{name}.safetensors")));
    std::fs::copy(&first, &second).unwrap();
    let twice = message(weights::open(folder.path(), &config()));
    assert!(twice.contains("is in both"), "{twice}");
    std::fs::remove_file(&second).unwrap();
    assert!(matches!(
        weights::open(folder.path(), &config()),
        Err(llamake::train::progress::Failure::Io { path, .. }) if path == second
    ));
}
