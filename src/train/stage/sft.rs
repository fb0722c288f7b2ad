//! `sft`: supervised fine-tuning on dialogues, in which only the answers are learnt. Llama 2,
//! section 3.1. Knows dialogues and a template; does not know how rows are packed or learnt from.

use std::path::{Path, PathBuf};

use super::length::BatchSize;
use super::pretrain::fit;
use super::train_loop::{Training, train};
use crate::train::data::batch::Batches;
use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::mixture::Mix;
use crate::train::data::pack::{Example, Packing, pack_examples};
use crate::train::data::rows::{Chat, read_rows};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::Transformer;
use crate::train::model::folder::{self, ModelFolder};
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
    let mut batches = batches(params, &tokenizer)?;
    let rows = Some(batches.rows() as u64);
    let course = training.length.course(params.batch, params.context as u64, rows);
    let course = course.map_err(Failure::input)?.expect("the rows are known");
    context.progress.log(&format!("{course}, {} rows an epoch", batches.rows()));

    let mut model = Transformer::new(config, weights, params.context);
    let metrics = train(&mut model, &mut batches, course, training, context)?;

    let Transformer { config, weights, .. } = model;
    let made = ModelFolder { config, special, weights };
    let jinja = Some(params.template.jinja.as_str());
    folder::write(&context.out.join("out"), &made, &params.init, jinja)?;
    Ok(metrics)
}

fn batches(params: &Sft, tokenizer: &Tokenizer) -> Result<Batches, Failure> {
    let format = ChatFormat::new(&params.template)?;
    let sources = params.data.sources(|paths| {
        let mut examples = Vec::new();
        for path in paths {
            examples.extend(read_examples(path, &format, tokenizer)?);
        }
        pack_examples(&examples, params.context, params.packing)
    })?;
    let sequences = params.batch.sequences(params.context as u64).map_err(Failure::input)?;
    Batches::new(sources, sequences as usize, params.training.seed)
}

/// The dialogues of a file; their rows count from 1.
fn read_examples(
    path: &Path,
    format: &ChatFormat,
    tokenizer: &Tokenizer,
) -> Result<Vec<Example>, Failure> {
    let dialogues = read_rows::<Chat>(path)?;
    let numbered = (1..).zip(&dialogues);
    numbered.map(|(row, chat)| format.example(tokenizer, row, &chat.messages)).collect()
}
