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
//! over the pairs of a batch. Left out: smoothed labels, other divergences, margins.

use super::ranking::{logistic, softplus};

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
