//! Direct preference optimisation, without a reward model: Rafailov et al. 2023. With π and π₀ the
//! log-probabilities of a whole answer by the policy and by what it began as, and
//! h = (π − π₀)(chosen) − (π − π₀)(rejected):
//!
//! ```text
//! sigmoid   −log σ(β h)
//! hinge     max(0, 1 − β h)                        Zhao et al. 2023 (SLiC)
//! ipo       (h' − 1 / (2β))²                       Azar et al. 2023
//! ```
//!
//! h' is h with each side divided by its answer's number of tokens, as trl does; the text of the
//! paper on ipo sums, so that its β would mean another thing at every length. Losses are averaged
//! over the pairs of a batch. A pair is one row with two segments, chosen and rejected, which do
//! not see each other. Left out: smoothed labels, other divergences, margins.

use std::ops::Range;

use super::ranking::{logistic, softplus};
use super::{Figures, Objective};
use crate::train::data::batch::Batches;
use crate::train::data::pack::{IGNORE, Row};
use crate::train::kernels::Threads;
use crate::train::kernels::cross_entropy::{Gradients, Losses, cross_entropy};
use crate::train::model::activations::Activations;
use crate::train::model::{Batch, Parameters, Transformer};
use crate::train::progress::{Context, Failure};

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairLoss {
    Sigmoid,
    Hinge,
    Ipo,
}

/// An answer's log-probability, summed over its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    pub policy: f64,
    pub reference: f64,
    pub tokens: usize,
}

impl Answer {
    /// How much more probable it became.
    pub fn gain(self) -> f64 {
        self.policy - self.reference
    }
}

/// The loss of a pair and its derivatives by `policy` of both answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learnt {
    pub loss: f64,
    pub chosen: f64,
    pub rejected: f64,
}

impl PairLoss {
    /// Of one pair.
    pub fn of(self, beta: f64, chosen: Answer, rejected: Answer) -> Learnt {
        let ahead = beta * (chosen.gain() - rejected.gain());
        let alike = |loss, slope: f64| Learnt { loss, chosen: slope, rejected: -slope };
        match self {
            PairLoss::Sigmoid => alike(softplus(-ahead), -beta * logistic(-ahead)),
            PairLoss::Hinge if ahead < 1.0 => alike(1.0 - ahead, -beta),
            PairLoss::Hinge => alike(0.0, 0.0),
            PairLoss::Ipo => {
                let [a, b] = [chosen, rejected].map(|answer| answer.tokens as f64);
                let off = chosen.gain() / a - rejected.gain() / b - 1.0 / (2.0 * beta);
                Learnt { loss: off * off, chosen: 2.0 * off / a, rejected: -2.0 * off / b }
            }
        }
    }
}

/// Learns from pairs.
#[derive(Debug)]
pub struct Direct {
    batches: Batches,
    /// Log-probabilities of chosen and rejected at the start, by source and row.
    reference: Vec<Vec<[f64; 2]>>,
    longest: usize,
    loss: PairLoss,
    beta: f64,
    /// Those of the step's pairs.
    step: Vec<[f64; 2]>,
    sums: Sums,
}

/// What a step adds up.
#[derive(Debug, Default)]
struct Sums {
    loss: f64,
    right: u64,
    ahead: f64,
    chosen: f64,
    rejected: f64,
    /// Pairs that are far enough apart for a hinge.
    apart: usize,
}

impl Direct {
    /// Learns from these batches, a pair a row.
    pub fn new(
        batches: Batches,
        reference: Vec<Vec<[f64; 2]>>,
        loss: PairLoss,
        beta: f64,
    ) -> Direct {
        let longest = batches.longest();
        let (step, sums) = (Vec::new(), Sums::default());
        Direct { batches, reference, longest, loss, beta, step, sums }
    }

    /// What a pair asks of both answers' log-probabilities, as a part of the step's mean.
    fn pair(&mut self, pair: [Answer; 2]) -> [f64; 2] {
        let (sums, count) = (&mut self.sums, self.step.len() as f64);
        let [chosen, rejected] = pair;
        let ahead = chosen.gain() - rejected.gain();
        let learnt = self.loss.of(self.beta, chosen, rejected);
        sums.loss += learnt.loss / count;
        sums.ahead += self.beta * ahead / count;
        sums.right += u64::from(ahead > 0.0);
        sums.chosen += chosen.policy / count;
        sums.rejected += rejected.policy / count;
        sums.apart += usize::from(learnt.chosen == 0.0);
        [learnt.chosen / count, learnt.rejected / count]
    }
}

impl Objective for Direct {
    fn rows(
        &mut self,
        step: u64,
        _model: &Transformer,
        _context: &mut Context<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let picks = self.batches.picks(step);
        self.step = picks.iter().map(|&(source, row)| self.reference[source][row]).collect();
        Ok(picks.into_iter().map(|pick| self.batches.row(pick)).collect())
    }

    fn sequences(&self) -> usize {
        self.batches.sequences()
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn begin(&mut self, rows: &[&Row]) {
        assert_eq!(rows.len(), self.step.len(), "the reference of each pair");
        self.sums = Sums::default();
    }

    fn learn(
        &mut self,
        t: &Threads,
        part: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        a: &mut Activations,
        gradients: &mut Parameters,
    ) {
        assert_eq!(batch.segments.len(), 2 * part.len(), "two answers a pair");
        model.losses(t, batch, a);
        // The slope of a token is that of its whole answer, which is known only now.
        let mut slope_t = vec![0.0; batch.len()];
        let pairs = batch.segments.as_chunks::<2>().0;
        for (segments, reference) in pairs.iter().zip(self.step[part].to_vec()) {
            let [chosen, rejected] = segments;
            let [by_chosen, by_rejected] = reference;
            let slopes = self.pair([
                answer(batch, chosen, &a.nll_t, by_chosen),
                answer(batch, rejected, &a.nll_t, by_rejected),
            ]);
            for (segment, slope) in segments.iter().zip(slopes) {
                slope_t[segment.clone()].fill(slope);
            }
        }
        // The loss falls with log p, of which `nll` is the negative.
        let weight = |at: usize, _| (0.0 - slope_t[at]) as f32;
        let (head_vd, dhead) = (model.weights.head(), gradients.head_gradient());
        let towards = Gradients { weight: &weight, dhidden: &mut a.dhidden_td, dhead };
        let losses = Losses { nll: &mut a.nll_t, entropy: None };
        cross_entropy(t, &a.hidden_td, head_vd, batch.targets_at(1.0), losses, Some(towards));
    }

    fn teaches(&self) -> bool {
        self.sums.apart < self.step.len()
    }

    fn figures(&mut self) -> Figures {
        let Sums { loss, right, ahead, chosen, rejected, .. } = self.sums;
        vec![
            ("loss", loss),
            ("accuracy", right as f64 / self.step.len() as f64),
            ("margin", ahead),
            ("chosen log p", chosen),
            ("rejected log p", rejected),
        ]
    }
}

/// An answer in a segment of a batch.
fn answer(batch: &Batch, segment: &Range<usize>, nll_t: &[f32], reference: f64) -> Answer {
    let learnt = segment.clone().filter(|at| batch.targets[*at] != IGNORE);
    // One by one, so that no division into parts changes the sum.
    let policy = learnt.clone().map(|at| 0.0 - f64::from(nll_t[at])).sum();
    Answer { policy, reference, tokens: learnt.count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSES: [PairLoss; 3] = [PairLoss::Sigmoid, PairLoss::Hinge, PairLoss::Ipo];

    #[test]
    fn losses_have_the_slopes_they_claim() {
        let rejected = Answer { policy: -30.0, reference: -31.5, tokens: 9 };
        for (loss, policy) in LOSSES.into_iter().flat_map(|loss| [(loss, -12.0), (loss, 40.0)]) {
            let chosen = Answer { policy, reference: -14.0, tokens: 5 };
            let by_chosen =
                |h| loss.of(0.3, Answer { policy: policy + h, ..chosen }, rejected).loss;
            let by_rejected =
                |h| loss.of(0.3, chosen, Answer { policy: -30.0 + h, ..rejected }).loss;
            let h = 1e-4;
            let got = loss.of(0.3, chosen, rejected);
            let slope = (by_chosen(h) - by_chosen(-h)) / (2.0 * h);
            assert!((slope - got.chosen).abs() < 1e-6, "{loss:?}: {slope} and {got:?}");
            let slope = (by_rejected(h) - by_rejected(-h)) / (2.0 * h);
            assert!((slope - got.rejected).abs() < 1e-6, "{loss:?}: {slope} and {got:?}");
        }
    }

    #[test]
    fn far_pairs_stay_finite() {
        let at = |policy| Answer { policy, reference: 0.0, tokens: 3 };
        for loss in LOSSES {
            for (chosen, rejected) in [(-1e5, 0.0), (0.0, -1e5)] {
                let Learnt { loss, chosen, rejected } = loss.of(0.5, at(chosen), at(rejected));
                assert!(loss.is_finite() && chosen.is_finite() && rejected.is_finite());
            }
        }
    }
}
