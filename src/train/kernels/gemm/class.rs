//! How each numerics class multiplies on an accelerator. The class `exact-f32` has kernels of its
//! own, whose bits are the processor's; `bf16` has the products of [`halves`], for which weights of
//! 4 bits are widened beside them. Knows no layer.

use std::sync::Arc;

use half::bf16;

use super::Sink;
use super::halves::{self, Shape};
use super::launch::{self, Added, TokenBlocks};
use crate::train::kernels::launch::{Accelerator, Array, Fault, Float, Slice, SliceMut};
use crate::train::kernels::nf4;

/// The weights of a linear layer, as they lie.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a, T = f32> {
    Plain(Slice<'a, T>),
    Nf4(&'a nf4::launch::Matrix),
}

impl<'a, T> From<Slice<'a, T>> for Weights<'a, T> {
    fn from(numbers: Slice<'a, T>) -> Weights<'a, T> {
        Weights::Plain(numbers)
    }
}

impl<'a, T> From<&'a nf4::launch::Matrix> for Weights<'a, T> {
    fn from(blocks: &'a nf4::launch::Matrix) -> Weights<'a, T> {
        Weights::Nf4(blocks)
    }
}

type On<'a> = &'a Arc<dyn Accelerator>;

/// A numerics class, as far as products go; shapes are tokens, inputs and outputs.
pub trait Class: Float {
    /// y[m, n] = (or +=) x[m, k] · w[n, k]ᵀ.
    fn linear(
        on: On<'_>,
        x: Slice<Self>,
        w: Weights<'_, Self>,
        y: SliceMut<Self>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault>;

    /// y = x · wᵀ in f32, whatever the class.
    fn logits(
        on: On<'_>,
        x: Slice<Self>,
        w: Slice<Self>,
        y: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault>;

    /// dx[m, k] = (or +=) dy[m, n] · w[n, k].
    fn grad_input(
        on: On<'_>,
        dy: Slice<Self>,
        w: Weights<'_, Self>,
        dx: SliceMut<Self>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault>;

    /// dw[n, k] += dy[m, n]ᵀ · x[m, k].
    fn grad_weight(
        on: On<'_>,
        dy: Slice<Self>,
        x: Slice<Self>,
        blocks: &TokenBlocks,
        dw: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault>;

    /// y = x · wᵀ + low · bᵀ.
    fn linear_adapted(
        on: On<'_>,
        x: Slice<Self>,
        w: Weights<'_, Self>,
        added: Added<'_, Self>,
        y: SliceMut<Self>,
        shape: [usize; 3],
    ) -> Result<(), Fault>;

    /// dx = (or +=) dz · w, and then low · a.
    fn grad_input_adapted(
        on: On<'_>,
        dz: Slice<Self>,
        w: Weights<'_, Self>,
        added: Added<'_, Self>,
        dx: SliceMut<Self>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault>;
}

impl Class for f32 {
    fn linear(
        on: On<'_>,
        x: Slice<f32>,
        w: Weights<'_>,
        y: SliceMut<f32>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault> {
        launch::linear(&**on, x, w, y, shape, sink)
    }

    fn logits(
        on: On<'_>,
        x: Slice<f32>,
        w: Slice<f32>,
        y: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault> {
        launch::linear(&**on, x, w, y, shape, Sink::Write)
    }

    fn grad_input(
        on: On<'_>,
        dy: Slice<f32>,
        w: Weights<'_>,
        dx: SliceMut<f32>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault> {
        launch::linear_grad_input(&**on, dy, w, dx, shape, sink)
    }

    fn grad_weight(
        on: On<'_>,
        dy: Slice<f32>,
        x: Slice<f32>,
        blocks: &TokenBlocks,
        dw: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault> {
        launch::linear_grad_weight(&**on, dy, x, blocks, dw, shape)
    }

    fn linear_adapted(
        on: On<'_>,
        x: Slice<f32>,
        w: Weights<'_>,
        added: Added<'_>,
        y: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault> {
        launch::linear_adapted(&**on, x, w, added, y, shape)
    }

    fn grad_input_adapted(
        on: On<'_>,
        dz: Slice<f32>,
        w: Weights<'_>,
        added: Added<'_>,
        dx: SliceMut<f32>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault> {
        launch::linear_grad_input_adapted(&**on, dz, w, added, dx, shape, sink)
    }
}

/// Multiplies by weights as numbers: those of 4 bits are widened for as long as it takes.
fn by_numbers(
    on: On<'_>,
    w: Weights<'_, bf16>,
    multiply: impl FnOnce(Slice<bf16>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match w {
        Weights::Plain(numbers) => multiply(numbers),
        Weights::Nf4(blocks) => {
            let mut wide = Array::new(on, blocks.len())?;
            blocks.widen(&**on, wide.all_mut())?;
            multiply(wide.all())
        }
    }
}

impl Class for bf16 {
    fn linear(
        on: On<'_>,
        x: Slice<bf16>,
        w: Weights<'_, bf16>,
        y: SliceMut<bf16>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault> {
        by_numbers(on, w, |w| halves::multiply(&**on, Shape::forward(shape), x, w, y, sink))
    }

    fn logits(
        on: On<'_>,
        x: Slice<bf16>,
        w: Slice<bf16>,
        y: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault> {
        halves::multiply(&**on, Shape::forward(shape), x, w, y, Sink::Write)
    }

    fn grad_input(
        on: On<'_>,
        dy: Slice<bf16>,
        w: Weights<'_, bf16>,
        dx: SliceMut<bf16>,
        shape: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault> {
        by_numbers(on, w, |w| halves::multiply(&**on, Shape::grad_input(shape), dy, w, dx, sink))
    }

    fn grad_weight(
        on: On<'_>,
        dy: Slice<bf16>,
        x: Slice<bf16>,
        _: &TokenBlocks,
        dw: SliceMut<f32>,
        shape: [usize; 3],
    ) -> Result<(), Fault> {
        halves::multiply(&**on, Shape::grad_weight(shape), dy, x, dw, Sink::Add)
    }

    fn linear_adapted(
        on: On<'_>,
        x: Slice<bf16>,
        w: Weights<'_, bf16>,
        Added { low, matrix, rank }: Added<'_, bf16>,
        mut y: SliceMut<bf16>,
        shape @ [m, _, n]: [usize; 3],
    ) -> Result<(), Fault> {
        Self::linear(on, x, w, y.part(0..m * n), shape, Sink::Write)?;
        Self::linear(on, low, matrix.into(), y, [m, rank, n], Sink::Add)
    }

    fn grad_input_adapted(
        on: On<'_>,
        dz: Slice<bf16>,
        w: Weights<'_, bf16>,
        Added { low, matrix, rank }: Added<'_, bf16>,
        mut dx: SliceMut<bf16>,
        shape @ [m, k, _]: [usize; 3],
        sink: Sink,
    ) -> Result<(), Fault> {
        Self::grad_input(on, dz, w, dx.part(0..m * k), shape, sink)?;
        Self::grad_input(on, low, matrix.into(), dx, [m, k, rank], Sink::Add)
    }
}
