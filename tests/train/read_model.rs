//! Models made elsewhere: what a recipe declares of them is compared with their files, and then
//! they are used like any other.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use llamake::train::progress::{Failure, Metrics};
use llamake::train::stage::read_model::{self, ReadModel};
use llamake::train::stage::{generate, pretrain, sft};
use serde_json::{Value, json};

use super::fixtures::message;
use super::pipeline::{World, answers};

/// A small world with the folder of a chat model in bf16, as others write it.
struct Elsewhere {
    world: World,
}

impl Elsewhere {
    fn new() -> Elsewhere {
        let world = World::new();
        world.run("base", 2, |context| pretrain::run(&world.pretrain(), context)).unwrap();
        world.run("chat", 2, |context| sft::run(&world.sft("base/out"), context)).unwrap();
        let from = world.at("chat/out");
        let folder = world.at("elsewhere");
        std::fs::create_dir(&folder).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(from.join(name), folder.join(name)).unwrap();
        }
        let path = from.join("model.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let narrow = tensors.into_iter().map(|(name, t)| (name, t.to_dtype(DType::BF16).unwrap()));
        let narrow: std::collections::HashMap<_, _> = narrow.collect();
        candle_core::safetensors::save(&narrow, folder.join("model.safetensors")).unwrap();
        let elsewhere = Elsewhere { world };
        let text = std::fs::read_to_string(from.join("config.json")).unwrap();
        let config = serde_json::from_str::<Value>(&text).unwrap();
        elsewhere.write_config(&config, |config| config["eos_token_id"] = json!([2, 0]));
        elsewhere
    }

    fn write_config(&self, config: &Value, change: impl Fn(&mut Value)) {
        let mut config = config.clone();
        config["torch_dtype"] = json!("bfloat16");
        change(&mut config);
        std::fs::write(self.at("config.json"), config.to_string()).unwrap();
    }

    fn config(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.at("config.json")).unwrap()).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.world.at("elsewhere").join(name)
    }

    fn params(&self) -> ReadModel {
        ReadModel {
            files: files(&self.world.at("elsewhere")),
            is: self.world.pretrain().model,
            tokenizer: self.world.at("tokenizer"),
            template: Some(self.world.sft("base/out").template),
        }
    }

    fn read(&self, name: &str, params: &ReadModel) -> Result<Metrics, Failure> {
        self.world.run(name, 1, |context| read_model::run(params, context))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_chat_model_from_elsewhere_answers() {
    let elsewhere = Elsewhere::new();
    let metrics = elsewhere.read("mine", &elsewhere.params()).unwrap();
    assert_eq!(metrics[0].0, "parameters");
    let written = elsewhere.world.at("mine/out");
    let weights = std::fs::read(written.join("model.safetensors")).unwrap();
    assert_eq!(weights, std::fs::read(elsewhere.at("model.safetensors")).unwrap());
    let config = std::fs::read_to_string(written.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["eos_token_id"], &config["torch_dtype"]), (&json!(2), &json!("bfloat16")));
    let made = elsewhere.world.generate("mine/out", 1, 0.0);
    elsewhere.world.run("said", 2, |context| generate::run(&made, context)).unwrap();
    let expected = ["cat", "dog", "duck", "goat"].map(|pet| format!("It is a {pet}."));
    assert_eq!(answers(&elsewhere.world.at("said/out")), expected);
    // It can be trained on, too.
    let more = elsewhere.world.sft("mine/out");
    let metrics = elsewhere.world.run("more", 2, |context| sft::run(&more, context)).unwrap();
    assert!(metrics[0].1 < 0.1, "{metrics:?}");
}

#[test]
fn what_is_not_as_declared_is_named() {
    let elsewhere = Elsewhere::new();
    let said = |name: &str, change: &dyn Fn(&mut ReadModel)| {
        let mut params = elsewhere.params();
        change(&mut params);
        message(elsewhere.read(name, &params))
    };
    let shape = said("shape", &|params| {
        params.is.layers = 3;
        params.is.tied = true;
    });
    let wrong = "of another shape: `layers` is 2 and not 3, `tied` is false and not true";
    assert!(shape.ends_with(wrong), "{shape}");
    let template = said("template", &|params| {
        let template = params.template.as_mut().unwrap();
        template.jinja = template.jinja.replace("[/INST]", "[END]");
    });
    assert!(template.contains("is not `test`: for one dialogue it writes"), "{template}");
    let nothing =
        said("nothing", &|params| params.files.retain(|file| !file.ends_with("config.json")));
    assert!(
        nothing.starts_with("there is no `config.json` among `model.safetensors`"),
        "{nothing}"
    );

    // A tokenizer whose entries are in another order.
    let text = std::fs::read_to_string(elsewhere.at("tokenizer.json")).unwrap();
    let mut tokenizer: Value = serde_json::from_str(&text).unwrap();
    let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    let names: Vec<String> = vocab.keys().rev().take(2).cloned().collect();
    let [a, b] = [&names[0], &names[1]].map(|name| vocab[name].clone());
    vocab[&names[0]] = b;
    vocab[&names[1]] = a;
    std::fs::write(elsewhere.at("tokenizer.json"), tokenizer.to_string()).unwrap();
    let other = said("order", &|_| {});
    assert!(other.contains("is not the declared one: entry "), "{other}");
    std::fs::write(elsewhere.at("tokenizer.json"), text).unwrap();

    let config = elsewhere.config();
    elsewhere.write_config(&config, |config| config["eos_token_id"] = json!([900]));
    assert!(said("eos", &|_| {}).contains("`eos_token_id` is 900, outside the vocabulary"));
}
