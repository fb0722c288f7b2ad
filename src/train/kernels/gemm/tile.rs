//! The inner loop: one tile of the result, its sums held in registers. It knows nothing of how
//! matrices lie in memory, only of packed ones. Every instruction set does the same: from zero, one
//! FMA a step in ascending order.

use super::{BLOCK, Sink};
use crate::train::kernels::device::Isa;

/// Floats between rows that were packed row by row: not a multiple of 1 KiB, so that the rows of a
/// tile fall into different sets of the cache.
pub(super) const ROW_STRIDE: usize = BLOCK + 16;
/// Floats between columns that were packed column by column.
pub(super) const COLUMN_STRIDE: usize = 16;

/// How the rows of a tile lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Element (i, s) at i · ROW_STRIDE + s.
    ByRow,
    /// Element (i, s) at i · stride + s: as the matrix has them, not packed.
    InPlace(usize),
    /// Element (i, s) at i + s · COLUMN_STRIDE.
    ByColumn,
}

/// The rows of a full tile.
pub(super) fn rows(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 14,
        Isa::Avx2 => 6,
        Isa::Portable => 4,
    }
}

/// The columns of a tile.
pub(super) fn columns(isa: Isa) -> usize {
    if isa == Isa::Avx512 { 32 } else { 16 }
}

/// One tile: c[rows, columns] = (or +=) a · b over `len` steps.
#[derive(Clone, Copy)]
pub(super) struct Work {
    pub(super) a: *const f32,
    pub(super) b: *const f32,
    pub(super) c: *mut f32,
    /// Floats between the rows of c.
    pub(super) stride: usize,
    pub(super) len: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) sink: Sink,
}

/// Computes one tile.
///
/// # Safety
/// The pointers must hold what `order` and the sizes say, and c must not be shared.
pub(super) unsafe fn run(isa: Isa, order: Order, work: Work) {
    // SAFETY: by the caller, and `Threads` checked the instruction set.
    unsafe {
        match (isa, order) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Order::ByRow) => avx512::tile::<ROW_STRIDE, 1>(work),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Order::InPlace(stride)) => avx512::tile_in_place(work, stride),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, Order::ByColumn) => avx512::tile::<1, COLUMN_STRIDE>(work),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Order::ByRow) => avx2::tile::<ROW_STRIDE, 1>(work),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Order::InPlace(stride)) => avx2::tile_in_place(work, stride),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, Order::ByColumn) => avx2::tile::<1, COLUMN_STRIDE>(work),
            (_, Order::ByRow) => portable::tile::<ROW_STRIDE, 1>(work),
            (_, Order::InPlace(stride)) => portable::tile_in_place(work, stride),
            (_, Order::ByColumn) => portable::tile::<1, COLUMN_STRIDE>(work),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Sink, Work};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn tile<const ROW: usize, const STEP: usize>(work: Work) {
        // SAFETY: by the caller.
        unsafe { of_width::<STEP>(work, ROW) }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn tile_in_place(work: Work, stride: usize) {
        // SAFETY: by the caller.
        unsafe { of_width::<1>(work, stride) }
    }

    /// Half a tile where no more is asked for.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn of_width<const STEP: usize>(work: Work, row: usize) {
        // SAFETY: by the caller.
        unsafe {
            match work.columns <= 16 {
                true => of_any::<STEP, 1>(work, row),
                false => of_any::<STEP, 2>(work, row),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn of_any<const STEP: usize, const W: usize>(work: Work, row: usize) {
        // SAFETY: by the caller.
        unsafe {
            match work.rows {
                1 => of_rows::<1, STEP, W>(work, row),
                2 => of_rows::<2, STEP, W>(work, row),
                3 => of_rows::<3, STEP, W>(work, row),
                4 => of_rows::<4, STEP, W>(work, row),
                5 => of_rows::<5, STEP, W>(work, row),
                6 => of_rows::<6, STEP, W>(work, row),
                7 => of_rows::<7, STEP, W>(work, row),
                8 => of_rows::<8, STEP, W>(work, row),
                9 => of_rows::<9, STEP, W>(work, row),
                10 => of_rows::<10, STEP, W>(work, row),
                11 => of_rows::<11, STEP, W>(work, row),
                12 => of_rows::<12, STEP, W>(work, row),
                13 => of_rows::<13, STEP, W>(work, row),
                14 => of_rows::<14, STEP, W>(work, row),
                rows => unreachable!("a tile of {rows} rows"),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn of_rows<const M: usize, const STEP: usize, const W: usize>(work: Work, row: usize) {
        let mut sums = [[_mm512_setzero_ps(); W]; M];
        // SAFETY: `len` steps were packed.
        unsafe {
            for s in 0..work.len {
                let b = work.b.add(s * 32);
                let mut columns = [_mm512_setzero_ps(); W];
                for (at, columns) in columns.iter_mut().enumerate() {
                    *columns = _mm512_load_ps(b.add(at * 16));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*work.a.add(i * row + s * STEP));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_fmadd_ps(a, columns, *sum);
                    }
                }
            }
        }
        let mask = u32::MAX >> (32 - work.columns);
        let masks = [mask as u16, (mask >> 16) as u16];
        for (i, sums) in sums.into_iter().enumerate() {
            for (half, (sum, mask)) in sums.into_iter().zip(masks).enumerate() {
                // SAFETY: the mask keeps to the columns of the tile.
                unsafe {
                    let c = work.c.wrapping_add(i * work.stride + half * 16);
                    let sum = match work.sink {
                        Sink::Write => sum,
                        Sink::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), sum),
                    };
                    _mm512_mask_storeu_ps(c, mask, sum);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Sink, Work};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile<const ROW: usize, const STEP: usize>(work: Work) {
        // SAFETY: by the caller.
        unsafe { of_width::<STEP>(work, ROW) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile_in_place(work: Work, stride: usize) {
        // SAFETY: by the caller.
        unsafe { of_width::<1>(work, stride) }
    }

    /// Half a tile where no more is asked for.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn of_width<const STEP: usize>(work: Work, row: usize) {
        // SAFETY: by the caller.
        unsafe {
            match work.columns <= 8 {
                true => of_any::<STEP, 1>(work, row),
                false => of_any::<STEP, 2>(work, row),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn of_any<const STEP: usize, const W: usize>(work: Work, row: usize) {
        // SAFETY: by the caller.
        unsafe {
            match work.rows {
                1 => of_rows::<1, STEP, W>(work, row),
                2 => of_rows::<2, STEP, W>(work, row),
                3 => of_rows::<3, STEP, W>(work, row),
                4 => of_rows::<4, STEP, W>(work, row),
                5 => of_rows::<5, STEP, W>(work, row),
                6 => of_rows::<6, STEP, W>(work, row),
                rows => unreachable!("a tile of {rows} rows"),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn of_rows<const M: usize, const STEP: usize, const W: usize>(work: Work, row: usize) {
        let mut sums = [[_mm256_setzero_ps(); W]; M];
        // SAFETY: `len` steps were packed.
        unsafe {
            for s in 0..work.len {
                let b = work.b.add(s * 16);
                let mut columns = [_mm256_setzero_ps(); W];
                for (at, columns) in columns.iter_mut().enumerate() {
                    *columns = _mm256_load_ps(b.add(at * 8));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*work.a.add(i * row + s * STEP));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = _mm256_fmadd_ps(a, columns, *sum);
                    }
                }
            }
        }
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        for (i, sums) in sums.into_iter().enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                let columns = _mm256_set1_epi32(work.columns as i32 - half as i32 * 8);
                let mask = _mm256_cmpgt_epi32(columns, lanes);
                // SAFETY: the mask keeps to the columns of the tile.
                unsafe {
                    let c = work.c.wrapping_add(i * work.stride + half * 8);
                    let sum = match work.sink {
                        Sink::Write => sum,
                        Sink::Add => _mm256_add_ps(_mm256_maskload_ps(c, mask), sum),
                    };
                    _mm256_maskstore_ps(c, mask, sum);
                }
            }
        }
    }
}

mod portable {
    use super::{Sink, Work};

    pub(super) unsafe fn tile<const ROW: usize, const STEP: usize>(work: Work) {
        // SAFETY: by the caller.
        unsafe { of_any::<STEP>(work, ROW) }
    }

    pub(super) unsafe fn tile_in_place(work: Work, stride: usize) {
        // SAFETY: by the caller.
        unsafe { of_any::<1>(work, stride) }
    }

    #[inline(always)]
    unsafe fn of_any<const STEP: usize>(work: Work, row: usize) {
        // SAFETY: by the caller.
        unsafe {
            match work.rows {
                1 => of_rows::<1, STEP>(work, row),
                2 => of_rows::<2, STEP>(work, row),
                3 => of_rows::<3, STEP>(work, row),
                4 => of_rows::<4, STEP>(work, row),
                rows => unreachable!("a tile of {rows} rows"),
            }
        }
    }

    #[inline(always)]
    unsafe fn of_rows<const M: usize, const STEP: usize>(work: Work, row: usize) {
        let mut sums = [[0.0f32; 16]; M];
        for s in 0..work.len {
            // SAFETY: `len` steps were packed.
            let b = unsafe { &*work.b.add(s * 16).cast::<[f32; 16]>() };
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let a = unsafe { *work.a.add(i * row + s * STEP) };
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = a.mul_add(b, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            // SAFETY: the row lies in the tile.
            let c = unsafe {
                std::slice::from_raw_parts_mut(work.c.add(i * work.stride), work.columns)
            };
            for (c, &sum) in c.iter_mut().zip(sums) {
                *c = if work.sink == Sink::Write { sum } else { *c + sum };
            }
        }
    }
}
