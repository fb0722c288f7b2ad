//! The gains of DoRA on an accelerator; see dora.cu.

use std::sync::Arc;

use crate::train::kernels::Sink;
use crate::train::kernels::gemm::launch::{Weights, linear};
use crate::train::kernels::launch::{
    Accelerator, Argument, Array, Fault, Slice, SliceMut, THREADS, blocks, count, launch_fours,
};

const BLOCK: [u32; 3] = [THREADS as u32, 1, 1];

/// What follows from an adapter and the weight beside it, settled after each change of the adapter.
#[derive(Debug)]
pub struct Gains {
    /// ‖W‖² of each output.
    squares: Array<f64>,
    norms: Array<f32>,
    gains: Array<f32>,
    /// A Wᵀ and A Aᵀ.
    cross: Array<f32>,
    square: Array<f32>,
    shape: [usize; 3],
}

/// The matrices of an adapter: a[rank, inputs], b[outputs, rank], and the magnitudes.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    pub a: Slice<'a, f32>,
    pub b: Slice<'a, f32>,
    pub magnitudes: Slice<'a, f32>,
    /// What B · A is multiplied by.
    pub scale: f32,
}

impl Gains {
    /// For a weight of `outputs` × `inputs`; still to be settled.
    pub fn new<'w>(
        on: &Arc<dyn Accelerator>,
        w: impl Into<Weights<'w>>,
        [inputs, outputs, rank]: [usize; 3],
    ) -> Result<Gains, Fault> {
        let w = w.into();
        let gains = Gains {
            squares: Array::new(on, outputs)?,
            norms: Array::new(on, outputs)?,
            gains: Array::new(on, outputs)?,
            cross: Array::new(on, rank * outputs)?,
            square: Array::new(on, rank * rank)?,
            shape: [inputs, outputs, rank],
        };
        let [kernel] = w.kernels(["dora_row_squares"], ["nf4_dora_row_squares"]);
        let mut arguments = w.arguments();
        arguments.push(gains.squares.all().into());
        arguments.extend([outputs, inputs].map(|size| Argument::from(count(size))));
        on.launch(kernel, blocks(outputs, 32), [32, 1, 1], 0, &arguments)?;
        Ok(gains)
    }

    /// Finds norms and gains anew.
    pub fn settle<'w>(
        &mut self,
        on: &dyn Accelerator,
        w: impl Into<Weights<'w>>,
        Adapter { a, b, magnitudes, scale }: Adapter,
    ) -> Result<(), Fault> {
        let [i, o, r] = self.shape;
        assert_eq!((a.len(), b.len(), magnitudes.len()), (r * i, o * r, o));
        linear(on, a, w, self.cross.all_mut(), [r, i, o], Sink::Write)?;
        linear(on, a, a, self.square.all_mut(), [r, i, r], Sink::Write)?;
        let (cross, square) = (self.cross.all().into(), self.square.all().into());
        let read = [self.squares.all().into(), b.into(), cross, square];
        let scale = Argument::F64(f64::from(scale));
        let written = [scale, (&self.norms.all_mut()).into(), count(o).into(), count(r).into()];
        on.launch("dora_norms", blocks(o, THREADS), BLOCK, 0, &[read, written].concat())?;
        let read = [magnitudes.into(), self.norms.all().into()];
        let written = [(&self.gains.all_mut()).into(), count(o).into()];
        on.launch("dora_gains", blocks(o, THREADS), BLOCK, 0, &[read, written].concat())
    }

    /// The norms as they were last settled.
    pub fn norms(&self) -> &Array<f32> {
        &self.norms
    }

    /// y = gain ∘ z, in place.
    pub fn apply(&self, on: &dyn Accelerator, y: SliceMut<f32>) -> Result<(), Fault> {
        let ([_, o, _], len) = (self.shape, y.len());
        assert!(len.is_multiple_of(o), "whole tokens");
        let sizes = [(len as u64).into(), count(o).into()];
        let arguments = [&[(&y).into(), self.gains.all().into()], &sizes[..]].concat();
        launch_fours(on, "dora_gain", len, &arguments)
    }

    /// Adds to the gradient of the magnitudes, and turns z into dz.
    pub fn backward(
        &self,
        on: &dyn Accelerator,
        dy: Slice<f32>,
        z: SliceMut<f32>,
        dmagnitudes: SliceMut<f32>,
    ) -> Result<(), Fault> {
        let [_, o, _] = self.shape;
        let tokens = dy.len() / o;
        assert_eq!((dy.len(), z.len(), dmagnitudes.len()), (tokens * o, tokens * o, o));
        let read = [dy.into(), (&z).into(), self.gains.all().into(), self.norms.all().into()];
        let written = [(&dmagnitudes).into(), count(tokens).into(), count(o).into()];
        let arguments = [&read[..], &written].concat();
        on.launch("dora_backward", blocks(o, THREADS), BLOCK, 0, &arguments)
    }
}
