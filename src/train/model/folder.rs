//! A model's folder as Hugging Face lays it out:
//!
//! ```text
//! config.json              the shape, and which tokens begin and end a text
//! generation_config.json   the same tokens, where generators look for them
//! model.safetensors        the weights
//! model.gguf               in its place those of a model in ggml's blocks
//! tokenizer.json           copied from the tokenizer
//! tokenizer_config.json    the same, with the chat template of a chat model
//! ```
//!
//! Knows files; does not know what the tokenizer or the template say.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::config::{Head, ModelConfig, SpecialTokens};
use super::encoding::Encoding;
use super::parameters::Parameters;
use super::quantized;
use super::tensor::Stored;
use super::weights;
use crate::train::data::chat_template;
use crate::train::progress::Failure;

const CONFIG: &str = "config.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Bytes of the weights in one file of a published folder.
const LARGEST_FILE: usize = 5_000_000_000;

/// A model as its folder holds it.
#[derive(Debug)]
pub struct ModelFolder<T = Vec<f32>> {
    pub config: ModelConfig,
    pub special: SpecialTokens,
    pub weights: Parameters<T>,
}

impl ModelFolder<Stored> {
    /// The same decoder with this head, which scores.
    pub fn scoring(self, score_d: Vec<f32>) -> ModelFolder<Stored> {
        let config = self.config.scoring();
        let weights = self.weights.under(&config, Stored::Memory(score_d), Stored::default());
        ModelFolder { config, weights, ..self }
    }
}

/// Reads shape and weights of a language model.
pub fn read(folder: &Path) -> Result<ModelFolder, Failure> {
    let ModelFolder { config, special, weights } = open(folder)?;
    Ok(ModelFolder { config, special, weights: weights.map(Stored::into_floats) })
}

/// Opens a language model for use: shape and weights, which stay in their files.
pub fn open(folder: &Path) -> Result<ModelFolder<Stored>, Failure> {
    open_under(Head::Language, folder)
}

/// Opens a reward model.
pub fn open_scorer(folder: &Path) -> Result<ModelFolder<Stored>, Failure> {
    open_under(Head::Score, folder)
}

fn open_under(head: Head, folder: &Path) -> Result<ModelFolder<Stored>, Failure> {
    let (config, special) = read_config(folder)?;
    if config.head != head {
        let place = folder.display();
        return Err(Failure::input(match head {
            Head::Score => format!("`{place}` holds a language model, not a reward model"),
            _ => format!("`{place}` holds a reward model, which scores texts and writes none"),
        }));
    }
    let weights = weights::open(folder, &config)?;
    Ok(ModelFolder { config, special, weights })
}

/// Reads the shape alone.
pub fn read_config(folder: &Path) -> Result<(ModelConfig, SpecialTokens), Failure> {
    let path = folder.join(CONFIG);
    ModelConfig::from_json(&read_text(&path)?, &path)
}

/// The chat template that the folder carries, if any.
pub fn read_chat_template(folder: &Path) -> Result<Option<String>, Failure> {
    chat_template::read(folder)
}

/// Writes a model in f32 with the files of `tokenizer`, a folder, and for a chat model its
/// template.
pub fn write(
    folder: &Path,
    model: &ModelFolder,
    tokenizer: &Path,
    chat_template: Option<&str>,
) -> Result<(), Failure> {
    write_beside_weights(folder, model, tokenizer, chat_template, Encoding::F32)?;
    weights::save(&folder.join(weights::WHOLE), &model.config, &model.weights)
}

/// The same in f32 or in 16 bits.
pub fn write_in(
    folder: &Path,
    model: &ModelFolder,
    tokenizer: &Path,
    chat_template: Option<&str>,
    encoding: Encoding,
) -> Result<(), Failure> {
    write_beside_weights(folder, model, tokenizer, chat_template, encoding)?;
    weights::save_in(folder, &model.config, &model.weights, encoding, usize::MAX)
}

/// The same as other programs publish it: in any encoding that safetensors have, large models in
/// several files, and the template also in a file of its own.
pub fn publish(
    folder: &Path,
    model: &ModelFolder,
    tokenizer: &Path,
    chat_template: Option<&str>,
    encoding: Encoding,
) -> Result<(), Failure> {
    if encoding.group() > 1 {
        let name = encoding.name();
        return Err(Failure::input(format!("a Hugging Face folder cannot hold {name}"))
            .remedy("choose `to: \"gguf\"`, or `dtype: \"bf16\"`"));
    }
    write_beside_weights(folder, model, tokenizer, chat_template, encoding)?;
    write_template(folder, chat_template)?;
    weights::save_in(folder, &model.config, &model.weights, encoding, LARGEST_FILE)
}

/// A model whose matrices are in NF4, as transformers writes it with bitsandbytes.
pub fn publish_nf4(
    folder: &Path,
    model: &ModelFolder<Stored>,
    tokenizer: &Path,
    chat_template: Option<&str>,
    encoding: Encoding,
) -> Result<(), Failure> {
    if encoding.group() > 1 {
        let name = encoding.name();
        return Err(Failure::input(format!("beside NF4 nothing is written in {name}"))
            .remedy("choose `dtype: \"bf16\"`"));
    }
    let ModelFolder { config, special, weights } = model;
    fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    let (dtype, double) = (quantized::torch_name(encoding), quantized::is_double(weights));
    write_text(&folder.join(CONFIG), &config.to_json_nf4(*special, dtype, double))?;
    write_generation(folder, *special)?;
    write_tokenizer(folder, tokenizer, chat_template)?;
    write_template(folder, chat_template)?;
    weights::save_parts(folder, &quantized::saved(config, weights, encoding), LARGEST_FILE)
}

/// Bytes of the files in a folder, those included that it links to.
pub fn bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(Failure::io(folder))? {
        let metadata = entry.and_then(|entry| fs::metadata(entry.path()));
        bytes += metadata.map_err(Failure::io(folder))?.len();
    }
    Ok(bytes)
}

/// Writes all of a model's folder but its weights, which are said to be in f32 or in 16 bits.
pub fn write_beside_weights<T>(
    folder: &Path,
    model: &ModelFolder<T>,
    tokenizer: &Path,
    chat_template: Option<&str>,
    encoding: Encoding,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    let ModelFolder { config, special, .. } = model;
    let dtype = quantized::torch_name(encoding);
    write_text(&folder.join(CONFIG), &config.to_json_in(*special, dtype))?;
    write_generation(folder, *special)?;
    write_tokenizer(folder, tokenizer, chat_template)
}

/// The template in a file of its own, where newer programs look for it.
fn write_template(folder: &Path, chat_template: Option<&str>) -> Result<(), Failure> {
    chat_template.map_or(Ok(()), |text| write_text(&folder.join("chat_template.jinja"), text))
}

/// Writes the configuration of another folder, naming the tokens of this tokenizer.
pub fn write_config(folder: &Path, from: &Path, special: SpecialTokens) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    let path = from.join(CONFIG);
    let config: Option<Value> = serde_json::from_str(&read_text(&path)?).ok();
    let mut config = config
        .filter(Value::is_object)
        .ok_or_else(|| Failure::input(format!("`{}` is no JSON object", path.display())))?;
    config["bos_token_id"] = special.bos.into();
    config["eos_token_id"] = special.eos.into();
    write_text(&folder.join(CONFIG), &pretty(&config))?;
    write_generation(folder, special)
}

fn write_generation(folder: &Path, special: SpecialTokens) -> Result<(), Failure> {
    let generation = json!({ "bos_token_id": special.bos, "eos_token_id": special.eos });
    write_text(&folder.join("generation_config.json"), &pretty(&generation))
}

/// Writes the files of a tokenizer, and for a chat model its template.
pub fn write_tokenizer(
    folder: &Path,
    tokenizer: &Path,
    chat_template: Option<&str>,
) -> Result<(), Failure> {
    // Not `copy`, which takes a store's write protection along.
    write_text(&folder.join("tokenizer.json"), &read_text(&tokenizer.join("tokenizer.json"))?)?;
    let mut settings = read_tokenizer_config(tokenizer)?;
    if let (Some(object), Some(template)) = (settings.as_object_mut(), chat_template) {
        object.insert("chat_template".into(), template.into());
    }
    write_text(&folder.join(TOKENIZER_CONFIG), &pretty(&settings))
}

fn read_tokenizer_config(folder: &Path) -> Result<Value, Failure> {
    let path = folder.join(TOKENIZER_CONFIG);
    let settings: Option<Value> = serde_json::from_str(&read_text(&path)?).ok();
    settings
        .filter(Value::is_object)
        .ok_or_else(|| Failure::input(format!("`{}` is no JSON object", path.display())))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::io(path))
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::io(path))
}
