//! The three products of a linear layer on an accelerator; see gemm.cu. Same bits as on the CPU.

use std::ops::Range;
use std::sync::Arc;

use super::token_blocks;
use crate::train::kernels::launch::{Accelerator, Array, Fault, Slice, count};

/// The blocks of at most [`BLOCK`](super::BLOCK) tokens, anchored at each batch row's start, as
/// kernels read them.
#[derive(Debug)]
pub struct TokenBlocks {
    bounds: Array<u32>,
    tokens: usize,
}

impl TokenBlocks {
    /// Those of the token ranges of the batch rows, which cover 0..`tokens`.
    pub fn new(
        on: &Arc<dyn Accelerator>,
        rows: &[Range<usize>],
        tokens: usize,
    ) -> Result<TokenBlocks, Fault> {
        let ends = token_blocks(rows, tokens).into_iter().map(|block| count(block.end));
        let bounds: Vec<u32> = std::iter::once(0).chain(ends).collect();
        Ok(TokenBlocks { bounds: Array::of(on, &bounds)?, tokens })
    }

    /// How many tokens they cover.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Where each block begins, and the end.
    pub(in crate::train::kernels) fn bounds(&self) -> Slice<'_, u32> {
        self.bounds.all()
    }
}
