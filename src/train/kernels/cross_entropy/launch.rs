//! The head and the cross-entropy of the next token on an accelerator, by chunks of tokens, so that
//! logits never exist whole; see cross_entropy.cu and gemm.cu. Same bits as on the CPU in the class
//! `exact-f32`; in `bf16` logits are f32 too, and their gradient is rounded.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;

use crate::train::kernels::gemm::class::Class;
use crate::train::kernels::gemm::launch::{TokenBlocks, linear};
use crate::train::kernels::gemm::{BLOCK, Sink, token_blocks};
use crate::train::kernels::launch::{
    Accelerator, Address, Argument, Array, Fault, Float, Slice, SliceMut, count,
};
use crate::train::kernels::sample::Sampling;
use crate::train::kernels::sample::launch::draw;

/// Bytes that the logits of a chunk may take, unless one block of tokens takes more.
const MOST_BYTES: usize = 1 << 28;

/// The most bytes that logits take at once, of so many tokens.
pub fn room(tokens: u64, outputs: u64) -> u64 {
    let bytes = |tokens: u64| 4 * tokens.saturating_mul(outputs);
    bytes(tokens).min(bytes(BLOCK as u64).max(MOST_BYTES as u64))
}

/// The same with what their gradient takes in the class `bf16`.
pub fn room_of_halves(tokens: u64, outputs: u64) -> u64 {
    room(tokens, outputs) / 2 * 3
}

/// What is asked about.
#[derive(Debug)]
pub struct Targets {
    ids: Array<u32>,
    temperature: f32,
    /// Tokens whose logits exist together, and the blocks in which they are summed.
    chunks: Vec<(Range<usize>, TokenBlocks)>,
}

impl Targets {
    /// The token that each position must predict, or `IGNORE`, where a head has `outputs` outputs.
    pub fn new(
        on: &Arc<dyn Accelerator>,
        targets: super::Targets<'_>,
        outputs: usize,
    ) -> Result<Targets, Fault> {
        let super::Targets { ids, rows, temperature } = targets;
        assert!(temperature > 0.0, "logits are divided by a positive number");
        let most = (MOST_BYTES / (4 * outputs)).max(1);
        let mut chunks: Vec<Vec<Range<usize>>> = Vec::new();
        for block in token_blocks(rows, ids.len()) {
            match chunks.last_mut() {
                Some(chunk) if block.end - chunk[0].start <= most => chunk.push(block),
                _ => chunks.push(vec![block]),
            }
        }
        let chunk = |blocks: Vec<Range<usize>>| {
            let whole = blocks[0].start..blocks[blocks.len() - 1].end;
            let from = |block: &Range<usize>| block.start - whole.start..block.end - whole.start;
            let blocks: Vec<Range<usize>> = blocks.iter().map(from).collect();
            let tokens = TokenBlocks::new(on, &blocks, whole.len())?;
            Ok((whole, tokens))
        };
        let chunks = chunks.into_iter().map(chunk).collect::<Result<_, Fault>>()?;
        Ok(Targets { ids: Array::of(on, ids)?, temperature, chunks })
    }

    /// Tokens of the largest chunk.
    fn most(&self) -> usize {
        self.chunks.iter().map(|(tokens, _)| tokens.len()).max().unwrap_or(0)
    }
}

/// Where the gradients of weight · Σ loss go.
#[derive(Debug)]
pub struct Gradients<'a, T = f32> {
    pub weight: f32,
    /// Written: [m, d].
    pub dhidden: SliceMut<'a, T>,
    /// Added to: [v, d]; None while the head is frozen.
    pub dhead: Option<SliceMut<'a, f32>>,
}

/// What is written for each token, 0 where it is ignored.
#[derive(Debug)]
pub struct Losses<'a> {
    /// −log p of the target.
    pub nll: SliceMut<'a, f32>,
    /// −Σ p log p of the whole distribution, if it is wanted.
    pub entropy: Option<SliceMut<'a, f32>>,
}

/// The losses of m targets after hidden[m, d] · head[v, d]ᵀ.
pub fn cross_entropy<T: Class>(
    on: &Arc<dyn Accelerator>,
    hidden: Slice<T>,
    head: Slice<T>,
    targets: &Targets,
    mut losses: Losses<'_>,
    mut gradients: Option<Gradients<'_, T>>,
) -> Result<(), Fault> {
    let m = targets.ids.len();
    assert_eq!(losses.nll.len(), m);
    if m == 0 {
        return Ok(());
    }
    let d = hidden.len() / m;
    let v = head.len() / d;
    let mut logits = Array::new(on, targets.most() * v)?;
    // A gradient of f32 stands where the logits were.
    let halves = T::choose(0, if gradients.is_some() { logits.len() } else { 0 });
    let halves = Array::<bf16>::new(on, halves)?;
    for (tokens, blocks) in &targets.chunks {
        let (n, numbers) = (tokens.len(), tokens.start * d..tokens.end * d);
        let hidden = hidden.part(numbers.clone());
        T::logits(on, hidden, head, logits.first_mut(n * v), [n, d, v])?;
        let Some(Gradients { weight, dhidden, dhead }) = &mut gradients else {
            score::<f32>(&**on, logits.first_mut(n * v), targets, tokens, &mut losses, None)?;
            continue;
        };
        let part = T::choose(0, n * v);
        let place = T::own(logits.first(n * v), halves.first(part)).address();
        let (scores, into) = (logits.first_mut(n * v), Some((*weight, place)));
        score::<T>(&**on, scores, targets, tokens, &mut losses, into)?;
        let dlogits = T::own(logits.first(n * v), halves.first(part));
        T::grad_input(on, dlogits, head.into(), dhidden.part(numbers), [n, d, v], Sink::Write)?;
        if let Some(dhead) = dhead {
            T::grad_weight(on, dlogits, hidden, blocks, dhead.part(0..v * d), [n, d, v])?;
        }
    }
    Ok(())
}

/// −log p of each id after hidden[n, d] · head[v, d]ᵀ, and whether it is the likeliest.
pub fn likelihoods(
    on: &Arc<dyn Accelerator>,
    hidden: Slice<f32>,
    head: Slice<f32>,
    ids: &[u32],
) -> Result<Vec<(f32, bool)>, Fault> {
    let mut found = Vec::with_capacity(ids.len());
    if ids.is_empty() {
        return Ok(found);
    }
    let d = hidden.len() / ids.len();
    let v = head.len() / d;
    let most = (MOST_BYTES / (4 * v)).max(1);
    let mut logits = Array::new(on, most.min(ids.len()) * v)?;
    for (at, ids) in ids.chunks(most).enumerate() {
        let (n, first) = (ids.len(), at * most);
        let hidden = hidden.part(first * d..(first + n) * d);
        linear(&**on, hidden, head, logits.first_mut(n * v), [n, d, v], Sink::Write)?;
        let greedy = Sampling { temperature: 0.0, top_k: None, top_p: 1.0 };
        let drawn = draw(on, logits.first(n * v), greedy, &vec![0.0; n])?;
        let (whole, mut nll) = (0..n, Array::new(on, n)?);
        let rows = std::slice::from_ref(&whole);
        let targets = Targets::new(on, super::Targets { ids, rows, temperature: 1.0 }, v)?;
        let mut losses = Losses { nll: nll.all_mut(), entropy: None };
        score::<f32>(&**on, logits.first_mut(n * v), &targets, &whole, &mut losses, None)?;
        let likely = drawn.iter().zip(ids).map(|(drawn, id)| drawn.token == *id);
        found.extend(nll.read()?.into_iter().zip(likely));
    }
    Ok(found)
}

/// The losses of a chunk; their gradient, given what they weigh and where it goes, which may be the
/// place of the logits.
fn score<T: Float>(
    on: &dyn Accelerator,
    logits: SliceMut<f32>,
    targets: &Targets,
    tokens: &Range<usize>,
    losses: &mut Losses<'_>,
    gradient: Option<(f32, Address)>,
) -> Result<(), Fault> {
    let v = logits.len() / tokens.len();
    let ids = targets.ids.all().part(tokens.clone());
    let nll = losses.nll.part(tokens.clone());
    let entropy = losses.entropy.as_mut().map(|all| (&all.part(tokens.clone())).into());
    let (weight, gradient) = gradient.unwrap_or((0.0, Address(0)));
    let arguments = [
        (&logits).into(),
        ids.into(),
        (&nll).into(),
        entropy.unwrap_or(Argument::Address(Address(0))),
        count(v).into(),
        targets.temperature.into(),
        weight.into(),
        Argument::Address(gradient),
    ];
    let kernel = T::choose("cross_entropy_score", "cross_entropy_score_bf16");
    on.launch(kernel, [count(tokens.len()), 1, 1], [256, 1, 1], 0, &arguments)
}
