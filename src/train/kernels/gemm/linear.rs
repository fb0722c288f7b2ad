//! The three products of a linear layer, shared out among threads. It knows how they are laid out;
//! how one is made is [`super::product`].

use std::ops::Range;

use super::product::{Grid, View, blocks_of, product};
use super::{BLOCK, Sink};
use crate::train::kernels::device::{Parts, Threads};
use crate::train::kernels::elements::Elements;

/// y[m, n] = x[m, k] · w[n, k]ᵀ.
pub fn linear<'w>(
    t: &Threads,
    x: &[f32],
    w: impl Into<Elements<'w>>,
    y: &mut [f32],
    [m, k, n]: [usize; 3],
) {
    let w = w.into();
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n));
    let (a, b) = (View::rows(x, k), View::columns(w, k));
    shared_product(t, a, b, y, [m, n], &blocks_of(k), Sink::Write);
}

/// y[m, n] += x[m, k] · w[n, k]ᵀ.
pub fn linear_add<'w>(
    t: &Threads,
    x: &[f32],
    w: impl Into<Elements<'w>>,
    y: &mut [f32],
    [m, k, n]: [usize; 3],
) {
    let w = w.into();
    assert_eq!((x.len(), w.len(), y.len()), (m * k, n * k, m * n));
    let (a, b) = (View::rows(x, k), View::columns(w, k));
    shared_product(t, a, b, y, [m, n], &blocks_of(k), Sink::Add);
}

/// dx[m, k] = (or +=) dy[m, n] · w[n, k].
pub fn linear_grad_input<'w>(
    t: &Threads,
    dy: &[f32],
    w: impl Into<Elements<'w>>,
    dx: &mut [f32],
    [m, k, n]: [usize; 3],
    sink: Sink,
) {
    let w = w.into();
    assert_eq!((dy.len(), w.len(), dx.len()), (m * n, n * k, m * k));
    let (a, b) = (View::rows(dy, n), View::rows(w, k));
    shared_product(t, a, b, dx, [m, k], &blocks_of(n), sink);
}

/// dw[n, k] += dy[m, n]ᵀ · x[m, k]; `rows` are the token ranges of the batch rows, ascending, which
/// cover 0..m.
pub fn linear_grad_weight(
    t: &Threads,
    dy: &[f32],
    x: &[f32],
    rows: &[Range<usize>],
    dw: &mut [f32],
    [m, k, n]: [usize; 3],
) {
    assert_eq!((dy.len(), x.len(), dw.len()), (m * n, m * k, n * k));
    let blocks = token_blocks(rows, m);
    if k >= NARROW || n <= k {
        let (a, b) = (View::columns(dy, n), View::rows(x, k));
        return shared_product(t, a, b, dw, [n, k], &blocks, Sink::Add);
    }
    // Of so few columns a tile would be mostly empty. The transpose has the same sums.
    let mut turned: Vec<f32> = (0..n * k).map(|at| dw[at % n * k + at / n]).collect();
    let (a, b) = (View::columns(x, k), View::rows(dy, n));
    shared_product(t, a, b, &mut turned, [k, n], &blocks, Sink::Add);
    for (at, sum) in turned.into_iter().enumerate() {
        dw[at % n * k + at / n] = sum;
    }
}

/// Columns that fill half a tile of the widest vectors.
const NARROW: usize = 16;

/// Fewer steps than this (some ten microseconds) are not worth another thread.
const FMAS_PER_PART: usize = 1 << 20;

/// One product whose result is shared out among the threads, along its longer side.
fn shared_product(
    t: &Threads,
    a: View,
    b: View,
    c: &mut [f32],
    [m, n]: [usize; 2],
    blocks: &[Range<usize>],
    sink: Sink,
) {
    let c = Parts::new(c);
    let grid = |rows: Range<usize>, columns: Range<usize>| {
        // SAFETY: the rectangle lies inside `c`, and no other thread has it.
        unsafe {
            let start = c.start().add(rows.start * n + columns.start);
            let shape = Grid { start, stride: n, rows: rows.len(), columns: columns.len() };
            product(t.isa(), a.skip(rows.start, 0), b.skip(0, columns.start), shape, blocks, sink);
        }
    };
    let inner: usize = blocks.iter().map(Range::len).sum();
    let grain = |other: usize| (FMAS_PER_PART / (other * inner).max(1)).max(64);
    if m >= n {
        t.share(m, grain(n), |rows| grid(rows, 0..n));
    } else {
        t.share(n, grain(m), |columns| grid(0..m, columns));
    }
}

/// The blocks of at most [`BLOCK`] tokens, anchored at each row's start.
pub(in crate::train::kernels) fn token_blocks(
    rows: &[Range<usize>],
    tokens: usize,
) -> Vec<Range<usize>> {
    let mut at = 0;
    let mut blocks = Vec::new();
    for row in rows {
        assert_eq!(row.start, at, "rows must be ascending and leave nothing out");
        at = row.end;
        let starts = row.clone().step_by(BLOCK);
        blocks.extend(starts.map(|start| start..(start + BLOCK).min(row.end)));
    }
    assert_eq!(at, tokens, "rows must cover every token");
    blocks
}
