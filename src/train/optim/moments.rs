//! Where the moments of one tensor are: as f32 or in blocks of 8 bits, in memory or in a mapped
//! file. Neither the place nor the file's existence shows in a bit. Knows words; not what moves
//! them.

use std::fs::File;
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};

use crate::train::kernels::adamw8::{BLOCK, Blocks, launch};
use crate::train::progress::Failure;

/// How wide a moment is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    Full,
    /// Blocks of 8 bits, for tensors of at least 4096 numbers; smaller ones matter more and weigh
    /// nothing.
    Eight,
}

/// The smallest tensor whose moments are kept in 8 bits.
const SMALLEST: usize = 4096;

impl Bits {
    /// How a tensor of so many numbers is kept.
    fn of(self, numbers: usize) -> Bits {
        if numbers < SMALLEST { Bits::Full } else { self }
    }

    /// Words of 4 bytes that one moment of a tensor takes.
    pub fn words(self, numbers: usize) -> usize {
        match self.of(numbers) {
            Bits::Full => numbers,
            Bits::Eight => launch::words(numbers),
        }
    }
}

/// One moment of one tensor, zero at first.
#[derive(Debug)]
pub struct Moment {
    place: Place,
    numbers: usize,
    bits: Bits,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<f32>),
    File(MmapMut),
}

/// A moment to be moved.
pub enum Moved<'a> {
    Floats(&'a mut [f32]),
    Blocks(Blocks<'a>),
}

impl Moment {
    /// The words as they are saved: numbers, or scales and then four codes a word.
    pub fn words_mut(&mut self) -> &mut [f32] {
        match &mut self.place {
            Place::Memory(words) => words,
            Place::File(bytes) => {
                // SAFETY: every four bytes are an f32.
                let (before, words, after) = unsafe { bytes.align_to_mut::<f32>() };
                assert!(before.is_empty() && after.is_empty(), "a part of whole words");
                words
            }
        }
    }

    /// How wide it is kept.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// Whether it lies in a file.
    pub fn is_paged(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// The same to be moved.
    pub fn moved(&mut self) -> Moved<'_> {
        let numbers = self.numbers;
        match self.bits {
            Bits::Full => Moved::Floats(self.words_mut()),
            Bits::Eight => {
                let (scales, codes) = self.words_mut().split_at_mut(numbers.div_ceil(BLOCK));
                // SAFETY: a word is four bytes, each of which is a code.
                let (_, codes, _) = unsafe { codes.align_to_mut::<u8>() };
                Moved::Blocks(Blocks { codes: &mut codes[..numbers], scales })
            }
        }
    }
}

/// Where moments beyond a budget are kept.
#[derive(Clone, Copy, Debug)]
pub struct Paging<'a> {
    /// Bytes of moments that stay in memory.
    pub budget: u64,
    /// The file there has no name, so nothing of it is left behind.
    pub folder: &'a Path,
}

/// The bytes of both moments of each tensor, given how many numbers it has, and whether they are in
/// memory: as many are as the budget holds, in their order.
pub fn places(sizes: &[usize], bits: Bits, budget: u64) -> Vec<(u64, bool)> {
    let mut taken = 0;
    let place = |size: &usize| {
        let bytes = 4 * bits.words(*size) as u64;
        let in_memory = taken + bytes <= budget;
        taken += if in_memory { bytes } else { 0 };
        (bytes, in_memory)
    };
    sizes.iter().chain(sizes).map(place).collect()
}

/// Both moments of each tensor, given how many numbers it has.
pub fn moments(
    sizes: &[usize],
    bits: Bits,
    paging: Option<Paging<'_>>,
) -> Result<[Vec<Moment>; 2], Failure> {
    let places = places(sizes, bits, paging.map_or(u64::MAX, |paging| paging.budget));
    let paged = places.iter().filter(|(_, in_memory)| !in_memory).map(|(bytes, _)| bytes).sum();
    let file = match paging {
        Some(paging) if paged > 0 => Some((room(paging.folder, paged)?, paging.folder)),
        _ => None,
    };
    let mut offset = 0;
    let made = sizes.iter().chain(sizes).zip(places).map(|(size, (bytes, in_memory))| {
        let place = match &file {
            Some((file, folder)) if !in_memory => {
                let from = offset;
                offset += bytes;
                let len = bytes as usize;
                // SAFETY: the file has no name, so nobody else changes or cuts it.
                let map = unsafe { MmapOptions::new().offset(from).len(len).map_mut(file) };
                Place::File(map.map_err(Failure::io(*folder))?)
            }
            _ => Place::Memory(vec![0.0; bits.words(*size)]),
        };
        Ok(Moment { place, numbers: *size, bits: bits.of(*size) })
    });
    let mut first = made.collect::<Result<Vec<Moment>, Failure>>()?;
    let second = first.split_off(sizes.len());
    Ok([first, second])
}

/// A file without a name whose bytes are on the disk already: writing into a map cannot fail.
fn room(folder: &Path, bytes: u64) -> Result<File, Failure> {
    std::fs::create_dir_all(folder).map_err(Failure::io(folder))?;
    let file = tempfile::tempfile_in(folder).map_err(Failure::io(folder))?;
    let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
    reserved.map_err(|error| Failure::io(folder)(error.into()))?;
    Ok(file)
}
