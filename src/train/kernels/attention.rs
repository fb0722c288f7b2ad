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
use super::math::{LANES, dot, exp, fold_sum, max};

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

    /// Numbers of a token's keys, and of its values.
    pub fn kv_row(self) -> usize {
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
    /// Floats between the rows of a matrix of its queries by its keys: whole vectors, so that no
    /// row ends in numbers that are worked on one by one.
    fn stride(self) -> usize {
        self.keys.next_multiple_of(LANES)
    }

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
        let Block { rows, keys: columns, .. } = self.block;
        let stride = self.block.stride();
        assert_eq!(out.len(), rows * stride);
        let grid = Grid { start: out.as_mut_ptr(), stride, rows, columns };
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
            weights.resize(weights.len().max(block.rows * block.stride()), 0.0);
            let weights = &mut weights[..block.rows * block.stride()];
            let site = Site { isa: t.isa(), heads, head, block };
            // SAFETY: each block of queries and head is one item.
            unsafe { forward_block(site, inputs, weights, &to) };
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
    for (i, weights) in weights.chunks_exact_mut(block.stride()).enumerate() {
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
        (View::rows(&*weights, block.stride()), View::rows(&v[kv..], heads.kv_row()));
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

/// What numbers are at most: as many as are seen of a vector are any, those after them none.
const LIMITS: [f32; 2 * LANES] = {
    let mut limits = [f32::NEG_INFINITY; 2 * LANES];
    limits.split_at_mut(LANES).0.copy_from_slice(&[f32::INFINITY; LANES]);
    limits
};

/// Turns the first `seen` products into exp(scale · product − max), the rest into 0; gives the
/// maximum and the sum.
#[inline(always)]
fn softmax_numerators(row: &mut [f32], seen: usize, scale: f32) -> (f32, f32) {
    let (row, unseen) = row.split_at_mut(seen.next_multiple_of(LANES));
    unseen.fill(0.0);
    let vectors = row.as_chunks_mut::<LANES>().0;
    let (mut largest, mut sums) = ([f32::NEG_INFINITY; LANES], [0.0; LANES]);
    for (first, vector) in (0..).step_by(LANES).zip(&mut *vectors) {
        let limits = &LIMITS[LANES - LANES.min(seen - first)..][..LANES];
        for lane in 0..LANES {
            let s = vector[lane] * scale;
            // No number, which may lie where nothing was written, is the limit too.
            let s = if s < limits[lane] { s } else { limits[lane] };
            vector[lane] = s;
            largest[lane] = if s > largest[lane] { s } else { largest[lane] };
        }
    }
    let m = max(&largest);
    for vector in vectors {
        for lane in 0..LANES {
            vector[lane] = exp(vector[lane] - m);
            sums[lane] += vector[lane];
        }
    }
    (m, fold_sum(sums))
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
                    let len = block.rows * block.stride();
                    cells.iter_mut().for_each(|x| x.resize(x.len().max(len), 0.0));
                    let cells = cells.each_mut().map(|x| &mut x[..len]);
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
    let mut inner = [0.0; QUERY_BLOCK];
    let rows = p.chunks_exact_mut(block.stride()).zip(ds.chunks_exact_mut(block.stride()));
    isa.run(
        #[inline(always)]
        || {
            // One after another, so that the rows, which lie far apart, are fetched together.
            for (i, inner) in inner[..block.rows].iter_mut().enumerate() {
                let out = at + i * row..at + i * row + width;
                *inner = dot(&dout[out.clone()], &saved.out[out]);
            }
            for (i, ((p, ds), d)) in rows.zip(inner).enumerate() {
                let stat = (block.first + i) * heads.query + head;
                let (m, z) = (saved.softmax.max[stat], saved.softmax.sum[stat]);
                softmax_gradient(p, ds, block.seen(i), [m, z, d, heads.scale()]);
            }
        },
    );
    let (by_query, keys) = (View::rows(&*ds, block.stride()), View::rows(&saved.k[kv..], kv_row));
    let (ds, p) = (View::columns(&*ds, block.stride()), View::columns(&*p, block.stride()));
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
    let end = seen.next_multiple_of(LANES);
    let vectors = p[..end].as_chunks_mut::<LANES>().0.iter_mut();
    for (p, ds) in vectors.zip(ds[..end].as_chunks_mut::<LANES>().0) {
        for lane in 0..LANES {
            p[lane] = exp(p[lane] * scale - m) * inverse;
            ds[lane] = p[lane] * (ds[lane] - d) * scale;
        }
    }
    p[seen..].fill(0.0);
    ds[seen..].fill(0.0);
}
