//! Tokens on disk: written as they are made, mapped when they are read. Whatever is not whole, or
//! was made from something else, is not taken. Knows a file of numbers; does not know what they
//! spell or how rows are cut from them.
//!
//! ```text
//! magic     16 bytes, with the version of this layout
//! name      what the tokens were made from, 32 bytes
//! form      2 numbers of 4 bytes: the bytes of a unit, and 1 where its top bit is a mark
//! units     a token each; a marked one is learned
//! ends      for texts that are kept apart: where each ends, in units, 8 bytes
//! counts    2 numbers of 8 bytes: units, ends
//! checksum  blake3 of all before it, 32 bytes
//! ```
//!
//! All little-endian. It is written beside its place and renamed, but not synced: a shard that lost
//! its end to a power cut is found out by its checksum, and made again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::train::progress::Failure;

const MAGIC: &[u8; 16] = b"llamake shard 1\n";
const HEADER: usize = MAGIC.len() + 32 + 8;
const TRAILER: usize = 16 + 32;

/// What tokens were made from: a digest of all of it.
pub type Name = blake3::Hash;

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    bytes: usize,
    marked: bool,
}

impl Form {
    /// The smallest for so many entries, with or without a mark beside each token.
    pub fn new(vocab: usize, marked: bool) -> Form {
        let fits = |bits: u32| vocab <= 1 << (bits - u32::from(marked));
        assert!(fits(32), "a vocabulary of {vocab}");
        Form { bytes: if fits(16) { 2 } else { 4 }, marked }
    }

    fn mark(self) -> u32 {
        if self.marked { 1 << (8 * self.bytes - 1) } else { 0 }
    }

    /// Adds tokens in this form; `learned` is empty where nothing is marked.
    pub fn put(self, tokens: &[u32], learned: &[bool], into: &mut Vec<u8>) {
        assert_eq!(learned.len(), if self.marked { tokens.len() } else { 0 }, "a mark each");
        let mut units = tokens.to_vec();
        let marks = units.iter_mut().zip(learned).filter(|(_, learned)| **learned);
        marks.for_each(|(unit, _)| *unit |= self.mark());
        match self.bytes {
            2 => into.extend(units.iter().flat_map(|&unit| (unit as u16).to_le_bytes())),
            _ => into.extend(units.iter().flat_map(|unit| unit.to_le_bytes())),
        }
    }

    fn header(self, name: &Name) -> Vec<u8> {
        let mut header = [&MAGIC[..], name.as_bytes()].concat();
        header.extend((self.bytes as u32).to_le_bytes());
        header.extend(u32::from(self.marked).to_le_bytes());
        header
    }
}

/// Tokens that can be read.
#[derive(Debug)]
pub struct Shard {
    map: Mmap,
    form: Form,
    units: usize,
    ends: usize,
}

/// What was found where a shard may lie.
#[derive(Debug)]
pub enum Found {
    Nothing,
    Shard(Shard),
    /// A sentence that says why it is of no use.
    Unusable(String),
}

impl Shard {
    /// Reads back what was written under this name and in this form, and verifies all of it.
    pub fn open(path: &Path, name: &Name, form: Form) -> Result<Found, Failure> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(Failure::io(path)(error)),
        };
        let map = map(&file).map_err(Failure::io(path))?;
        Ok(match verify(&map, name, form) {
            Ok([units, ends]) => Found::Shard(Shard { map, form, units, ends }),
            Err(fact) => Found::Unusable(format!("`{}`: {fact}", path.display())),
        })
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.units
    }

    /// How many texts are kept apart.
    pub fn texts(&self) -> usize {
        self.ends
    }

    /// Where a text lies.
    pub fn text(&self, at: usize) -> Range<usize> {
        let ends = HEADER + self.units * self.form.bytes;
        let end = |at: usize| number(&self.map, ends + 8 * at) as usize;
        (if at == 0 { 0 } else { end(at - 1) })..end(at)
    }

    /// The tokens of a range.
    pub fn read(&self, range: Range<usize>) -> Vec<u32> {
        self.units(range).map(|unit| unit & !self.form.mark()).collect()
    }

    /// Which tokens of a range are learned.
    pub fn learned(&self, range: Range<usize>) -> Vec<bool> {
        self.units(range).map(|unit| unit & self.form.mark() != 0).collect()
    }

    fn units(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        let bytes = self.form.bytes;
        let place = HEADER + range.start * bytes..HEADER + range.end * bytes;
        self.map[place].chunks(bytes).map(|unit| match *unit {
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("a unit has 2 or 4 bytes"),
        })
    }
}

fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the file belongs to one attempt, or has no name; nobody writes to it once it is
    // whole, and what it holds is bounded by what was verified.
    unsafe { Mmap::map(file) }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// How many units and ends there are in a file that is what it should be.
fn verify(bytes: &[u8], name: &Name, form: Form) -> Result<[usize; 2], String> {
    let cut_off = "it is cut off, or of another layout";
    if bytes.len() < HEADER + TRAILER {
        return Err(cut_off.into());
    }
    if bytes[..HEADER] != form.header(name) {
        return Err("it was made from something else".into());
    }
    let trailer = bytes.len() - TRAILER;
    let counts = [trailer, trailer + 8].map(|at| usize::try_from(number(bytes, at)).ok());
    let [Some(units), Some(ends)] = counts else { return Err(cut_off.into()) };
    let sizes = [units.checked_mul(form.bytes), ends.checked_mul(8), Some(HEADER)];
    let size = sizes.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?));
    if size != Some(trailer) {
        return Err(cut_off.into());
    }
    let (content, checksum) = bytes.split_at(bytes.len() - 32);
    if blake3::hash(content).as_bytes() != checksum {
        return Err("its checksum does not fit its content".into());
    }
    let mut before = 0;
    for at in 0..ends {
        let end = number(bytes, HEADER + units * form.bytes + 8 * at);
        if end <= before || end > units as u64 {
            return Err("its texts do not follow one another".into());
        }
        before = end;
    }
    Ok([units, ends])
}

/// A shard on its way.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// As messages name it.
    path: PathBuf,
    /// Where it goes when it is whole; without a place it has no name and goes with its process.
    place: Option<PathBuf>,
    form: Form,
    hasher: blake3::Hasher,
    units: u64,
    /// Of texts that are kept apart.
    lengths: Vec<u32>,
}

impl Writer {
    /// Begins a shard that will lie at `place`, or in the system's temporary folder.
    pub fn create(place: Option<PathBuf>, name: &Name, form: Form) -> Result<Writer, Failure> {
        let path = match &place {
            Some(place) => place.with_extension("new"),
            None => tempfile::env::temp_dir(),
        };
        let made = match &place {
            Some(_) => path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
                File::options().read(true).write(true).create(true).truncate(true).open(&path)
            }),
            None => tempfile::tempfile(),
        };
        let file = made.map_err(Failure::io(&path))?;
        let (hasher, lengths) = (blake3::Hasher::new(), Vec::new());
        let mut writer = Writer { file, path, place, form, hasher, units: 0, lengths };
        writer.put(&form.header(name))?;
        Ok(writer)
    }

    /// Adds tokens that [`Form::put`] wrote, and the lengths of the texts in them that are kept
    /// apart.
    pub fn write(&mut self, units: &[u8], lengths: &[u32]) -> Result<(), Failure> {
        self.units += (units.len() / self.form.bytes) as u64;
        self.lengths.extend(lengths);
        self.put(units)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(Failure::io(&self.path))
    }

    /// Puts the shard in its place.
    pub fn finish(mut self) -> Result<Shard, Failure> {
        let lengths = std::mem::take(&mut self.lengths);
        let mut end = 0u64;
        for part in lengths.chunks(1 << 13) {
            let ends = part.iter().flat_map(|&length| {
                end += u64::from(length);
                end.to_le_bytes()
            });
            self.put(&ends.collect::<Vec<u8>>())?;
        }
        self.put(&[self.units, lengths.len() as u64].map(u64::to_le_bytes).concat())?;
        let checksum = self.hasher.finalize();
        self.put(checksum.as_bytes())?;
        let map = map(&self.file).map_err(Failure::io(&self.path))?;
        if let Some(place) = &self.place {
            fs::rename(&self.path, place).map_err(Failure::io(place))?;
        }
        self.place = None;
        Ok(Shard { map, form: self.form, units: self.units as usize, ends: lengths.len() })
    }
}

impl Drop for Writer {
    /// A part of a shard is of no use to anybody.
    fn drop(&mut self) {
        if self.place.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        blake3::hash(b"two texts")
    }

    /// The texts 5 6 7 and 8 9, of which 7 and 9 are learned.
    fn write(place: &Path, vocab: usize) -> Shard {
        let form = Form::new(vocab, true);
        let mut writer = Writer::create(Some(place.into()), &name(), form).unwrap();
        for (tokens, learned) in
            [(&[5, 6, 7][..], &[false, false, true][..]), (&[8, 9], &[false, true])]
        {
            let mut units = Vec::new();
            form.put(tokens, learned, &mut units);
            writer.write(&units, &[tokens.len() as u32]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn assert_whole(shard: &Shard) {
        assert_eq!((shard.tokens(), shard.texts()), (5, 2));
        assert_eq!([shard.text(0), shard.text(1)], [0..3, 3..5]);
        assert_eq!(shard.read(1..4), [6, 7, 8]);
        assert_eq!(shard.learned(1..5), [false, true, false, true]);
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for vocab in [10, 1 << 15, (1 << 15) + 1, 1 << 31] {
            let place = folder.path().join("attempt/shard");
            assert_whole(&write(&place, vocab));
            let found = Shard::open(&place, &name(), Form::new(vocab, true)).unwrap();
            let Found::Shard(shard) = found else { panic!("{found:?}") };
            assert_whole(&shard);
        }
        let files = fs::read_dir(folder.path().join("attempt")).unwrap();
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn the_smallest_form_is_chosen() {
        let bytes = |vocab, marked| Form::new(vocab, marked).bytes;
        assert_eq!([bytes(65_536, false), bytes(65_537, false)], [2, 4]);
        assert_eq!([bytes(32_768, true), bytes(32_769, true)], [2, 4]);
        let mut units = Vec::new();
        Form::new(65_536, false).put(&[65_535, 1], &[], &mut units);
        assert_eq!(units, [255, 255, 1, 0]);
    }

    #[test]
    fn what_is_not_whole_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("shard");
        let form = Form::new(10, true);
        let unusable = |bytes: &[u8], name: &Name, form| {
            fs::write(&place, bytes).unwrap();
            match Shard::open(&place, name, form).unwrap() {
                Found::Unusable(why) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(Shard::open(&place, &name(), form).unwrap(), Found::Nothing));
        drop(write(&place, 10));
        let whole = fs::read(&place).unwrap();
        for length in 0..whole.len() {
            let why = unusable(&whole[..length], &name(), form);
            assert!(why.contains("it is cut off"), "{length}: {why}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            unusable(&bytes, &name(), form);
        }
        let other = unusable(&whole, &blake3::hash(b"other texts"), form);
        assert!(other.ends_with("it was made from something else"), "{other}");
        unusable(&whole, &name(), Form::new(1 << 20, true));
        unusable(&whole, &name(), Form::new(10, false));
        // Counts that overflow, and ends beyond the units, under a checksum that fits.
        let sealed = |mut bytes: Vec<u8>| {
            let content = bytes.len() - 32;
            let checksum = blake3::hash(&bytes[..content]);
            bytes[content..].copy_from_slice(checksum.as_bytes());
            bytes
        };
        let trailer = whole.len() - TRAILER;
        for (at, value) in [(trailer, u64::MAX), (trailer + 8, u64::MAX / 8), (trailer - 8, 99)] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            unusable(&sealed(bytes), &name(), form);
        }
    }

    #[test]
    fn without_a_place_nothing_is_left() {
        let form = Form::new(10, false);
        let mut writer = Writer::create(None, &name(), form).unwrap();
        writer.write(&[1, 0, 2, 0], &[]).unwrap();
        let shard = writer.finish().unwrap();
        assert_eq!((shard.read(0..2), shard.texts()), (vec![1, 2], 0));
    }
}
