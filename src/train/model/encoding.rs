//! How the numbers of a tensor are written in a file: as they are, rounded to 16 bits, or as
//! integers of 8 or 4 bits that share a scale. Rounding is to the nearest number, ties to even for
//! floats and away from zero for integers. Knows numbers and bytes; does not know tensors or files.

use half::{bf16, f16};

use crate::train::progress::Failure;

/// A way to write numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    /// ggml's: blocks of 32 numbers, a scale in f16 and 32 integers from -127 to 127.
    Q8_0,
    /// ggml's: blocks of 32 numbers, a scale in f16 and 32 integers from -8 to 7, of which the
    /// first sixteen are the low halves of the bytes.
    Q4_0,
}

/// Numbers that share a scale, and their bytes in [`Encoding::Q8_0`] and [`Encoding::Q4_0`].
const BLOCK: usize = 32;
const Q8_0_BYTES: usize = 2 + BLOCK;
const Q4_0_BYTES: usize = 2 + BLOCK / 2;

impl Encoding {
    /// All there are.
    pub const ALL: [Encoding; 5] =
        [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q8_0, Encoding::Q4_0];

    /// As recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::Q8_0 => "q8_0",
            Encoding::Q4_0 => "q4_0",
        }
    }

    /// The encoding of that name.
    pub fn named(name: &str) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// Numbers that cannot be parted: a row holds a multiple of so many.
    pub fn group(self) -> usize {
        if matches!(self, Encoding::Q8_0 | Encoding::Q4_0) { BLOCK } else { 1 }
    }

    /// Bytes of one group.
    pub fn group_bytes(self) -> usize {
        match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            Encoding::Q8_0 => Q8_0_BYTES,
            Encoding::Q4_0 => Q4_0_BYTES,
        }
    }

    /// Bytes of so many numbers, a multiple of the group.
    pub fn bytes(self, numbers: usize) -> usize {
        assert!(numbers.is_multiple_of(self.group()), "whole groups");
        numbers / self.group() * self.group_bytes()
    }

    /// The largest error of one number, as a share of it; in blocks, as a share of the largest
    /// number of the block, with the rounding of the scale.
    pub fn unit(self) -> f64 {
        match self {
            Encoding::F32 => 0.0,
            Encoding::F16 => 1.0 / 2048.0,
            Encoding::Bf16 => 1.0 / 256.0,
            Encoding::Q8_0 => 1.0 / 254.0 + 1.0 / 2048.0,
            // A step is an eighth of the largest number, and a number beyond seven of them loses
            // up to a whole one.
            Encoding::Q4_0 => 1.0 / 8.0 + 1.0 / 2048.0,
        }
    }

    /// Whether the number stays finite.
    pub fn holds(self, number: f32) -> bool {
        match self {
            Encoding::F32 => number.is_finite(),
            Encoding::F16 => f16::from_f32(number).is_finite(),
            Encoding::Bf16 => bf16::from_f32(number).is_finite(),
            Encoding::Q8_0 => f16::from_f32(number.abs() / 127.0).is_finite(),
            Encoding::Q4_0 => f16::from_f32(number / -8.0).is_finite(),
        }
    }

    /// Fails where a number of tensor `name` would not stay finite.
    pub fn check(self, name: &str, numbers: &[f32]) -> Result<(), Failure> {
        let Some(number) = numbers.iter().find(|number| !self.holds(**number)) else {
            return Ok(());
        };
        let fact = format!("tensor `{name}` holds {number}, which {} cannot say", self.name());
        let failure = Failure::input(fact);
        Err(match number.is_finite() {
            true => failure.remedy("choose `dtype: \"f32\"`"),
            false => failure.remedy("train again with a lower `lr`: the model has diverged"),
        })
    }

    /// Appends the bytes of whole groups of numbers.
    pub fn encode(self, numbers: &[f32], out: &mut Vec<u8>) {
        out.reserve(self.bytes(numbers.len()));
        match self {
            Encoding::F32 => out.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
            Encoding::F16 => {
                out.extend(numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()));
            }
            Encoding::Bf16 => {
                out.extend(numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()));
            }
            Encoding::Q8_0 => {
                numbers.as_chunks().0.iter().for_each(|block| encode_q8_0(block, out));
            }
            Encoding::Q4_0 => {
                numbers.as_chunks().0.iter().for_each(|block| encode_q4_0(block, out));
            }
        }
    }

    /// Appends the numbers that whole groups of bytes stand for.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        assert!(bytes.len().is_multiple_of(self.group_bytes()), "whole groups");
        let (pairs, _) = bytes.as_chunks::<2>();
        match self {
            Encoding::F32 => {
                out.extend(bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)));
            }
            Encoding::F16 => out.extend(pairs.iter().map(|x| f16::from_le_bytes(*x).to_f32())),
            Encoding::Bf16 => out.extend(pairs.iter().map(|x| bf16::from_le_bytes(*x).to_f32())),
            Encoding::Q8_0 => {
                let (blocks, _) = bytes.as_chunks::<Q8_0_BYTES>();
                blocks.iter().for_each(|block| decode_q8_0(block, out));
            }
            Encoding::Q4_0 => {
                let (blocks, _) = bytes.as_chunks::<Q4_0_BYTES>();
                blocks.iter().for_each(|block| decode_q4_0(block, out));
            }
        }
    }

    /// The numbers as they come back from a file.
    pub fn rounded(self, numbers: &[f32]) -> Vec<f32> {
        let (mut bytes, mut rounded) = (Vec::new(), Vec::with_capacity(numbers.len()));
        self.encode(numbers, &mut bytes);
        self.decode(&bytes, &mut rounded);
        rounded
    }
}

/// The scale makes the largest number ±127; integers are found with the scale before it is rounded,
/// as ggml finds them.
fn encode_q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    out.extend(f16::from_f32(scale).to_le_bytes());
    out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
}

fn decode_q8_0(block: &[u8; Q8_0_BYTES], out: &mut Vec<f32>) {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    out.extend(block[2..].iter().map(|x| f32::from(*x as i8) * scale));
}

/// The scale makes the number of the largest magnitude -8, the first where several are as large;
/// integers are found with the scale before it is rounded: half a step is added in one rounding,
/// and the fraction is cut off, as ggml finds them.
fn encode_q4_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let larger = |most: f32, x: &f32| if x.abs() > most.abs() { *x } else { most };
    let scale = block.iter().fold(0.0, larger) / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let code = |x: f32| ((f64::from(x) * f64::from(inverse) + 8.5) as f32 as u8).min(15);
    out.extend(f16::from_f32(scale).to_le_bytes());
    let (low, high) = block.split_at(BLOCK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| code(*low) | code(*high) << 4));
}

fn decode_q4_0(block: &[u8; Q4_0_BYTES], out: &mut Vec<f32>) {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    let number = |code: u8| f32::from(code as i8 - 8) * scale;
    out.extend(block[2..].iter().map(|byte| number(byte & 15)));
    out.extend(block[2..].iter().map(|byte| number(byte >> 4)));
}
