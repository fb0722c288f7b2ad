//! What an objective is to the training loop: it chooses the rows of each step, reads the decoder's
//! last hidden state and hands back its gradient. Does not know how a step is made of that.

use super::next_token::NextToken;
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::model::activations::Activations;
use crate::train::model::{Batch, Parameters, Transformer};
use crate::train::progress::{Context, Failure, Metrics};
use std::ops::Range;

/// Named figures of a step, the loss first.
pub type Figures = Vec<(&'static str, f64)>;

/// One way to learn. Whatever it decides must follow from its inputs, the number of the step, the
/// weights and its [`memory`](Objective::memory), so that a stopped run goes on with the same bits.
pub trait Objective {
    /// The rows of step `step`, counted from 0, of a model that has made all steps before.
    fn rows(
        &mut self,
        step: u64,
        model: &Transformer,
        context: &mut Context<'_>,
    ) -> Result<Vec<Row>, Failure>;

    /// How many rows a step has, at most.
    fn sequences(&self) -> usize;

    /// Tokens of the longest row there can be.
    fn longest(&self) -> usize;

    /// Begins the gradient of a step with these rows.
    fn begin(&mut self, rows: &[&Row]);

    /// Learns from a part of the step's rows after a forward pass: writes `dhidden_td` and adds to
    /// the gradients of the heads. Parts come in order.
    fn learn(
        &mut self,
        t: &Threads,
        part: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        a: &mut Activations,
        gradients: &mut Parameters,
    );

    /// Itself, if it is the loss of the next token and nothing else: an accelerator knows that one.
    /// Any other learns from what it is handed, by weights that it may read at any time.
    fn as_next_token(&mut self) -> Option<&mut NextToken> {
        None
    }

    /// The figures of the step whose parts were all learnt from.
    fn figures(&mut self) -> Figures;

    /// Whether the step whose parts were all learnt from had anything to teach. Where none has, as
    /// where all answers are equally good, no gradient is no fault.
    fn teaches(&self) -> bool {
        true
    }

    /// How progress is counted: a word, and how many steps are one of it.
    fn unit(&self) -> (&'static str, u64) {
        ("steps", 1)
    }

    /// Told after each step; here a run may look at how it does.
    fn after(
        &mut self,
        _done: u64,
        _model: &Transformer,
        _context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether the run is over before its last step.
    fn is_over(&self) -> bool {
        false
    }

    /// Numbers and weights to be kept beside the model's when the run is stopped. Their count of
    /// floats never changes.
    fn memory(&mut self) -> (Vec<f64>, Vec<&mut [f32]>) {
        (Vec::new(), Vec::new())
    }

    /// Takes the numbers of [`memory`](Objective::memory) back.
    fn recall(&mut self, _numbers: Vec<f64>) {}

    /// What the whole run came to, besides loss and sizes.
    fn results(&self) -> Metrics {
        Metrics::new()
    }
}
