//! `reward_model`: a chat model learns which of two answers people prefer; its language head
//! becomes one number. Llama 2, section 3.2.2. Knows preferences and a model's folder; does not
//! know the loss.

use std::path::PathBuf;

use super::generate::template_of;
use super::learner::Learner;
use super::length::{BatchSize, Length};
use super::train_loop::{Training, train};
use crate::train::data::batch::{Batches, Rows};
use crate::train::data::chat::ChatFormat;
use crate::train::data::mixture::{Mix, Source};
use crate::train::data::pairs::{Pair, PairRows, pairs};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::lora::LoraSettings;
use crate::train::objective::ranking::{Margins, PairFacts, Ranking};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `reward_model`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct RewardModel {
    pub init: PathBuf,
    pub data: Mix<PathBuf>,
    pub context: usize,
    /// Pairs a step.
    pub batch: u64,
    pub margins: Margins,
    pub safety_loss: bool,
    pub training: Training,
}

/// Trains a reward model and writes its folder at port `out`.
pub fn run(params: &RewardModel, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    learn(params, None, context)
}

/// The same, where an adapter learns with these settings, and the head.
pub(super) fn learn(
    params: &RewardModel,
    beside: Option<&LoraSettings>,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let learner = Learner::open(&params.init, beside, params.context)?;
    let mut learner = learner.scoring(params.training.seed);
    let template = template_of(&params.init, &learner.tokenizer)?;
    let sources = sources(params, &learner.tokenizer, &ChatFormat::new(&template)?, context)?;
    let count: usize = sources.iter().map(|source| source.of.len()).sum();
    let facts =
        sources.iter().map(|source| params.facts(&source.of.0)).collect::<Result<_, _>>()?;
    let batches = pair_batches(sources, params.batch, params.training.seed)?;
    let steps = steps(params.training.length, params.batch, params.context, count)?;
    context.progress.log(&format!("{steps} steps of {} pairs, {count} an epoch", params.batch));

    let mut objective = Ranking::new(batches, facts);
    let model = learner.begin(&context.kernels(), &params.training);
    let metrics = train(model, &mut objective, steps, &params.training, context)?;
    learner.write(&context.out.join("out"), &template.jinja)?;
    Ok(metrics)
}

/// Whole steps of so many pairs. A length in tokens counts a pair as two rows.
pub(super) fn steps(
    length: Length,
    batch: u64,
    context: usize,
    pairs: usize,
) -> Result<u64, Failure> {
    let course = length.course(BatchSize::Sequences(batch), 2 * context as u64, Some(pairs as u64));
    Ok(course.map_err(Failure::input)?.expect("the pairs are known").steps)
}

fn sources(
    params: &RewardModel,
    tokenizer: &Tokenizer,
    format: &ChatFormat,
    context: &mut Context<'_>,
) -> Result<Vec<Source<PairRows>>, Failure> {
    let mut left_out = 0;
    let sources = params.data.sources(|paths| {
        let mut pairs = pairs(paths, tokenizer, format, params.context)?;
        let all = pairs.len();
        // The paper drops what prefers harm; section 3.2.2.
        let harm =
            |pair: &Pair| (pair.chosen_safe, pair.rejected_safe) == (Some(false), Some(true));
        pairs.retain(|pair| !harm(pair));
        left_out += all - pairs.len();
        Ok(PairRows(pairs))
    })?;
    let labelled = |pair: &Pair| pair.chosen_safe.or(pair.rejected_safe).is_some();
    if params.safety_loss && !sources.iter().flat_map(|source| &source.of.0).any(labelled) {
        return Err(Failure::input("no answer says whether it is harmless")
            .remedy("give rows with `chosen_safe` and `rejected_safe`, or `safety_loss: false`"));
    }
    if left_out > 0 {
        let told = format!("{left_out} pairs are left out: the chosen answer is the harmful one");
        context.progress.notice(&told);
    }
    Ok(sources)
}

/// Batches of so many pairs.
pub(super) fn pair_batches(
    sources: Vec<Source<PairRows>>,
    batch: u64,
    seed: u64,
) -> Result<Batches, Failure> {
    let rows = |source: Source<PairRows>| Source {
        percent: source.percent,
        of: Box::new(source.of) as Box<dyn Rows>,
    };
    Batches::new(sources.into_iter().map(rows).collect(), batch as usize, seed)
}

impl RewardModel {
    /// Margins by rating, and labels where they are learnt.
    fn facts(&self, pairs: &[Pair]) -> Result<Vec<PairFacts>, Failure> {
        pairs.iter().map(|pair| self.facts_of(pair)).collect()
    }

    /// Fails where a margin needs a rating that is not there.
    pub fn facts_of(&self, pair: &Pair) -> Result<PairFacts, Failure> {
        let margin = match (self.margins, pair.rating) {
            (Margins::None, _) => 0.0,
            (margins, Some(rating)) => margins.of(rating),
            (_, None) => {
                let row = pair.chosen.row;
                return Err(Failure::input(format!("row {row} has no rating for a margin"))
                    .remedy("set `margins: \"none\"`, or name the column of ratings"));
            }
        };
        let safe = match self.safety_loss {
            true => [pair.chosen_safe, pair.rejected_safe],
            false => [None, None],
        };
        Ok(PairFacts { margin, safe })
    }
}
