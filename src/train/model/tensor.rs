//! One parameter's numbers: in memory as f32, in a mapped file as they were stored, or in blocks of
//! 4 or 8 bits. Knows bytes; does not know names or shapes.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, UncheckedAdvice};

use crate::train::kernels::Elements;
use crate::train::kernels::ggml::{Format, Ggml};
use crate::train::kernels::nf4::{Nf4, Scales};

/// What a decoder can compute with.
pub trait Tensor: Debug {
    /// The numbers, as matrix products read them.
    fn elements(&self) -> Elements<'_>;

    /// The numbers of what is always in memory as f32: norms, and all that is trained.
    fn floats(&self) -> &[f32];

    /// The same, to be changed.
    fn floats_mut(&mut self) -> &mut [f32];
}

impl Tensor for Vec<f32> {
    fn elements(&self) -> Elements<'_> {
        Elements::F32(self)
    }

    fn floats(&self) -> &[f32] {
        self
    }

    fn floats_mut(&mut self) -> &mut [f32] {
        self
    }
}

/// Numbers that may lie in a file.
#[derive(Clone, Debug)]
pub enum Stored {
    Memory(Vec<f32>),
    /// A part of a mapped file. Nothing of it is read before it is used, and the system may drop
    /// what was read: it is no memory of the program's own.
    File {
        map: Arc<Mmap>,
        bytes: Range<usize>,
        dtype: Dtype,
    },
    Nf4(Blocks),
    /// ggml's blocks.
    Ggml(Packed, Format),
}

/// Numbers of 4 bits, shared by all clones.
#[derive(Clone, Debug)]
pub struct Blocks {
    packed: Packed,
    scales: Arc<Scales>,
    len: usize,
}

/// Bytes in memory, or a part of a mapped file, which lies inside it.
#[derive(Clone, Debug)]
pub enum Packed {
    Memory(Arc<[u8]>),
    File(Arc<Mmap>, Range<usize>),
}

impl Packed {
    fn bytes(&self) -> &[u8] {
        match self {
            Packed::Memory(bytes) => bytes,
            Packed::File(map, bytes) => &map[bytes.clone()],
        }
    }
}

impl Blocks {
    /// `len` numbers in memory.
    pub fn in_memory(packed: Vec<u8>, scales: Scales, len: usize) -> Blocks {
        Blocks { packed: Packed::Memory(packed.into()), scales: scales.into(), len }
    }

    /// `len` numbers whose codes are a part of a mapped file, which must lie inside it.
    pub fn in_file(map: &Arc<Mmap>, bytes: Range<usize>, scales: Scales, len: usize) -> Blocks {
        assert!(bytes.end <= map.len());
        Blocks { packed: Packed::File(map.clone(), bytes), scales: scales.into(), len }
    }

    /// Two codes a byte.
    pub fn packed(&self) -> &[u8] {
        self.packed.bytes()
    }

    /// The scales of the blocks.
    pub fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Bytes of codes and scales.
    pub fn bytes(&self) -> usize {
        let scales = match self.scales() {
            Scales::Plain(scales) => 4 * scales.len(),
            Scales::Nested { codes, scales, .. } => codes.len() + 4 * scales.len(),
        };
        self.packed().len() + scales
    }
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

impl Default for Stored {
    fn default() -> Stored {
        Stored::Memory(Vec::new())
    }
}

impl Stored {
    /// A part of a mapped file, which must lie inside it and hold whole numbers. Where f32 do not
    /// lie at a multiple of four, they are copied.
    pub fn in_file(map: &Arc<Mmap>, bytes: Range<usize>, dtype: Dtype) -> Stored {
        assert!(bytes.end <= map.len() && bytes.len().is_multiple_of(dtype.size()));
        if dtype == Dtype::F32 && !map[bytes.clone()].as_ptr().addr().is_multiple_of(4) {
            let (numbers, _) = map[bytes].as_chunks::<4>();
            return Stored::Memory(
                numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            );
        }
        Stored::File { map: map.clone(), bytes, dtype }
    }

    /// Whether numbers share scales.
    pub fn is_quantised(&self) -> bool {
        matches!(self, Stored::Nf4(_) | Stored::Ggml(..))
    }

    /// Bytes of the numbers as they are stored.
    pub fn bytes(&self) -> usize {
        match self {
            Stored::Memory(floats) => 4 * floats.len(),
            Stored::File { bytes, .. } => bytes.len(),
            Stored::Nf4(blocks) => blocks.bytes(),
            Stored::Ggml(packed, _) => packed.bytes().len(),
        }
    }

    /// Lets the system drop what was read of a file. Who reads on reads it again.
    pub fn release(&self) {
        if let Stored::File { map, bytes, .. } = self {
            // SAFETY: the map is read-only, so dropped pages come back as they were.
            let advised = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len())
            };
            // It is advice: where it is not taken, memory is held for longer.
            drop(advised);
        }
    }

    /// The numbers in memory.
    pub fn into_floats(self) -> Vec<f32> {
        match self {
            Stored::Memory(floats) => floats,
            stored => {
                let floats = stored.elements().to_floats();
                stored.release();
                floats
            }
        }
    }
}

impl Tensor for Stored {
    fn elements(&self) -> Elements<'_> {
        match self {
            Stored::Memory(floats) => Elements::F32(floats),
            Stored::File { map, bytes, dtype } => {
                let bytes = &map[bytes.clone()];
                match dtype {
                    Dtype::F32 => Elements::F32(as_floats(bytes)),
                    Dtype::F16 => Elements::F16(bytes.as_chunks().0),
                    Dtype::Bf16 => Elements::Bf16(bytes.as_chunks().0),
                }
            }
            Stored::Nf4(blocks) => {
                Elements::Nf4(Nf4::new(blocks.packed(), &blocks.scales, blocks.len))
            }
            Stored::Ggml(packed, format) => Elements::Ggml(Ggml::new(*format, packed.bytes())),
        }
    }

    fn floats(&self) -> &[f32] {
        match self {
            Stored::Memory(floats) => floats,
            _ => panic!("a norm that is not in memory"),
        }
    }

    fn floats_mut(&mut self) -> &mut [f32] {
        match self {
            Stored::Memory(floats) => floats,
            _ => panic!("only what is in memory as f32 is changed"),
        }
    }
}

#[cfg(target_endian = "little")]
fn as_floats(bytes: &[u8]) -> &[f32] {
    // SAFETY: every four bytes are an f32.
    let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
    assert!(before.is_empty() && after.is_empty(), "checked when the file was mapped");
    floats
}
