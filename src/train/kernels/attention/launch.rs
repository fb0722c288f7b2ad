//! Attention on an accelerator; see attention.cu and attention_backward.cu. Of f32, the same bits
//! as on the CPU; of bf16, products on tensor cores, by attention_bf16.cu and its twin.

use std::sync::Arc;

use super::{Block, Heads, QUERY_BLOCK, Segment};
use crate::train::kernels::launch::{
    Accelerator, Argument, Array, Fault, Float, Slice, SliceMut, THREADS, count,
};

/// Head widths that there are kernels for.
pub const WIDTHS: [usize; 4] = [16, 32, 64, 128];

const FORWARD: [&str; 4] = [
    "attention_forward_16",
    "attention_forward_32",
    "attention_forward_64",
    "attention_forward_128",
];

const FORWARD_BF16: [&str; 4] = [
    "attention_forward_bf16_16",
    "attention_forward_bf16_32",
    "attention_forward_bf16_64",
    "attention_forward_bf16_128",
];

const GRAD_QUERIES: [&str; 4] = [
    "attention_grad_queries_16",
    "attention_grad_queries_32",
    "attention_grad_queries_64",
    "attention_grad_queries_128",
];

const GRAD_QUERIES_BF16: [&str; 4] = [
    "attention_grad_queries_bf16_16",
    "attention_grad_queries_bf16_32",
    "attention_grad_queries_bf16_64",
    "attention_grad_queries_bf16_128",
];

const GRAD_KEYS: [&str; 4] = [
    "attention_grad_keys_16",
    "attention_grad_keys_32",
    "attention_grad_keys_64",
    "attention_grad_keys_128",
];

const GRAD_KEYS_BF16: [&str; 4] = [
    "attention_grad_keys_bf16_16",
    "attention_grad_keys_bf16_32",
    "attention_grad_keys_bf16_64",
    "attention_grad_keys_bf16_128",
];

/// Segments as kernels read them, the longest work first.
#[derive(Debug)]
pub struct Segments {
    /// Four numbers for each block of queries: first row, rows, first key, keys.
    queries: Array<u32>,
    /// Three for each 64 keys of a segment: its first row, its length, the first of the keys.
    keys: Array<u32>,
    /// Whether every key is also a query, and how many tokens there are.
    is_whole: bool,
    tokens: [usize; 2],
}

impl Segments {
    /// Those of a batch; queries and keys must cover their rows.
    pub fn new(on: &Arc<dyn Accelerator>, segments: &[Segment]) -> Result<Segments, Fault> {
        let mut blocks: Vec<Block> = segments.iter().flat_map(Segment::blocks).collect();
        blocks.sort_by_key(|block| std::cmp::Reverse(block.keys));
        let block = |of: &Block| [of.first, of.rows, of.first_key, of.keys].map(count);
        let queries: Vec<u32> = blocks.iter().flat_map(block).collect();
        let tiles = |segment: &Segment| {
            let (start, len) = (segment.keys.start, segment.keys.len());
            (0..len).step_by(QUERY_BLOCK).map(move |first| [start, len, first].map(count))
        };
        let mut tiles: Vec<[u32; 3]> = segments.iter().flat_map(tiles).collect();
        tiles.sort_by_key(|[_, len, first]| std::cmp::Reverse(len - first));
        Ok(Segments {
            queries: Array::of(on, &queries)?,
            keys: Array::of(on, tiles.as_flattened())?,
            is_whole: segments.iter().all(|segment| segment.queries == segment.keys),
            tokens: [
                segments.iter().map(|segment| segment.queries.len()).sum(),
                segments.iter().map(|segment| segment.keys.end).max().unwrap_or(0),
            ],
        })
    }

    fn check(&self, heads: Heads, queries: usize, keys: usize) {
        let [tokens, end] = self.tokens;
        assert_eq!(queries, tokens * heads.query_row(), "rows of queries");
        assert!(keys >= end * heads.kv_row(), "rows of keys");
    }
}

impl Heads {
    fn at(self) -> usize {
        let found = WIDTHS.iter().position(|width| *width == self.width);
        found.expect("a head is 16, 32, 64 or 128 wide on an accelerator")
    }

    /// The last parameters of every kernel.
    fn arguments(self) -> [Argument; 3] {
        [count(self.query).into(), count(self.kv).into(), self.scale().into()]
    }

    /// Bytes of so many times 64 rows, of 64 × 68 products and of 64 sums, all of f32. In the class
    /// bf16 the rows are of it, with some more of them and so many times 64 × 72 cells.
    fn shared<T: Float>(self, rows: usize, [more, cells]: [usize; 2]) -> u32 {
        let products = 4 * (64 * 68 + 64);
        let of_f32 = 4 * rows * 64 * (self.width + 4);
        let of_bf16 = 2 * 64 * ((rows + more) * (self.width + 8) + cells * 72);
        count(products + T::choose(of_f32, of_bf16))
    }
}

/// The threads of a block.
fn block<T: Float>() -> [u32; 3] {
    [T::choose(THREADS as u32, 128), 1, 1]
}

/// Writes out[tq, query · width], and the maximum and the sum of each token and query head.
pub fn forward<T: Float>(
    on: &dyn Accelerator,
    heads: Heads,
    [q, k, v]: [Slice<T>; 3],
    segments: &Segments,
    out: SliceMut<T>,
    [max, sum]: [SliceMut<f32>; 2],
) -> Result<(), Fault> {
    segments.check(heads, q.len(), k.len());
    assert_eq!((q.len(), k.len()), (out.len(), v.len()));
    assert_eq!([max.len(), sum.len()], [q.len() / heads.width; 2]);
    if q.is_empty() {
        return Ok(());
    }
    let read = [q.into(), k.into(), v.into(), segments.queries.all().into()];
    let written = [(&out).into(), (&max).into(), (&sum).into()];
    let arguments = [&read[..], &written, &heads.arguments()].concat();
    let grid = [count(segments.queries.len() / 4), count(heads.query), 1];
    let kernel = T::choose(FORWARD, FORWARD_BF16)[heads.at()];
    on.launch(kernel, grid, block::<T>(), heads.shared::<T>(2, [1, 1]), &arguments)
}

/// What the forward pass read and wrote, for [`backward`].
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, T> {
    pub q: Slice<'a, T>,
    pub k: Slice<'a, T>,
    pub v: Slice<'a, T>,
    pub out: Slice<'a, T>,
    pub max: Slice<'a, f32>,
    pub sum: Slice<'a, f32>,
}

/// Writes dq, dk and dv of whole segments; `dots` is room for one number a token and query head.
pub fn backward<T: Float>(
    on: &dyn Accelerator,
    heads: Heads,
    saved: Saved<T>,
    segments: &Segments,
    dout: Slice<T>,
    dots: SliceMut<f32>,
    [dq, dk, dv]: [SliceMut<T>; 3],
) -> Result<(), Fault> {
    let Saved { q, k, v, out, max, sum } = saved;
    segments.check(heads, q.len(), k.len());
    assert!(segments.is_whole, "only whole segments are trained");
    assert_eq!([dout.len(), dq.len(), out.len()], [q.len(); 3]);
    assert_eq!([dk.len(), dv.len(), v.len()], [k.len(); 3]);
    let rows = q.len() / heads.width;
    assert_eq!([dots.len(), max.len(), sum.len()], [rows; 3]);
    if q.is_empty() {
        return Ok(());
    }
    let sizes = [(rows as u64).into(), count(heads.width).into()];
    let arguments = [&[dout.into(), out.into(), (&dots).into()], &sizes[..]].concat();
    let grid = [count(rows.div_ceil(THREADS / 16)), 1, 1];
    let kernel = T::choose("attention_dots", "attention_dots_bf16");
    on.launch(kernel, grid, [THREADS as u32, 1, 1], 0, &arguments)?;

    let stats = [max, sum, dots.read()].map(Argument::from);
    let read = [&[q, k, v, dout].map(Argument::from)[..], &stats].concat();
    let written = [segments.queries.all().into(), (&dq).into()];
    let arguments = [&read[..], &written, &heads.arguments()].concat();
    let grid = [count(segments.queries.len() / 4), count(heads.query), 1];
    let kernel = T::choose(GRAD_QUERIES, GRAD_QUERIES_BF16)[heads.at()];
    on.launch(kernel, grid, block::<T>(), heads.shared::<T>(3, [1, 2]), &arguments)?;

    let written = [segments.keys.all().into(), (&dk).into(), (&dv).into()];
    let arguments = [&read[..], &written, &heads.arguments()].concat();
    let grid = [count(segments.keys.len() / 3), count(heads.kv), 1];
    let kernel = T::choose(GRAD_KEYS, GRAD_KEYS_BF16)[heads.at()];
    on.launch(kernel, grid, block::<T>(), heads.shared::<T>(4, [0, 2]), &arguments)
}
