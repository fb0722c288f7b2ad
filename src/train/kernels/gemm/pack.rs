//! Copies parts of matrices into the order in which tiles read them, so that the inner loops see
//! consecutive, aligned memory. It knows no arithmetic.

use super::BLOCK;
use super::product::Floats;
use super::tile::{self, Order};
use crate::train::kernels::device::Isa;

/// Memory that starts at a cache line, kept between uses.
pub(super) struct Buffer(Vec<Line>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Buffer {
    pub(super) const fn new() -> Buffer {
        Buffer(Vec::new())
    }

    /// The first `len` floats, of any value.
    pub(super) fn floats(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: `Line` is sixteen floats, without padding, and there are enough.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<f32>(), len) }
    }
}

/// Rows of a matrix, packed tile by tile or as they lie.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) data: &'a [f32],
    pub(super) order: Order,
    /// Rows of one tile; the last may have fewer.
    pub(super) rows: usize,
    /// Floats of one tile.
    pub(super) stride: usize,
}

/// Lays out `rows` rows of `len` elements in tiles of nearly equal height; copies only where tiles
/// would be slow to read as the matrix lies.
pub(super) fn pack_tiles<'a>(
    isa: Isa,
    a: Floats<'a>,
    rows: usize,
    len: usize,
    buffer: &'a mut Buffer,
) -> Tiles<'a> {
    let tiles = rows.div_ceil(tile::rows(isa));
    let tile_rows = rows.div_ceil(tiles);
    let by_row = a.column == 1;
    if a.is_read_in_place() {
        assert!((rows - 1) * a.row + len <= a.data.len());
        let (order, stride) = (Order::InPlace(a.row), tile_rows * a.row);
        return Tiles { data: a.data, order, rows: tile_rows, stride };
    }
    let (order, stride) = if by_row {
        (Order::ByRow, tile_rows * tile::ROW_STRIDE)
    } else {
        (Order::ByColumn, len * tile::COLUMN_STRIDE)
    };
    let data = buffer.floats(tiles * stride);
    if by_row {
        for (row, to) in data.chunks_exact_mut(tile::ROW_STRIDE).take(rows).enumerate() {
            to[..len].copy_from_slice(&a.data[row * a.row..row * a.row + len]);
        }
    } else {
        for (tile, to) in data.chunks_exact_mut(stride).enumerate() {
            let from = &a.data[(tile * tile_rows).min(a.data.len())..];
            copy_strips::<{ tile::COLUMN_STRIDE }>(isa, from, a.column, to);
        }
    }
    Tiles { data, order, rows: tile_rows, stride }
}

/// Packs columns of a matrix of `len` rows into panels as wide as a tile: `[panel][len][width]`,
/// which is all of `to`. What lies beyond the last column is of any value.
pub(super) fn pack_panels(isa: Isa, b: Floats, len: usize, columns: usize, to: &mut [f32]) {
    let width = tile::columns(isa);
    assert!(len <= BLOCK && to.len() == columns.div_ceil(width) * len * width);
    for (panel, to) in to.chunks_exact_mut(len * width).enumerate() {
        let first = panel * width;
        if b.column == 1 {
            match width {
                32 => copy_strips::<32>(isa, &b.data[first..], b.row, to),
                16 => copy_strips::<16>(isa, &b.data[first..], b.row, to),
                _ => unreachable!("a tile is 16 or 32 wide"),
            }
        } else {
            let valid = width.min(columns - first);
            transpose_strip(isa, &b.data[first * b.column..], b.column, len, [valid, width], to);
        }
    }
}

/// Copies W floats from every `stride`-th place.
fn copy_strips<const W: usize>(isa: Isa, from: &[f32], stride: usize, to: &mut [f32]) {
    isa.run(
        #[inline(always)]
        || {
            for (at, to) in to.as_chunks_mut::<W>().0.iter_mut().enumerate() {
                let from = &from[(at * stride).min(from.len())..];
                match from.first_chunk::<W>() {
                    Some(strip) => *to = *strip,
                    None => to[..from.len()].copy_from_slice(from),
                }
            }
        },
    );
}

/// Turns `columns` columns of `len` elements that lie `stride` apart into `[len][width]`.
fn transpose_strip(
    isa: Isa,
    from: &[f32],
    stride: usize,
    len: usize,
    [columns, width]: [usize; 2],
    to: &mut [f32],
) {
    for first in (0..columns).step_by(8) {
        let count = 8.min(columns - first);
        let from = &from[first * stride..];
        let to = &mut to[first..];
        let done =
            if count == 8 { transpose_squares(isa, from, stride, len, to, width) } else { 0 };
        for column in 0..count {
            for at in done..len {
                to[at * width + column] = from[column * stride + at];
            }
        }
    }
}

/// Turns the elements of eight columns, as many as fill whole squares; gives how many of each.
#[cfg(target_arch = "x86_64")]
fn transpose_squares(
    isa: Isa,
    from: &[f32],
    stride: usize,
    len: usize,
    to: &mut [f32],
    width: usize,
) -> usize {
    let done = if isa == Isa::Portable { 0 } else { len / 8 * 8 };
    if done > 0 {
        assert!(7 * stride + done <= from.len() && (done - 1) * width + 8 <= to.len());
    }
    for at in (0..done).step_by(8) {
        // SAFETY: in range as asserted, and the processor has AVX.
        unsafe {
            let to = to.as_mut_ptr().add(at * width);
            transpose_8x8(from.as_ptr().add(at), stride, to, width);
        }
    }
    done
}

#[cfg(not(target_arch = "x86_64"))]
fn transpose_squares(_: Isa, _: &[f32], _: usize, _: usize, _: &mut [f32], _: usize) -> usize {
    0
}

/// Eight rows of eight floats, turned over the diagonal.
///
/// # Safety
/// Both squares must lie in memory that may be read or written.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
pub(super) unsafe fn transpose_8x8(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    use std::arch::x86_64::*;
    // SAFETY: by the caller.
    let row = |i: usize| unsafe { _mm256_loadu_ps(from.add(i * from_stride)) };
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
    let [e, f, g, h] = [row(4), row(5), row(6), row(7)];
    let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    let (ef, ef_high) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
    let (gh, gh_high) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
    let low = [
        _mm256_shuffle_ps::<0x44>(ab, cd),
        _mm256_shuffle_ps::<0xEE>(ab, cd),
        _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
        _mm256_shuffle_ps::<0xEE>(ab_high, cd_high),
    ];
    let high = [
        _mm256_shuffle_ps::<0x44>(ef, gh),
        _mm256_shuffle_ps::<0xEE>(ef, gh),
        _mm256_shuffle_ps::<0x44>(ef_high, gh_high),
        _mm256_shuffle_ps::<0xEE>(ef_high, gh_high),
    ];
    for i in 0..4 {
        // SAFETY: by the caller.
        unsafe {
            let first = _mm256_permute2f128_ps::<0x20>(low[i], high[i]);
            let second = _mm256_permute2f128_ps::<0x31>(low[i], high[i]);
            _mm256_storeu_ps(to.add(i * to_stride), first);
            _mm256_storeu_ps(to.add((i + 4) * to_stride), second);
        }
    }
}
