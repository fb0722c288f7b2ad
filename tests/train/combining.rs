//! Adapters combined: the sum that PEFT makes of the same adapters, and what is no sum.
//!
//! `fixtures/combined.py` makes `fixtures/combined.json` with PEFT: two adapters, and what their
//! combination by `add_weighted_adapter` changes in a base.

use std::path::Path;

use llamake::train::kernels::Threads;
use llamake::train::model::Parameters;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::{ModelConfig, ModelPath, folder, peft};
use llamake::train::progress::{Context, Failure, Metrics};
use llamake::train::stage::{Combine, combine};
use serde_json::{Value, json};

use super::fixtures::{Heard, assert_close, message};
use super::samplers::world;

fn golden() -> Value {
    serde_json::from_str(include_str!("fixtures/combined.json")).unwrap()
}

fn config() -> ModelConfig {
    ModelConfig {
        dim: 4,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        ffn: 6,
        vocab: 8,
        ..super::fixtures::config()
    }
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

/// One of PEFT's adapters.
fn adapter(of: &Value) -> Adapter {
    let modules = of["target_modules"].as_array().unwrap();
    let is_target =
        |which: &Which| modules.iter().any(|name| which.module().ends_with(name.as_str().unwrap()));
    let settings = LoraSettings {
        rank: of["r"].as_u64().unwrap() as usize,
        alpha: of["lora_alpha"].as_f64().unwrap(),
        dropout: 0.0,
        targets: Which::ALL.into_iter().filter(is_target).collect(),
        rslora: of["use_rslora"].as_bool().unwrap(),
        dora: false,
    };
    let table = Adapter::table_of(&config(), &settings);
    assert_eq!(table.len(), of["tensors"].as_object().unwrap().len());
    let tensors = table.iter().map(|spec| floats(&of["tensors"][&spec.name])).collect();
    Adapter::from_tensors(&config(), &settings, tensors)
}

#[test]
fn a_combination_is_the_sum_that_peft_makes() {
    let golden = golden();
    let parts = [(adapter(&golden["a"]), 0.7), (adapter(&golden["b"]), 1.25)];
    let whole = Adapter::combined(&config(), &parts);
    assert_eq!(whole.settings.rank as u64, golden["rank"].as_u64().unwrap());
    assert_eq!(whole.settings.scale(), 1.0);
    assert_eq!(whole.settings.targets, [Which::Query, Which::Value, Which::Down]);
    let mut delta = Parameters::zeros(&config());
    whole.merge(&Threads::new(1), &config(), &mut delta);
    for which in Which::ALL {
        let name = format!("model.layers.0.{}", which.module());
        let got = delta.blocks[0].of(which);
        match &golden["delta"][&name] {
            Value::Null => assert!(got.iter().all(|x| *x == 0.0), "{name}"),
            want => assert_close(&name, got, &floats(want), 1e-6, 1e-6),
        }
    }
}

/// An adapter of the small world's chat model whose numbers are all different.
fn written(folder: &Path, settings: &LoraSettings, seed: u64, jinja: &str) -> ModelPath {
    let base = world().at("chat/out");
    let model = folder::open(&base).unwrap();
    let t = Threads::new(1);
    let mut adapter = Adapter::untrained(&t, &model.config, &model.weights, settings, seed);
    let b = llamake::train::kernels::rng::Stream::new(seed, "b");
    let mut walk = b.walk();
    for tensor in adapter.tensors_mut() {
        tensor.iter_mut().for_each(|x| *x += 0.01 * (walk.below(100) as f32 - 50.0));
    }
    peft::write(folder, &model.config, &adapter).unwrap();
    folder::write_tokenizer(folder, &base, Some(jinja)).unwrap();
    ModelPath { base, adapter: Some(folder.to_path_buf()) }
}

fn settings(rank: usize, targets: &[Which]) -> LoraSettings {
    let targets = targets.to_vec();
    LoraSettings { rank, alpha: 3.0, dropout: 0.2, targets, rslora: rank == 2, dora: false }
}

fn combined(params: &Combine, out: &Path) -> Result<Metrics, Failure> {
    let mut heard = Heard::default();
    combine::run(params, &mut Context::new(1, out.into(), &mut heard))
}

#[test]
fn adapters_of_one_base_become_one_adapter() {
    let places = tempfile::tempdir().unwrap();
    let template = world().sft("base/out").template;
    let made = |name: &str, settings: &LoraSettings, jinja: &str| {
        (name.to_string(), written(&places.path().join(name), settings, 7, jinja))
    };
    let jinja = &template.jinja.clone();
    let narrow = settings(2, &[Which::Query, Which::Down]);
    let adapters =
        vec![made("narrow", &narrow, jinja), made("wide", &settings(3, &[Which::Down]), jinja)];
    let weights = vec![0.25, 2.0];
    let base = world().at("chat/out");
    let params = Combine { base: base.clone(), adapters, weights, template };
    let metrics = combined(&params, places.path()).unwrap();
    assert_eq!(metrics[0], ("rank".to_string(), 5.0));
    assert_eq!(
        folder::read_chat_template(&places.path().join("out")).unwrap().as_deref(),
        Some(params.template.jinja.as_str())
    );

    // Weighted changes of the base, one after another, are the change of the whole.
    let (config, t) = (folder::read_config(&base).unwrap().0, Threads::new(1));
    let delta = |place: &Path| {
        let adapter = peft::read(place, &config).unwrap();
        let mut delta = Parameters::zeros(&config);
        adapter.merge(&t, &config, &mut delta);
        delta
    };
    let whole = delta(&places.path().join("out"));
    let parts: Vec<Parameters> =
        params.adapters.iter().map(|(_, path)| delta(path.dress())).collect();
    for (at, got) in whole.tensors().into_iter().enumerate() {
        let [a, b] = [&parts[0], &parts[1]].map(|part| part.tensors()[at].to_vec());
        let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.25 * a + 2.0 * b).collect();
        assert_close(&at.to_string(), got, &want, 1e-6, 1e-5);
    }

    let told = |params: &Combine| message(combined(params, places.path()));
    let short = Combine { weights: vec![1.0], ..params.clone() };
    assert_eq!(told(&short), "2 adapters cannot have 1 weights");
    let mut dora = params.clone();
    dora.adapters[1] = made("dora", &LoraSettings { dora: true, ..narrow.clone() }, jinja);
    assert!(told(&dora).starts_with("adapter `dora` is DoRA"), "{}", told(&dora));
    let mut other = params.clone();
    other.adapters[1] = made("other", &narrow, "{{ messages }}");
    assert!(told(&other).starts_with("adapter `other` was trained with another chat template"));
}

#[test]
fn a_reward_model_is_no_part_of_a_combination() {
    let places = tempfile::tempdir().unwrap();
    let base = world().at("chat/out");
    let template = world().sft("base/out").template;
    let path = written(places.path(), &settings(2, &[Which::Value]), 3, &template.jinja);
    let file = places.path().join(peft::CONFIG);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["modules_to_save"] = json!(["score"]);
    std::fs::write(&file, config.to_string()).unwrap();
    let params =
        Combine { base, adapters: vec![("taste".into(), path)], weights: vec![1.0], template };
    let told = message(combined(&params, &places.path().join("made")));
    assert!(
        told.starts_with("adapter `taste`: ") && told.contains("makes a reward model"),
        "{told}"
    );
}
