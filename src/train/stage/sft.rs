//! `sft`: supervised fine-tuning on dialogues, in which only the answers are learnt. Llama 2,
//! section 3.1. Knows dialogues and a template; does not know how rows are packed or learnt from.

use std::path::PathBuf;

use super::length::BatchSize;
use super::pretrain::fit;
use super::train_loop::{Training, train};
use crate::train::data::batch::{Batches, Rows};
use crate::train::data::chat::Template;
use crate::train::data::mixture::Mix;
use crate::train::data::pack::{ExampleRows, Packing};
use crate::train::data::tokenise::{Part, dialogues};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::Transformer;
use crate::train::model::folder::{self, ModelFolder};
use crate::train::objective::next_token::NextToken;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `sft`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Sft {
    pub init: PathBuf,
    pub data: Mix<PathBuf>,
    pub template: Template,
    pub context: usize,
    pub batch: BatchSize,
    pub packing: Packing,
    pub training: Training,
}

/// Fine-tunes a model and writes its folder, with the template, at port `out`.
pub fn run(params: &Sft, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let training = &params.training;
    let ModelFolder { config, special, weights } = folder::read(&params.init)?;
    let tokenizer = Tokenizer::load(&params.init)?;
    fit(&tokenizer, &config, params.context)?;
    let batches = batches(params, &tokenizer, context)?;
    let rows = Some(batches.rows() as u64);
    let course = training.length.course(params.batch, params.context as u64, rows);
    let course = course.map_err(Failure::input)?.expect("the rows are known");
    context.progress.log(&format!("{course}, {} rows an epoch", batches.rows()));

    let mut model = Transformer::new(config, weights, params.context);
    let mut objective = NextToken::new(batches);
    let metrics = train(&mut model, &mut objective, course.steps, training, context)?;

    let (config, weights) = model.into_parts();
    let made = ModelFolder { config, special, weights };
    let jinja = Some(params.template.jinja.as_str());
    folder::write(&context.out.join("out"), &made, &params.init, jinja)?;
    Ok(metrics)
}

/// The rows of each step, in order.
pub(super) fn batches(
    params: &Sft,
    tokenizer: &Tokenizer,
    context: &mut Context<'_>,
) -> Result<Batches, Failure> {
    let mut numbers = 0..;
    let sources = params.data.sources(|paths| {
        let part = Part { paths, number: numbers.next().expect("there is no last number") };
        let shard = dialogues(part, tokenizer, &params.template, params.context, context)?;
        Ok(Box::new(ExampleRows::new(shard, params.context, params.packing)) as Box<dyn Rows>)
    })?;
    let sequences = params.batch.sequences(params.context as u64).map_err(Failure::input)?;
    Batches::new(sources, sequences as usize, params.training.seed)
}
