//! ggml's blocks: numbers of 8 or 4 bits that share a scale in f16, in the bytes of GGUF files.
//! Rounding is to the nearest, away from zero between two. Matrix products read the blocks and
//! widen them in the cache; see [`Elements`](super::Elements). It knows rows of numbers; not what a
//! weight or a file is.
//!
//! - `q8_0`: 32 numbers, a scale and 32 integers from -127 to 127.
//! - `q4_0`: 32 numbers, a scale and 32 integers from -8 to 7, of which the first sixteen are the
//!   low halves of the bytes.
//! - `q4_K`: 256 numbers, see [`q4_k`].

use half::f16;

use super::device::{Isa, Parts, Threads};
use super::q4_k;

/// How a block is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Q8_0,
    Q4_0,
    Q4K,
}

/// Numbers of a small block.
const BLOCK: usize = 32;
const Q8_0_BYTES: usize = 2 + BLOCK;
const Q4_0_BYTES: usize = 2 + BLOCK / 2;

/// Numbers of the largest block.
const LARGEST: usize = q4_k::BLOCK;

impl Format {
    /// Numbers of one block.
    pub const fn numbers(self) -> usize {
        match self {
            Format::Q8_0 | Format::Q4_0 => BLOCK,
            Format::Q4K => q4_k::BLOCK,
        }
    }

    /// Bytes of one block.
    pub const fn bytes(self) -> usize {
        match self {
            Format::Q8_0 => Q8_0_BYTES,
            Format::Q4_0 => Q4_0_BYTES,
            Format::Q4K => q4_k::BYTES,
        }
    }

    /// The bytes of whole blocks of finite numbers.
    pub fn quantise(self, t: &Threads, numbers: &[f32]) -> Vec<u8> {
        let (group, size) = (self.numbers(), self.bytes());
        assert!(numbers.len().is_multiple_of(group), "whole blocks");
        let blocks = numbers.len() / group;
        let mut bytes = vec![0; blocks * size];
        let all = Parts::new(&mut bytes);
        t.split(blocks, (1 << 14) / group, |blocks| {
            // SAFETY: each block is one thread's.
            let bytes = unsafe { all.part(blocks.start * size..blocks.end * size) };
            self.encode(t.isa(), &numbers[blocks.start * group..blocks.end * group], bytes);
        });
        bytes
    }

    /// The same on one thread.
    pub fn encode(self, isa: Isa, numbers: &[f32], bytes: &mut [u8]) {
        isa.run(
            #[inline(always)]
            || match self {
                Format::Q8_0 => each(numbers, bytes, encode_q8_0),
                Format::Q4_0 => each(numbers, bytes, encode_q4_0),
                Format::Q4K => each(numbers, bytes, q4_k::encode),
            },
        );
    }

    /// Writes the numbers that the bytes of whole blocks stand for.
    pub fn decode(self, isa: Isa, bytes: &[u8], numbers: &mut [f32]) {
        isa.run(
            #[inline(always)]
            || match self {
                Format::Q8_0 => each_back(bytes, numbers, decode_q8_0),
                Format::Q4_0 => each_back(bytes, numbers, decode_q4_0),
                Format::Q4K => each_back(bytes, numbers, q4_k::decode),
            },
        );
    }
}

/// Turns each N numbers into B bytes.
#[inline(always)]
fn each<const N: usize, const B: usize>(
    numbers: &[f32],
    bytes: &mut [u8],
    encode: impl Fn(&[f32; N], &mut [u8; B]),
) {
    let (numbers, rest) = numbers.as_chunks::<N>();
    let (bytes, over) = bytes.as_chunks_mut::<B>();
    assert!(rest.is_empty() && over.is_empty() && numbers.len() == bytes.len(), "whole blocks");
    numbers.iter().zip(bytes).for_each(|(numbers, bytes)| encode(numbers, bytes));
}

/// Turns each B bytes into N numbers.
#[inline(always)]
fn each_back<const N: usize, const B: usize>(
    bytes: &[u8],
    numbers: &mut [f32],
    decode: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (bytes, over) = bytes.as_chunks::<B>();
    let (numbers, rest) = numbers.as_chunks_mut::<N>();
    assert!(rest.is_empty() && over.is_empty() && numbers.len() == bytes.len(), "whole blocks");
    bytes.iter().zip(numbers).for_each(|(bytes, numbers)| decode(bytes, numbers));
}

/// The scale makes the largest number ±127; integers are found with the scale before it is rounded,
/// as ggml finds them.
#[inline(always)]
fn encode_q8_0(numbers: &[f32; BLOCK], bytes: &mut [u8; Q8_0_BYTES]) {
    let largest = numbers.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    bytes[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, x) in bytes[2..].iter_mut().zip(numbers) {
        *byte = (x * inverse).round() as i8 as u8;
    }
}

#[inline(always)]
fn decode_q8_0(bytes: &[u8; Q8_0_BYTES], numbers: &mut [f32; BLOCK]) {
    let scale = scale_of([bytes[0], bytes[1]]);
    for (x, byte) in numbers.iter_mut().zip(&bytes[2..]) {
        *x = f32::from(*byte as i8) * scale;
    }
}

/// The scale makes the number of the largest magnitude -8, the first where several are as large;
/// integers are found with the scale before it is rounded: half a step is added, and the fraction
/// is cut off, as ggml finds them.
#[inline(always)]
fn encode_q4_0(numbers: &[f32; BLOCK], bytes: &mut [u8; Q4_0_BYTES]) {
    let larger = |most: f32, x: &f32| if x.abs() > most.abs() { *x } else { most };
    let scale = numbers.iter().fold(0.0, larger) / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    bytes[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    let (low, high) = numbers.split_at(BLOCK / 2);
    for (byte, (low, high)) in bytes[2..].iter_mut().zip(low.iter().zip(high)) {
        *byte = code(*low) | code(*high) << 4;
    }
}

#[inline(always)]
fn decode_q4_0(bytes: &[u8; Q4_0_BYTES], numbers: &mut [f32; BLOCK]) {
    let scale = scale_of([bytes[0], bytes[1]]);
    let (low, high) = numbers.split_at_mut(BLOCK / 2);
    for (byte, (low, high)) in bytes[2..].iter().zip(low.iter_mut().zip(high)) {
        *low = f32::from((byte & 15) as i8 - 8) * scale;
        *high = f32::from((byte >> 4) as i8 - 8) * scale;
    }
}

/// A scale as f32.
#[inline(always)]
pub(super) fn scale_of(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32_const()
}

/// A run of numbers in blocks, which may begin inside one.
#[derive(Clone, Copy, Debug)]
pub struct Ggml<'a> {
    format: Format,
    bytes: &'a [u8],
    /// Of the first number and after the last, counted from that of the first byte.
    start: usize,
    end: usize,
}

impl<'a> Ggml<'a> {
    /// All numbers of whole blocks.
    pub fn new(format: Format, bytes: &'a [u8]) -> Ggml<'a> {
        assert!(bytes.len().is_multiple_of(format.bytes()), "whole blocks");
        Ggml { format, bytes, start: 0, end: bytes.len() / format.bytes() * format.numbers() }
    }

    /// How its blocks are laid out.
    pub fn format(self) -> Format {
        self.format
    }

    /// The bytes of so many numbers from `start` on; both must be whole blocks.
    pub fn bytes_of(self, start: usize, count: usize) -> &'a [u8] {
        let (group, size) = (self.format.numbers(), self.format.bytes());
        let start = self.start + start;
        assert!(start.is_multiple_of(group) && count.is_multiple_of(group));
        &self.bytes[start / group * size..(start + count) / group * size]
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
    pub fn skip(self, count: usize) -> Ggml<'a> {
        Ggml { start: self.start.saturating_add(count).min(self.end), ..self }
    }

    /// Writes the first numbers as f32, as many as `into` holds.
    pub fn widen(self, isa: Isa, into: &mut [f32]) {
        assert!(self.len() >= into.len(), "more numbers than there are");
        let (group, size) = (self.format.numbers(), self.format.bytes());
        let mut whole = [0.0; LARGEST];
        let (mut at, mut into) = (self.start, into);
        while !into.is_empty() {
            let (block, within) = (at / group, at % group);
            let blocks = if within == 0 { into.len() / group } else { 0 };
            let count = if blocks > 0 { blocks * group } else { (group - within).min(into.len()) };
            let (part, rest) = into.split_at_mut(count);
            let bytes = &self.bytes[block * size..(block + blocks.max(1)) * size];
            if blocks > 0 {
                self.format.decode(isa, bytes, part);
            } else {
                self.format.decode(isa, bytes, &mut whole[..group]);
                part.copy_from_slice(&whole[within..within + count]);
            }
            (at, into) = (at + count, rest);
        }
    }
}
