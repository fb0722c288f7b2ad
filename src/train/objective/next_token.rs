//! The next token: −log p(target | what comes before), summed over the positions that are learnt
//! from and divided by their number in the *whole* batch, not in a part of it. So a batch gives the
//! same gradient however it is split (transformers PR 34191 is what happens otherwise). Knows no
//! optimizer. Left out: label smoothing, z-loss.

use std::ops::Range;

use super::{Figures, Objective};
use crate::train::data::batch::Batches;
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::kernels::cross_entropy::{Gradients, Losses, cross_entropy};
use crate::train::model::activations::Activations;
use crate::train::model::{Batch, Parameters, Transformer};
use crate::train::progress::{Context, Failure};

/// Pretraining and supervised fine-tuning.
#[derive(Debug)]
pub struct NextToken {
    batches: Batches,
    /// Positions of the step that are learnt from, and the sum of their losses so far.
    supervised: u64,
    loss: f64,
}

impl NextToken {
    /// Learns from these batches, one a step.
    pub fn new(batches: Batches) -> NextToken {
        NextToken { batches, supervised: 0, loss: 0.0 }
    }

    /// What the loss of each position of the step counts.
    pub fn weight(&self) -> f32 {
        (1.0 / self.supervised as f64) as f32
    }

    /// Takes the losses of a part: one by one, so that no division into parts changes the sum.
    pub fn hear(&mut self, nll_t: &[f32]) {
        nll_t.iter().for_each(|nll| self.loss += f64::from(*nll));
    }
}

impl Objective for NextToken {
    fn rows(
        &mut self,
        step: u64,
        _model: &Transformer,
        _context: &mut Context<'_>,
    ) -> Result<Vec<Row>, Failure> {
        Ok(self.batches.at(step))
    }

    fn sequences(&self) -> usize {
        self.batches.sequences()
    }

    fn longest(&self) -> usize {
        self.batches.longest()
    }

    fn begin(&mut self, rows: &[&Row]) {
        self.supervised = rows.iter().map(|row| row.supervised() as u64).sum();
        self.loss = 0.0;
        assert!(self.supervised > 0, "nothing to learn from");
    }

    fn learn(
        &mut self,
        t: &Threads,
        _part: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        a: &mut Activations,
        gradients: &mut Parameters,
    ) {
        let scale = self.weight();
        let towards = Gradients {
            weight: &|_, _| scale,
            dhidden: &mut a.dhidden_td,
            dhead: gradients.head_gradient(),
        };
        let losses = Losses { nll: &mut a.nll_t, entropy: None };
        let (head_vd, targets) = (model.weights.head(), batch.targets_at(1.0));
        cross_entropy(t, &a.hidden_td, head_vd, targets, losses, Some(towards));
        self.hear(&a.nll_t);
    }

    fn as_next_token(&mut self) -> Option<&mut NextToken> {
        Some(self)
    }

    fn figures(&mut self) -> Figures {
        vec![("loss", self.loss / self.supervised as f64)]
    }
}
