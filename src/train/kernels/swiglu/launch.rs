//! The gated unit on an accelerator; see swiglu.cu. Same bits as on the CPU.

use crate::train::kernels::launch::{Accelerator, Fault, Slice, SliceMut, launch_fours};

/// hidden = silu(gate) · up.
pub fn forward(
    on: &dyn Accelerator,
    gate: Slice<f32>,
    up: Slice<f32>,
    hidden: SliceMut<f32>,
) -> Result<(), Fault> {
    let len = hidden.len();
    assert_eq!([gate.len(), up.len()], [len; 2]);
    let arguments = [gate.into(), up.into(), (&hidden).into(), (len as u64).into()];
    launch_fours(on, "swiglu_forward", len, &arguments)
}

/// The gradients of gate and up.
pub fn backward(
    on: &dyn Accelerator,
    [gate, up, dhidden]: [Slice<f32>; 3],
    [dgate, dup]: [SliceMut<f32>; 2],
) -> Result<(), Fault> {
    let len = gate.len();
    assert_eq!([up.len(), dhidden.len(), dgate.len(), dup.len()], [len; 4]);
    let read = [gate.into(), up.into(), dhidden.into()];
    let written = [(&dgate).into(), (&dup).into(), (len as u64).into()];
    launch_fours(on, "swiglu_backward", len, &[read, written].concat())
}
