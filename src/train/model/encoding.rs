//! How the numbers of a tensor are written in a file: as they are, rounded to 16 bits, or in ggml's
//! blocks of integers. Floats are rounded to the nearest, ties to even. Knows numbers and bytes;
//! does not know tensors or files.

use half::{bf16, f16};

use crate::train::kernels::ggml::Format;
use crate::train::kernels::{Isa, Threads};
use crate::train::progress::Failure;

/// A way to write numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    /// ggml's blocks.
    Blocks(Format),
}

impl Encoding {
    /// 32 numbers a block, of 8.5 bits.
    pub const Q8_0: Encoding = Encoding::Blocks(Format::Q8_0);
    /// 32 numbers a block, of 4.5 bits.
    pub const Q4_0: Encoding = Encoding::Blocks(Format::Q4_0);
    /// 256 numbers a block, of 4.5 bits.
    pub const Q4_K: Encoding = Encoding::Blocks(Format::Q4K);

    /// All there are.
    pub const ALL: [Encoding; 6] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::Bf16,
        Encoding::Q8_0,
        Encoding::Q4_0,
        Encoding::Q4_K,
    ];

    /// As recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "f32",
            Encoding::F16 => "f16",
            Encoding::Bf16 => "bf16",
            Encoding::Q8_0 => "q8_0",
            Encoding::Q4_0 => "q4_0",
            Encoding::Q4_K => "q4_K",
        }
    }

    /// The encoding of that name.
    pub fn named(name: &str) -> Option<Encoding> {
        Encoding::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// Numbers that cannot be parted: a row holds a multiple of so many.
    pub fn group(self) -> usize {
        match self {
            Encoding::Blocks(format) => format.numbers(),
            _ => 1,
        }
    }

    /// Bytes of one group.
    pub fn group_bytes(self) -> usize {
        match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            Encoding::Blocks(format) => format.bytes(),
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
            // A step is at most a seventh of the largest number, and a number beyond the end of
            // its line may lose a whole one; slopes and offsets are off by up to a 126th of the
            // largest.
            Encoding::Q4_K => 1.0 / 7.0 + 1.0 / 32.0,
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
            // An offset is written as 63 units, and may lie a step beyond the number.
            Encoding::Q4_K => f16::from_f32(number / 32.0).is_finite(),
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
            Encoding::Blocks(format) => {
                let start = out.len();
                out.resize(start + self.bytes(numbers.len()), 0);
                format.encode(Isa::detect(), numbers, &mut out[start..]);
            }
        }
    }

    /// The bytes of whole groups of numbers, made on all threads where that takes long.
    pub fn encoded(self, t: &Threads, numbers: &[f32]) -> Vec<u8> {
        match self {
            Encoding::Blocks(format) => format.quantise(t, numbers),
            _ => {
                let mut bytes = Vec::new();
                self.encode(numbers, &mut bytes);
                bytes
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
            Encoding::Blocks(format) => {
                let start = out.len();
                out.resize(start + bytes.len() / format.bytes() * format.numbers(), 0.0);
                format.decode(Isa::detect(), bytes, &mut out[start..]);
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
