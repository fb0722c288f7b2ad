//! The numbers of a matrix as they lie in memory or in a mapped file: f32, or 4 to 16 bits that are
//! widened where they are used. Widening gives the same bits wherever it happens, so a product has
//! the bits of the same product over an f32 copy. It knows no shapes and no files.

pub mod launch;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::device::Isa;
use super::ggml::{Format, Ggml};
use super::nf4::Nf4;

/// Borrowed numbers; those of 16 bits are little-endian and need no alignment.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    F32(&'a [f32]),
    Bf16(&'a [[u8; 2]]),
    F16(&'a [[u8; 2]]),
    Nf4(Nf4<'a>),
    Ggml(Ggml<'a>),
}

impl<'a> Elements<'a> {
    /// How many numbers there are.
    pub fn len(self) -> usize {
        match self {
            Elements::F32(floats) => floats.len(),
            Elements::Bf16(halves) | Elements::F16(halves) => halves.len(),
            Elements::Nf4(blocks) => blocks.len(),
            Elements::Ggml(blocks) => blocks.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// How each is stored, as PyTorch, bitsandbytes and llama.cpp call it.
    pub fn dtype(self) -> &'static str {
        match self {
            Elements::F32(_) => "float32",
            Elements::Bf16(_) => "bfloat16",
            Elements::F16(_) => "float16",
            Elements::Nf4(_) => "nf4",
            Elements::Ggml(blocks) => match blocks.format() {
                Format::Q8_0 => "q8_0",
                Format::Q4_0 => "q4_0",
                Format::Q4K => "q4_K",
            },
        }
    }

    /// Without the first numbers; nothing is left where there are fewer.
    pub fn skip(self, count: usize) -> Elements<'a> {
        match self {
            Elements::F32(floats) => Elements::F32(&floats[count.min(floats.len())..]),
            Elements::Bf16(halves) => Elements::Bf16(&halves[count.min(halves.len())..]),
            Elements::F16(halves) => Elements::F16(&halves[count.min(halves.len())..]),
            Elements::Nf4(blocks) => Elements::Nf4(blocks.skip(count)),
            Elements::Ggml(blocks) => Elements::Ggml(blocks.skip(count)),
        }
    }

    /// Writes the first numbers as f32, as many as `into` holds.
    pub fn widen(self, into: &mut [f32]) {
        self.widen_with(Isa::detect(), into);
    }

    /// The same with a given instruction set.
    pub(super) fn widen_with(self, isa: Isa, into: &mut [f32]) {
        assert!(self.len() >= into.len(), "more numbers than there are");
        match self {
            Elements::F32(floats) => into.copy_from_slice(&floats[..into.len()]),
            Elements::Bf16(halves) => {
                for (to, half) in into.iter_mut().zip(halves) {
                    *to = f32::from_bits(u32::from(u16::from_le_bytes(*half)) << 16);
                }
            }
            Elements::F16(halves) => {
                for (to, halves) in into.chunks_mut(CHUNK).zip(halves.chunks(CHUNK)) {
                    let mut aligned = [f16::ZERO; CHUNK];
                    for (to, half) in aligned.iter_mut().zip(halves) {
                        *to = f16::from_le_bytes(*half);
                    }
                    aligned[..to.len()].convert_to_f32_slice(to);
                }
            }
            Elements::Nf4(blocks) => blocks.widen(isa, into),
            Elements::Ggml(blocks) => blocks.widen(isa, into),
        }
    }

    /// All numbers as f32.
    pub fn to_floats(self) -> Vec<f32> {
        let mut floats = vec![0.0; self.len()];
        self.widen(&mut floats);
        floats
    }
}

/// Numbers of 16 bits that are widened at once.
const CHUNK: usize = 64;

impl<'a> From<&'a [f32]> for Elements<'a> {
    fn from(floats: &'a [f32]) -> Elements<'a> {
        Elements::F32(floats)
    }
}

impl<'a> From<&'a Vec<f32>> for Elements<'a> {
    fn from(floats: &'a Vec<f32>) -> Elements<'a> {
        Elements::F32(floats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_16_bit_number_widens_exactly() {
        let halves: Vec<[u8; 2]> = (0..=u16::MAX).map(u16::to_le_bytes).collect();
        let (mut wide, mut from_f16) = (vec![0.0; 1 << 16], vec![0.0; 1 << 16]);
        Elements::Bf16(&halves).widen(&mut wide);
        Elements::F16(&halves).widen(&mut from_f16);
        for bits in 0..=u16::MAX {
            let (bf16, f16) = (half::bf16::from_bits(bits), f16::from_bits(bits));
            let at = usize::from(bits);
            assert!(wide[at].to_bits() == bf16.to_f32().to_bits() || bf16.is_nan());
            assert!(from_f16[at].to_bits() == f16.to_f32().to_bits() || f16.is_nan());
        }
    }
}
