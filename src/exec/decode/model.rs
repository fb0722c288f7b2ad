//! The parameters of stages that use a model, and the records that describe one. Knows fields; does
//! not know weights.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::exec::inputs::Fields;
use crate::train::data::chat::Template;
use crate::train::kernels::rope::RopeScaling;
use crate::train::model::encoding::Encoding;
use crate::train::model::{Head, ModelConfig};
use crate::train::stage::export::Target;
use crate::train::stage::quantize::Codes;
use crate::train::stage::read_model::ReadModel;
use crate::train::stage::read_tokenizer::ReadTokenizer;
use crate::train::stage::{Export, Generate, Quantize};

pub fn export_of(fields: &Fields<'_>) -> Result<Export> {
    Ok(Export {
        model: fields.model("model")?,
        to: match fields.text("to")?.as_str() {
            "bnb4" => Target::Bnb4,
            "hf" => Target::Hf,
            "gguf" => Target::Gguf,
            "peft" => Target::Peft,
            other => bail!("`{other}` is no form of a model"),
        },
        dtype: encoding_of(fields)?,
    })
}

pub fn encoding_of(fields: &Fields<'_>) -> Result<Encoding> {
    let name = fields.text("dtype")?;
    match Encoding::named(&name) {
        Some(encoding) => Ok(encoding),
        None => bail!("`{name}` is no way to write numbers"),
    }
}

pub fn quantize_of(fields: &Fields<'_>) -> Result<Quantize> {
    Ok(Quantize {
        model: fields.artifact("model")?,
        to: match fields.text("to")?.as_str() {
            "nf4" => Codes::Nf4,
            other => match Encoding::named(other) {
                Some(encoding @ Encoding::Blocks(_)) => Codes::Ggml(encoding),
                _ => bail!("`{other}` is no way to quantise a model"),
            },
        },
        double_quant: fields.flag("double_quant")?,
        dtype: encoding_of(fields)?,
        data: fields.optional("data", Fields::artifact)?,
    })
}

pub fn generate_of(fields: &Fields<'_>) -> Result<Generate> {
    Ok(Generate {
        model: fields.model("model")?,
        prompts: fields.artifact("prompts")?,
        samples: fields.size("samples")?,
        max_answer: fields.size("max_answer")?,
        temperature: fields.number("temperature")?,
        top_k: fields.optional("top_k", Fields::size)?,
        top_p: fields.optional("top_p", Fields::number)?,
        seed: fields.seed("seed")?,
    })
}

pub fn read_tokenizer_of(fields: &Fields<'_>) -> Result<ReadTokenizer> {
    tokenizer_of(fields.files("files")?, fields)
}

/// A tokenizer in these files.
pub fn tokenizer_of(files: Vec<PathBuf>, fields: &Fields<'_>) -> Result<ReadTokenizer> {
    Ok(ReadTokenizer {
        files,
        vocab: fields.count("vocab")?,
        bos: fields.optional("bos", Fields::text)?,
        eos: fields.optional("eos", Fields::text)?,
        unknown: fields.optional("unknown", Fields::text)?,
    })
}

/// The shape of a model, from the record `llama2.architecture`.
pub fn architecture_of(fields: &Fields<'_>) -> Result<ModelConfig> {
    Ok(ModelConfig {
        dim: fields.size("dim")?,
        layers: fields.size("layers")?,
        heads: fields.size("heads")?,
        kv_heads: fields.size("kv_heads")?,
        ffn: fields.size("ffn")?,
        vocab: fields.size("vocab")?,
        context: fields.size("context")?,
        norm_eps: fields.number("norm_eps")?,
        rope: fields.number("rope")?,
        rope_scaling: fields.optional("scaling", |fields, name| {
            fields.within(name, |_, fields| scaling_of(fields))
        })?,
        tied: fields.flag("tied")?,
        head: Head::Language,
    })
}

fn scaling_of(fields: &Fields<'_>) -> Result<RopeScaling> {
    Ok(RopeScaling {
        factor: fields.number("factor")?,
        low_freq_factor: fields.number("low_freq_factor")?,
        high_freq_factor: fields.number("high_freq_factor")?,
        original_context: fields.size("original_context")?,
    })
}

pub fn read_model_of(fields: &Fields<'_>, chat: bool) -> Result<ReadModel> {
    declared_of(fields.files("files")?, fields, chat)
}

/// What is declared of a model, wherever its files come from.
pub fn declared_of(files: Vec<PathBuf>, fields: &Fields<'_>, chat: bool) -> Result<ReadModel> {
    Ok(ReadModel {
        files,
        is: fields.within("is", |_, fields| architecture_of(fields))?,
        tokenizer: fields.artifact("tokenizer")?,
        template: match chat {
            true => Some(fields.within("template", |_, fields| template_of(fields))?),
            false => None,
        },
    })
}

pub fn template_of(fields: &Fields<'_>) -> Result<Template> {
    Ok(Template {
        name: fields.text("name")?,
        jinja: fields.text("jinja")?,
        bos: fields.text("bos")?,
        eos: fields.text("eos")?,
        forbidden: fields.texts("forbidden")?,
    })
}
