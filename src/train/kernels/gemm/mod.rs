//! Matrix products of a linear layer, forward and backward. They know neither layers nor batches,
//! only row-major slices, and the rule for sums:
//!
//! - over the inner width (k, or n for the gradient of the input): by FMA in ascending order inside
//!   blocks of [`BLOCK`], each block started at zero; the first block is the value (or is added to
//!   it), the others are added in ascending order;
//! - over tokens (the gradient of the weight): the same, with blocks that start anew at each batch
//!   row, so that a batch split into calls of whole rows adds up to the same bits.
//!
//! Tiles, edges, threads and a single row (decoding) all follow it: they never split a sum.

pub mod class;
#[cfg(target_arch = "x86_64")]
mod codes;
pub mod halves;
pub mod launch;
mod linear;
mod pack;
pub(super) mod product;
mod tile;

pub(super) use linear::token_blocks;
pub use linear::{linear, linear_add, linear_grad_input, linear_grad_weight};

/// The longest run of FMAs into one partial sum.
pub const BLOCK: usize = 256;

/// Whether a result replaces what was there or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    Write,
    Add,
}
