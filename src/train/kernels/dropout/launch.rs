//! Dropout on an accelerator; see dropout.cu. Same bits as on the CPU.

use std::ops::Range;
use std::sync::Arc;

use super::{Dropout, LANES};
use crate::train::kernels::launch::{
    Accelerator, Argument, Array, Fault, Float, Slice, SliceMut, count,
};

/// Threads of a block.
const THREADS: usize = 128;

/// Where each token stands in the rows at hand, as counters.
#[derive(Debug)]
pub struct Places {
    counters: Array<u64>,
}

impl Places {
    /// Those of the token ranges of the batch rows.
    pub fn new(on: &Arc<dyn Accelerator>, rows: &[Range<usize>]) -> Result<Places, Fault> {
        let token = |row: u64| move |at: u64| row << 40 | at << 16;
        let counters: Vec<u64> = (0..)
            .zip(rows)
            .flat_map(|(row, range)| (0..range.len() as u64).map(token(row)))
            .collect();
        Ok(Places { counters: Array::of(on, &counters)? })
    }
}

impl Dropout {
    /// Writes to y[m, d] what is left of x[m, d].
    pub fn launch<T: Float>(
        &self,
        on: &dyn Accelerator,
        places: &Places,
        x: Slice<T>,
        y: SliceMut<T>,
    ) -> Result<(), Fault> {
        assert_eq!(x.len(), y.len());
        self.start::<T>(on, places, [x.into(), (&y).into()], x.len())
    }

    /// Leaves out of x[m, d].
    pub fn launch_in_place<T: Float>(
        &self,
        on: &dyn Accelerator,
        places: &Places,
        x: SliceMut<T>,
    ) -> Result<(), Fault> {
        self.start::<T>(on, places, [(&x).into(); 2], x.len())
    }

    fn start<T: Float>(
        &self,
        on: &dyn Accelerator,
        places: &Places,
        arrays: [Argument; 2],
        len: usize,
    ) -> Result<(), Fault> {
        let tokens = places.counters.len();
        let width = len / tokens.max(1);
        assert!(len == tokens * width && width <= LANES << 16, "a token's counters");
        if len == 0 {
            return Ok(());
        }
        let [first, second] = self.stream.key();
        let counters = places.counters.all().into();
        let place =
            [counters, first.into(), second.into(), self.step.into(), self.first_row.into()];
        let scale = 1.0 / (1.0 - self.rate);
        let rest = [self.rate.into(), scale.into(), count(width).into()];
        let grid = [count(tokens), count(width.div_ceil(LANES * THREADS)), 1];
        let arguments = [&arrays[..], &place, &rest].concat();
        let kernel = T::choose("dropout_apply", "dropout_apply_bf16");
        on.launch(kernel, grid, [THREADS as u32, 1, 1], 0, &arguments)
    }
}
