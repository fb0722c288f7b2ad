//! The head and the cross-entropy of the next token in one, by blocks of tokens, so that logits
//! never exist whole; and the log-probabilities of given tokens, by the same path and with the same
//! bits. It does not know what the targets mean.
//!
//! Per token, with every logit first divided by the temperature T (1 leaves their bits):
//! m = max logit; z = Σ exp(logit − m) by the tree of 16 lanes; log_z = m + ln z;
//! log p = logit − log_z. Entropy: ln z − s / z with s = Σ exp(logit − m) · (logit − m), by FMA in
//! the same tree. Backward: dlogit = (exp(logit − m) · (1 / z) − t) · (weight / T), where t is 1 at
//! the target and 0 (not subtracted) elsewhere. Blocks are those of `gemm::linear_grad_weight`. Of
//! tokens that are ignored no logit is computed: in every sum they would be zeros.

pub mod launch;

use std::ops::Range;

use super::device::{Parts, Threads};
use super::elements::Elements;
use super::gemm::{Sink, linear, linear_grad_input, linear_grad_weight, token_blocks};
use super::math::{exp, ln, max, reduce, sum};

/// A target that is not learned: its loss is 0 and it gives no gradient.
pub const IGNORE: u32 = u32::MAX;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The token that each position must predict, or [`IGNORE`].
    pub ids: &'a [u32],
    /// As in `gemm::linear_grad_weight`.
    pub rows: &'a [Range<usize>],
    /// What logits are divided by; positive.
    pub temperature: f32,
}

/// What is written for each token, 0 where it is ignored.
#[derive(Debug)]
pub struct Losses<'a> {
    /// −log p of the target.
    pub nll: &'a mut [f32],
    /// −Σ p log p of the whole distribution, if it is wanted.
    pub entropy: Option<&'a mut [f32]>,
}

/// What the loss of a token is multiplied by: its place and its loss are given. An objective that
/// weighs a token by its own probability needs no second pass.
pub type Weight<'a> = &'a (dyn Fn(usize, f32) -> f32 + Sync);

/// Where the gradients of Σ weight · loss go; a weight is held constant.
pub struct Gradients<'a> {
    pub weight: Weight<'a>,
    /// Written: [m, d].
    pub dhidden: &'a mut [f32],
    /// Added to: [v, d]; None while the head is frozen.
    pub dhead: Option<&'a mut [f32]>,
}

/// The losses of m `targets` after hidden[m, d] · head[v, d]ᵀ.
pub fn cross_entropy<'w>(
    t: &Threads,
    hidden: &[f32],
    head: impl Into<Elements<'w>>,
    targets: Targets,
    mut losses: Losses,
    mut gradients: Option<Gradients>,
) {
    let tokens = targets.ids.len();
    assert_eq!(tokens, losses.nll.len());
    assert!(losses.entropy.as_ref().is_none_or(|entropy| entropy.len() == tokens));
    assert!(targets.temperature > 0.0, "logits are divided by a positive number");
    if tokens == 0 {
        return;
    }
    let head = head.into();
    let d = hidden.len() / tokens;
    let v = head.len() / d;
    assert_eq!((hidden.len(), head.len()), (tokens * d, v * d));
    let (mut logits, mut learnt, mut packed) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for block in token_blocks(targets.rows, tokens) {
        losses.clear(block.clone());
        learnt.clear();
        learnt.extend(block.clone().filter(|token| targets.ids[*token] != IGNORE));
        let (m, elements) = (learnt.len(), block.start * d..block.end * d);
        if m == 0 {
            gradients.iter_mut().for_each(|to| to.dhidden[elements.clone()].fill(0.0));
            continue;
        }
        let [gathered, dgathered] = &mut packed;
        let is_whole = m == block.len();
        let hidden =
            if is_whole { &hidden[elements.clone()] } else { gather(hidden, &learnt, d, gathered) };
        logits.resize(m * v, 0.0);
        linear(t, hidden, head, &mut logits, [m, d, v]);
        let weight = gradients.as_ref().map(|gradients| gradients.weight);
        score(t, &mut logits, &learnt, targets, &mut losses, weight);
        let Some(gradients) = &mut gradients else { continue };
        if is_whole {
            let dhidden = &mut gradients.dhidden[elements];
            linear_grad_input(t, &logits, head, dhidden, [m, d, v], Sink::Write);
        } else {
            dgathered.resize(m * d, 0.0);
            linear_grad_input(t, &logits, head, dgathered, [m, d, v], Sink::Write);
            gradients.dhidden[elements].fill(0.0);
            for (token, dhidden) in learnt.iter().zip(dgathered.chunks_exact(d)) {
                gradients.dhidden[token * d..(token + 1) * d].copy_from_slice(dhidden);
            }
        }
        if let Some(dhead) = &mut gradients.dhead {
            linear_grad_weight(t, &logits, hidden, std::slice::from_ref(&(0..m)), dhead, [m, d, v]);
        }
    }
}

impl Losses<'_> {
    /// What is said of tokens that are ignored.
    fn clear(&mut self, block: Range<usize>) {
        self.nll[block.clone()].fill(0.0);
        self.entropy.iter_mut().for_each(|entropy| entropy[block.clone()].fill(0.0));
    }
}

/// The rows of these tokens, one after another.
fn gather<'r>(hidden: &[f32], tokens: &[usize], d: usize, into: &'r mut Vec<f32>) -> &'r [f32] {
    into.clear();
    tokens.iter().for_each(|token| into.extend_from_slice(&hidden[token * d..(token + 1) * d]));
    into
}

/// Writes log p of each target (0 where it is ignored): exactly minus the loss.
pub fn log_probs<'w>(
    t: &Threads,
    hidden: &[f32],
    head: impl Into<Elements<'w>>,
    targets: Targets,
    log_probs: &mut [f32],
) {
    let losses = Losses { nll: log_probs, entropy: None };
    cross_entropy(t, hidden, head, targets, losses, None);
    log_probs.iter_mut().for_each(|x| *x = 0.0 - *x);
}

/// The losses of `ids` after hidden[m, d] · head[v, d]ᵀ, with the bits that they have above, and
/// whether each is the likeliest token, the first of equals.
pub fn likelihoods<'w>(
    t: &Threads,
    hidden: &[f32],
    head: impl Into<Elements<'w>>,
    ids: &[u32],
    nll: &mut [f32],
    likeliest: &mut [bool],
) {
    assert_eq!((ids.len(), ids.len()), (nll.len(), likeliest.len()));
    if ids.is_empty() {
        return;
    }
    let head = head.into();
    let d = hidden.len() / ids.len();
    let v = head.len() / d;
    let (nll, likeliest) = (Parts::new(nll), Parts::new(likeliest));
    let mut logits = Vec::new();
    for block in token_blocks(std::slice::from_ref(&(0..ids.len())), ids.len()) {
        let (m, first) = (block.len(), block.start);
        logits.resize(m * v, 0.0);
        linear(t, &hidden[first * d..block.end * d], head, &mut logits, [m, d, v]);
        let logits = Parts::new(&mut logits);
        t.split(m, 8, |range| {
            for at in range {
                // SAFETY: each token is one thread's.
                let (row, nll, likeliest) = unsafe {
                    let token = first + at..first + at + 1;
                    (
                        logits.part(at * v..(at + 1) * v),
                        nll.part(token.clone()),
                        likeliest.part(token),
                    )
                };
                let target = ids[first + at];
                t.isa().run(
                    #[inline(always)]
                    || {
                        let m = max(row);
                        likeliest[0] = row.iter().position(|x| *x == m) == Some(target as usize);
                        nll[0] = loss(row, target, 1.0, None, None::<fn(f32) -> f32>);
                    },
                );
            }
        });
    }
}

/// The losses of some tokens of a block; given a weight, turns the logits into their gradient.
fn score(
    t: &Threads,
    logits: &mut [f32],
    tokens: &[usize],
    targets: Targets,
    losses: &mut Losses,
    weight: Option<Weight>,
) {
    let v = logits.len() / tokens.len();
    let (logits, nll) = (Parts::new(logits), Parts::new(losses.nll));
    let entropy = losses.entropy.as_mut().map(|entropy| Parts::new(entropy));
    t.split(tokens.len(), 8, |range| {
        for at in range {
            let token = tokens[at];
            // SAFETY: each token is one thread's.
            let row = unsafe { logits.part(at * v..(at + 1) * v) };
            let nll = unsafe { &mut nll.part(token..token + 1)[0] };
            let entropy = entropy.as_ref();
            let entropy = entropy.map(|all| unsafe { &mut all.part(token..token + 1)[0] });
            let (id, temperature) = (targets.ids[token], targets.temperature);
            let weight = weight.map(|weight| move |nll| weight(token, nll));
            t.isa().run(
                #[inline(always)]
                || *nll = loss(row, id, temperature, entropy, weight),
            );
        }
    });
}

#[inline(always)]
fn loss(
    row: &mut [f32],
    target: u32,
    temperature: f32,
    entropy: Option<&mut f32>,
    weight: Option<impl Fn(f32) -> f32>,
) -> f32 {
    if temperature != 1.0 {
        row.iter_mut().for_each(|x| *x /= temperature);
    }
    let at = target as usize;
    let (logit, m) = (row[at], max(row));
    // Before the logits are overwritten.
    let s = if entropy.is_some() { sum_of_exp_times(row, m) } else { 0.0 };
    row.iter_mut().for_each(|x| *x = exp(*x - m));
    let z = sum(row);
    let nll = (m + ln(z)) - logit;
    entropy.into_iter().for_each(|entropy| *entropy = ln(z) - s / z);
    if let Some(weight) = weight {
        let (inverse, scale) = (1.0 / z, weight(nll) / temperature);
        let target_probability = row[at] * inverse;
        row.iter_mut().for_each(|x| *x = *x * inverse * scale);
        row[at] = (target_probability - 1.0) * scale;
    }
    nll
}

/// Σ exp(x − m) by the tree of 16 lanes: the z of a row that is left as it is.
#[inline(always)]
pub(super) fn sum_of_exp(row: &[f32], m: f32) -> f32 {
    reduce(row, |acc, x| acc + exp(x - m))
}

/// Σ exp(x − m) · (x − m), in the same tree.
#[inline(always)]
fn sum_of_exp_times(row: &[f32], m: f32) -> f32 {
    reduce(row, |acc, x| exp(x - m).mul_add(x - m, acc))
}
