//! Root mean square normalisation (Zhang and Sennrich, "Root mean square layer normalization",
//! 2019): y = x · w / √(mean(x²) + ε), and the residual addition that stands beside it in a block.
//! It does not know which norm of the model it is.
//!
//! Sums: over the width by the tree of 16 lanes; the gradient of the weight over tokens by FMA in
//! ascending order in blocks of 256 anchored at each batch row, each block added to it.

pub mod launch;

use std::ops::Range;

use super::device::{Parts, Threads};
use super::gemm::{Sink, token_blocks};
use super::math::{dot, sum_of_squares};

/// Fewer tokens than this are not worth another thread.
const TOKENS_PER_PART: usize = 32;
/// Columns that one thread sums together.
const COLUMNS_PER_PART: usize = 64;

/// Writes y[m, d] and, for the backward pass, the factor 1 / √(mean(x²) + ε) of each token.
pub fn forward(
    t: &Threads,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    y: &mut [f32],
    inv_rms: &mut [f32],
) {
    let d = weight.len();
    assert_eq!((x.len(), y.len()), (inv_rms.len() * d, x.len()));
    let (tokens, y, inv_rms) = (inv_rms.len(), Parts::new(y), Parts::new(inv_rms));
    t.split(tokens, TOKENS_PER_PART, |range| {
        // SAFETY: each range of tokens is one thread's.
        let y = unsafe { y.part(range.start * d..range.end * d) };
        let inv_rms = unsafe { inv_rms.part(range.clone()) };
        let x = &x[range.start * d..range.end * d];
        t.isa().run(
            #[inline(always)]
            || {
                for ((x, y), inv) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(inv_rms) {
                    *inv = 1.0 / (sum_of_squares(x) / d as f32 + eps).sqrt();
                    for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                        *y = (x * *inv) * w;
                    }
                }
            },
        );
    });
}

/// dx = r·(dy·w) − x·c with r the token's factor and c = r³ · Σ(dy·w·x) / d, written or added.
pub fn grad_input(
    t: &Threads,
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    inv_rms: &[f32],
    dx: &mut [f32],
    into: Sink,
) {
    let d = weight.len();
    assert_eq!((dy.len(), x.len(), dx.len()), (x.len(), inv_rms.len() * d, x.len()));
    let dx = Parts::new(dx);
    t.split(inv_rms.len(), TOKENS_PER_PART, |range| {
        // SAFETY: each range of tokens is one thread's.
        let dx = unsafe { dx.part(range.start * d..range.end * d) };
        let mut scaled = vec![0.0; d];
        t.isa().run(
            #[inline(always)]
            || {
                for (token, dx) in range.clone().zip(dx.chunks_exact_mut(d)) {
                    let row = token * d..(token + 1) * d;
                    let (dy, x, inv) = (&dy[row.clone()], &x[row], inv_rms[token]);
                    for ((scaled, &dy), &w) in scaled.iter_mut().zip(dy).zip(weight) {
                        *scaled = dy * w;
                    }
                    let c = inv * inv * inv * (dot(&scaled, x) / d as f32);
                    for ((dx, &g), &x) in dx.iter_mut().zip(&scaled).zip(x) {
                        let value = x.mul_add(-c, g * inv);
                        *dx = if into == Sink::Add { *dx + value } else { value };
                    }
                }
            },
        );
    });
}

/// `dw[d]` += Σ over tokens of dy · (x · r); `rows` as in `gemm::linear_grad_weight`.
pub fn grad_weight(
    t: &Threads,
    dy: &[f32],
    x: &[f32],
    inv_rms: &[f32],
    rows: &[Range<usize>],
    dw: &mut [f32],
) {
    let d = dw.len();
    if d == 0 {
        return;
    }
    assert_eq!((dy.len(), x.len()), (x.len(), inv_rms.len() * d));
    let (blocks, dw) = (token_blocks(rows, inv_rms.len()), Parts::new(dw));
    t.split(d, COLUMNS_PER_PART, |columns| {
        // SAFETY: each range of columns is one thread's.
        let dw = unsafe { dw.part(columns.clone()) };
        let mut block_sum = vec![0.0f32; columns.len()];
        t.isa().run(
            #[inline(always)]
            || {
                for block in &blocks {
                    block_sum.fill(0.0);
                    for token in block.clone() {
                        let row = token * d + columns.start..token * d + columns.end;
                        let (dy, x, inv) = (&dy[row.clone()], &x[row], inv_rms[token]);
                        for ((sum, &dy), &x) in block_sum.iter_mut().zip(dy).zip(x) {
                            *sum = dy.mul_add(x * inv, *sum);
                        }
                    }
                    for (dw, &sum) in dw.iter_mut().zip(&block_sum) {
                        *dw += sum;
                    }
                }
            },
        );
    });
}

/// y += x: the residual stream, forward and backward.
pub fn add(t: &Threads, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let (len, y) = (y.len(), Parts::new(y));
    t.split(len, 1 << 15, |range| {
        // SAFETY: each range is one thread's.
        let y = unsafe { y.part(range.clone()) };
        let x = &x[range];
        t.isa().run(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, &x)| *y += x),
        );
    });
}
