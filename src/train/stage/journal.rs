//! Unfinished work on disk, entry by entry: each is added when it is done, so that work killed at
//! any moment goes on with those that are missing. Knows a file of numbers; does not know what they
//! stand for.
//!
//! ```text
//! magic      16 bytes, with the version of this layout
//! name       a digest of all that decides on the entries, 32 bytes
//! entries    each: how many words follow, u32; the words, u32; and 8 bytes of blake3, with the
//!            name as key, over them all
//! ```
//!
//! All little-endian. A kill tears at most the end, which is cut off when the file is next opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::train::progress::Progress;

const MAGIC: &[u8; 16] = b"llamake journal1";
const HEADER: u64 = 48;
const CHECKSUM: usize = 8;

/// A file to which entries are added.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    name: [u8; 32],
    holds: Holds,
    /// None where it cannot be written to.
    file: Option<File>,
    /// How much of the file is whole.
    length: u64,
    /// Whether the last writing failed, which is told once.
    fails: bool,
}

/// What a journal holds, in words for people.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    /// `answers`
    pub what: &'static str,
    /// What one of another name is of: `texts`.
    pub of: &'static str,
}

impl Journal {
    /// Opens the file, or begins it; with it come the entries that it holds, in order.
    pub fn open(
        path: &Path,
        name: [u8; 32],
        holds: Holds,
        progress: &mut dyn Progress,
    ) -> (Journal, Vec<Vec<u32>>) {
        let path = path.to_path_buf();
        let mut journal = Journal { path, name, holds, file: None, length: HEADER, fails: false };
        let entries = journal.restore(progress).unwrap_or_else(|why| {
            journal.complain(&why, progress);
            Vec::new()
        });
        (journal, entries)
    }

    /// Adds an entry. Where that is not possible work goes on: what was added before is still
    /// whole, and the next one may be possible.
    pub fn add(&mut self, words: &[u32], progress: &mut dyn Progress) {
        let Some(file) = &mut self.file else { return };
        let record = record(&self.name, words);
        let added = file.seek(SeekFrom::Start(self.length)).and_then(|_| file.write_all(&record));
        match added {
            Ok(()) => (self.length, self.fails) = (self.length + record.len() as u64, false),
            Err(why) => self.complain(&why, progress),
        }
    }

    fn complain(&mut self, why: &io::Error, progress: &mut dyn Progress) {
        if !self.fails {
            let (what, path) = (self.holds.what, self.path.display());
            progress.notice(&format!(
                "work goes on, but {what} cannot be kept for a later run: `{path}`: {why}"
            ));
        }
        self.fails = true;
    }

    fn restore(&mut self, progress: &mut dyn Progress) -> io::Result<Vec<Vec<u32>>> {
        fs::create_dir_all(self.path.parent().expect("it lies in a folder"))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&self.path)?;
        let size = file.metadata()?.len();
        let mut entries = Vec::new();
        if let Some(why) = self.foreign(&mut file, size)? {
            let (what, path) = (self.holds.what, self.path.display());
            progress.notice(&format!("{what} kept earlier are not used: `{path}`: {why}"));
        } else if size > 0 {
            self.length = read(&mut file, &self.name, &mut entries)?;
        }
        if self.length == HEADER {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&[MAGIC.as_slice(), &self.name].concat())?;
        }
        file.set_len(self.length)?;
        self.file = Some(file);
        Ok(entries)
    }

    /// Why the file is of no use; an empty one is new, and one torn in its header holds nothing.
    fn foreign(&self, file: &mut File, size: u64) -> io::Result<Option<String>> {
        let mut header = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(HEADER).read_to_end(&mut header)?;
        let whole = [MAGIC.as_slice(), &self.name].concat();
        Ok(match () {
            () if size == 0 || whole.starts_with(&header) => None,
            () if !header.starts_with(MAGIC) => Some("it has another layout".into()),
            () => Some(format!("it is of other {}", self.holds.of)),
        })
    }
}

fn record(name: &[u8; 32], words: &[u32]) -> Vec<u8> {
    let mut bytes = (words.len() as u32).to_le_bytes().to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let checksum = blake3::keyed_hash(name, &bytes);
    bytes.extend(&checksum.as_bytes()[..CHECKSUM]);
    bytes
}

/// Takes in all whole entries; says where the last of them ends. What a torn length asks for is
/// bounded by the file, which is read to its end at most.
fn read(file: &mut File, name: &[u8; 32], entries: &mut Vec<Vec<u32>>) -> io::Result<u64> {
    let mut length = HEADER;
    file.seek(SeekFrom::Start(HEADER))?;
    let mut file = BufReader::new(file);
    loop {
        let mut bytes = Vec::new();
        file.by_ref().take(4).read_to_end(&mut bytes)?;
        let Ok(count) = <[u8; 4]>::try_from(bytes.as_slice()) else { return Ok(length) };
        let words = u64::from(u32::from_le_bytes(count));
        file.by_ref().take(4 * words + CHECKSUM as u64).read_to_end(&mut bytes)?;
        let Some(entry) = parsed(name, &bytes) else { return Ok(length) };
        entries.push(entry);
        length += bytes.len() as u64;
    }
}

/// The words of a record, if it is whole.
fn parsed(name: &[u8; 32], record: &[u8]) -> Option<Vec<u32>> {
    let (payload, checksum) = record.split_at_checked(record.len().checked_sub(CHECKSUM)?)?;
    if blake3::keyed_hash(name, payload).as_bytes()[..CHECKSUM] != *checksum {
        return None;
    }
    let words = payload.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    Some(words.skip(1).collect())
}
