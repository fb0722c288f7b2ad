//! `merge`: an adapter becomes part of its base, in f32. `read_adapter`: an adapter that was made
//! elsewhere, compared with what the recipe declares of it. Knows folders; does not know how an
//! adapter is computed.

use std::path::PathBuf;

use super::read_model::folder_of;
use crate::train::data::chat::Template;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::projection::Which;
use crate::train::model::{ModelPath, peft};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `merge`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    pub adapter: ModelPath,
    pub into: PathBuf,
}

/// Writes the model at port `out`.
pub fn run(params: &Merge, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Some(folder) = &params.adapter.adapter else {
        return Err(Failure::input("`adapter` is a model of its own, which needs no merging"));
    };
    let ModelFolder { config, special, mut weights } = folder::read(&params.into)?;
    let (t, mut adapter) = (context.kernels(), peft::read(folder, &config)?);
    let stored = folder::open(&params.into)?.weights;
    adapter.settle(&t, &config, &stored);
    adapter.merge(&t, &config, &mut weights);
    let template = folder::read_chat_template(folder)?;
    let made = ModelFolder { config, special, weights };
    folder::write(&context.out.join("out"), &made, &params.into, template.as_deref())?;
    let numbers: usize = adapter.tensors().iter().map(|tensor| tensor.len()).sum();
    Ok(vec![("merged parameters".into(), numbers as f64)])
}

/// The parameters of `read_adapter`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadAdapter {
    pub files: Vec<PathBuf>,
    pub base: PathBuf,
    pub template: Template,
    pub rank: usize,
    pub targets: Vec<Which>,
}

/// Makes the folder `out`.
pub fn read(params: &ReadAdapter, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let from = folder_of(
        &params.files,
        peft::CONFIG,
        "name the folder that PEFT's `save_pretrained` wrote",
    )?;
    let (config, _) = folder::read_config(&params.base)?;
    let found = peft::read_settings(&from)?;
    let differs = |what: &str, found: String, declared: String| {
        let place = from.display();
        Err(Failure::input(format!("`{place}`: its {what} is {found}, declared is {declared}"))
            .remedy(format!("declare `{what}` as it is, or name another folder")))
    };
    if found.rank != params.rank {
        return differs("rank", found.rank.to_string(), params.rank.to_string());
    }
    if found.targets != params.targets {
        return differs("targets", named(&found.targets), named(&params.targets));
    }
    let adapter = peft::read(&from, &config)?;
    let out = context.out.join("out");
    peft::write(&out, &config, &adapter)?;
    folder::write_tokenizer(&out, &params.base, Some(&params.template.jinja))?;
    let numbers: usize = adapter.tensors().iter().map(|tensor| tensor.len()).sum();
    Ok(vec![("parameters".into(), numbers as f64)])
}

fn named(targets: &[Which]) -> String {
    let names: Vec<&str> = targets.iter().map(|which| which.short()).collect();
    names.join(", ")
}
