//! Drawing the next token from a row of logits. It does not know the model, nor where the uniform
//! number comes from.
//!
//! The plain distribution is that of `cross_entropy`, with the same bits. The processed one has the
//! weights w = exp((logit − max) / temperature). Whole, they are summed by the tree of 16 lanes in
//! blocks of 256 tokens, and the blocks ascending; the token drawn is the first at which the
//! running sum, of blocks and then of the tokens of a block, passes u · total. Where `top_k` or
//! `top_p` leaves tokens out, the `top_k` largest are kept (ties: the lower id), then the fewest
//! most probable that reach `top_p` of their sum, with the one that crosses it; sums are then by
//! descending weight.

pub mod launch;

use super::cross_entropy::sum_of_exp;
use super::device::{Parts, Threads};
use super::gemm::BLOCK;
use super::math::{exp, ln, max, sum};

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
#[inline(always)]
pub fn log_prob(logits: &[f32], token: u32) -> f32 {
    let m = max(logits);
    0.0 - ((m + ln(sum_of_exp(logits, m))) - logits[token as usize])
}

/// Draws once from each row of logits[n, v], by n numbers in [0, 1).
pub fn draw_rows(t: &Threads, logits: &[f32], sampling: Sampling, uniforms: &[f32]) -> Vec<Draw> {
    let v = logits.len() / uniforms.len().max(1);
    assert_eq!(logits.len(), uniforms.len() * v);
    let mut draws = vec![Draw { token: 0, processed_log_prob: 0.0, log_prob: 0.0 }; uniforms.len()];
    let to = Parts::new(&mut draws);
    t.split(uniforms.len(), 1, |rows| {
        let mut weights = vec![0.0; v];
        for row in rows {
            let logits = &logits[row * v..(row + 1) * v];
            // SAFETY: each row is one thread's.
            let draw = unsafe { &mut to.part(row..row + 1)[0] };
            t.isa().run(
                #[inline(always)]
                || *draw = draw_one(logits, sampling, uniforms[row], &mut weights),
            );
        }
    });
    draws
}

/// Draws by `uniform` in [0, 1).
pub fn draw(logits: &[f32], sampling: Sampling, uniform: f32) -> Draw {
    draw_one(logits, sampling, uniform, &mut vec![0.0; logits.len()])
}

#[inline(always)]
fn draw_one(logits: &[f32], sampling: Sampling, uniform: f32, weights: &mut [f32]) -> Draw {
    let (token, processed_log_prob) = if sampling.temperature == 0.0 {
        (greedy(logits), 0.0)
    } else {
        weigh(logits, sampling.temperature, weights);
        let (token, total) = match sampling.keeps_all() {
            true => pick_of_all(weights, uniform),
            false => pick(&candidates(weights, sampling), uniform),
        };
        (token, ln(weights[token as usize] / total))
    };
    Draw { token, processed_log_prob, log_prob: log_prob(logits, token) }
}

impl Sampling {
    fn keeps_all(self) -> bool {
        self.top_k.is_none() && self.top_p >= 1.0
    }
}

/// The tokens that may be drawn with their probabilities, most probable first. At temperature 0
/// there is one.
pub fn distribution(logits: &[f32], sampling: Sampling) -> Vec<(u32, f32)> {
    if sampling.temperature == 0.0 {
        return vec![(greedy(logits), 1.0)];
    }
    let mut weights = vec![0.0; logits.len()];
    weigh(logits, sampling.temperature, &mut weights);
    let mut kept = candidates(&weights, sampling);
    let total: f32 = kept.iter().map(|&(_, p)| p).sum();
    kept.iter_mut().for_each(|(_, p)| *p /= total);
    kept
}

/// The most probable token; of equals, the lowest.
#[inline(always)]
pub fn greedy(logits: &[f32]) -> u32 {
    let m = max(logits);
    logits.iter().position(|x| *x == m).unwrap_or(0) as u32
}

#[inline(always)]
fn weigh(logits: &[f32], temperature: f32, weights: &mut [f32]) {
    let m = max(logits);
    for (weight, &x) in weights.iter_mut().zip(logits) {
        *weight = exp((x - m) / temperature);
    }
}

/// A token by the weights of all, and their sum.
#[inline(always)]
fn pick_of_all(weights: &[f32], uniform: f32) -> (u32, f32) {
    let mut total = 0.0;
    for block in weights.chunks(BLOCK) {
        total += sum(block);
    }
    let (mark, mut reached) = (uniform * total, 0.0);
    // Where rounding leaves the mark behind everything, the last token that has any weight.
    let mut last = 0;
    for (at, block) in weights.chunks(BLOCK).enumerate() {
        let after = reached + sum(block);
        let here = mark < after;
        for (token, &weight) in block.iter().enumerate() {
            if weight > 0.0 {
                last = at * BLOCK + token;
            }
            reached += weight;
            if here && mark < reached {
                return (last as u32, total);
            }
        }
        if here {
            return (last as u32, total);
        }
        reached = after;
    }
    (last as u32, total)
}

/// The tokens that may be drawn, with their weights, most probable first.
fn candidates(weights: &[f32], sampling: Sampling) -> Vec<(u32, f32)> {
    // Weights are not negative, so their bits are in their order: the largest first, then the
    // lowest id.
    let key = |(id, weight): (u32, &f32)| u64::from(!weight.to_bits()) << 32 | u64::from(id);
    let mut keys: Vec<u64> = (0..).zip(weights).map(key).collect();
    let count = sampling.top_k.unwrap_or(keys.len()).clamp(1, keys.len());
    if count < keys.len() {
        keys.select_nth_unstable(count - 1);
        keys.truncate(count);
    }
    keys.sort_unstable();
    let token = |key: &u64| (*key as u32, f32::from_bits(!((key >> 32) as u32)));
    let mut all: Vec<(u32, f32)> = keys.iter().map(token).collect();
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

/// The first token at which the running sum passes its share, and the sum of all.
fn pick(kept: &[(u32, f32)], uniform: f32) -> (u32, f32) {
    let total: f32 = kept.iter().map(|&(_, p)| p).sum();
    let (mark, mut reached) = (uniform * total, 0.0);
    let drawn = kept.iter().find(|&&(_, p)| {
        reached += p;
        mark < reached
    });
    (drawn.unwrap_or(&kept[kept.len() - 1]).0, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 3.0, 1.0, 3.0, -2.0];

    fn tokens(temperature: f32, top_k: Option<usize>, top_p: f32) -> Vec<u32> {
        let sampling = Sampling { temperature, top_k, top_p };
        distribution(&LOGITS, sampling).into_iter().map(|(token, _)| token).collect()
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
    fn rows_are_drawn_from_as_one_by_one_on_every_instruction_set() {
        let stream = super::super::rng::Stream::new(1, "test");
        let uniform = |step: u64, at: usize| stream.uniform(step, at as u64);
        let (n, v) = (7, 1000);
        let logits: Vec<f32> = (0..n * v).map(|at| 8.0 * uniform(0, at)).collect();
        let uniforms: Vec<f32> = (0..n).map(|at| uniform(1, at)).collect();
        for isa in crate::train::kernels::Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let t = Threads::with_isa(2, isa);
            for (temperature, top_k, top_p) in
                [(1.0, None, 1.0), (0.7, Some(30), 1.0), (1.3, None, 0.8), (0.0, None, 1.0)]
            {
                let sampling = Sampling { temperature, top_k, top_p };
                let rows = draw_rows(&t, &logits, sampling, &uniforms);
                for (row, got) in rows.into_iter().enumerate() {
                    let one = draw(&logits[row * v..(row + 1) * v], sampling, uniforms[row]);
                    assert_eq!(got, one, "{isa:?}");
                }
            }
        }
    }

    #[test]
    fn a_mark_beyond_everything_draws_the_last_token_with_weight() {
        assert_eq!(pick_of_all(&[0.25, 0.75, 0.0], 0.999_999_94), (1, 1.0));
        assert_eq!(pick_of_all(&[0.0, 0.5, 0.5], 0.0).0, 1);
        assert_eq!(pick_of_all(&[1.0; 600], 0.999).0, 599);
        assert_eq!(pick_of_all(&[1.0; 600], 0.5).0, 300);
    }

    #[test]
    fn temperature_zero_is_greedy_with_ties_to_the_lower_token() {
        let sampling = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };
        let drawn = draw(&LOGITS, sampling, 0.99);
        assert_eq!((drawn.token, drawn.processed_log_prob), (1, 0.0));
    }
}
