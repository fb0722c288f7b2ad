//! Causal attention of packed segments with grouped queries (Vaswani et al., 2017; Ainslie et al.,
//! "GQA", 2023). The same function trains, scores and decodes with a cache of keys. It knows
//! neither rope nor projections, and never holds a T × T matrix: only blocks of [`QUERY_BLOCK`]
//! queries by the keys they see.
//!
//! For a query i, with keys counted from its segment's start:
//! s_j = scale · (q · k_j), the product by the rule of `gemm`, scale = f32(1 / √width);
//! m = max s_j over visible keys; p_j = exp(s_j − m); z = Σ p_j by the tree of 16 lanes (lane l
//! sums the keys l, l + 16, …); out = (0 + Σ p_j v_j by the rule of `gemm`) · (1 / z).
//! Keys that are not visible count as p = 0, which changes no bit.
//!
//! Backward: p_j = exp(s_j − m) · (1 / z); D = dot(dout, out) by the tree of 16 lanes;
//! ds_j = p_j · (dout · v_j − D) · scale; dq = Σ ds_j k_j by the rule of `gemm`;
//! dk_j = Σ ds_j q and dv_j = Σ p_j dout, from zero, by ascending query head of the group, then by
//! blocks of [`QUERY_BLOCK`] queries anchored at the segment's start, each summed by FMA from zero.

pub mod cached;
pub mod launch;

use std::ops::Range;

use super::device::{Isa, Parts, Threads};
use super::gemm::Sink;
use super::gemm::product::{Grid, View, blocks_of, product};
use super::math::{dot, exp, max, sum};

/// How many queries are worked on together, and summed together in the backward pass.
pub const QUERY_BLOCK: usize = 64;

/// How many heads there are and how wide each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub query: usize,
    pub kv: usize,
    pub width: usize,
}

impl Heads {
    /// Query heads that share one key and value head.
    pub fn group(self) -> usize {
        assert!(self.query.is_multiple_of(self.kv), "query heads must share kv heads evenly");
        self.query / self.kv
    }

    fn query_row(self) -> usize {
        self.query * self.width
    }

    fn kv_row(self) -> usize {
        self.kv * self.width
    }

    fn scale(self) -> f32 {
        (1.0 / (self.width as f64).sqrt()) as f32
    }
}

/// Tokens that see each other: the rows of q, and the rows of k and v. The queries are the last
/// positions of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub queries: Range<usize>,
    pub keys: Range<usize>,
}

impl Segment {
    /// A whole segment, as in training: every key is also a query.
    pub fn whole(tokens: Range<usize>) -> Segment {
        Segment { queries: tokens.clone(), keys: tokens }
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        assert!(self.queries.len() <= self.keys.len(), "queries must be the last of the keys");
        let past = self.keys.len() - self.queries.len();
        let (first_key, end) = (self.keys.start, self.queries.end);
        self.queries.clone().step_by(QUERY_BLOCK).map(move |first| {
            let rows = QUERY_BLOCK.min(end - first);
            Block { first, rows, first_key, keys: past + first - self.queries.start + rows }
        })
    }
}

/// Queries that are worked on together.
#[derive(Clone, Copy)]
struct Block {
    /// The row of the first query, and how many there are.
    first: usize,
    rows: usize,
    /// The row of the first key, and how many the last query sees.
    first_key: usize,
    keys: usize,
}

impl Block {
    /// How many keys query `i` of the block sees.
    fn seen(self, i: usize) -> usize {
        self.keys - self.rows + i + 1
    }
}

/// One query head of one block of queries.
#[derive(Clone, Copy)]
struct Site {
    isa: Isa,
    heads: Heads,
    head: usize,
    block: Block,
}

impl Site {
    /// Where its first query stands in q.
    fn query_start(self) -> usize {
        self.block.first * self.heads.query_row() + self.head * self.heads.width
    }

    /// Where its first key stands in k.
    fn kv_start(self) -> usize {
        let kv_head = self.head / self.heads.group();
        self.block.first_key * self.heads.kv_row() + kv_head * self.heads.width
    }

    /// out = a · b for its queries and the keys that the last of them sees, over the head's width.
    fn products(self, a: View, b: View, out: &mut [f32]) {
        let (rows, columns) = (self.block.rows, self.block.keys);
        assert_eq!(out.len(), rows * columns);
        let grid = Grid { start: out.as_mut_ptr(), stride: columns, rows, columns };
        // SAFETY: the grid is `out`.
        unsafe { product(self.isa, a, b, grid, &blocks_of(self.heads.width), Sink::Write) };
    }
}

/// What the backward pass needs of the softmax, per token and query head: [tokens, heads].
pub struct Softmax<'a> {
    pub max: &'a [f32],
    pub sum: &'a [f32],
}

/// out[tq, query · width] from q of the same shape and k, v[tk, kv · width]; also writes the
/// maximum and the sum of each token and query head.
pub fn forward(
    t: &Threads,
    heads: Heads,
    inputs: [&[f32]; 3],
    segments: &[Segment],
    out: &mut [f32],
    [max, sum]: [&mut [f32]; 2],
) {
    let [q, k, v] = inputs;
    assert_eq!((q.len(), k.len()), (out.len(), v.len()));
    assert_eq!([max.len(), sum.len()], [q.len() / heads.width; 2]);
    let to = ForwardParts { out: Parts::new(out), max: Parts::new(max), sum: Parts::new(sum) };
    let blocks: Vec<Block> = segments.iter().flat_map(Segment::blocks).collect();
    t.split(blocks.len() * heads.query, 1, |range| {
        let mut weights = Vec::new();
        for item in range {
            let (block, head) = (blocks[item / heads.query], item % heads.query);
            weights.resize(block.rows * block.keys, 0.0);
            let site = Site { isa: t.isa(), heads, head, block };
            // SAFETY: each block of queries and head is one item.
            unsafe { forward_block(site, inputs, &mut weights, &to) };
        }
    });
}

struct ForwardParts<'a> {
    out: Parts<'a, f32>,
    max: Parts<'a, f32>,
    sum: Parts<'a, f32>,
}

/// One head of one block of queries.
///
/// # Safety
/// No other thread may work on it.
unsafe fn forward_block(
    site: Site,
    [q, k, v]: [&[f32]; 3],
    weights: &mut [f32],
    to: &ForwardParts,
) {
    let Site { isa, heads, head, block } = site;
    let (row, at, kv) = (heads.query_row(), site.query_start(), site.kv_start());
    let keys = View::columns(&k[kv..], heads.kv_row());
    site.products(View::rows(&q[at..], row), keys, weights);
    let mut inverse = [0.0; QUERY_BLOCK];
    for (i, weights) in weights.chunks_exact_mut(block.keys).enumerate() {
        let (m, z) = isa.run(
            #[inline(always)]
            || softmax_numerators(weights, block.seen(i), heads.scale()),
        );
        let stat = (block.first + i) * heads.query + head;
        // SAFETY: this token and head is this call's.
        unsafe {
            to.max.part(stat..stat + 1)[0] = m;
            to.sum.part(stat..stat + 1)[0] = z;
            to.out.part(at + i * row..at + i * row + heads.width).fill(0.0);
        }
        inverse[i] = 1.0 / z;
    }
    let (weights, values) =
        (View::rows(&*weights, block.keys), View::rows(&v[kv..], heads.kv_row()));
    // SAFETY: this part of the rows is this call's.
    unsafe {
        let start = to.out.start().add(at);
        let grid = Grid { start, stride: row, rows: block.rows, columns: heads.width };
        product(isa, weights, values, grid, &blocks_of(block.keys), Sink::Add);
        for (i, inverse) in inverse[..block.rows].iter().enumerate() {
            let out = to.out.part(at + i * row..at + i * row + heads.width);
            out.iter_mut().for_each(|x| *x *= inverse);
        }
    }
}

/// Turns the first `seen` products into exp(scale · product − max), the rest into 0; gives the
/// maximum and the sum.
#[inline(always)]
fn softmax_numerators(row: &mut [f32], seen: usize, scale: f32) -> (f32, f32) {
    let (row, unseen) = row.split_at_mut(seen);
    unseen.fill(0.0);
    row.iter_mut().for_each(|s| *s *= scale);
    let m = max(row);
    row.iter_mut().for_each(|s| *s = exp(*s - m));
    (m, sum(row))
}

/// What the forward pass read and wrote, for [`backward`].
pub struct Saved<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub out: &'a [f32],
    pub softmax: Softmax<'a>,
}

/// Writes dq, dk and dv of whole segments that cover every token.
pub fn backward(
    t: &Threads,
    heads: Heads,
    saved: &Saved,
    segments: &[Segment],
    dout: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    assert_eq!([dout.len(), dq.len(), saved.out.len()], [saved.q.len(); 3]);
    assert_eq!([dk.len(), dv.len(), saved.v.len()], [saved.k.len(); 3]);
    dk.fill(0.0);
    dv.fill(0.0);
    let to = BackwardParts { dq: Parts::new(dq), dk: Parts::new(dk), dv: Parts::new(dv) };
    t.split(segments.len() * heads.kv, 1, |range| {
        let mut cells = [Vec::new(), Vec::new()];
        for item in range {
            let (segment, kv_head) = (&segments[item / heads.kv], item % heads.kv);
            assert_eq!(segment.queries, segment.keys, "only whole segments are trained");
            for head in kv_head * heads.group()..(kv_head + 1) * heads.group() {
                for block in segment.blocks() {
                    cells.iter_mut().for_each(|x| x.resize(block.rows * block.keys, 0.0));
                    let cells = cells.each_mut().map(|x| &mut x[..]);
                    let site = Site { isa: t.isa(), heads, head, block };
                    // SAFETY: each segment and kv head is one item.
                    unsafe { backward_block(site, saved, dout, cells, &to) };
                }
            }
        }
    });
}

struct BackwardParts<'a> {
    dq: Parts<'a, f32>,
    dk: Parts<'a, f32>,
    dv: Parts<'a, f32>,
}

/// One head of one block of queries: writes its dq, adds to dk and dv. `p` and `ds` are room for
/// the weights and the gradient of the scores.
///
/// # Safety
/// No other thread may work on the segment and kv head.
unsafe fn backward_block(
    site: Site,
    saved: &Saved,
    dout: &[f32],
    [p, ds]: [&mut [f32]; 2],
    to: &BackwardParts,
) {
    let Site { isa, heads, head, block } = site;
    let (row, kv_row, width) = (heads.query_row(), heads.kv_row(), heads.width);
    let (at, kv) = (site.query_start(), site.kv_start());
    let (queries, douts) = (View::rows(&saved.q[at..], row), View::rows(&dout[at..], row));
    site.products(queries, View::columns(&saved.k[kv..], kv_row), p);
    site.products(douts, View::columns(&saved.v[kv..], kv_row), ds);
    let rows = p.chunks_exact_mut(block.keys).zip(ds.chunks_exact_mut(block.keys));
    for (i, (p, ds)) in rows.enumerate() {
        let stat = (block.first + i) * heads.query + head;
        let (m, z) = (saved.softmax.max[stat], saved.softmax.sum[stat]);
        let out = at + i * row..at + i * row + width;
        isa.run(
            #[inline(always)]
            || {
                let d = dot(&dout[out.clone()], &saved.out[out]);
                softmax_gradient(p, ds, block.seen(i), [m, z, d, heads.scale()]);
            },
        );
    }
    let (by_query, keys) = (View::rows(&*ds, block.keys), View::rows(&saved.k[kv..], kv_row));
    let (ds, p) = (View::columns(&*ds, block.keys), View::columns(&*p, block.keys));
    let queries_of_block = blocks_of(block.rows);
    let grid = |start, stride, rows| Grid { start, stride, rows, columns: width };
    // SAFETY: these parts of the rows are this call's.
    unsafe {
        let dq = grid(to.dq.start().add(at), row, block.rows);
        product(isa, by_query, keys, dq, &blocks_of(block.keys), Sink::Write);
        let dk = grid(to.dk.start().add(kv), kv_row, block.keys);
        product(isa, ds, queries, dk, &queries_of_block, Sink::Add);
        let dv = grid(to.dv.start().add(kv), kv_row, block.keys);
        product(isa, p, douts, dv, &queries_of_block, Sink::Add);
    }
}

/// Turns products into p and, in `ds`, the products dout · v into the gradient of the scores.
#[inline(always)]
fn softmax_gradient(p: &mut [f32], ds: &mut [f32], seen: usize, [m, z, d, scale]: [f32; 4]) {
    let inverse = 1.0 / z;
    let ((p, unseen_p), (ds, unseen_ds)) = (p.split_at_mut(seen), ds.split_at_mut(seen));
    unseen_p.fill(0.0);
    unseen_ds.fill(0.0);
    for (p, ds) in p.iter_mut().zip(ds) {
        *p = exp(*p * scale - m) * inverse;
        *ds = *p * (*ds - d) * scale;
    }
}
