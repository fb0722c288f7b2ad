//! The gated unit on an accelerator; see swiglu.cu. Of f32, the same bits as on the CPU.

use crate::train::kernels::launch::{Accelerator, Fault, Float, Slice, SliceMut, launch_fours};

/// hidden = silu(gate) · up.
pub fn forward<T: Float>(
    on: &dyn Accelerator,
    gate: Slice<T>,
    up: Slice<T>,
    hidden: SliceMut<T>,
) -> Result<(), Fault> {
    let len = hidden.len();
    assert_eq!([gate.len(), up.len()], [len; 2]);
    let arguments = [gate.into(), up.into(), (&hidden).into(), (len as u64).into()];
    launch_fours(on, T::choose("swiglu_forward", "swiglu_forward_bf16"), len, &arguments)
}

/// The gradients of gate and up.
pub fn backward<T: Float>(
    on: &dyn Accelerator,
    [gate, up, dhidden]: [Slice<T>; 3],
    [dgate, dup]: [SliceMut<T>; 2],
) -> Result<(), Fault> {
    let len = gate.len();
    assert_eq!([up.len(), dhidden.len(), dgate.len(), dup.len()], [len; 4]);
    let read = [gate.into(), up.into(), dhidden.into()];
    let written = [(&dgate).into(), (&dup).into(), (len as u64).into()];
    let kernel = T::choose("swiglu_backward", "swiglu_backward_bf16");
    launch_fours(on, kernel, len, &[read, written].concat())
}
