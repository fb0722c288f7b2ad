//! A whole model out of a GGUF file: shape, weights in our order and widened to f32, tokenizer and
//! template. Does not know how a file lays out its bytes.

use std::collections::BTreeSet;
use std::path::Path;

use super::facts::Value;
use super::file::{Gguf, Mapped, Tensor};
use super::layout::{Laid, ROPE_FREQUENCIES, laid};
use super::{shape, tokens};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::folder::ModelFolder;
use crate::train::model::parameters::{Parameters, count};
use crate::train::model::{ModelConfig, SpecialTokens};
use crate::train::progress::Failure;

/// All that a file says of a model.
#[derive(Debug)]
pub struct GgufModel {
    pub model: ModelFolder,
    pub tokenizer: Tokenizer,
    pub chat_template: Option<String>,
}

/// Reads a model.
pub fn read(path: &Path) -> Result<GgufModel, Failure> {
    let mapped = Mapped::open(path)?;
    let file = mapped.parse()?;
    let config = shape::config_of(&file)?;
    let weights = weights_of(&file, &config)?;
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

/// The weights of a shape that the same file states.
pub fn weights_of(file: &Gguf<'_>, config: &ModelConfig) -> Result<Parameters, Failure> {
    // A file may lie about its blocks; the table is only made once its tensors bear them out.
    let found = file.tensors.len();
    if found < count(config) {
        let layers = config.layers;
        return Err(file.fault(format!("{found} tensors are too few for {layers} blocks")));
    }
    let laid = laid(config);
    let tensors = laid.iter().map(|laid| tensor_of(file, laid)).collect::<Result<Vec<_>, _>>()?;
    refuse_superfluous(file, &laid)?;
    let numbers = laid.iter().zip(tensors).map(|(laid, tensor)| laid.ours(tensor.numbers()));
    Ok(Parameters::from_tensors(config, numbers.collect()))
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
