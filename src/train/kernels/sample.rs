//! Drawing the next token from a row of logits. It does not know the model, nor where the uniform
//! number comes from.
//!
//! The plain distribution is that of `cross_entropy`, with the same bits. The processed one divides
//! the logits by the temperature, keeps the `top_k` largest (ties: the lower id), then the fewest
//! most probable tokens that reach `top_p`, with the one that crosses it; its probabilities are
//! exp(logit − max), summed by descending probability.

use super::cross_entropy::sum_of_exp;
use super::math::{exp, ln, max};

/// How the distribution is changed before drawing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the most probable token.
    pub temperature: f32,
    pub top_k: Option<usize>,
    /// 1 keeps every token.
    pub top_p: f32,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    pub token: u32,
    /// Its log-probability in the distribution that it was drawn from.
    pub processed_log_prob: f32,
    /// Its log-probability in the model's own distribution.
    pub log_prob: f32,
}

/// The log-probability of one token: the bits that `cross_entropy` gives.
pub fn log_prob(logits: &[f32], token: u32) -> f32 {
    let m = max(logits);
    0.0 - ((m + ln(sum_of_exp(logits, m))) - logits[token as usize])
}

/// Draws by `uniform` in [0, 1).
pub fn draw(logits: &[f32], sampling: Sampling, uniform: f32) -> Draw {
    let plain = |token| log_prob(logits, token);
    if sampling.temperature == 0.0 {
        let token = greedy(logits);
        return Draw { token, processed_log_prob: 0.0, log_prob: plain(token) };
    }
    let kept = candidates(logits, sampling);
    let total: f32 = kept.iter().map(|&(_, p)| p).sum();
    let (token, p) = pick(&kept, uniform * total);
    Draw { token, processed_log_prob: ln(p / total), log_prob: plain(token) }
}

/// The tokens that may be drawn with their probabilities, most probable first. At temperature 0
/// there is one.
pub fn distribution(logits: &[f32], sampling: Sampling) -> Vec<(u32, f32)> {
    if sampling.temperature == 0.0 {
        return vec![(greedy(logits), 1.0)];
    }
    let mut kept = candidates(logits, sampling);
    let total: f32 = kept.iter().map(|&(_, p)| p).sum();
    kept.iter_mut().for_each(|(_, p)| *p /= total);
    kept
}

/// The most probable token; of equals, the lowest.
pub fn greedy(logits: &[f32]) -> u32 {
    let larger = |best, at| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).fold(0, larger) as u32
}

/// The tokens that may be drawn, with unscaled probabilities, most probable first.
fn candidates(logits: &[f32], sampling: Sampling) -> Vec<(u32, f32)> {
    let m = max(logits);
    let weight = |x: f32| exp((x - m) / sampling.temperature);
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().map(|&x| weight(x))).collect();
    all.sort_by(|(a, p), (b, q)| q.total_cmp(p).then(a.cmp(b)));
    all.truncate(sampling.top_k.unwrap_or(all.len()).max(1));
    if sampling.top_p >= 1.0 {
        return all;
    }
    let threshold = sampling.top_p * all.iter().map(|&(_, p)| p).sum::<f32>();
    let mut reached = 0.0;
    let crossing = all.iter().position(|&(_, p)| {
        reached += p;
        reached >= threshold
    });
    all.truncate(crossing.map_or(all.len(), |at| at + 1));
    all
}

/// The first token at which the running sum passes `mark`.
fn pick(kept: &[(u32, f32)], mark: f32) -> (u32, f32) {
    let mut reached = 0.0;
    let drawn = kept.iter().find(|&&(_, p)| {
        reached += p;
        mark < reached
    });
    *drawn.unwrap_or(&kept[kept.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, 1.0, 3.0, -2.0];

    fn tokens(temperature: f32, top_k: Option<usize>, top_p: f32) -> Vec<u32> {
        let sampling = Sampling { temperature, top_k, top_p };
        candidates(&LOGITS, sampling).into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn candidates_are_the_most_probable() {
        assert_eq!(tokens(1.0, None, 1.0), [1, 3, 2, 0, 4]);
        assert_eq!(tokens(1.0, Some(3), 1.0), [1, 3, 2]);
        assert_eq!(tokens(1.0, Some(0), 1.0), [1]);
        assert_eq!(tokens(1.0, Some(9), 1.0).len(), 5);
    }

    #[test]
    fn top_p_keeps_the_token_that_crosses() {
        assert_eq!(tokens(1.0, None, 0.3), [1]);
        assert_eq!(tokens(1.0, None, 0.5), [1, 3]);
        assert_eq!(tokens(1.0, None, 0.95), [1, 3, 2]);
        assert_eq!(tokens(1.0, None, 0.0), [1]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let sampling = Sampling { temperature: 0.7, top_k: None, top_p: 1.0 };
        let weights: Vec<f64> = LOGITS.map(|x| f64::from(x) / 0.7).map(f64::exp).to_vec();
        let total: f64 = weights.iter().sum();
        let mut counts = [0.0; 5];
        for i in 0..10_000 {
            let drawn = draw(&LOGITS, sampling, i as f32 / 10_000.0);
            counts[drawn.token as usize] += 1e-4;
            let truth = (weights[drawn.token as usize] / total).ln();
            assert!((f64::from(drawn.processed_log_prob) - truth).abs() < 1e-5);
            assert_eq!(drawn.log_prob, log_prob(&LOGITS, drawn.token));
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!((count - weight / total).abs() < 3e-4);
        }
    }

    #[test]
    fn temperature_zero_is_greedy_with_ties_to_the_lower_token() {
        let sampling = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };
        let drawn = draw(&LOGITS, sampling, 0.99);
        assert_eq!((drawn.token, drawn.processed_log_prob), (1, 0.0));
    }
}
