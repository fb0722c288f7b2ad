//! NF4 (Dettmers et al., "QLoRA", 2023): numbers of 4 bits in blocks that share a scale, in the
//! bytes of bitsandbytes. Matrix products read the blocks and widen them in the cache; see
//! [`Elements`](super::Elements). It knows rows of numbers; not what a weight or a file is.
//!
//! - Blocks of 64 run over the numbers of a matrix in row order, across rows; the last may be
//!   short.
//! - A block's scale is its largest magnitude. A number takes the entry of [`CODE`] nearest to
//!   x · (1 / scale), in a short block to x / scale; on a middle, the lower. Its value is
//!   entry · scale, rounded once.
//! - Two codes a byte, the first in the high half; an odd count ends with the code of 0.
//! - A block of zeros has the scale 0, or 1e-38 where it is short, and the code of 0 throughout.
//! - Double quantisation: the mean of all scales is taken off them, and the rest written in blocks
//!   of 256 by the signed map of [`dynamic8`](super::dynamic8). A scale is then
//!   entry · nested scale + mean, each operation rounded. The mean is summed in f64, ascending, and
//!   rounded once; that of torch, summed in f32 in an order of the machine, may be one unit off.

pub mod launch;

use super::device::{Isa, Parts, Threads};
use super::dynamic8::SIGNED;

/// Numbers that share a scale.
pub const BLOCK: usize = 64;

/// The largest error of a number, as a share of the largest of its block: half the widest step, and
/// that of a scale of 8 bits.
pub const UNIT: f64 = 0.152 + 0.007;

/// Scales that share a scale.
pub const NESTED_BLOCK: usize = 256;

/// What the sixteen codes stand for: quantiles of a normal distribution.
pub const CODE: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The code of 0.
const ZERO: u8 = 7;

/// The smallest scale of a block that is scaled.
const SMALLEST: f32 = 1e-38;

/// The middles between neighbours, rounded once.
const BOUNDS: [f32; 15] = {
    let mut bounds = [0.0; 15];
    let mut at = 0;
    while at < 15 {
        bounds[at] = (CODE[at] + CODE[at + 1]) * 0.5;
        at += 1;
    }
    bounds
};

/// The scales of all blocks.
#[derive(Clone, Debug, PartialEq)]
pub enum Scales {
    Plain(Vec<f32>),
    Nested {
        codes: Vec<u8>,
        /// One for 256 codes.
        scales: Vec<f32>,
        /// What the codes stand for.
        map: Box<[f32; 256]>,
        offset: f32,
    },
}

impl Scales {
    /// Scales as they were made, or written in 8 bits.
    pub fn new(plain: Vec<f32>, double: bool) -> Scales {
        if !double {
            return Scales::Plain(plain);
        }
        let sum: f64 = plain.iter().map(|scale| f64::from(*scale)).sum();
        let offset = (sum / plain.len().max(1) as f64) as f32;
        let mut codes = vec![0; plain.len()];
        let nested = plain.chunks(NESTED_BLOCK).zip(codes.chunks_mut(NESTED_BLOCK));
        let scales = nested.map(|(plain, codes)| {
            let rest: Vec<f32> = plain.iter().map(|scale| scale - offset).collect();
            SIGNED.quantise(&rest, codes)
        });
        let scales = scales.collect();
        Scales::Nested { codes, scales, map: Box::new(SIGNED.values), offset }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Scales::Plain(scales) => scales.len(),
            Scales::Nested { codes, .. } => codes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The scale of one block.
    #[inline(always)]
    pub fn of(&self, block: usize) -> f32 {
        match self {
            Scales::Plain(scales) => scales[block],
            Scales::Nested { codes, scales, map, offset } => {
                map[usize::from(codes[block])] * scales[block / NESTED_BLOCK] + offset
            }
        }
    }
}

/// The bytes and scales of finite numbers.
pub fn quantise(t: &Threads, numbers: &[f32], double: bool) -> (Vec<u8>, Scales) {
    let mut packed = vec![0; numbers.len().div_ceil(2)];
    let mut scales = vec![0.0; numbers.len().div_ceil(BLOCK)];
    let bytes = packed.len();
    let (all_packed, all_scales) = (Parts::new(&mut packed), Parts::new(&mut scales));
    t.split(numbers.len().div_ceil(BLOCK), 1 << 8, |blocks| {
        for block in blocks {
            let (first, end) = (block * BLOCK, numbers.len().min((block + 1) * BLOCK));
            // SAFETY: each block is one thread's, and begins at a byte of its own.
            let (packed, scale) = unsafe {
                let end = (first + BLOCK).div_ceil(2).min(bytes);
                (all_packed.part(first / 2..end), &mut all_scales.part(block..block + 1)[0])
            };
            let numbers = &numbers[first..end];
            t.isa().run(
                #[inline(always)]
                || *scale = quantise_block(numbers, packed),
            );
        }
    });
    (packed, Scales::new(scales, double))
}

/// Writes the codes of one block and gives its scale.
#[inline(always)]
fn quantise_block(numbers: &[f32], packed: &mut [u8]) -> f32 {
    let mut scale = numbers.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let mut codes = [ZERO; BLOCK];
    if numbers.len() == BLOCK {
        let inverse = 1.0 / scale.max(SMALLEST);
        codes.iter_mut().zip(numbers).for_each(|(code, x)| *code = nearest(x * inverse));
    } else {
        scale = scale.max(SMALLEST);
        codes.iter_mut().zip(numbers).for_each(|(code, x)| *code = nearest(x / scale));
    }
    for (byte, pair) in packed.iter_mut().zip(codes.as_chunks::<2>().0) {
        *byte = pair[0] << 4 | pair[1];
    }
    scale
}

/// As many as there are middles below.
#[inline(always)]
fn nearest(share: f32) -> u8 {
    BOUNDS.iter().map(|bound| u8::from(share > *bound)).sum()
}

/// A run of quantised numbers, which may begin inside a block.
#[derive(Clone, Copy, Debug)]
pub struct Nf4<'a> {
    packed: &'a [u8],
    scales: &'a Scales,
    /// Of the first number and after the last, counted from that of the first byte.
    start: usize,
    end: usize,
}

impl<'a> Nf4<'a> {
    /// All of `len` numbers, whose bytes and scales must be as many as they need.
    pub fn new(packed: &'a [u8], scales: &'a Scales, len: usize) -> Nf4<'a> {
        assert!(packed.len() == len.div_ceil(2) && scales.len() == len.div_ceil(BLOCK));
        Nf4 { packed, scales, start: 0, end: len }
    }

    /// How many numbers there are.
    pub fn len(self) -> usize {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Without the first numbers; nothing is left where there are fewer.
    pub fn skip(self, count: usize) -> Nf4<'a> {
        Nf4 { start: self.start.saturating_add(count).min(self.end), ..self }
    }

    /// Whether the first number begins a block.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_whole(self) -> bool {
        self.start.is_multiple_of(BLOCK)
    }

    /// The bytes and the scale of a block, counted from the first number, which must begin one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn block(self, at: usize) -> ([u8; BLOCK / 2], f32) {
        let at = self.start / BLOCK + at;
        (self.packed.as_chunks().0[at], self.scales.of(at))
    }

    /// Writes the first numbers as f32, as many as `into` holds.
    pub fn widen(self, isa: Isa, into: &mut [f32]) {
        assert!(self.len() >= into.len(), "more numbers than there are");
        let (mut at, mut into) = (self.start, into);
        while !into.is_empty() {
            let whole = if at.is_multiple_of(BLOCK) { into.len() / BLOCK * BLOCK } else { 0 };
            let count = if whole > 0 { whole } else { (BLOCK - at % BLOCK).min(into.len()) };
            let (part, rest) = into.split_at_mut(count);
            if whole > 0 {
                self.widen_blocks(isa, at / BLOCK, part);
            } else {
                self.widen_within(at, part);
            }
            (at, into) = (at + count, rest);
        }
    }

    /// Numbers of one block from any of them on.
    fn widen_within(self, start: usize, into: &mut [f32]) {
        let scale = self.scales.of(start / BLOCK);
        for (at, to) in (start..).zip(into) {
            let byte = self.packed[at / 2];
            let code = if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            *to = CODE[usize::from(code)] * scale;
        }
    }

    /// Whole blocks.
    fn widen_blocks(self, isa: Isa, first: usize, into: &mut [f32]) {
        assert!(isa.available());
        let packed = self.packed[first * BLOCK / 2..].as_chunks().0;
        let into = into.as_chunks_mut().0;
        match isa {
            // SAFETY: the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { look_up_avx512(self.scales, first, packed, into) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { look_up_avx2(self.scales, first, packed, into) },
            _ => look_up(self.scales, first, packed, into),
        }
    }
}

/// Writes the values of blocks, of which the first is the `first`-th of all.
fn look_up(scales: &Scales, first: usize, packed: &[[u8; BLOCK / 2]], into: &mut [[f32; BLOCK]]) {
    for (block, (bytes, to)) in (first..).zip(packed.iter().zip(into)) {
        let scale = scales.of(block);
        let values = CODE.map(|entry| entry * scale);
        for (byte, pair) in bytes.iter().zip(to.as_chunks_mut::<2>().0) {
            *pair = [values[usize::from(byte >> 4)], values[usize::from(byte & 15)]];
        }
    }
}

/// Eight bytes as sixteen codes, a byte each.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn codes_of(bytes: [u8; 8]) -> std::arch::x86_64::__m128i {
    use std::arch::x86_64::*;
    let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
    let low = _mm_set1_epi8(15);
    _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16::<4>(bytes), low), _mm_and_si128(bytes, low))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2")]
fn look_up_avx512(
    scales: &Scales,
    first: usize,
    packed: &[[u8; BLOCK / 2]],
    into: &mut [[f32; BLOCK]],
) {
    use std::arch::x86_64::*;
    // SAFETY: sixteen floats are read.
    let code = unsafe { _mm512_loadu_ps(CODE.as_ptr()) };
    for (block, (bytes, to)) in (first..).zip(packed.iter().zip(into)) {
        let values = _mm512_mul_ps(code, _mm512_set1_ps(scales.of(block)));
        for (bytes, to) in bytes.as_chunks::<8>().0.iter().zip(to.as_chunks_mut::<16>().0) {
            let codes = _mm512_cvtepu8_epi32(codes_of(*bytes));
            // SAFETY: sixteen floats are written.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), _mm512_permutexvar_ps(codes, values)) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn look_up_avx2(
    scales: &Scales,
    first: usize,
    packed: &[[u8; BLOCK / 2]],
    into: &mut [[f32; BLOCK]],
) {
    use std::arch::x86_64::*;
    // SAFETY: sixteen floats are read.
    let code = unsafe { [_mm256_loadu_ps(CODE.as_ptr()), _mm256_loadu_ps(CODE[8..].as_ptr())] };
    for (block, (bytes, to)) in (first..).zip(packed.iter().zip(into)) {
        let scale = _mm256_set1_ps(scales.of(block));
        let [low, high] = [_mm256_mul_ps(code[0], scale), _mm256_mul_ps(code[1], scale)];
        for (bytes, to) in bytes.as_chunks::<4>().0.iter().zip(to.as_chunks_mut::<8>().0) {
            let [a, b, c, d] = *bytes;
            let codes = _mm256_cvtepu8_epi32(codes_of([a, b, c, d, 0, 0, 0, 0]));
            // The highest bit of the code says from which half.
            let half = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
            let of_low = _mm256_permutevar8x32_ps(low, codes);
            let of_high = _mm256_permutevar8x32_ps(high, codes);
            // SAFETY: eight floats are written.
            unsafe {
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_blendv_ps(of_low, of_high, half));
            }
        }
    }
}
