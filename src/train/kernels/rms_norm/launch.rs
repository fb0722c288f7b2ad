//! The norm, its gradients and the residual addition on an accelerator; see rms_norm.cu. Of f32,
//! the same bits as on the CPU; weights, factors and gradients of weights are always of f32.

use crate::train::kernels::gemm::Sink;
use crate::train::kernels::gemm::launch::TokenBlocks;
use crate::train::kernels::launch::{
    Accelerator, Fault, Float, Slice, SliceMut, THREADS, blocks, count, launch_fours,
};

/// Rows that one block of threads has.
const ROWS: usize = THREADS / 16;
/// Columns that one block of threads sums.
const COLUMNS: usize = 32;

/// Writes y[m, d] and the factor of each token.
pub fn forward<T: Float>(
    on: &dyn Accelerator,
    x: Slice<T>,
    weight: Slice<f32>,
    eps: f32,
    y: SliceMut<T>,
    inv_rms: SliceMut<f32>,
) -> Result<(), Fault> {
    let (tokens, d) = (inv_rms.len(), weight.len());
    assert_eq!((x.len(), y.len()), (tokens * d, tokens * d));
    if x.is_empty() {
        return Ok(());
    }
    let (y, inv_rms) = ((&y).into(), (&inv_rms).into());
    let sizes = [count(tokens).into(), count(d).into()];
    let arguments = [x.into(), weight.into(), eps.into(), y, inv_rms, sizes[0], sizes[1]];
    let kernel = T::choose("rms_norm_forward", "rms_norm_forward_bf16");
    on.launch(kernel, blocks(tokens, ROWS), [THREADS as u32, 1, 1], 0, &arguments)
}

/// What the gradients are made of: dy and x, both [m, d], and the factor of each token.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a, T> {
    pub dy: Slice<'a, T>,
    pub x: Slice<'a, T>,
    pub inv_rms: Slice<'a, f32>,
}

/// Writes dx, or adds to it.
pub fn grad_input<T: Float>(
    on: &dyn Accelerator,
    Read { dy, x, inv_rms }: Read<T>,
    weight: Slice<f32>,
    dx: SliceMut<T>,
    into: Sink,
) -> Result<(), Fault> {
    let (tokens, d) = (inv_rms.len(), weight.len());
    assert_eq!([dy.len(), x.len(), dx.len()], [tokens * d; 3]);
    if x.is_empty() {
        return Ok(());
    }
    let sizes = [count(tokens).into(), count(d).into(), u32::from(into == Sink::Add).into()];
    let arrays = [dy.into(), x.into(), weight.into(), inv_rms.into(), (&dx).into()];
    let arguments = [&arrays[..], &sizes].concat();
    let kernel = T::choose("rms_norm_grad_input", "rms_norm_grad_input_bf16");
    on.launch(kernel, blocks(tokens, ROWS), [THREADS as u32, 1, 1], 0, &arguments)
}

/// Adds to `dw[d]`, in the blocks of tokens of the batch rows.
pub fn grad_weight<T: Float>(
    on: &dyn Accelerator,
    Read { dy, x, inv_rms }: Read<T>,
    tokens: &TokenBlocks,
    dw: SliceMut<f32>,
) -> Result<(), Fault> {
    let d = dw.len();
    if d == 0 {
        return Ok(());
    }
    assert_eq!([dy.len(), x.len()], [tokens.tokens() * d; 2]);
    assert_eq!(inv_rms.len(), tokens.tokens());
    let blocks_of_tokens = [tokens.bounds().into(), count(tokens.blocks()).into()];
    let arrays = [dy.into(), x.into(), inv_rms.into()];
    let arguments = [&arrays[..], &blocks_of_tokens, &[(&dw).into(), count(d).into()]].concat();
    let kernel = T::choose("rms_norm_grad_weight", "rms_norm_grad_weight_bf16");
    on.launch(kernel, blocks(d, COLUMNS), [THREADS as u32, 1, 1], 0, &arguments)
}

/// y += x.
pub fn add<T: Float>(on: &dyn Accelerator, x: Slice<T>, y: SliceMut<T>) -> Result<(), Fault> {
    assert_eq!(x.len(), y.len());
    let arguments = [x.into(), (&y).into(), (x.len() as u64).into()];
    launch_fours(on, T::choose("residual_add", "residual_add_bf16"), x.len(), &arguments)
}
