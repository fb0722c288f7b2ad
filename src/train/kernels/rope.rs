//! Rotary position embedding (Su et al., "RoFormer", 2021) in the layout of Hugging Face: element i
//! of a head turns with element i + width/2. It does not know queries from keys.
//!
//! The angle is f32(position) · f32(inverse frequency), one rounding, as in the reference code.

pub mod launch;

use super::device::{Parts, Threads};
use super::math;

/// Fewer tokens than this are not worth another thread.
const TOKENS_PER_PART: usize = 32;

/// Cosines and sines of every position below a limit.
#[derive(Clone, Debug)]
pub struct RopeTable {
    head_width: usize,
    /// [positions, head_width / 2].
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Stretched angles for texts longer than those learnt from, as Llama 3.1 has them (Grattafiori et
/// al., "The Llama 3 herd of models", 2024; the formula is that of its published code).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeScaling {
    pub factor: f64,
    pub low_freq_factor: f64,
    pub high_freq_factor: f64,
    /// Tokens of the context before stretching.
    pub original_context: usize,
}

impl RopeScaling {
    /// A frequency f turns C·f/2π times over the original context C: above `high_freq_factor` turns
    /// it stays, below `low_freq_factor` it becomes f / factor; between, with the share
    /// s = (turns − low) / (high − low), it becomes (1 − s)·f/factor + s·f.
    fn apply(self, frequency: f64) -> f64 {
        let turns = self.original_context as f64 * frequency / std::f64::consts::TAU;
        let share = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        let share = share.clamp(0.0, 1.0);
        (1.0 - share) * (frequency / self.factor) + share * frequency
    }
}

/// The inverse frequencies θ^(-2i / width), scaled or not, each rounded once from f64.
pub fn inverse_frequencies(
    head_width: usize,
    theta: f64,
    scaling: Option<RopeScaling>,
) -> Vec<f32> {
    let exponent = |i: usize| -((2 * i) as f64 / head_width as f64) * math::ln_f64(theta);
    let frequency = |i: usize| {
        let frequency = math::exp_f64(exponent(i));
        scaling.map_or(frequency, |scaling| scaling.apply(frequency)) as f32
    };
    (0..head_width / 2).map(frequency).collect()
}

impl RopeTable {
    /// A table of the given inverse frequencies for positions below `positions`.
    pub fn new(inverse_frequencies: &[f32], positions: usize) -> RopeTable {
        let angles = (0..positions)
            .flat_map(|position| inverse_frequencies.iter().map(move |f| position as f32 * f));
        let (cos, sin) = angles.map(|angle| (math::cos(angle), math::sin(angle))).unzip();
        RopeTable { head_width: 2 * inverse_frequencies.len(), cos, sin }
    }

    /// How many positions it holds.
    pub fn positions(&self) -> usize {
        self.cos.len() / (self.head_width / 2)
    }

    /// Turns every head of x[tokens, heads · head_width] by its token's position, in place.
    pub fn apply(&self, t: &Threads, x: &mut [f32], positions: &[u32]) {
        self.turn(t, x, positions, 1.0);
    }

    /// Turns back: the inverse, and so the backward pass, of [`RopeTable::apply`].
    pub fn apply_inverse(&self, t: &Threads, x: &mut [f32], positions: &[u32]) {
        self.turn(t, x, positions, -1.0);
    }

    fn turn(&self, t: &Threads, x: &mut [f32], positions: &[u32], sign: f32) {
        if positions.is_empty() {
            return;
        }
        let (width, half) = (x.len() / positions.len(), self.head_width / 2);
        assert!(width * positions.len() == x.len() && width.is_multiple_of(self.head_width));
        let x = Parts::new(x);
        t.split(positions.len(), TOKENS_PER_PART, |range| {
            // SAFETY: each range of tokens is one thread's.
            let x = unsafe { x.part(range.start * width..range.end * width) };
            t.isa().run(
                #[inline(always)]
                || {
                    for (x, &position) in x.chunks_exact_mut(width).zip(&positions[range]) {
                        let at = position as usize * half;
                        let (cos, sin) = (&self.cos[at..at + half], &self.sin[at..at + half]);
                        for head in x.chunks_exact_mut(self.head_width) {
                            turn_head(head, cos, sin, sign);
                        }
                    }
                },
            );
        });
    }
}

/// (a, b) → (a·cos − b·sin, b·cos + a·sin), the second product rounded first.
#[inline(always)]
fn turn_head(head: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), &cos), &sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (x, y, sin) = (*a, *b, sign * sin);
        *a = x.mul_add(cos, -(y * sin));
        *b = y.mul_add(cos, x * sin);
    }
}
