//! AdamW, the norm of gradients and scaling on an accelerator; see adamw.cu. Same bits as on the
//! CPU.

use std::sync::Arc;

use half::bf16;

use super::{AdamW, PIECE};
use crate::train::kernels::launch::{
    Accelerator, Address, Argument, Array, Fault, Float, Slice, SliceMut, THREADS, count,
    launch_fours,
};

/// One tensor of a step.
#[derive(Debug)]
pub struct Moved<'a> {
    pub weight: SliceMut<'a, f32>,
    /// What the class bf16 computes with, rounded from the weight.
    pub copy: Option<SliceMut<'a, bf16>>,
    pub gradient: Slice<'a, f32>,
    pub first: SliceMut<'a, f32>,
    pub second: SliceMut<'a, f32>,
    /// The constants of the step; all tensors have the same but for their decay.
    pub by: AdamW,
}

/// Blocks of threads that one tensor has, at most.
const MOST_BLOCKS: usize = 1024;

/// Moves all tensors and their moments by one step, in one launch.
pub fn step(on: &Arc<dyn Accelerator>, tensors: &[Moved<'_>]) -> Result<(), Fault> {
    let longest = tensors.iter().map(|of| of.weight.len()).max().unwrap_or(0);
    if longest == 0 {
        return Ok(());
    }
    let words = |of: &Moved<'_>| {
        let len = of.weight.len();
        assert_eq!([of.gradient.len(), of.first.len(), of.second.len()], [len; 3]);
        let keep = u64::from(of.by.constants().keep.to_bits());
        assert!(of.copy.as_ref().is_none_or(|copy| copy.len() == len));
        let copy = of.copy.as_ref().map_or(Address(0), SliceMut::address);
        let [first, second] = [of.first.address(), of.second.address()];
        let [weight, gradient] = [of.weight.address(), of.gradient.address()];
        [weight.0, copy.0, gradient.0, first.0, second.0, len as u64, keep]
    };
    let table: Vec<u64> = tensors.iter().flat_map(words).collect();
    let table = Array::of(on, &table)?;
    let by = tensors[0].by.constants();
    let by = [by.rate, by.root, by.one_less_1, by.one_less_2, by.beta2, by.eps, by.scale];
    let mut arguments = vec![table.all().into()];
    arguments.extend(by.map(Argument::F32));
    let across = longest.div_ceil(4 * THREADS).min(MOST_BLOCKS);
    let grid = [count(across), count(tensors.len()), 1];
    on.launch("adamw_step", grid, [THREADS as u32, 1, 1], 0, &arguments)
}

/// Σ x² over tensors in the order given.
pub fn squared_norm<'a>(
    on: &Arc<dyn Accelerator>,
    tensors: impl IntoIterator<Item = Slice<'a, f32>>,
) -> Result<f64, Fault> {
    squares(on, tensors)?.map_or(Ok(0.0), |sums| sums.total())
}

/// Sums of squares in an accelerator's memory.
#[derive(Debug)]
pub struct Squares(Array<f64>);

impl Squares {
    /// Their sum, once they are there.
    pub fn total(&self) -> Result<f64, Fault> {
        Ok(self.0.read()?.iter().sum())
    }
}

/// The same, which nobody waits for; none of nothing.
pub fn squares<'a>(
    on: &Arc<dyn Accelerator>,
    tensors: impl IntoIterator<Item = Slice<'a, f32>>,
) -> Result<Option<Squares>, Fault> {
    let words = |of: Slice<'a, f32>| {
        let firsts = (0..of.len()).step_by(PIECE);
        firsts.flat_map(move |first| {
            let piece = of.part(first..(first + PIECE).min(of.len()));
            [piece.address().0, piece.len() as u64]
        })
    };
    let pieces: Vec<u64> = tensors.into_iter().flat_map(words).collect();
    if pieces.is_empty() {
        return Ok(None);
    }
    let pieces = Array::of(on, &pieces)?;
    let mut sums = Array::<f64>::new(on, pieces.len() / 2)?;
    let many = sums.len();
    let arguments = [pieces.all().into(), (&sums.all_mut()).into(), count(many).into()];
    let grid = [count(many.div_ceil(THREADS / 16)), 1, 1];
    on.launch("squared_norm_pieces", grid, [THREADS as u32, 1, 1], 0, &arguments)?;
    Ok(Some(Squares(sums)))
}

/// x *= factor.
pub fn scale<T: Float>(on: &dyn Accelerator, x: SliceMut<T>, factor: f32) -> Result<(), Fault> {
    let arguments = [(&x).into(), (x.len() as u64).into(), factor.into()];
    launch_fours(on, T::choose("scale_by", "scale_by_bf16"), x.len(), &arguments)
}
