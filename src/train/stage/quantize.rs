//! `quantize`: the matrices of a model in NF4, and the perplexity of texts before and after. What
//! was written is read back: every number must be what was quantised. Knows models and texts; does
//! not know how a block lays out its bits.

use std::path::{Path, PathBuf};

use crate::train::data::rows::{Text, read_rows};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::math;
use crate::train::model::encoding::Encoding;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::parameters::table;
use crate::train::model::quantized::{Form, quantised};
use crate::train::model::tensor::{Stored, Tensor};
use crate::train::model::{Anywhere, LoadedModel};
use crate::train::progress::{Context, Failure, Metrics};

/// What a matrix is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    Nf4,
}

/// The parameters of `quantize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantize {
    /// A model's folder.
    pub model: PathBuf,
    pub to: Codes,
    /// Whether scales are written in 8 bits too.
    pub double_quant: bool,
    /// What is not quantised is rounded to this, and what is before that.
    pub dtype: Encoding,
    /// Texts whose perplexity is told.
    pub data: Option<PathBuf>,
}

/// Writes the model at port `out`.
pub fn run(params: &Quantize, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Codes::Nf4 = params.to;
    let texts = params.data.as_deref().map(read_rows::<Text>).transpose()?;
    let texts: Option<Vec<String>> =
        texts.map(|rows| rows.into_iter().map(|row| row.text).collect());
    let out = context.out.join("out");
    let form = Form { encoding: params.dtype, double: params.double_quant };
    let Anywhere { model, chat_template, .. } = Anywhere::open(&params.model)?;
    let model = nf4(&model, form, context)?;
    folder::publish_nf4(&out, &model, &params.model, chat_template.as_deref(), form.encoding)?;
    compare_nf4(&out, &model)?;
    drop(model);
    let bytes = |path: &Path| folder::bytes(path).map(|bytes| bytes as f64);
    let mut metrics = vec![
        ("bytes before".to_string(), bytes(&params.model)?),
        ("bytes after".to_string(), bytes(&out)?),
    ];
    if let Some(texts) = texts {
        let before = perplexity(&params.model, &texts, context)?;
        let after = perplexity(&out, &texts, context)?;
        metrics.push(("perplexity before".to_string(), before));
        metrics.push(("perplexity after".to_string(), after));
    }
    Ok(metrics)
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

/// exp of the mean loss of a token, over all tokens of the texts.
fn perplexity(model: &Path, texts: &[String], context: &mut Context<'_>) -> Result<f64, Failure> {
    let documents = Tokenizer::load(model)?.encode_documents(texts, context.threads);
    let model = LoadedModel::load(model, context.kernels())?;
    let losses = model.document_losses(&documents, context.progress)?;
    let tokens: usize = losses.iter().map(Vec::len).sum();
    let nats: f64 = losses.iter().flatten().map(|loss| f64::from(*loss)).sum();
    Ok(f64::from(math::exp((nats / tokens.max(1) as f64) as f32)))
}
