//! Products of matrices in 16 bits, for the numerics class `bf16`: bf16 in, sums in f32, f32 or
//! bf16 out. An accelerator makes them by a library of its own, with the same bits run to run but
//! not those of another accelerator. Knows shapes; no layer and no library.

use half::bf16;

use super::Sink;
use crate::train::kernels::launch::{Accelerator, Address, Fault, Float, Slice, SliceMut};

/// Bytes that a library may use beside, as NVIDIA's documentation advises for its newest cards.
pub const WORKSPACE: usize = 32 << 20;

/// The shape of a product: `rows` × `inner` times `inner` × `columns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
    pub left: Stored,
    pub right: Stored,
}

/// How a factor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stored {
    AsUsed,
    Transposed,
}

/// What a product is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    F32,
    Bf16,
}

/// A product as it is asked of an accelerator: arrays are row-major, and none is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    pub shape: Shape,
    pub left: Address,
    pub right: Address,
    pub into: Address,
    pub output: Output,
    /// Whether it is added to what is there.
    pub adds: bool,
}

impl Shape {
    /// y = x wᵀ, with w of `outputs` × `inputs`.
    pub fn forward([tokens, inputs, outputs]: [usize; 3]) -> Shape {
        let (left, right) = (Stored::AsUsed, Stored::Transposed);
        Shape { rows: tokens, inner: inputs, columns: outputs, left, right }
    }

    /// dx = dy w.
    pub fn grad_input([tokens, inputs, outputs]: [usize; 3]) -> Shape {
        let (left, right) = (Stored::AsUsed, Stored::AsUsed);
        Shape { rows: tokens, inner: outputs, columns: inputs, left, right }
    }

    /// dw = dyᵀ x.
    pub fn grad_weight([tokens, inputs, outputs]: [usize; 3]) -> Shape {
        let (left, right) = (Stored::Transposed, Stored::AsUsed);
        Shape { rows: outputs, inner: tokens, columns: inputs, left, right }
    }
}

/// Writes a product of `left` and `right`, or adds it to what is there.
pub fn multiply<T: Float>(
    on: &dyn Accelerator,
    shape: Shape,
    left: Slice<bf16>,
    right: Slice<bf16>,
    into: SliceMut<T>,
    sink: Sink,
) -> Result<(), Fault> {
    let Shape { rows, inner, columns, .. } = shape;
    assert_eq!(left.len(), rows * inner, "the left factor has its shape");
    assert_eq!(right.len(), inner * columns, "the right factor has its shape");
    assert_eq!(into.len(), rows * columns, "the product has its shape");
    if into.is_empty() {
        return Ok(());
    }
    assert!(inner > 0, "a product sums something");
    on.multiply(&Product {
        shape,
        left: left.address(),
        right: right.address(),
        into: into.address(),
        output: T::choose(Output::F32, Output::Bf16),
        adds: sink == Sink::Add,
    })
}
