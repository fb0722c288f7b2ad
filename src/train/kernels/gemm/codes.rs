//! Panels of a matrix in NF4 whose lines are whole blocks: codes are turned over the diagonal while
//! they are eight to a word, and looked up on their way into the panel, without a copy of the lines
//! in f32. It knows no arithmetic but an entry times its scale.

use std::arch::x86_64::*;

use super::pack::transpose_8x8;
use super::tile;
use crate::train::kernels::device::Isa;
use crate::train::kernels::nf4::{BLOCK, CODE, Nf4};

/// Words of eight codes in a block.
const WORDS: usize = BLOCK / 8;
/// How far down the codes of a word lie: the first of a byte is the higher.
const DEPTHS: [u32; 8] = [4, 0, 12, 8, 20, 16, 28, 24];

/// Whether lines that lie `stride` numbers apart are packed here, `len` numbers of each.
pub(super) fn are_packed(isa: Isa, blocks: Nf4, stride: usize, len: usize) -> bool {
    let is_whole = stride.is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK);
    isa != Isa::Portable && is_whole && blocks.is_whole()
}

/// Packs lines of which [`are_packed`] as `pack_panels` packs their numbers.
pub(super) fn pack_codes(
    isa: Isa,
    blocks: Nf4,
    [stride, len, columns]: [usize; 3],
    to: &mut [f32],
) {
    assert!(isa.available() && are_packed(isa, blocks, stride, len) && columns > 0);
    let width = tile::columns(isa);
    for (panel, to) in to.chunks_exact_mut(len * width).enumerate() {
        let lines = Lines { blocks, first: panel * width, count: columns, stride: stride / BLOCK };
        match isa {
            // SAFETY: the processor has the instructions.
            Isa::Avx512 => unsafe { panel_avx512(lines, to.as_chunks_mut().0) },
            Isa::Avx2 => unsafe { panel_avx2(lines, to.as_chunks_mut().0) },
            _ => unreachable!("{isa:?} looks up number by number"),
        }
    }
}

/// Lines of blocks, from the first of a panel on.
#[derive(Clone, Copy)]
struct Lines<'a> {
    blocks: Nf4<'a>,
    first: usize,
    /// How many there are, those before the first included.
    count: usize,
    /// Blocks between their starts.
    stride: usize,
}

/// One block of each of L lines, and its scale.
struct Turned<const L: usize> {
    words: [[f32; L]; WORDS],
    scales: [f32; L],
}

/// The `block`-th block of the lines from `at` on. After the last line it stands again, since
/// what lies there may be of any value.
#[inline]
#[target_feature(enable = "avx2")]
fn turned<const L: usize>(lines: Lines, at: usize, block: usize) -> Turned<L> {
    let (mut bytes, mut scales) = ([[0; BLOCK / 2]; L], [0.0; L]);
    for (line, (bytes, scale)) in (lines.first + at..).zip(bytes.iter_mut().zip(&mut scales)) {
        let line = line.min(lines.count - 1);
        (*bytes, *scale) = lines.blocks.block(line * lines.stride + block);
    }
    let mut words = [[0.0; L]; WORDS];
    for at in (0..L).step_by(8) {
        // SAFETY: eight lines of eight words are read and written; words are only moved.
        unsafe {
            let (from, to) = (bytes.as_ptr().add(at), words.as_mut_ptr().cast::<f32>());
            transpose_8x8(from.cast(), WORDS, to.add(at), L);
        }
    }
    Turned { words, scales }
}

/// Fills a panel, number by number of its 32 lines.
#[target_feature(enable = "avx512f,avx2")]
fn panel_avx512(lines: Lines, to: &mut [[f32; 32]]) {
    // SAFETY: sixteen floats are read.
    let code = unsafe { _mm512_loadu_ps(CODE.as_ptr()) };
    for (block, to) in to.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        for at in [0, 16] {
            let Turned { words, scales } = turned::<16>(lines, at, block);
            // SAFETY: sixteen floats are read.
            let scale = unsafe { _mm512_loadu_ps(scales.as_ptr()) };
            for (word, to) in words.iter().zip(to.as_chunks_mut::<8>().0) {
                // SAFETY: sixteen words are read.
                let word = unsafe { _mm512_loadu_si512(word.as_ptr().cast()) };
                for (depth, to) in DEPTHS.into_iter().zip(to) {
                    // Only the lowest four bits of an index count.
                    let codes = _mm512_srl_epi32(word, _mm_cvtsi32_si128(depth as i32));
                    let values = _mm512_mul_ps(_mm512_permutexvar_ps(codes, code), scale);
                    // SAFETY: sixteen floats are written.
                    unsafe { _mm512_storeu_ps(to[at..].as_mut_ptr(), values) };
                }
            }
        }
    }
}

/// The same of 16 lines.
#[target_feature(enable = "avx2")]
fn panel_avx2(lines: Lines, to: &mut [[f32; 16]]) {
    // SAFETY: sixteen floats are read.
    let [low, high] =
        unsafe { [_mm256_loadu_ps(CODE.as_ptr()), _mm256_loadu_ps(CODE[8..].as_ptr())] };
    for (block, to) in to.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        for at in [0, 8] {
            let Turned { words, scales } = turned::<8>(lines, at, block);
            // SAFETY: eight floats are read.
            let scale = unsafe { _mm256_loadu_ps(scales.as_ptr()) };
            for (word, to) in words.iter().zip(to.as_chunks_mut::<8>().0) {
                // SAFETY: eight words are read.
                let word = unsafe { _mm256_loadu_si256(word.as_ptr().cast()) };
                for (depth, to) in DEPTHS.into_iter().zip(to) {
                    let codes = _mm256_srl_epi32(word, _mm_cvtsi32_si128(depth as i32));
                    // The lowest three bits of an index count; the fourth says which half.
                    let half = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
                    let of_low = _mm256_permutevar8x32_ps(low, codes);
                    let of_high = _mm256_permutevar8x32_ps(high, codes);
                    let entries = _mm256_blendv_ps(of_low, of_high, half);
                    // SAFETY: eight floats are written.
                    unsafe {
                        _mm256_storeu_ps(to[at..].as_mut_ptr(), _mm256_mul_ps(entries, scale));
                    }
                }
            }
        }
    }
}
