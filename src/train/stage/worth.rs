//! What a model is worth on texts: their perplexity, told where a stage changes a model's numbers
//! and not what it has learnt. Knows models and texts; does not know what became of the numbers.

use std::path::Path;

use crate::train::data::rows::{Text, read_rows};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::kernels::math;
use crate::train::model::{LoadedModel, ModelPath};
use crate::train::progress::{Context, Failure};

/// Texts that models are asked about.
pub struct Texts(Vec<String>);

impl Texts {
    /// The rows of a data set.
    pub fn read(path: &Path) -> Result<Texts, Failure> {
        let rows = read_rows::<Text>(path)?;
        Ok(Texts(rows.into_iter().map(|row| row.text).collect()))
    }
}

/// exp of the mean loss of a token, over all tokens of the texts.
pub fn perplexity(
    path: &ModelPath,
    texts: &Texts,
    context: &mut Context<'_>,
) -> Result<f64, Failure> {
    let documents = Tokenizer::load(&path.base)?.encode_documents(&texts.0, context.threads);
    let mut model = LoadedModel::load(&path.base, context.engine())?;
    model.wear(path.adapter.as_deref())?;
    let losses = model.document_losses(&documents, context.progress)?;
    let tokens: usize = losses.iter().map(Vec::len).sum();
    let nats: f64 = losses.iter().flatten().map(|loss| f64::from(*loss)).sum();
    Ok(f64::from(math::exp((nats / tokens.max(1) as f64) as f32)))
}
