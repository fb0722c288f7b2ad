//! `sft`: supervised fine-tuning on dialogues, in which only the answers are learnt. Llama 2,
//! section 3.1. Knows dialogues and a template; does not know how rows are packed or learnt from.

use std::path::PathBuf;

use super::learner::Learner;
use super::length::BatchSize;
use super::train_loop::{Training, train};
use crate::train::data::batch::{Batches, Rows};
use crate::train::data::chat::Template;
use crate::train::data::mixture::Mix;
use crate::train::data::pack::{ExampleRows, Packing};
use crate::train::data::tokenise::{Part, dialogues};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::lora::LoraSettings;
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
    learn(params, None, context)
}

/// The same, where it is an adapter that learns with these settings.
pub(super) fn learn(
    params: &Sft,
    beside: Option<&LoraSettings>,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let training = &params.training;
    let mut learner = Learner::open(&params.init, beside, params.context)?;
    let batches = batches(params, &learner.tokenizer, context)?;
    let rows = Some(batches.rows() as u64);
    let course = training.length.course(params.batch, params.context as u64, rows);
    let course = course.map_err(Failure::input)?.expect("the rows are known");
    context.progress.log(&format!("{course}, {} rows an epoch", batches.rows()));

    let mut objective = NextToken::new(batches);
    let model = learner.begin(&context.kernels(), training);
    let metrics = train(model, &mut objective, course.steps, training, context)?;
    learner.write(&context.out.join("out"), &params.template.jinja)?;
    Ok(metrics)
}

/// The rows of each step, in order.
fn batches(
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
