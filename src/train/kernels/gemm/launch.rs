//! The three products of a linear layer on an accelerator; see gemm.cu. Same bits as on the CPU.

use std::ops::Range;
use std::sync::Arc;

pub use super::class::Weights;
use super::{BLOCK, Sink, token_blocks};
use crate::train::kernels::launch::{
    Accelerator, Argument, Array, Fault, Slice, SliceMut, THREADS, blocks, count, launch_fours,
};

impl Weights<'_> {
    fn len(self) -> usize {
        match self {
            Weights::Plain(floats) => floats.len(),
            Weights::Nf4(blocks) => blocks.len(),
        }
    }

    /// The parameters that say where they lie.
    pub(in crate::train::kernels) fn arguments(self) -> Vec<Argument> {
        match self {
            Weights::Plain(floats) => vec![floats.into()],
            Weights::Nf4(blocks) => blocks.arguments().to_vec(),
        }
    }

    /// Of two kernels, that for numbers that lie so.
    pub(in crate::train::kernels) fn kernels<const N: usize>(
        self,
        f32: [&'static str; N],
        nf4: [&'static str; N],
    ) -> [&'static str; N] {
        match self {
            Weights::Plain(_) => f32,
            Weights::Nf4(_) => nf4,
        }
    }
}

/// y[m, n] = (or +=) x[m, k] · w[n, k]ᵀ.
pub fn linear<'w>(
    on: &dyn Accelerator,
    x: Slice<f32>,
    w: impl Into<Weights<'w>>,
    y: SliceMut<f32>,
    [m, k, n]: [usize; 3],
    sink: Sink,
) -> Result<(), Fault> {
    let w = w.into();
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n));
    let arguments = product_arguments(x, w, &y, [m, k, n], sink);
    if (1..=FEW).contains(&m) && k > 0 && n > 0 {
        let [kernel] = w.kernels(["linear_few"], ["nf4_linear_few"]);
        return on.launch(kernel, blocks(n, THREADS / 16), [THREADS as u32, 1, 1], 0, &arguments);
    }
    let kernels = w.kernels(["linear_64", "linear_128"], ["nf4_linear_64", "nf4_linear_128"]);
    launch_tiles(on, kernels, [m, n], k, &arguments)
}

/// How many numbers [`linear_in_parts`] needs room for.
pub fn parts([m, k, n]: [usize; 3]) -> usize {
    k.div_ceil(BLOCK) * m * n
}

/// As [`linear`], with the same bits, where m · n is small and k is not: texts that are continued
/// together, the narrow side of an adapter. The blocks of a sum are made at the same time, each in
/// `room` of its own.
pub fn linear_in_parts<'w>(
    on: &dyn Accelerator,
    x: Slice<f32>,
    w: impl Into<Weights<'w>>,
    mut room: SliceMut<f32>,
    y: SliceMut<f32>,
    shape @ [m, k, n]: [usize; 3],
    sink: Sink,
) -> Result<(), Fault> {
    let w = w.into();
    let (tiles, inner_blocks) = (m.div_ceil(64) * n.div_ceil(64), k.div_ceil(BLOCK));
    if m <= FEW || n == 0 || inner_blocks < 2 || tiles >= BUSY {
        return linear(on, x, w, y, shape, sink);
    }
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n));
    let room = room.part(0..parts(shape));
    let mut arguments = vec![x.into()];
    arguments.extend(w.arguments());
    arguments.push((&room).into());
    arguments.extend(shape.map(|size| Argument::from(count(size))));
    let [kernel] = w.kernels(["linear_parts"], ["nf4_linear_parts"]);
    let grid = [n.div_ceil(64), m.div_ceil(64), inner_blocks].map(count);
    on.launch(kernel, grid, [THREADS as u32, 1, 1], 0, &arguments)?;
    let sizes = [count(inner_blocks).into(), u32::from(sink == Sink::Add).into()];
    let arguments = [(&room).into(), (&y).into(), (y.len() as u64).into(), sizes[0], sizes[1]];
    launch_fours(on, "linear_join", y.len(), &arguments)
}

/// dx[m, k] = (or +=) dy[m, n] · w[n, k].
pub fn linear_grad_input<'w>(
    on: &dyn Accelerator,
    dy: Slice<f32>,
    w: impl Into<Weights<'w>>,
    dx: SliceMut<f32>,
    [m, k, n]: [usize; 3],
    sink: Sink,
) -> Result<(), Fault> {
    let w = w.into();
    assert_eq!((dy.len(), w.len(), dx.len()), (m * n, n * k, m * k));
    let arguments = product_arguments(dy, w, &dx, [m, k, n], sink);
    let kernels = w.kernels(
        ["linear_grad_input_64", "linear_grad_input_128"],
        ["nf4_linear_grad_input_64", "nf4_linear_grad_input_128"],
    );
    launch_tiles(on, kernels, [m, k], n, &arguments)
}

/// What an adapter adds to a product: low[m, rank] times a matrix whose longer side is the
/// product's, b[n, rank] on the way up and a[rank, k] on the way back.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a, T = f32> {
    pub low: Slice<'a, T>,
    pub matrix: Slice<'a, T>,
    pub rank: usize,
}

/// y[m, n] = x[m, k] · w[n, k]ᵀ + low[m, rank] · b[n, rank]ᵀ, with the bits of [`linear`] twice.
pub fn linear_adapted<'w>(
    on: &dyn Accelerator,
    x: Slice<f32>,
    w: impl Into<Weights<'w>>,
    added: Added,
    mut y: SliceMut<f32>,
    [m, k, n]: [usize; 3],
) -> Result<(), Fault> {
    let (w, Added { low, matrix, rank }) = (w.into(), added);
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n));
    assert_eq!((low.len(), matrix.len()), (m * rank, n * rank));
    if m <= FEW || k == 0 || rank == 0 {
        linear(on, x, w, y.part(0..m * n), [m, k, n], Sink::Write)?;
        return linear(on, low, matrix, y, [m, rank, n], Sink::Add);
    }
    let arguments = adapted_arguments(x, w, added, &y, [m, k, n]);
    let kernels = w.kernels(
        ["linear_adapted_64", "linear_adapted_128"],
        ["nf4_linear_adapted_64", "nf4_linear_adapted_128"],
    );
    launch_tiles(on, kernels, [m, n], k, &arguments)
}

/// dx[m, k] = (or +=) dz[m, n] · w[n, k], and then low[m, rank] · a[rank, k], with the bits of
/// [`linear_grad_input`] twice.
pub fn linear_grad_input_adapted<'w>(
    on: &dyn Accelerator,
    dz: Slice<f32>,
    w: impl Into<Weights<'w>>,
    added: Added,
    mut dx: SliceMut<f32>,
    [m, k, n]: [usize; 3],
    sink: Sink,
) -> Result<(), Fault> {
    let (w, Added { low, matrix, rank }) = (w.into(), added);
    assert_eq!((dz.len(), w.len(), dx.len()), (m * n, n * k, m * k));
    assert_eq!((low.len(), matrix.len()), (m * rank, rank * k));
    if n == 0 || rank == 0 {
        linear_grad_input(on, dz, w, dx.part(0..m * k), [m, k, n], sink)?;
        return linear_grad_input(on, low, matrix, dx, [m, k, rank], Sink::Add);
    }
    let mut arguments = adapted_arguments(dz, w, added, &dx, [m, k, n]);
    arguments.push(u32::from(sink == Sink::Add).into());
    let kernels = w.kernels(
        ["linear_grad_input_adapted_64", "linear_grad_input_adapted_128"],
        ["nf4_linear_grad_input_adapted_64", "nf4_linear_grad_input_adapted_128"],
    );
    launch_tiles(on, kernels, [m, k], n, &arguments)
}

fn adapted_arguments(
    x: Slice<f32>,
    w: Weights,
    Added { low, matrix, rank }: Added,
    y: &SliceMut<f32>,
    [m, k, n]: [usize; 3],
) -> Vec<Argument> {
    let mut arguments = vec![x.into()];
    arguments.extend(w.arguments());
    arguments.extend([Argument::from(low), matrix.into(), y.into()]);
    arguments.extend([m, k, n, rank].map(|size| Argument::from(count(size))));
    arguments
}

fn product_arguments(
    x: Slice<f32>,
    w: Weights,
    y: &SliceMut<f32>,
    sizes: [usize; 3],
    sink: Sink,
) -> Vec<Argument> {
    let mut arguments = vec![x.into()];
    arguments.extend(w.arguments());
    arguments.push(y.into());
    arguments.extend(sizes.map(|size| Argument::from(count(size))));
    arguments.push(u32::from(sink == Sink::Add).into());
    arguments
}

/// dw[n, k] += dy[m, n]ᵀ · x[m, k], in the blocks of tokens of the batch rows.
pub fn linear_grad_weight(
    on: &dyn Accelerator,
    dy: Slice<f32>,
    x: Slice<f32>,
    tokens: &TokenBlocks,
    dw: SliceMut<f32>,
    [m, k, n]: [usize; 3],
) -> Result<(), Fault> {
    assert_eq!((dy.len(), x.len(), dw.len(), tokens.tokens()), (m * n, m * k, n * k, m));
    let sizes = [m, k, n].map(|size| count(size).into());
    let blocks_of_tokens = [tokens.bounds().into(), count(tokens.blocks()).into()];
    let arguments =
        [&[dy.into(), x.into()], &blocks_of_tokens[..], &[(&dw).into()], &sizes].concat();
    let kernels = ["linear_grad_weight_64", "linear_grad_weight_128"];
    launch_tiles(on, kernels, [n, k], m, &arguments)
}

/// Rows of x that are few: the weights are read once for all of them.
const FEW: usize = 4;

/// Tiles of 128 that keep a GPU busy; where there would be fewer, those of 64 are four times as
/// many.
const BUSY: usize = 100;

/// Starts the kernel of the size of tile that suits an m × n result.
fn launch_tiles(
    on: &dyn Accelerator,
    [small, large]: [&'static str; 2],
    [m, n]: [usize; 2],
    inner: usize,
    arguments: &[Argument],
) -> Result<(), Fault> {
    if m == 0 || n == 0 || inner == 0 {
        return Ok(());
    }
    let is_large = m.div_ceil(128) * n.div_ceil(128) >= BUSY;
    let (kernel, side) = if is_large { (large, 128) } else { (small, 64) };
    let grid = [count(n.div_ceil(side)), count(m.div_ceil(side)), 1];
    on.launch(kernel, grid, [THREADS as u32, 1, 1], 0, arguments)
}

/// The blocks of at most [`BLOCK`] tokens, anchored at each batch row's start, as
/// kernels read them.
#[derive(Debug)]
pub struct TokenBlocks {
    bounds: Array<u32>,
    tokens: usize,
}

impl TokenBlocks {
    /// Those of the token ranges of the batch rows, which cover 0..`tokens`.
    pub fn new(
        on: &Arc<dyn Accelerator>,
        rows: &[Range<usize>],
        tokens: usize,
    ) -> Result<TokenBlocks, Fault> {
        let ends = token_blocks(rows, tokens).into_iter().map(|block| count(block.end));
        let bounds: Vec<u32> = std::iter::once(0).chain(ends).collect();
        Ok(TokenBlocks { bounds: Array::of(on, &bounds)?, tokens })
    }

    /// How many tokens they cover.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Where each block begins, and the end.
    pub(in crate::train::kernels) fn bounds(&self) -> Slice<'_, u32> {
        self.bounds.all()
    }
}
