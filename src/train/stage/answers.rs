//! Unfinished sampling on disk: each answer is added when it is finished, so that a stage killed at
//! any moment goes on with those that are missing. Which they are changes no bit of the rest. Knows
//! a file; does not know what answers are for.
//!
//! ```text
//! magic      16 bytes, with the version of this layout
//! name       blake3 of the prompts and of how they are answered, 32 bytes
//! answers    each: how many words follow, u32; the words: its number, 1 where it ended or else 0,
//!            its tokens, u32, and its log-probabilities, f32; and 8 bytes of blake3, with the
//!            name as key, over them all
//! ```
//!
//! All little-endian. A kill tears at most the end, which is cut off when the file is next opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::train::model::sample::{GenerateOptions, Generated};
use crate::train::progress::Progress;

const MAGIC: &[u8; 16] = b"llamake answers1";
const HEADER: u64 = 48;
const CHECKSUM: usize = 8;

/// A file to which answers are added.
#[derive(Debug)]
pub struct Answers {
    path: PathBuf,
    name: [u8; 32],
    /// None where it cannot be written to.
    file: Option<File>,
    /// How much of the file is whole.
    length: u64,
    /// Whether the last writing failed, which is told once.
    fails: bool,
}

impl Answers {
    /// Opens the file, or begins it; with it come the answers that it holds, by their number.
    pub fn open(
        path: &Path,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        progress: &mut dyn Progress,
    ) -> (Answers, Vec<Option<Generated>>) {
        let mut made = vec![None; prompts.len() * options.samples];
        let name = name(prompts, options);
        let path = path.to_path_buf();
        let mut answers = Answers { path, name, file: None, length: HEADER, fails: false };
        if let Err(why) = answers.restore(options.max_answer, &mut made, progress) {
            answers.complain(&why, progress);
        }
        (answers, made)
    }

    /// Adds an answer. Where that is not possible sampling goes on: what was added before is still
    /// whole, and the next one may be possible.
    pub fn add(&mut self, request: usize, made: &Generated, progress: &mut dyn Progress) {
        let Some(file) = &mut self.file else { return };
        let record = record(&self.name, request, made);
        let added = file.seek(SeekFrom::Start(self.length)).and_then(|_| file.write_all(&record));
        match added {
            Ok(()) => (self.length, self.fails) = (self.length + record.len() as u64, false),
            Err(why) => self.complain(&why, progress),
        }
    }

    fn complain(&mut self, why: &io::Error, progress: &mut dyn Progress) {
        if !self.fails {
            let path = self.path.display();
            progress.notice(&format!(
                "sampling goes on, but answers cannot be kept for a later run: `{path}`: {why}"
            ));
        }
        self.fails = true;
    }

    fn restore(
        &mut self,
        max_answer: usize,
        made: &mut [Option<Generated>],
        progress: &mut dyn Progress,
    ) -> io::Result<()> {
        fs::create_dir_all(self.path.parent().expect("it lies in a folder"))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&self.path)?;
        let size = file.metadata()?.len();
        if let Some(why) = self.foreign(&mut file, size)? {
            let path = self.path.display();
            progress.notice(&format!("answers kept earlier are not used: `{path}`: {why}"));
        } else if size > 0 {
            self.length = read(&mut file, &self.name, max_answer, made)?;
        }
        if self.length == HEADER {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&[MAGIC.as_slice(), &self.name].concat())?;
        }
        file.set_len(self.length)?;
        self.file = Some(file);
        let (done, all) = (made.iter().flatten().count(), made.len());
        if done > 0 {
            progress.notice(&format!("goes on after {done} of {all} answers"));
        }
        Ok(())
    }

    /// Why the file is of no use; an empty one is new, and one torn in its header holds nothing.
    fn foreign(&self, file: &mut File, size: u64) -> io::Result<Option<&'static str>> {
        let mut header = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.take(HEADER).read_to_end(&mut header)?;
        let whole = [MAGIC.as_slice(), &self.name].concat();
        Ok(match () {
            () if size == 0 || whole.starts_with(&header) => None,
            () if !header.starts_with(MAGIC) => Some("it has another layout"),
            () => Some("it is of other prompts, or of other ways to answer them"),
        })
    }
}

/// A digest of all that decides on answers but the model, which belongs to the attempt.
fn name(prompts: &[Vec<u32>], options: &GenerateOptions) -> [u8; 32] {
    let GenerateOptions { samples, max_answer, sampling, seed, eos } = options;
    let mut hasher = blake3::Hasher::new();
    let top_k = sampling.top_k.map_or(0, |top_k| top_k as u64);
    for number in [*samples as u64, *max_answer as u64, *seed, u64::from(*eos), top_k] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [sampling.temperature, sampling.top_p] {
        hasher.update(&number.to_le_bytes());
    }
    for prompt in prompts {
        hasher.update(&(prompt.len() as u64).to_le_bytes());
        prompt.iter().for_each(|id| _ = hasher.update(&id.to_le_bytes()));
    }
    *hasher.finalize().as_bytes()
}

fn record(name: &[u8; 32], request: usize, made: &Generated) -> Vec<u8> {
    let log_probs = made.log_probs.iter().map(|x| x.to_bits());
    let words: Vec<u32> = [request as u32, u32::from(made.ended)]
        .into_iter()
        .chain(made.tokens.iter().copied())
        .chain(log_probs)
        .collect();
    let mut bytes = (words.len() as u32).to_le_bytes().to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let checksum = blake3::keyed_hash(name, &bytes);
    bytes.extend(&checksum.as_bytes()[..CHECKSUM]);
    bytes
}

/// Takes in all whole answers; says where the last of them ends.
fn read(
    file: &mut File,
    name: &[u8; 32],
    max_answer: usize,
    made: &mut [Option<Generated>],
) -> io::Result<u64> {
    let mut length = HEADER;
    file.seek(SeekFrom::Start(HEADER))?;
    let mut file = BufReader::new(file);
    loop {
        let mut bytes = Vec::new();
        file.by_ref().take(4).read_to_end(&mut bytes)?;
        let Ok(count) = <[u8; 4]>::try_from(bytes.as_slice()) else { return Ok(length) };
        let words = u32::from_le_bytes(count) as usize;
        // Number, end, and a token and a log-probability for each position.
        if words > 2 + 2 * max_answer {
            return Ok(length);
        }
        file.by_ref().take((4 * words + CHECKSUM) as u64).read_to_end(&mut bytes)?;
        let Some((request, answer)) = parsed(name, words, &bytes) else { return Ok(length) };
        let Some(place) = made.get_mut(request) else { return Ok(length) };
        *place = Some(answer);
        length += bytes.len() as u64;
    }
}

/// The answer that these bytes hold, if they are whole.
fn parsed(name: &[u8; 32], words: usize, bytes: &[u8]) -> Option<(usize, Generated)> {
    let (payload, checksum) = bytes.split_at_checked(4 + 4 * words)?;
    if blake3::keyed_hash(name, payload).as_bytes()[..CHECKSUM] != *checksum {
        return None;
    }
    let words = payload[4..].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let words: Vec<u32> = words.collect();
    let (&[request, ended], rest) = words.split_first_chunk::<2>()?;
    // `ended` is one position more, which has a log-probability and no token.
    let tokens = rest.len().checked_sub(ended as usize)? / 2;
    let (tokens, log_probs) = rest.split_at(tokens);
    let log_probs = log_probs.iter().map(|bits| f32::from_bits(*bits)).collect();
    Some((request as usize, Generated { tokens: tokens.to_vec(), log_probs, ended: ended == 1 }))
}
