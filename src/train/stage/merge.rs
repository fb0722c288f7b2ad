//! `merge`: an adapter becomes part of its base. A quantised base is widened to f32 first, which is
//! what the adapter was trained over; what it had lost stays lost, and is told. `read_adapter`: an
//! adapter that was made elsewhere, compared with what the recipe declares of it. Knows folders;
//! does not know how an adapter is computed.

use std::path::{Path, PathBuf};

use super::read_model::folder_of;
use super::worth::{Texts, perplexity};
use crate::train::data::chat::Template;
use crate::train::model::encoding::Encoding;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::projection::Which;
use crate::train::model::quantized::{error_of_blocks, has_blocks, relative_error};
use crate::train::model::tensor::{Stored, Tensor};
use crate::train::model::{ModelPath, peft};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `merge`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Merge {
    pub adapter: ModelPath,
    pub into: PathBuf,
    /// What the sum is rounded to.
    pub dtype: Encoding,
    /// What the base was quantised from, if what it lost is to be told.
    pub original: Option<PathBuf>,
    /// Texts whose perplexity is told.
    pub data: Option<PathBuf>,
}

/// Writes the model at port `out`.
pub fn run(params: &Merge, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Some(folder) = &params.adapter.adapter else {
        return Err(Failure::input("`adapter` is a model of its own, which needs no merging"));
    };
    let texts = params.data.as_deref().map(Texts::read).transpose()?;
    let base = folder::open(&params.into)?;
    let (t, mut adapter) = (context.kernels(), peft::read(folder, &base.config)?);
    adapter.settle(&t, &base.config, &base.weights);
    let numbers: usize = adapter.tensors().iter().map(|tensor| tensor.len()).sum();
    let mut metrics = vec![("merged parameters".to_string(), numbers as f64)];
    metrics.extend(error_of_base(params, &base, context)?);

    let ModelFolder { config, special, weights } = base;
    let mut weights = weights.map(Stored::into_floats);
    adapter.merge(&t, &config, &mut weights);
    let made = ModelFolder { config, special, weights };
    let out = context.out.join("out");
    let template = folder::read_chat_template(folder)?;
    folder::write_in(&out, &made, &params.into, template.as_deref(), params.dtype)?;
    if params.dtype != Encoding::F32 {
        metrics.push(("rounding error".into(), error_of_rounding(&made, &out)?));
    }
    drop(made);
    if let Some(texts) = texts {
        metrics.extend(perplexities(params, &texts, context)?);
    }
    Ok(metrics)
}

/// How far a quantised base lies from what it was quantised from.
fn error_of_base(
    params: &Merge,
    base: &ModelFolder<Stored>,
    context: &mut Context<'_>,
) -> Result<Option<(String, f64)>, Failure> {
    let is_quantised = has_blocks(&base.weights);
    let Some(path) = &params.original else {
        if is_quantised {
            context.progress.log(
                "the base is quantised, and the adapter becomes part of it as it was widened; \
                 `original` tells how far that is from what it was quantised from",
            );
        }
        return Ok(None);
    };
    if !is_quantised {
        return Err(Failure::input("the base is not quantised, so it has no other `original`")
            .remedy("leave `original` out"));
    }
    let original = folder::open(path)?;
    if original.config != base.config {
        return Err(Failure::input("`original` has another shape than the base")
            .remedy("name the model that was given to `quantize`"));
    }
    let error = error_of_blocks(&original.weights, &base.weights);
    context.progress.log(&format!(
        "the matrices of the base lie {:.3}% of their size from what they were quantised from",
        100.0 * error
    ));
    Ok(Some(("error of the base".into(), error)))
}

/// How far what was written lies from the sum.
fn error_of_rounding(made: &ModelFolder, written: &Path) -> Result<f64, Failure> {
    let written = folder::open(written)?.weights;
    let pairs = made.weights.in_order().into_iter().zip(written.in_order());
    Ok(relative_error(pairs.map(|(before, after)| (before.elements(), after.elements()))))
}

/// Of the texts: before the base was quantised where that is known, of the base, of the base under
/// its adapter, and of what was made.
fn perplexities(
    params: &Merge,
    texts: &Texts,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let made = context.out.join("out");
    let named = |name: &str, path: ModelPath| (format!("perplexity {name}"), path);
    let original = params.original.as_deref().map(|path| named("of the original", path.into()));
    let models = original.into_iter().chain([
        named("of the base", params.into.as_path().into()),
        named("under the adapter", params.adapter.clone()),
        named("merged", made.into()),
    ]);
    models.map(|(name, path)| Ok((name, perplexity(&path, texts, context)?))).collect()
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
