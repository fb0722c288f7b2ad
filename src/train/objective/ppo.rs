//! Proximal policy optimisation, its mathematics: Schulman et al. 2017, as Llama 2, section 3.2.3,
//! and Ziegler et al. 2019 use it on language. Of one response of n tokens, with log p, log p' and
//! log p₀ by the policy now, the policy that sampled, and the one it began as:
//!
//! ```text
//! k_t = log p'_t − log p₀_t                      r_t = −β k_t, at the last token + score
//! δ_t = r_t + γ V_{t+1} − V_t,  V_n = 0          A_t = δ_t + γ λ A_{t+1},  R_t = A_t + V_t
//! ρ_t = exp(log p_t − log p'_t)                  policy: max(−A ρ, −A clip(ρ, 1 − low, 1 + high))
//! v̂_t = clip(v_t, V_t − c, V_t + c)              value:  ½ max((v − R)², (v̂ − R)²)
//! ```
//!
//! Scores are whitened over the batch, and so are advantages, over all its tokens; returns are
//! taken before that. Whitening is (x − mean) / √(var + 1e-8) with Bessel's correction: the paper
//! gives no formula. Both losses are means over all tokens of a batch: whoever calls divides.
//!
//! Which reward model decides is `model::judge`'s rule. Responses are ragged: there is no padding,
//! so nothing is masked. Sums are in f64, in the order of the tokens. Knows numbers; does not know
//! models, rows or sampling. Left out: adaptive β, whitened rewards a token, a bonus for entropy, a
//! bound on ρ from trl that drops whole batches.

use crate::train::kernels::math::exp_f64;

/// Keeps a variance of zero from dividing.
const WHITEN_EPS: f64 = 1e-8;

/// A response as it was sampled; every list holds one number a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// By the policy that sampled it.
    pub log_probs: Vec<f32>,
    /// By the policy that training began with.
    pub reference: Vec<f32>,
    /// What the rest was expected to be worth before each token.
    pub values: Vec<f32>,
    /// What the whole is worth.
    pub score: f32,
}

/// What a response turned out to be worth, a number a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    pub advantages: Vec<f32>,
    pub returns: Vec<f32>,
}

impl Rollout {
    /// The reward of each token: the penalty of leaving the reference, and the score at the end.
    pub fn rewards(&self, beta: f64) -> Vec<f32> {
        let pairs = self.log_probs.iter().zip(&self.reference);
        let mut rewards: Vec<f32> =
            pairs.map(|(own, reference)| (-beta * kl(*own, *reference).k1) as f32).collect();
        if let Some(last) = rewards.last_mut() {
            *last += self.score;
        }
        rewards
    }

    /// Advantages, not yet whitened, and returns.
    pub fn estimate(&self, beta: f64, gamma: f64, lambda: f64) -> Estimate {
        generalised_advantages(&self.rewards(beta), &self.values, gamma, lambda)
    }
}

/// Generalised advantage estimation (Schulman et al. 2016); after the last token nothing is worth
/// anything.
pub fn generalised_advantages(
    rewards: &[f32],
    values: &[f32],
    gamma: f64,
    lambda: f64,
) -> Estimate {
    assert_eq!(rewards.len(), values.len());
    let mut estimate =
        Estimate { advantages: vec![0.0; values.len()], returns: vec![0.0; values.len()] };
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for at in (0..values.len()).rev() {
        let value = f64::from(values[at]);
        let delta = f64::from(rewards[at]) + gamma * next_value - value;
        let advantage = delta + gamma * lambda * next_advantage;
        estimate.advantages[at] = advantage as f32;
        estimate.returns[at] = (advantage + value) as f32;
        (next_value, next_advantage) = (value, advantage);
    }
    estimate
}

/// Brings all numbers of all parts together to mean 0 and variance 1; a single number becomes 0.
pub fn whiten(parts: &mut [&mut [f32]]) {
    let count: usize = parts.iter().map(|part| part.len()).sum();
    let all = |parts: &[&mut [f32]], of: &dyn Fn(f64) -> f64| -> f64 {
        parts.iter().flat_map(|part| part.iter()).map(|x| of(f64::from(*x))).sum()
    };
    let mean = all(parts, &|x| x) / count.max(1) as f64;
    let variance = all(parts, &|x| (x - mean) * (x - mean)) / count.saturating_sub(1).max(1) as f64;
    let scale = 1.0 / (variance + WHITEN_EPS).sqrt();
    for x in parts.iter_mut().flat_map(|part| part.iter_mut()) {
        *x = ((f64::from(*x) - mean) * scale) as f32;
    }
}

/// How far the ratio of probabilities may move before nothing more is gained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    pub low: f64,
    pub high: f64,
}

impl Clip {
    /// As far down as up.
    pub fn both(ratio: f64) -> Clip {
        Clip { low: ratio, high: ratio }
    }
}

/// A loss and its derivative by the number that is learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    pub loss: f64,
    pub slope: f64,
    /// Whether the clipped side was the larger.
    pub clipped: bool,
}

/// The loss of one token whose log-probability was `old` when it was sampled, and its derivative by
/// `log_prob`.
pub fn policy_loss(log_prob: f32, old: f32, advantage: f32, clip: Clip) -> Clipped {
    let advantage = f64::from(advantage);
    let ratio = exp_f64(f64::from(log_prob) - f64::from(old));
    let free = -advantage * ratio;
    let held = -advantage * ratio.clamp(1.0 - clip.low, 1.0 + clip.high);
    match held > free {
        true => Clipped { loss: held, slope: 0.0, clipped: true },
        false => Clipped { loss: free, slope: free, clipped: false },
    }
}

/// The loss of one value that was `old` when the token was sampled, and its derivative by `value`.
pub fn value_loss(value: f32, old: f32, returned: f32, clip: f64) -> Clipped {
    let (value, old, returned) = (f64::from(value), f64::from(old), f64::from(returned));
    let off = value - returned;
    let held = value.clamp(old - clip, old + clip) - returned;
    match held * held > off * off {
        true => Clipped { loss: 0.5 * held * held, slope: 0.0, clipped: true },
        false => Clipped { loss: 0.5 * off * off, slope: off, clipped: false },
    }
}

/// Estimates, from one token that `own` sampled, of how far it is from `reference` (Schulman,
/// "Approximating KL divergence", 2020).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kl {
    /// Without bias; may be negative.
    pub k1: f64,
    /// Biased, of less variance, never negative.
    pub k2: f64,
    /// Without bias and never negative.
    pub k3: f64,
}

/// Of one token's log-probabilities.
pub fn kl(own: f32, reference: f32) -> Kl {
    let k1 = f64::from(own) - f64::from(reference);
    Kl { k1, k2: 0.5 * k1 * k1, k3: exp_f64(-k1) - 1.0 + k1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope_of(loss: impl Fn(f32) -> f64, at: f32) -> f64 {
        let (above, below) = (at + 1e-3, at - 1e-3);
        (loss(above) - loss(below)) / (f64::from(above) - f64::from(below))
    }

    #[test]
    fn losses_have_the_slopes_they_claim() {
        let clip = Clip { low: 0.2, high: 0.3 };
        let mut sides = [0, 0];
        for (log_prob, old) in [(-1.0, -1.1), (-1.0, -1.6), (-1.0, -0.4), (-9.0, -2.0)] {
            for advantage in [-1.5, 0.0, 0.7] {
                let got = policy_loss(log_prob, old, advantage, clip);
                let slope = slope_of(|x| policy_loss(x, old, advantage, clip).loss, log_prob);
                assert!((got.slope - slope).abs() < 1e-5, "{got:?} and {slope}");
                sides[usize::from(got.clipped)] += 1;
            }
        }
        assert_eq!(sides, [9, 3]);
        for (value, old, returned) in [(0.4, 0.3, 1.0), (0.9, 0.3, 1.0), (0.9, 0.3, -1.0)] {
            let got = value_loss(value, old, returned, 0.2);
            let slope = slope_of(|x| value_loss(x, old, returned, 0.2).loss, value);
            assert!((got.slope - slope).abs() < 1e-5, "{got:?} and {slope}");
            assert_eq!(got.clipped, value == 0.9 && returned == 1.0);
        }
    }

    #[test]
    fn with_everything_passed_on_a_return_is_what_is_left_to_come() {
        let rollout = Rollout {
            log_probs: vec![-1.0, -2.0, -0.5],
            reference: vec![-1.5, -1.0, -0.5],
            values: vec![0.3, -0.2, 0.9],
            score: 2.0,
        };
        let rewards = rollout.rewards(0.5);
        assert_eq!(rewards, [-0.25, 0.5, 2.0]);
        let Estimate { advantages, returns } = rollout.estimate(0.5, 1.0, 1.0);
        for (at, left) in [2.25, 2.5, 2.0].into_iter().enumerate() {
            assert!((returns[at] - left).abs() < 1e-6);
            assert!((advantages[at] - (left - rollout.values[at])).abs() < 1e-6);
        }
        assert_eq!(Rollout::default().estimate(0.1, 1.0, 0.95), Estimate::default());
    }

    #[test]
    fn whitening_takes_all_parts_together() {
        let (mut first, mut second) = ([1.0, 2.0], [6.0]);
        whiten(&mut [&mut first, &mut second]);
        let expected = [-2.0 / 7f32.sqrt(), -1.0 / 7f32.sqrt(), 3.0 / 7f32.sqrt()];
        let close = |got: &f32, want: f32| assert!((got - want).abs() < 1e-6);
        first.iter().chain(&second).zip(expected).for_each(|(got, want)| close(got, want));
        let (mut one, mut equal) = ([3.0], [0.1; 7]);
        whiten(&mut [&mut one]);
        whiten(&mut [&mut equal, &mut []]);
        assert_eq!((one, equal), ([0.0], [0.0; 7]));
        whiten(&mut []);
    }

    #[test]
    fn estimates_of_kl() {
        assert_eq!(kl(-1.0, -1.0), Kl { k1: 0.0, k2: 0.0, k3: 0.0 });
        let Kl { k1, k2, k3 } = kl(-2.0, -1.0);
        assert!(k1 == -1.0 && k2 == 0.5 && (k3 - (std::f64::consts::E - 2.0)).abs() < 1e-12);
    }
}
