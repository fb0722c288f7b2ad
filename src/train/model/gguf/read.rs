//! A whole model out of a GGUF file: shape, weights in our order, tokenizer and template. Matrices
//! stay in their file, but for those whose rows stand in another order there. Does not know how a
//! file lays out its bytes.

use std::collections::BTreeSet;
use std::path::Path;

use super::facts::Value;
use super::file::{Gguf, Mapped, Tensor};
use super::layout::{Laid, ROPE_FREQUENCIES, laid};
use super::{shape, tokens};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::encoding::Encoding;
use crate::train::model::folder::ModelFolder;
use crate::train::model::parameters::{Parameters, count};
use crate::train::model::tensor::{Dtype, Packed, Stored};
use crate::train::model::{ModelConfig, SpecialTokens};
use crate::train::progress::Failure;

/// All that a file says of a model.
#[derive(Debug)]
pub struct GgufModel<T = Vec<f32>> {
    pub model: ModelFolder<T>,
    pub tokenizer: Tokenizer,
    pub chat_template: Option<String>,
}

/// Reads a model into memory, widened to f32.
pub fn read(path: &Path) -> Result<GgufModel, Failure> {
    let GgufModel { model, tokenizer, chat_template } = open(path)?;
    let ModelFolder { config, special, weights } = model;
    let model = ModelFolder { config, special, weights: weights.map(Stored::into_floats) };
    Ok(GgufModel { model, tokenizer, chat_template })
}

/// Opens a model for use.
pub fn open(path: &Path) -> Result<GgufModel<Stored>, Failure> {
    let mapped = Mapped::open(path)?;
    let file = mapped.parse()?;
    let config = shape::config_of(&file)?;
    let weights = weights_of(&mapped, &file, &config)?;
    let tokenizer = tokens::tokenizer_of(&file, config.vocab)?;
    let special = SpecialTokens { bos: tokenizer.bos().id, eos: tokenizer.eos().id };
    let chat_template = chat_template_of(&file)?;
    let model = ModelFolder { config, special, weights };
    Ok(GgufModel { model, tokenizer, chat_template })
}

/// The template that a file carries, if any.
pub fn chat_template_of(file: &Gguf<'_>) -> Result<Option<String>, Failure> {
    Ok(file.fact("tokenizer.chat_template", Value::as_text)?.map(str::to_string))
}

/// Opens the weights of a file that lies beside the shape it must state.
pub fn weights_in(path: &Path, config: &ModelConfig) -> Result<Parameters<Stored>, Failure> {
    let mapped = Mapped::open(path)?;
    let file = mapped.parse()?;
    let stated = shape::config_of(&file)?;
    if stated != *config {
        let fact = format!("it states {stated:?}, and the folder's `config.json` {config:?}");
        return Err(file.fault(fact));
    }
    weights_of(&mapped, &file, config)
}

/// The weights of a shape that the same file states.
fn weights_of(
    mapped: &Mapped,
    file: &Gguf<'_>,
    config: &ModelConfig,
) -> Result<Parameters<Stored>, Failure> {
    // A file may lie about its blocks; the table is only made once its tensors bear them out.
    let found = file.tensors.len();
    if found < count(config) {
        let layers = config.layers;
        return Err(file.fault(format!("{found} tensors are too few for {layers} blocks")));
    }
    let laid = laid(config);
    let tensors = laid.iter().map(|laid| tensor_of(file, laid)).collect::<Result<Vec<_>, _>>()?;
    refuse_superfluous(file, &laid)?;
    let stored = laid.iter().zip(tensors).map(|(laid, tensor)| stored(mapped, laid, tensor));
    Ok(Parameters::from_tensors(config, stored.collect()))
}

/// A matrix where it is, or in our order in memory; a norm in memory.
fn stored(mapped: &Mapped, laid: &Laid, tensor: &Tensor<'_>) -> Stored {
    if laid.spec.shape.len() == 1 {
        return Stored::Memory(tensor.numbers());
    }
    let (map, bytes) = mapped.place_of(tensor);
    let dtype = match tensor.encoding {
        Encoding::Blocks(format) => {
            let packed = match laid.is_turned() {
                true => Packed::Memory(laid.ours(tensor.bytes.to_vec()).into()),
                false => Packed::File(map.clone(), bytes),
            };
            return Stored::Ggml(packed, format);
        }
        Encoding::F32 => Dtype::F32,
        Encoding::F16 => Dtype::F16,
        Encoding::Bf16 => Dtype::Bf16,
    };
    if laid.is_turned() {
        return Stored::Memory(laid.ours(tensor.numbers()));
    }
    Stored::in_file(map, bytes, dtype)
}

/// A parameter as the file holds it.
pub fn tensor_of<'f>(file: &'f Gguf<'_>, laid: &Laid) -> Result<&'f Tensor<'f>, Failure> {
    let Laid { name, spec, .. } = laid;
    let tensor = file.tensors.get(name.as_str());
    let tensor = tensor.ok_or_else(|| file.fault(format!("tensor `{name}` is missing")))?;
    if tensor.shape != spec.shape {
        let (found, expected) = (&tensor.shape, &spec.shape);
        return Err(
            file.fault(format!("tensor `{name}` has shape {found:?}, expected {expected:?}"))
        );
    }
    Ok(tensor)
}

fn refuse_superfluous(file: &Gguf<'_>, laid: &[Laid]) -> Result<(), Failure> {
    let known: BTreeSet<&str> = laid.iter().map(|laid| laid.name.as_str()).collect();
    let mut names = file.tensors.keys();
    match names.find(|name| **name != ROPE_FREQUENCIES && !known.contains(**name)) {
        Some(name) => Err(file.fault(format!("tensor `{name}` belongs to no part of this model"))),
        None => Ok(()),
    }
}
