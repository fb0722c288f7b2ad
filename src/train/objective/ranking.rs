//! Which of two answers is better: the loss of a reward model. Llama 2, section 3.2.2, with r the
//! score of a text at its last token:
//!
//! ```text
//! L = −log σ(r(chosen) − r(rejected) − m(rating))
//! ```
//!
//! averaged over the pairs of a batch. Margins m are those of table 27: small 1, 2/3, 1/3, 0 and
//! large 3, 2, 1, 0 from significantly better down to negligibly.
//!
//! The safety model has a second loss, which the paper names without a formula. Ours, chosen by
//! llamake: the binary cross-entropy of σ(r) against whether an answer is harmless, averaged over
//! the answers of the batch that say so, times [`SAFETY_WEIGHT`].
//!
//! A pair is one row with two segments, chosen and rejected, which do not see each other. Knows
//! scores; does not know where pairs came from. Left out: centring of rewards.

use std::ops::Range;

use super::{Figures, Objective};
use crate::train::data::batch::Batches;
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::kernels::math::{exp_f64, ln_f64};
use crate::train::model::activations::Activations;
use crate::train::model::judge::scores_at;
use crate::train::model::tensor::Tensor;
use crate::train::model::{Batch, Parameters, Transformer};
use crate::train::progress::{Context, Failure};

/// What the loss of safe and unsafe answers counts beside that of pairs.
pub const SAFETY_WEIGHT: f64 = 0.3;

/// How much better the chosen answer must score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Margins {
    None,
    Small,
    Large,
}

impl Margins {
    /// The margin of a rating from 1, negligibly, to 4, significantly better.
    pub fn of(self, rating: u8) -> f64 {
        assert!((1..=4).contains(&rating), "a rating of {rating}");
        let steps = f64::from(rating - 1);
        match self {
            Margins::None => 0.0,
            Margins::Small => steps / 3.0,
            Margins::Large => steps,
        }
    }
}

/// What is known of a pair besides its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairFacts {
    pub margin: f64,
    /// Whether the chosen and the rejected answer are harmless, where that is to be learnt.
    pub safe: [Option<bool>; 2],
}

/// −log σ(chosen − rejected − margin), and its derivative by the chosen score; that by the rejected
/// one is the opposite.
pub fn pair_loss(chosen: f64, rejected: f64, margin: f64) -> (f64, f64) {
    let ahead = chosen - rejected - margin;
    (softplus(-ahead), -logistic(-ahead))
}

/// −log σ(score) of a safe answer, −log σ(−score) of an unsafe one, and its derivative.
pub fn safety_loss(score: f64, safe: bool) -> (f64, f64) {
    match safe {
        true => (softplus(-score), -logistic(-score)),
        false => (softplus(score), logistic(score)),
    }
}

/// ln(1 + e^x), without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + ln_f64(1.0 + exp_f64(-x.abs()))
}

/// 1 / (1 + e^−x).
pub fn logistic(x: f64) -> f64 {
    let e = exp_f64(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// Learns from pairs.
#[derive(Debug)]
pub struct Ranking {
    batches: Batches,
    /// By source and row.
    facts: Vec<Vec<PairFacts>>,
    longest: usize,
    step: Vec<PairFacts>,
    sums: Sums,
}

/// What a step adds up.
#[derive(Debug, Default)]
struct Sums {
    loss: f64,
    safety: f64,
    right: u64,
    ahead: f64,
    pairs: u64,
    labelled: u64,
}

impl Ranking {
    /// Learns from these batches, a pair a row; `facts` are by source and row.
    pub fn new(batches: Batches, facts: Vec<Vec<PairFacts>>) -> Ranking {
        let longest = batches.longest();
        Ranking { batches, facts, longest, step: Vec::new(), sums: Sums::default() }
    }

    /// The loss of one pair and its derivatives by both scores, as parts of the step's mean.
    fn pair(&mut self, facts: PairFacts, [chosen, rejected]: [f64; 2]) -> [f64; 2] {
        let sums = &mut self.sums;
        let (loss, slope) = pair_loss(chosen, rejected, facts.margin);
        sums.loss += loss;
        sums.ahead += chosen - rejected;
        sums.right += u64::from(chosen > rejected);
        let slope = slope / sums.pairs as f64;
        let mut slopes = [slope, -slope];
        for ((label, score), slope) in
            facts.safe.into_iter().zip([chosen, rejected]).zip(&mut slopes)
        {
            if let Some(safe) = label {
                let (loss, by_score) = safety_loss(score, safe);
                sums.safety += loss;
                *slope += by_score * SAFETY_WEIGHT / sums.labelled as f64;
            }
        }
        slopes
    }
}

impl Objective for Ranking {
    fn rows(
        &mut self,
        step: u64,
        _model: &Transformer,
        _context: &mut Context<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let picks = self.batches.picks(step);
        self.step = picks.iter().map(|&(source, row)| self.facts[source][row]).collect();
        Ok(picks.into_iter().map(|pick| self.batches.row(pick)).collect())
    }

    fn sequences(&self) -> usize {
        self.batches.sequences()
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn begin(&mut self, rows: &[&Row]) {
        assert_eq!(rows.len(), self.step.len(), "facts of each pair");
        let labelled = self.step.iter().flat_map(|facts| facts.safe).flatten().count();
        let (pairs, labelled) = (rows.len() as u64, labelled as u64);
        self.sums = Sums { pairs, labelled, ..Sums::default() };
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
        let ends: Vec<usize> = batch.segments.iter().map(|segment| segment.end).collect();
        let scores = scores_at(t, model, &ends, a).expect("a processor has no faults");
        let mut slopes = Vec::with_capacity(scores.len());
        let pairs = self.step[part].to_vec();
        for (facts, scores) in pairs.into_iter().zip(scores.as_chunks().0) {
            slopes.extend(self.pair(facts, scores.map(f64::from)));
        }
        learn_scores(&ends, &slopes, model, a, gradients);
    }

    fn figures(&mut self) -> Figures {
        let Sums { loss, safety, right, ahead, pairs, labelled } = self.sums;
        let pairs = pairs as f64;
        let safety = safety / labelled.max(1) as f64;
        let mut figures = vec![
            ("loss", loss / pairs + SAFETY_WEIGHT * safety),
            ("accuracy", right as f64 / pairs),
            ("margin", ahead / pairs),
        ];
        figures.extend((labelled > 0).then_some(("safety loss", safety)));
        figures
    }
}

/// Hands on what the scores at `ends` ask for: to the hidden state, and one text after another to
/// the head.
pub fn learn_scores(
    ends: &[usize],
    slopes: &[f64],
    model: &Transformer,
    a: &mut Activations,
    gradients: &mut Parameters,
) {
    let d = model.config.dim;
    a.dhidden_td.fill(0.0);
    for (end, slope) in ends.iter().zip(slopes) {
        let (slope, place) = (*slope as f32, (end - 1) * d..end * d);
        let (hidden_d, dhidden_d) = (&a.hidden_td[place.clone()], &mut a.dhidden_td[place]);
        let dhead_d = gradients.head_vd.iter_mut().zip(hidden_d);
        dhead_d.for_each(|(dhead, hidden)| *dhead += slope * hidden);
        let head_d = dhidden_d.iter_mut().zip(model.weights.head_vd.floats());
        head_d.for_each(|(dhidden, head)| *dhidden = slope * head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_those_of_the_paper() {
        let small = [4, 3, 2, 1].map(|rating| Margins::Small.of(rating));
        assert_eq!(small, [1.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert_eq!([4, 3, 2, 1].map(|rating| Margins::Large.of(rating)), [3.0, 2.0, 1.0, 0.0]);
        assert_eq!(Margins::None.of(4), 0.0);
    }

    #[test]
    fn losses_have_the_slopes_they_claim() {
        for (chosen, rejected, margin) in [(0.3, -0.2, 1.0), (-4.0, 2.0, 0.0), (60.0, -60.0, 0.3)] {
            let (loss, slope) = pair_loss(chosen, rejected, margin);
            let h = 1e-5;
            let rise = pair_loss(chosen + h, rejected, margin).0
                - pair_loss(chosen - h, rejected, margin).0;
            assert!(loss.is_finite() && (rise / (2.0 * h) - slope).abs() < 1e-8);
            let rise = safety_loss(chosen + h, true).0 - safety_loss(chosen - h, true).0;
            assert!((rise / (2.0 * h) - safety_loss(chosen, true).1).abs() < 1e-8);
            let rise = safety_loss(chosen + h, false).0 - safety_loss(chosen - h, false).0;
            assert!((rise / (2.0 * h) - safety_loss(chosen, false).1).abs() < 1e-8);
        }
        assert!((pair_loss(0.0, 0.0, 0.0).0 - std::f64::consts::LN_2).abs() < 1e-15);
        assert!(pair_loss(-2000.0, 0.0, 0.0).0 == 2000.0);
    }
}
