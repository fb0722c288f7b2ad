//! Rows of a table on an accelerator; see embedding.cu. Of f32, the same bits as on the CPU; the
//! gradient of the table is always of f32.

use std::sync::Arc;

use crate::train::kernels::launch::{Accelerator, Array, Fault, Float, Slice, SliceMut, count};

/// Threads that have one row.
const THREADS: u32 = 128;

/// Tokens of a batch, and which of them name the same row.
#[derive(Debug)]
pub struct Tokens {
    ids: Array<u32>,
    /// Sorted by id, then ascending.
    order: Array<u32>,
    /// Where each id's begin in `order`, and the end.
    bounds: Array<u32>,
    largest: Option<u32>,
}

impl Tokens {
    /// Those of a batch.
    pub fn new(on: &Arc<dyn Accelerator>, ids: &[u32]) -> Result<Tokens, Fault> {
        let mut order: Vec<u32> = (0..count(ids.len())).collect();
        order.sort_by_key(|token| ids[*token as usize]);
        let same = |a: &u32, b: &u32| ids[*a as usize] == ids[*b as usize];
        let mut end = 0;
        let ends = order.chunk_by(same).map(|tokens| {
            end += count(tokens.len());
            end
        });
        let bounds: Vec<u32> = std::iter::once(0).chain(ends).collect();
        let [ids_of, order] = [Array::of(on, ids)?, Array::of(on, &order)?];
        let largest = ids.iter().copied().max();
        Ok(Tokens { ids: ids_of, order, bounds: Array::of(on, &bounds)?, largest })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn width(&self, numbers: usize, table: usize) -> usize {
        let d = numbers / self.len();
        let rows = self.largest.map_or(0, |largest| largest as usize + 1);
        assert!(d * self.len() == numbers && rows * d <= table, "rows of the table");
        d
    }
}

/// `out[m, d] = table[ids[m], :]`.
pub fn gather<T: Float>(
    on: &dyn Accelerator,
    table: Slice<T>,
    tokens: &Tokens,
    out: SliceMut<T>,
) -> Result<(), Fault> {
    if tokens.is_empty() || out.is_empty() {
        return Ok(());
    }
    let d = count(tokens.width(out.len(), table.len()));
    let arguments = [table.into(), tokens.ids.all().into(), (&out).into(), d.into()];
    let kernel = T::choose("embedding_gather", "embedding_gather_bf16");
    on.launch(kernel, [count(tokens.len()), 1, 1], [THREADS, 1, 1], 0, &arguments)
}

/// `dtable[ids[m], :] += dout[m, d]`.
pub fn backward<T: Float>(
    on: &dyn Accelerator,
    tokens: &Tokens,
    dout: Slice<T>,
    dtable: SliceMut<f32>,
) -> Result<(), Fault> {
    if tokens.is_empty() || dtable.is_empty() || dout.is_empty() {
        return Ok(());
    }
    let d = count(tokens.width(dout.len(), dtable.len()));
    let [ids, order, bounds] = [&tokens.ids, &tokens.order, &tokens.bounds].map(Array::all);
    let read = [ids.into(), order.into(), bounds.into(), dout.into()];
    let arguments = [&read[..], &[(&dtable).into(), d.into()]].concat();
    let grid = [count(tokens.bounds.len() - 1), 1, 1];
    let kernel = T::choose("embedding_backward", "embedding_backward_bf16");
    on.launch(kernel, grid, [THREADS, 1, 1], 0, &arguments)
}
