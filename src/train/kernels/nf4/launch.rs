//! Numbers of 4 bits in an accelerator's memory, and their widening; see nf4.cu. Same bits as on
//! the CPU. Products with them are those of [`gemm`](crate::train::kernels::gemm::launch).

use std::sync::Arc;

use super::{BLOCK, Scales};
use crate::train::kernels::launch::{
    Accelerator, Address, Argument, Array, Fault, Float, SliceMut, launch_fours,
};

/// All numbers of a matrix.
#[derive(Debug)]
pub struct Matrix {
    packed: Array<u8>,
    scales: Array<f32>,
    nested: Option<Nested>,
    len: usize,
}

/// What scales of 8 bits need besides their own scales.
#[derive(Debug)]
struct Nested {
    codes: Array<u8>,
    map: Array<f32>,
    offset: f32,
}

impl Matrix {
    /// A copy of `len` numbers, whose bytes and scales must be as many as they need.
    pub fn new(
        on: &Arc<dyn Accelerator>,
        packed: &[u8],
        scales: &Scales,
        len: usize,
    ) -> Result<Matrix, Fault> {
        assert!(packed.len() == len.div_ceil(2) && scales.len() == len.div_ceil(BLOCK));
        let packed = Array::of(on, packed)?;
        match scales {
            Scales::Plain(scales) => {
                Ok(Matrix { packed, scales: Array::of(on, scales)?, nested: None, len })
            }
            Scales::Nested { codes, scales, map, offset } => {
                let (codes, map) = (Array::of(on, codes)?, Array::of(on, &map[..])?);
                let nested = Some(Nested { codes, map, offset: *offset });
                Ok(Matrix { packed, scales: Array::of(on, scales)?, nested, len })
            }
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parameters that say where they lie: no codes where scales are plain.
    pub(in crate::train::kernels) fn arguments(&self) -> [Argument; 5] {
        let (packed, scales) = (self.packed.all().into(), self.scales.all().into());
        let none = Argument::Address(Address(0));
        match &self.nested {
            None => [packed, none, scales, none, 0.0.into()],
            Some(Nested { codes, map, offset }) => {
                [packed, codes.all().into(), scales, map.all().into(), (*offset).into()]
            }
        }
    }

    /// Writes all numbers as f32, or rounded to bf16.
    pub fn widen<T: Float>(&self, on: &dyn Accelerator, out: SliceMut<T>) -> Result<(), Fault> {
        assert_eq!(out.len(), self.len);
        let written = [(&out).into(), (self.len as u64).into()];
        let kernel = T::choose("nf4_widen", "nf4_widen_bf16");
        launch_fours(on, kernel, self.len, &[&self.arguments()[..], &written].concat())
    }
}
