//! Rotary positions on an accelerator; see rope.cu. Of f32, the same bits as on the CPU.

use std::sync::Arc;

use super::RopeTable;
use crate::train::kernels::launch::{Accelerator, Array, Fault, Float, Slice, SliceMut, count};

/// Pairs that one block of threads turns.
const PAIRS: usize = 128;

/// The table in an accelerator's memory.
#[derive(Debug)]
pub struct DeviceTable {
    half: usize,
    cos: Array<f32>,
    sin: Array<f32>,
}

impl DeviceTable {
    /// A copy of a table.
    pub fn new(on: &Arc<dyn Accelerator>, table: &RopeTable) -> Result<DeviceTable, Fault> {
        let (cos, sin) = (Array::of(on, &table.cos)?, Array::of(on, &table.sin)?);
        Ok(DeviceTable { half: table.head_width / 2, cos, sin })
    }

    /// How many positions it has.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }

    /// Turns every head of x[tokens, heads · head_width] by its token's position, in place;
    /// positions must be in the table.
    pub fn apply<T: Float>(
        &self,
        on: &dyn Accelerator,
        x: SliceMut<T>,
        positions: Slice<u32>,
    ) -> Result<(), Fault> {
        self.turn(on, x, positions, 1.0)
    }

    /// Turns back.
    pub fn apply_inverse<T: Float>(
        &self,
        on: &dyn Accelerator,
        x: SliceMut<T>,
        positions: Slice<u32>,
    ) -> Result<(), Fault> {
        self.turn(on, x, positions, -1.0)
    }

    fn turn<T: Float>(
        &self,
        on: &dyn Accelerator,
        x: SliceMut<T>,
        positions: Slice<u32>,
        sign: f32,
    ) -> Result<(), Fault> {
        if x.is_empty() {
            return Ok(());
        }
        let (tokens, width) = (positions.len(), x.len() / positions.len());
        assert!(width * tokens == x.len() && width.is_multiple_of(2 * self.half));
        let arrays = [(&x).into(), positions.into(), self.cos.all().into(), self.sin.all().into()];
        let sizes = [count(width / (2 * self.half)).into(), count(self.half).into(), sign.into()];
        let grid = [count(tokens), count((width / 2).div_ceil(PAIRS)), 1];
        let kernel = T::choose("rope_turn", "rope_turn_bf16");
        on.launch(kernel, grid, [PAIRS as u32, 1, 1], 0, &[&arrays[..], &sizes].concat())
    }
}
