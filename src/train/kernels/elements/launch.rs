//! Numbers of 16 bits on an accelerator; see elements.cu.

use half::bf16;

use crate::train::kernels::launch::{Accelerator, Fault, Slice, SliceMut, launch_fours};

/// Rounds f32 to bf16, to nearest, ties to even.
pub fn narrow(on: &dyn Accelerator, from: Slice<f32>, to: SliceMut<bf16>) -> Result<(), Fault> {
    assert_eq!(from.len(), to.len());
    let arguments = [from.into(), (&to).into(), (from.len() as u64).into()];
    launch_fours(on, "narrow_to_bf16", from.len(), &arguments)
}

/// Widens bf16 to f32, exactly.
pub fn widen(on: &dyn Accelerator, from: Slice<bf16>, to: SliceMut<f32>) -> Result<(), Fault> {
    assert_eq!(from.len(), to.len());
    let arguments = [from.into(), (&to).into(), (from.len() as u64).into()];
    launch_fours(on, "widen_bf16", from.len(), &arguments)
}
