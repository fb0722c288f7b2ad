//! AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019), fused and in
//! place, as in PyTorch; the norm of the gradients and their clipping. It does not know schedules
//! or names.
//!
//! The constants are made in f64 and rounded once. Per element, with g = scale · gradient:
//! p ← p · (1 − lr·wd); m ← fma(1 − β₁, g − m, m); v ← fma((1 − β₂) · g, g, β₂ · v);
//! p ← fma(−lr / (1 − β₁^t), m / (√v / √(1 − β₂^t) + ε), p).
//!
//! The norm: each tensor in pieces of 65,536 elements, each by the tree of 16 lanes in f64; pieces
//! ascending, then tensors in the order given.

pub mod launch;

use super::device::{Parts, Threads};
use super::math::LANES;

/// The constants of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    /// β₁^t and β₂^t, carried from step to step; t counts from 1.
    pub beta1_power: f64,
    pub beta2_power: f64,
    /// What the gradients are multiplied by: 1 / tokens, and the factor of clipping.
    pub gradient_scale: f32,
}

/// The running means of the gradient and of its square.
pub struct Moments<'a> {
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
}

/// Elements that are worth a thread.
const ELEMENTS_PER_PART: usize = 1 << 14;

/// What a step does to each element.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    pub(super) keep: f32,
    pub(super) rate: f32,
    pub(super) root: f32,
    pub(super) one_less_1: f32,
    pub(super) one_less_2: f32,
    pub(super) beta2: f32,
    pub(super) eps: f32,
    pub(super) scale: f32,
}

impl Constants {
    #[inline(always)]
    pub(super) fn move_one(&self, p: &mut f32, m: &mut f32, v: &mut f32, g: f32) {
        let g = g * self.scale;
        *m = self.one_less_1.mul_add(g - *m, *m);
        *v = (self.one_less_2 * g).mul_add(g, self.beta2 * *v);
        let denominator = v.sqrt() / self.root + self.eps;
        *p = self.rate.mul_add(*m / denominator, *p * self.keep);
    }
}

impl AdamW {
    /// Made in f64 and rounded once.
    pub(super) fn constants(&self) -> Constants {
        Constants {
            keep: (1.0 - self.lr * self.weight_decay) as f32,
            rate: -(self.lr / (1.0 - self.beta1_power)) as f32,
            root: (1.0 - self.beta2_power).sqrt() as f32,
            one_less_1: (1.0 - self.beta1) as f32,
            one_less_2: (1.0 - self.beta2) as f32,
            beta2: self.beta2 as f32,
            eps: self.eps as f32,
            scale: self.gradient_scale,
        }
    }

    /// Moves one tensor and its moments by one step.
    pub fn step(&self, t: &Threads, param: &mut [f32], gradient: &[f32], moments: Moments) {
        let Moments { first, second } = moments;
        let len = param.len();
        assert_eq!([gradient.len(), first.len(), second.len()], [len; 3]);
        let constants = self.constants();
        let (p, m, v) = (Parts::new(param), Parts::new(first), Parts::new(second));
        t.split(len, ELEMENTS_PER_PART, |range| {
            // SAFETY: each range is one thread's.
            let (p, m) = unsafe { (p.part(range.clone()), m.part(range.clone())) };
            let v = unsafe { v.part(range.clone()) };
            let gradient = &gradient[range];
            t.isa().run(
                #[inline(always)]
                || {
                    for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(gradient) {
                        constants.move_one(p, m, v, g);
                    }
                },
            );
        });
    }
}

/// Elements of one piece of the norm.
const PIECE: usize = 1 << 16;

/// Σ x² over tensors in the order given.
pub fn squared_norm<'a>(t: &Threads, tensors: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let pieces: Vec<&[f32]> = tensors.into_iter().flat_map(|x| x.chunks(PIECE)).collect();
    let mut sums = vec![0.0; pieces.len()];
    let parts = Parts::new(&mut sums);
    t.split(pieces.len(), 1, |range| {
        for piece in range {
            // SAFETY: each piece is one thread's.
            let sum = unsafe { &mut parts.part(piece..piece + 1)[0] };
            t.isa().run(
                #[inline(always)]
                || *sum = piece_sum(pieces[piece]),
            );
        }
    });
    sums.iter().sum()
}

#[inline(always)]
fn piece_sum(x: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = f64::from(chunk[lane]);
            lanes[lane] = x.mul_add(x, lanes[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = f64::from(x).mul_add(f64::from(x), *lane);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// What gradients of this norm are multiplied by so that it is at most `limit`, as in PyTorch.
pub fn clip_factor(norm: f64, limit: f64) -> f64 {
    (limit / (norm + 1e-6)).min(1.0)
}

/// x *= factor.
pub fn scale(t: &Threads, x: &mut [f32], factor: f32) {
    let (len, x) = (x.len(), Parts::new(x));
    t.split(len, 1 << 15, |range| {
        // SAFETY: each range is one thread's.
        let x = unsafe { x.part(range) };
        x.iter_mut().for_each(|x| *x *= factor);
    });
}
