//! `pretrain`: a base model from nothing but text. Documents are joined end to end, each between
//! `bos` and `eos`, and cut into rows of `context` tokens. Llama 2, section 2.2. Knows text; does
//! not know dialogues.

use std::path::PathBuf;

use super::length::BatchSize;
use super::train_loop::{Training, train};
use crate::train::data::batch::{Batches, Rows};
use crate::train::data::mixture::Mix;
use crate::train::data::pack::DocumentRows;
use crate::train::data::tokenise::{Part, documents};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::model::{ModelConfig, SpecialTokens, Transformer, init};
use crate::train::objective::next_token::NextToken;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `pretrain`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Pretrain {
    pub model: ModelConfig,
    pub tokenizer: PathBuf,
    pub data: Mix<PathBuf>,
    pub context: usize,
    pub batch: BatchSize,
    pub training: Training,
}

/// Trains a model and writes its folder at port `out`.
pub fn run(params: &Pretrain, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Pretrain { model: config, training, .. } = params;
    config.validate().map_err(Failure::input)?;
    let tokenizer = Tokenizer::load(&params.tokenizer)?;
    fit(&tokenizer, config, params.context)?;
    let batches = batches(params, &tokenizer, context)?;
    let rows = Some(batches.rows() as u64);
    let course = training.length.course(params.batch, params.context as u64, rows);
    let course = course.map_err(Failure::input)?.expect("the rows are known");
    context.progress.log(&format!("{course}, {} rows an epoch", batches.rows()));

    let weights = init::untrained(config, training.seed);
    let mut model = Transformer::new(config.clone(), weights, params.context);
    let mut objective = NextToken::new(batches);
    let metrics = train(&mut model, &mut objective, course.steps, training, context)?;

    let special = SpecialTokens { bos: tokenizer.bos().id, eos: tokenizer.eos().id };
    let (config, weights) = model.into_parts();
    let made = ModelFolder { config, special, weights };
    folder::write(&context.out.join("out"), &made, &params.tokenizer, None)?;
    Ok(metrics)
}

/// The rows of each step, in order: what the model sees.
pub fn batches(
    params: &Pretrain,
    tokenizer: &Tokenizer,
    context: &mut Context<'_>,
) -> Result<Batches, Failure> {
    let mut numbers = 0..;
    let sources = params.data.sources(|paths| {
        let part = Part { paths, number: numbers.next().expect("there is no last number") };
        let shard = documents(part, tokenizer, context)?;
        Ok(Box::new(DocumentRows::new(shard, params.context)) as Box<dyn Rows>)
    })?;
    let sequences = params.batch.sequences(params.context as u64).map_err(Failure::input)?;
    Batches::new(sources, sequences as usize, params.training.seed)
}

/// The tokenizer and the rows must fit the model.
pub(super) fn fit(
    tokenizer: &Tokenizer,
    config: &ModelConfig,
    context: usize,
) -> Result<(), Failure> {
    let (found, expected) = (tokenizer.vocab(), config.vocab);
    // A model may have more rows than there are tokens: many are filled up to a round number.
    if found > expected {
        return Err(Failure::input(format!(
            "the tokenizer has {found} entries and the model {expected}"
        ))
        .remedy(format!("set the model's `vocab` to {found}")));
    }
    if context > config.context {
        let longest = config.context;
        return Err(Failure::input(format!(
            "rows of {context} tokens are longer than the model's context of {longest}"
        ))
        .remedy(format!("set `context` to at most {longest} tokens")));
    }
    Ok(())
}
