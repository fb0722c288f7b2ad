//! Group-relative policy optimisation, its mathematics: Shao et al., "DeepSeekMath", 2024, and what
//! came of it. Of G answers to one prompt, with rewards r, and of a token with log p, log p' and
//! log p₀ by the policy now, the policy that sampled, and the one it began as:
//!
//! ```text
//! A = (r − mean r) / (std r + 1e-4)                ρ = exp(log p − log p')
//! L = max(−A ρ, −A clip(ρ, 1 − low, 1 + high)) + β (e^q − q − 1),   q = log p₀ − log p
//! ```
//!
//! std has Bessel's correction; answers of equal reward get advantage 0. The losses differ in what
//! a token's L is divided by, and two of them in one more thing:
//!
//! | loss      | divided by                            |                                          |
//! |-----------|---------------------------------------|------------------------------------------|
//! | `grpo`    | answers · tokens of the answer        |                                          |
//! | `bnpo`    | tokens of the batch                   |                                          |
//! | `dr_grpo` | answers · most tokens an answer takes | A = r − mean r (Liu et al. 2025)         |
//! | `dapo`    | tokens of the whole generation        | high ≥ 0.28 is advised (Yu et al. 2025)  |
//!
//! Knows numbers; does not know models or sampling. Left out: dapo's filter of equal groups and
//! its penalty of long answers, ratios of whole answers, entropy.

use super::ppo::{Clip, Clipped, kl, policy_loss};
use crate::train::kernels::math::exp_f64;

/// Keeps a spread of zero from dividing.
const SPREAD_EPS: f64 = 1e-4;

/// What the loss of a token is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Grpo,
    Bnpo,
    DrGrpo,
    Dapo,
}

/// The sizes that losses are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Answers of the batch.
    pub answers: usize,
    /// Tokens of all answers of the batch.
    pub tokens: usize,
    /// Tokens of all answers that were sampled together.
    pub generated: usize,
    /// The most tokens that an answer may take.
    pub longest: usize,
}

impl Share {
    /// What a token counts of an answer that is `length` tokens long.
    pub fn of(self, length: usize, sizes: Sizes) -> f64 {
        let divisor = match self {
            Share::Grpo => sizes.answers * length,
            Share::Bnpo => sizes.tokens,
            Share::DrGrpo => sizes.answers * sizes.longest,
            Share::Dapo => sizes.generated,
        };
        1.0 / divisor as f64
    }

    /// The advantages of the answers to one prompt.
    pub fn advantages(self, rewards: &[f32]) -> Vec<f32> {
        advantages(rewards, self != Share::DrGrpo)
    }
}

/// How far each reward is above its group's mean; in units of the group's spread if `scaled`.
pub fn advantages(rewards: &[f32], scaled: bool) -> Vec<f32> {
    let count = rewards.len() as f64;
    let sum = |of: &dyn Fn(f64) -> f64| -> f64 { rewards.iter().map(|r| of(f64::from(*r))).sum() };
    let mean = sum(&|r| r) / count;
    let spread = (sum(&|r| (r - mean) * (r - mean)) / (count - 1.0).max(1.0)).sqrt();
    let unit = if scaled { spread + SPREAD_EPS } else { 1.0 };
    rewards.iter().map(|r| ((f64::from(*r) - mean) / unit) as f32).collect()
}

/// A token's log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// By the policy that learns.
    pub log_prob: f32,
    /// By the policy that sampled it.
    pub old: f32,
    /// By the policy that training began with.
    pub reference: f32,
}

/// The loss of one token, not yet divided, and its derivative by `log_prob`.
pub fn token_loss(token: Token, advantage: f32, clip: Clip, beta: f64) -> Clipped {
    let Token { log_prob, old, reference } = token;
    let Clipped { loss, slope, clipped } = policy_loss(log_prob, old, advantage, clip);
    if beta == 0.0 {
        return Clipped { loss, slope, clipped };
    }
    let away = f64::from(reference) - f64::from(log_prob);
    let (loss, slope) =
        (loss + beta * kl(log_prob, reference).k3, slope + beta * (1.0 - exp_f64(away)));
    Clipped { loss, slope, clipped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_have_the_slopes_they_claim() {
        let clip = Clip { low: 0.2, high: 0.28 };
        for (log_prob, old, reference) in
            [(-1.0, -1.1, -1.4), (-1.0, -1.9, -0.2), (-3.0, -1.0, -2.0)]
        {
            for advantage in [-1.5, 0.0, 0.7] {
                for beta in [0.0, 0.04, 2.0] {
                    let at = |log_prob| {
                        token_loss(Token { log_prob, old, reference }, advantage, clip, beta)
                    };
                    let (above, below) = (log_prob + 1e-3f32, log_prob - 1e-3);
                    let rise = at(above).loss - at(below).loss;
                    let slope = rise / (f64::from(above) - f64::from(below));
                    assert!((slope - at(log_prob).slope).abs() < 1e-5, "{slope}");
                }
            }
        }
    }

    #[test]
    fn equal_rewards_teach_nothing() {
        assert_eq!(Share::Grpo.advantages(&[0.1; 7]), [0.0; 7]);
        assert_eq!(Share::Grpo.advantages(&[0.4]), [0.0]);
        assert_eq!(Share::DrGrpo.advantages(&[1.0, 0.0]), [0.5, -0.5]);
        let [above, below] = Share::Dapo.advantages(&[1.0, 0.0])[..] else { panic!("two") };
        assert!((above - 0.5 / (0.5f32.sqrt() + 1e-4)).abs() < 1e-6 && above == -below);
    }
}
