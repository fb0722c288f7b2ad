//! `dpo`: a chat model learns from pairs of answers without a reward model: the one that people
//! prefer becomes more probable than the other, beside what both were at the start. Rafailov et al.
//! 2023; the formulas are in `train::objective::dpo`. Knows folders and pairs; does not know how
//! steps are made.

use std::path::PathBuf;

use super::generate::template_of;
use super::learner::Learner;
use super::reward_model::{pair_batches, steps};
use super::scored::answer_log_probs;
use super::train_loop::{Training, train};
use crate::train::data::batch::Rows;
use crate::train::data::chat::ChatFormat;
use crate::train::data::mixture::Mix;
use crate::train::data::pack::Row;
use crate::train::data::pairs::{PairRows, pairs};
use crate::train::model::Transformer;
use crate::train::model::asked::At;
use crate::train::model::lora::LoraSettings;
use crate::train::objective::dpo::{Direct, PairLoss};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `dpo`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Dpo {
    pub init: PathBuf,
    pub data: Mix<PathBuf>,
    pub context: usize,
    /// Pairs a step.
    pub batch: u64,
    pub beta: f64,
    pub loss: PairLoss,
    pub training: Training,
}

/// Trains the model and writes its folder at port `out`.
pub fn run(params: &Dpo, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    learn(params, None, context)
}

/// The same, where it is an adapter that learns with these settings.
pub(super) fn learn(
    params: &Dpo,
    beside: Option<&LoraSettings>,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let mut learner = Learner::open(&params.init, beside, params.context)?;
    let template = template_of(&params.init, &learner.tokenizer)?;
    let format = ChatFormat::new(&template)?;
    let read = |paths: &[&PathBuf]| pairs(paths, &learner.tokenizer, &format, params.context);
    let sources = params.data.sources(|paths| Ok(PairRows(read(paths)?)))?;
    let count: usize = sources.iter().map(|source| source.of.len()).sum();
    let steps = steps(params.training.length, params.batch, params.context, count)?;
    context.progress.log(&format!("{steps} steps of {} pairs, {count} an epoch", params.batch));

    let reference = sources.iter().map(|source| log_probs(&learner.model, &source.of, context));
    let reference = reference.collect::<Result<_, _>>()?;
    let batches = pair_batches(sources, params.batch, params.training.seed)?;
    let mut objective = Direct::new(batches, reference, params.loss, params.beta);
    let model = learner.begin(&context.kernels(), &params.training);
    let metrics = train(model, &mut objective, steps, &params.training, context)?;
    learner.write(&context.out.join("out"), &template.jinja)?;
    Ok(metrics)
}

/// Pairs that are scored between two looks at whether the run is to stop.
const PAIRS_AT_ONCE: usize = 256;

/// The log-probabilities of chosen and rejected by the model as it begins, pair by pair. Found anew
/// by a run that goes on after a stop: they follow from the same weights.
fn log_probs(
    model: &Transformer,
    pairs: &PairRows,
    context: &mut Context<'_>,
) -> Result<Vec<[f64; 2]>, Failure> {
    let engine = context.engine();
    let copy = engine.copy(model)?;
    let model = At::of(&engine.threads, model, &copy);
    let mut sums = Vec::with_capacity(pairs.len());
    while sums.len() < pairs.len() {
        if context.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let last = pairs.len().min(sums.len() + PAIRS_AT_ONCE);
        let rows: Vec<Row> = (sums.len()..last).map(|at| pairs.row(at)).collect();
        let scored = answer_log_probs(model, &rows.iter().collect::<Vec<_>>(), 1.0)?;
        for (row, log_probs) in rows.iter().zip(&scored.log_probs) {
            let (chosen, rejected) = log_probs.split_at(row.supervised_in(0));
            sums.push([chosen, rejected].map(|side| side.iter().map(|x| f64::from(*x)).sum()));
        }
    }
    Ok(sums)
}
