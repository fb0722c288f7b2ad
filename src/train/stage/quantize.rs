//! `quantize`: a model in blocks of 4 or 8 bits, how far its numbers move by that, and the
//! perplexity of texts before and after. What was written is read back: every number must be what
//! was quantised. Knows models and texts; does not know how a block lays out its bits.

use std::path::{Path, PathBuf};

use super::export::Source;
use super::worth::{Texts, perplexity};
use crate::train::model::encoding::Encoding;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::gguf;
use crate::train::model::parameters::table;
use crate::train::model::quantized::{Form, error_of_blocks, quantised};
use crate::train::model::tensor::{Stored, Tensor};
use crate::train::progress::{Context, Failure, Metrics};

/// What a matrix is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Matrices of the blocks, as bitsandbytes keeps them.
    Nf4,
    /// All matrices, in an encoding of GGUF files.
    Ggml(Encoding),
}

/// The parameters of `quantize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// A model's folder.
    pub model: PathBuf,
    pub to: Codes,
    /// Whether scales of NF4 are written in 8 bits too.
    pub double_quant: bool,
    /// What NF4 leaves is rounded to this, and what it takes is before that.
    pub dtype: Encoding,
    /// Texts whose perplexity is told.
    pub data: Option<PathBuf>,
}

/// Writes the model at port `out`.
pub fn run(params: &Quantize, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let texts = params.data.as_deref().map(Texts::read).transpose()?;
    let out = context.out.join("out");
    let source = Source::open(&params.model)?;
    match params.to {
        Codes::Nf4 => write_nf4(&out, &source, params, context)?,
        Codes::Ggml(encoding) => {
            let Source { model, files, chat_template, .. } = &source;
            let template = chat_template.as_deref();
            folder::write_beside_weights(&out, model, files, template, Encoding::F32)?;
            source.write_gguf(&out.join(gguf::FILE), encoding, context)?;
        }
    }
    let error = error_of_blocks(&source.model.weights, &folder::open(&out)?.weights);
    drop(source);
    context.progress.log(&format!(
        "matrices moved by {:.3}% of their size, as the root of mean squares",
        100.0 * error
    ));
    let bytes = |path: &Path| folder::bytes(path).map(|bytes| bytes as f64);
    let mut metrics = vec![
        ("bytes before".to_string(), bytes(&params.model)?),
        ("bytes after".to_string(), bytes(&out)?),
        ("relative error".to_string(), error),
    ];
    if let Some(texts) = texts {
        let before = perplexity(&params.model.as_path().into(), &texts, context)?;
        let after = perplexity(&out.as_path().into(), &texts, context)?;
        metrics.push(("perplexity before".to_string(), before));
        metrics.push(("perplexity after".to_string(), after));
    }
    Ok(metrics)
}

fn write_nf4(
    out: &Path,
    source: &Source,
    params: &Quantize,
    context: &Context<'_>,
) -> Result<(), Failure> {
    let form = Form { encoding: params.dtype, double: params.double_quant };
    let model = nf4(&source.model, form, context)?;
    let template = source.chat_template.as_deref();
    folder::publish_nf4(out, &model, &source.files, template, form.encoding)?;
    compare_nf4(out, &model)
}

/// The model with its matrices in NF4. Those that are in NF4 already are not rounded again.
pub fn nf4(
    model: &ModelFolder<Stored>,
    form: Form,
    context: &Context<'_>,
) -> Result<ModelFolder<Stored>, Failure> {
    let ModelFolder { config, special, weights } = model;
    let weights = quantised(&context.kernels(), config, weights, form)?;
    Ok(ModelFolder { config: config.clone(), special: *special, weights })
}

/// Every number of a folder is what was quantised.
pub fn compare_nf4(folder: &Path, model: &ModelFolder<Stored>) -> Result<(), Failure> {
    let written = folder::open(folder)?;
    let same_facts = written.config == model.config && written.special == model.special;
    let pairs = model.weights.in_order().into_iter().zip(written.weights.in_order());
    for (spec, (before, after)) in table(&model.config).iter().zip(pairs) {
        let (before, after) = (before.elements().to_floats(), after.elements().to_floats());
        let same = before.iter().zip(&after).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same || !same_facts || before.len() != after.len() {
            let name = &spec.name;
            return Err(Failure::input(format!(
                "tensor `{name}` was not read back as it was written"
            )));
        }
    }
    Ok(())
}
