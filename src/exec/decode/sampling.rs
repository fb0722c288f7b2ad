//! The parameters of stages that let a model answer, and of the prompts for them.
//! Knows fields; does not know models.

use anyhow::Result;

use super::model::template_of;
use crate::exec::inputs::Fields;
use crate::train::data::chat::Template;
use crate::train::stage::{
    Answering, ContextDistill, GhostAttention, PromptsOf, RejectionSampling,
};

pub fn prompts_of(fields: &Fields<'_>) -> Result<PromptsOf> {
    Ok(PromptsOf { data: fields.artifacts("data")?, safety: fields.artifacts("safety")? })
}

pub fn rejection_sampling_of(fields: &Fields<'_>) -> Result<RejectionSampling> {
    Ok(RejectionSampling {
        policy: fields.artifact("policy")?,
        judge: fields.model("judge")?,
        prompts: fields.mix("prompts")?,
        template: template(fields)?,
        answering: answering_of(fields, fields.size("samples")?)?,
    })
}

pub fn ghost_attention_of(fields: &Fields<'_>) -> Result<GhostAttention> {
    Ok(GhostAttention {
        model: fields.artifact("model")?,
        dialogues: fields.mix("dialogues")?,
        instructions: fields.mix("instructions")?,
        short: fields.optional("short", Fields::mix)?,
        rows: fields.optional("rows", Fields::size)?,
        min_turns: fields.size("min_turns")?,
        max_turns: fields.size("max_turns")?,
        template: template(fields)?,
        answering: answering_of(fields, 1)?,
    })
}

pub fn context_distill_of(fields: &Fields<'_>) -> Result<ContextDistill> {
    Ok(ContextDistill {
        model: fields.artifact("model")?,
        prompts: fields.mix("prompts")?,
        preprompt: fields.text("preprompt")?,
        keep_if: fields.model("keep_if")?,
        template: template(fields)?,
        answering: answering_of(fields, 1)?,
    })
}

fn template(fields: &Fields<'_>) -> Result<Template> {
    fields.within("template", |_, fields| template_of(fields))
}

fn answering_of(fields: &Fields<'_>, samples: usize) -> Result<Answering> {
    Ok(Answering {
        samples,
        max_answer: fields.size("max_answer")?,
        temperature: fields.number("temperature")?,
        seed: fields.seed("seed")?,
    })
}
