//! The parameters of stages that use a model, and the records that describe one. Knows fields; does
//! not know weights.

use anyhow::Result;

use crate::exec::inputs::Fields;
use crate::train::data::chat::Template;
use crate::train::model::ModelConfig;
use crate::train::stage::Generate;

pub fn generate_of(fields: &Fields<'_>) -> Result<Generate> {
    Ok(Generate {
        model: fields.artifact("model")?,
        prompts: fields.artifact("prompts")?,
        samples: fields.size("samples")?,
        max_answer: fields.size("max_answer")?,
        temperature: fields.number("temperature")?,
        top_k: fields.optional("top_k", Fields::size)?,
        top_p: fields.optional("top_p", Fields::number)?,
        seed: fields.seed("seed")?,
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
        rope_scaling: None,
        tied: false,
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
