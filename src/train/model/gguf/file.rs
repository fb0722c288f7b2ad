//! A GGUF file, mapped: its facts, and where each tensor lies. Nothing is allocated by the word of
//! a header, and a tensor is only handed out where its bytes are. Does not know which facts and
//! tensors a model needs.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::facts::{Cursor, Facts, Value};
use crate::train::model::encoding::Encoding;
use crate::train::progress::Failure;

/// The first bytes of every file.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is written.
pub const VERSION: u32 = 3;
/// Where the file does not say.
pub const ALIGNMENT: usize = 32;
const LARGEST_ALIGNMENT: u64 = 1 << 16;
const MOST_DIMENSIONS: u32 = 4;

/// An open file, before anything of it is believed.
#[derive(Debug)]
pub struct Mapped {
    name: String,
    map: Arc<Mmap>,
}

/// What a file holds.
#[derive(Debug)]
pub struct Gguf<'a> {
    /// As messages name it.
    pub name: &'a str,
    pub facts: Facts<'a>,
    pub tensors: BTreeMap<&'a str, Tensor<'a>>,
}

/// A tensor in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// The slowest dimension first; the file lists the fastest first.
    pub shape: Vec<usize>,
    pub encoding: Encoding,
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Its numbers, widened to f32.
    pub fn numbers(&self) -> Vec<f32> {
        let mut numbers = Vec::with_capacity(self.shape.iter().product());
        self.encoding.decode(self.bytes, &mut numbers);
        numbers
    }
}

impl Mapped {
    /// Maps a file.
    pub fn open(path: &Path) -> Result<Mapped, Failure> {
        let file = File::open(path).map_err(Failure::io(path))?;
        // SAFETY: the file is read as bytes, whatever they are. A file that is cut while it is
        // mapped ends the program; a store never changes what it holds.
        let map = unsafe { Mmap::map(&file) }.map_err(Failure::io(path))?;
        Ok(Mapped { name: path.display().to_string(), map: Arc::new(map) })
    }

    /// Reads and checks all but the numbers.
    pub fn parse(&self) -> Result<Gguf<'_>, Failure> {
        let (facts, tensors) = parse(&self.map).map_err(|fact| {
            Failure::input(format!("`{}` is no whole GGUF file: {fact}", self.name))
        })?;
        Ok(Gguf { name: &self.name, facts, tensors })
    }

    /// The map, and where in it the bytes of a tensor of this file lie.
    pub fn place_of(&self, tensor: &Tensor<'_>) -> (&Arc<Mmap>, Range<usize>) {
        let start = tensor.bytes.as_ptr().addr() - self.map.as_ptr().addr();
        (&self.map, start..start + tensor.bytes.len())
    }
}

impl<'a> Gguf<'a> {
    /// A failure that names the file.
    pub fn fault(&self, fact: impl std::fmt::Display) -> Failure {
        Failure::input(format!("`{}`: {fact}", self.name))
    }

    /// A fact in the form that `read` reads.
    pub fn fact<T>(
        &self,
        key: &str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.facts.get(key) else { return Ok(None) };
        match read(*value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.fault(format!("`{key}` is of the wrong type"))),
        }
    }

    /// The same where the file must state it.
    pub fn needed<T>(
        &self,
        key: &str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<T, Failure> {
        self.fact(key, read)?.ok_or_else(|| self.fault(format!("it does not state `{key}`")))
    }
}

type Parsed<'a> = (Facts<'a>, BTreeMap<&'a str, Tensor<'a>>);

fn parse(bytes: &[u8]) -> Result<Parsed<'_>, String> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u32()?.to_le_bytes() != MAGIC {
        return Err("it does not begin with `GGUF`".into());
    }
    match cursor.u32()? {
        2 | VERSION => {}
        version if matches!(version.swap_bytes(), 2 | VERSION) => {
            return Err("it is big-endian, which is not supported".into());
        }
        version => return Err(format!("it is of version {version}; 2 and 3 are supported")),
    }
    // A name, a number of dimensions, one of them, a type and an offset; a key, a type, a byte.
    let tensors = cursor.count(8 + 4 + 8 + 4 + 8, "tensors")?;
    let facts = read_facts(&mut cursor)?;
    let places = (0..tensors).map(|_| Place::read(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
    let alignment = alignment(&facts)?;
    let start = cursor.at().next_multiple_of(alignment);
    let data = bytes.get(start..).unwrap_or_default();
    check_order(&places, alignment, data.len())?;
    let mut tensors = BTreeMap::new();
    for place in places {
        let name = place.name;
        if tensors.insert(name, place.tensor(data)).is_some() {
            return Err(format!("tensor `{name}` is there twice"));
        }
    }
    Ok((facts, tensors))
}

fn read_facts<'a>(cursor: &mut Cursor<'a>) -> Result<Facts<'a>, String> {
    let count = cursor.count(8 + 4 + 1, "facts")?;
    let mut facts = Facts::new();
    for _ in 0..count {
        let key = cursor.text()?;
        let value = cursor.value().map_err(|fault| format!("`{key}`: {fault}"))?;
        if facts.insert(key, value).is_some() {
            return Err(format!("`{key}` is stated twice"));
        }
    }
    Ok(facts)
}

fn alignment(facts: &Facts<'_>) -> Result<usize, String> {
    let Some(value) = facts.get("general.alignment") else { return Ok(ALIGNMENT) };
    match value.as_count() {
        Some(bytes) if bytes.is_power_of_two() && (8..=LARGEST_ALIGNMENT).contains(&bytes) => {
            Ok(bytes as usize)
        }
        _ => Err(format!("`general.alignment` is no power of two in 8..={LARGEST_ALIGNMENT}")),
    }
}

/// What the file says about a tensor.
struct Place<'a> {
    name: &'a str,
    shape: Vec<usize>,
    encoding: Encoding,
    /// From the beginning of the numbers.
    offset: usize,
    bytes: usize,
}

impl<'a> Place<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Place<'a>, String> {
        let name = cursor.text()?;
        let fault = |fact: String| format!("tensor `{name}` {fact}");
        let dimensions = cursor.u32()?;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(fault(format!("has {dimensions} dimensions, outside 1..=4")));
        }
        let sizes = (0..dimensions).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
        let encoding = encoding_of(cursor.u32()?).map_err(fault)?;
        let offset = cursor.u64()?;
        let row = sizes[0];
        if row == 0 || !row.is_multiple_of(encoding.group() as u64) {
            let (name, group) = (encoding.name(), encoding.group());
            return Err(fault(format!("has rows of {row}; {name} needs a multiple of {group}")));
        }
        let bytes = sizes[1..]
            .iter()
            .try_fold(row / encoding.group() as u64, |groups, size| groups.checked_mul(*size))
            .and_then(|groups| groups.checked_mul(encoding.group_bytes() as u64))
            .filter(|bytes| *bytes > 0 && bytes.checked_add(offset).is_some());
        let bytes = bytes.ok_or_else(|| fault(format!("has the impossible sizes {sizes:?}")))?;
        // Sizes whose bytes can be counted fit, and the places are held against the file's length.
        let shape = sizes.iter().rev().map(|size| *size as usize).collect();
        Ok(Place { name, shape, encoding, offset: offset as usize, bytes: bytes as usize })
    }

    fn end(&self) -> usize {
        self.offset + self.bytes
    }

    fn tensor(self, data: &'a [u8]) -> Tensor<'a> {
        let bytes = &data[self.offset..self.end()];
        Tensor { shape: self.shape, encoding: self.encoding, bytes }
    }
}

/// Every tensor lies inside the file, at a multiple of the alignment, and none in another.
fn check_order(places: &[Place<'_>], alignment: usize, length: usize) -> Result<(), String> {
    let mut in_order: Vec<&Place<'_>> = places.iter().collect();
    in_order.sort_by_key(|place| (place.offset, place.name));
    for place in &in_order {
        let (name, offset, end) = (place.name, place.offset, place.end());
        if !offset.is_multiple_of(alignment) {
            return Err(format!("tensor `{name}` begins at {offset}, no multiple of {alignment}"));
        }
        if end > length {
            return Err(format!(
                "tensor `{name}` ends at byte {end} of the numbers and {length} are there"
            ));
        }
    }
    for pair in in_order.windows(2) {
        if pair[1].offset < pair[0].end() {
            let (a, b) = (pair[0].name, pair[1].name);
            return Err(format!("tensors `{a}` and `{b}` lie in the same place"));
        }
    }
    let end = in_order.last().map_or(0, |place| place.end().next_multiple_of(alignment));
    match length.saturating_sub(end) {
        0 => Ok(()),
        more => Err(format!("{more} bytes follow the last tensor")),
    }
}

/// ggml's numbers for the types that can be read.
const ENCODINGS: [(u32, Encoding); 6] = [
    (0, Encoding::F32),
    (1, Encoding::F16),
    (2, Encoding::Q4_0),
    (8, Encoding::Q8_0),
    (12, Encoding::Q4_K),
    (30, Encoding::Bf16),
];

/// Those that cannot, so that a message can name them.
const OTHERS: [(u32, &str); 28] = [
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

fn encoding_of(kind: u32) -> Result<Encoding, String> {
    if let Some((_, encoding)) = ENCODINGS.iter().find(|(number, _)| *number == kind) {
        return Ok(*encoding);
    }
    let name = OTHERS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name);
    let name = name.map_or_else(|| format!("number {kind}"), str::to_string);
    Err(format!("is of type {name}; F32, F16, BF16, Q8_0, Q4_0 and Q4_K can be read"))
}

/// ggml's number for an encoding.
pub fn number_of(encoding: Encoding) -> u32 {
    let found = ENCODINGS.iter().find(|(_, known)| *known == encoding);
    found.expect("every encoding has a number").0
}
