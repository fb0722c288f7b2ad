//! The three products of a linear layer on an accelerator; see gemm.cu. Same bits as on the CPU.

use std::ops::Range;
use std::sync::Arc;

use super::{Sink, token_blocks};
use crate::train::kernels::launch::{
    Accelerator, Argument, Array, Fault, Slice, SliceMut, THREADS, blocks, count,
};

/// y[m, n] = (or +=) x[m, k] · w[n, k]ᵀ.
pub fn linear(
    on: &dyn Accelerator,
    x: Slice<f32>,
    w: Slice<f32>,
    y: SliceMut<f32>,
    [m, k, n]: [usize; 3],
    sink: Sink,
) -> Result<(), Fault> {
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n));
    let sizes = [m, k, n].map(|size| count(size).into());
    let arrays = [x.into(), w.into(), (&y).into()];
    let arguments = [&arrays[..], &sizes, &[u32::from(sink == Sink::Add).into()]].concat();
    if (1..=FEW).contains(&m) && k > 0 && n > 0 {
        let grid = blocks(n, THREADS / 16);
        return on.launch("linear_few", grid, [THREADS as u32, 1, 1], 0, &arguments);
    }
    launch_tiles(on, ["linear_64", "linear_128"], [m, n], k, &arguments)
}

/// dx[m, k] = (or +=) dy[m, n] · w[n, k].
pub fn linear_grad_input(
    on: &dyn Accelerator,
    dy: Slice<f32>,
    w: Slice<f32>,
    dx: SliceMut<f32>,
    [m, k, n]: [usize; 3],
    sink: Sink,
) -> Result<(), Fault> {
    assert_eq!((dy.len(), w.len(), dx.len()), (m * n, n * k, m * k));
    let sizes = [m, k, n].map(|size| count(size).into());
    let arrays = [dy.into(), w.into(), (&dx).into()];
    let arguments = [&arrays[..], &sizes, &[u32::from(sink == Sink::Add).into()]].concat();
    let kernels = ["linear_grad_input_64", "linear_grad_input_128"];
    launch_tiles(on, kernels, [m, k], n, &arguments)
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
pub(in crate::train::kernels) fn launch_tiles(
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

/// The blocks of at most [`BLOCK`](super::BLOCK) tokens, anchored at each batch row's start, as
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
