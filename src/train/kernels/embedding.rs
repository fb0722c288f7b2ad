//! The rows of a table that tokens name. It does not know whether the table is also the head; when
//! it is, the head's gradient is added first.
//!
//! The gradient is added token by token in ascending order.

pub mod launch;

use super::device::{Parts, Threads};
use super::elements::Elements;

/// `out[m, d] = table[ids[m], :]`.
pub fn gather<'w>(table: impl Into<Elements<'w>>, ids: &[u32], out: &mut [f32]) {
    if ids.is_empty() {
        return;
    }
    let (table, d) = (table.into(), out.len() / ids.len());
    assert_eq!(out.len(), ids.len() * d);
    for (out, &id) in out.chunks_exact_mut(d).zip(ids) {
        table.skip(id as usize * d).widen(out);
    }
}

/// `dtable[ids[m], :] += dout[m, d]`.
pub fn backward(t: &Threads, ids: &[u32], dout: &[f32], dtable: &mut [f32]) {
    if ids.is_empty() || dtable.is_empty() {
        return;
    }
    let d = dout.len() / ids.len();
    assert!(dout.len() == ids.len() * d && dtable.len().is_multiple_of(d));
    let dtable = Parts::new(dtable);
    t.split(d, 64, |columns| {
        for (dout, &id) in dout.chunks_exact(d).zip(ids) {
            let row = id as usize * d;
            // SAFETY: each range of columns is one thread's.
            let sum = unsafe { dtable.part(row + columns.start..row + columns.end) };
            sum.iter_mut().zip(&dout[columns.clone()]).for_each(|(sum, &x)| *sum += x);
        }
    });
}
