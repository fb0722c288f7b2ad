//! The head and the cross-entropy of the next token in one, by blocks of tokens, so that logits
//! never exist whole; and the log-probabilities of given tokens, by the same path and with the same
//! bits. It does not know what the targets mean.
//!
//! Per token: m = max logit; z = Σ exp(logit − m) by the tree of 16 lanes; log_z = m + ln z;
//! log p = logit − log_z. Backward: dlogit = (exp(logit − m) · (1 / z) − t) · scale, where t is 1
//! at the target and 0 (not subtracted) elsewhere.
//! Blocks are those of `gemm::linear_grad_weight`.

use std::ops::Range;

use super::device::{Parts, Threads};
use super::elements::Elements;
use super::gemm::{Sink, linear, linear_grad_input, linear_grad_weight, token_blocks};
use super::math::{exp, ln, max, reduce, sum};

/// A target that is not learned: its loss is 0 and it gives no gradient.
pub const IGNORE: u32 = u32::MAX;

/// Where the gradients of the loss go.
pub struct Gradients<'a> {
    /// What the sum of the losses is multiplied by.
    pub scale: f32,
    /// Written: [m, d].
    pub dhidden: &'a mut [f32],
    /// Added to: [v, d]; None while the head is frozen.
    pub dhead: Option<&'a mut [f32]>,
}

/// `nll[m]` of `targets[m]` after hidden[m, d] · head[v, d]ᵀ; `rows` as in
/// `gemm::linear_grad_weight`.
pub fn cross_entropy<'w>(
    t: &Threads,
    hidden: &[f32],
    head: impl Into<Elements<'w>>,
    targets: &[u32],
    rows: &[Range<usize>],
    nll: &mut [f32],
    mut gradients: Option<Gradients>,
) {
    assert_eq!(targets.len(), nll.len());
    if targets.is_empty() {
        return;
    }
    let head = head.into();
    let d = hidden.len() / targets.len();
    let v = head.len() / d;
    assert_eq!((hidden.len(), head.len()), (targets.len() * d, v * d));
    let mut logits = Vec::new();
    for block in token_blocks(rows, targets.len()) {
        let (m, elements) = (block.len(), block.start * d..block.end * d);
        let hidden = &hidden[elements.clone()];
        logits.resize(m * v, 0.0);
        linear(t, hidden, head, &mut logits, [m, d, v]);
        let scale = gradients.as_ref().map(|gradients| gradients.scale);
        let targets = &targets[block.clone()];
        losses(t, &mut logits, targets, &mut nll[block], scale);
        if let Some(gradients) = &mut gradients {
            let dhidden = &mut gradients.dhidden[elements];
            linear_grad_input(t, &logits, head, dhidden, [m, d, v], Sink::Write);
            if let Some(dhead) = &mut gradients.dhead {
                let row = 0..m;
                linear_grad_weight(t, &logits, hidden, &[row], dhead, [m, d, v]);
            }
        }
    }
}

/// Writes log p of each target (0 where it is ignored): exactly minus the loss.
pub fn log_probs<'w>(
    t: &Threads,
    hidden: &[f32],
    head: impl Into<Elements<'w>>,
    targets: &[u32],
    log_probs: &mut [f32],
) {
    let rows = 0..targets.len();
    cross_entropy(t, hidden, head, targets, &[rows], log_probs, None);
    log_probs.iter_mut().for_each(|x| *x = 0.0 - *x);
}

/// The losses of a block; given a scale, turns the logits into their gradient.
fn losses(t: &Threads, logits: &mut [f32], targets: &[u32], nll: &mut [f32], scale: Option<f32>) {
    let v = logits.len() / targets.len();
    let (logits, nll) = (Parts::new(logits), Parts::new(nll));
    t.split(targets.len(), 8, |range| {
        for token in range {
            // SAFETY: each token is one thread's.
            let row = unsafe { logits.part(token * v..(token + 1) * v) };
            let nll = unsafe { &mut nll.part(token..token + 1)[0] };
            t.isa().run(
                #[inline(always)]
                || *nll = loss(row, targets[token], scale),
            );
        }
    });
}

#[inline(always)]
fn loss(row: &mut [f32], target: u32, scale: Option<f32>) -> f32 {
    if target == IGNORE {
        row.fill(0.0);
        return 0.0;
    }
    let at = target as usize;
    let (logit, m) = (row[at], max(row));
    row.iter_mut().for_each(|x| *x = exp(*x - m));
    let z = sum(row);
    if let Some(scale) = scale {
        let inverse = 1.0 / z;
        let target_probability = row[at] * inverse;
        row.iter_mut().for_each(|x| *x = *x * inverse * scale);
        row[at] = (target_probability - 1.0) * scale;
    }
    (m + ln(z)) - logit
}

/// Σ exp(x − m) by the tree of 16 lanes: the z of a row that is left as it is.
#[inline(always)]
pub(super) fn sum_of_exp(row: &[f32], m: f32) -> f32 {
    reduce(row, |acc, x| acc + exp(x - m))
}
