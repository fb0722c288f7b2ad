//! A data set read to its end before anything learns from it: what its rows amount to, and what is
//! wrong with those that cannot be used. Knows how to go on after a faulty row; how a row becomes
//! tokens is said by whoever asks.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::pack::Example;
use super::rows::Reader;
use super::tokenizer::Tokenizer;
use crate::train::progress::{Failure, Progress};

/// A row that nothing can be learned from, in the words of the stage that would refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub row: usize,
    pub message: String,
    pub remedy: Option<String>,
}

/// What a stage would make of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    pub rows: usize,
    /// Of the rows that can be used.
    pub amount: Amount,
    /// The first few of each sort.
    pub faults: Vec<Fault>,
    /// All of them, by sort.
    pub counts: BTreeMap<String, usize>,
}

/// Faults of a sort that are told one by one; the rest are counted.
const TOLD: usize = 20;

impl Inspected {
    /// Rows that cannot be used.
    pub fn faulty(&self) -> usize {
        self.counts.values().sum()
    }

    /// Of each sort with more faults than are told: the last one told, and how many follow it.
    pub fn untold(&self) -> Vec<(&Fault, usize)> {
        let beyond = self.counts.iter().filter(|(_, count)| **count > TOLD);
        let last =
            |sort: &String| self.faults.iter().rfind(|fault| sort_of(&fault.message) == *sort);
        beyond.filter_map(|(sort, count)| Some((last(sort)?, count - TOLD))).collect()
    }

    fn add(&mut self, fault: Fault) {
        let count = self.counts.entry(sort_of(&fault.message)).or_default();
        *count += 1;
        if *count <= TOLD {
            self.faults.push(fault);
        }
    }
}

/// Faults are of one sort where they say the same but for numbers and names.
fn sort_of(message: &str) -> String {
    let words = message.split('`').step_by(2);
    words.flat_map(str::chars).filter(|c| !c.is_ascii_digit()).collect()
}

/// Tokens of some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub tokens: u64,
    /// Those that the model learns to write.
    pub learned: u64,
    /// Those that stand for a byte or for what the tokenizer does not know.
    pub spelled: u64,
    /// Tokens of the longest text.
    pub longest: usize,
}

impl Amount {
    /// Two texts together.
    pub fn and(self, other: Amount) -> Amount {
        Amount {
            tokens: self.tokens + other.tokens,
            learned: self.learned + other.learned,
            spelled: self.spelled + other.spelled,
            longest: self.longest.max(other.longest),
        }
    }
}

/// Counts the tokens of texts.
pub struct Counter {
    /// By id: whether it stands for a byte, or for nothing that is known.
    spells: Vec<bool>,
}

impl Counter {
    /// For the tokens of this tokenizer.
    pub fn new(tokenizer: &Tokenizer) -> Counter {
        let unknown = tokenizer.unknown().map(|special| special.id);
        let spells = |id: u32| {
            let byte = |entry: String| {
                entry.len() == 6 && entry.starts_with("<0x") && entry.ends_with('>')
            };
            Some(id) == unknown || tokenizer.entry(id).is_some_and(byte)
        };
        let ids = 0..tokenizer.vocab() as u32;
        Counter { spells: ids.map(spells).collect() }
    }

    /// A text of which all is learned.
    pub fn text(&self, tokens: &[u32]) -> Amount {
        let spells = |id: &&u32| self.spells.get(**id as usize).copied().unwrap_or(false);
        let (count, spelled) = (tokens.len() as u64, tokens.iter().filter(spells).count() as u64);
        Amount { tokens: count, learned: count, spelled, longest: tokens.len() }
    }

    /// A text of which some tokens are learned.
    pub fn example(&self, example: &Example) -> Amount {
        let learned = example.learned.iter().filter(|learned| **learned).count() as u64;
        Amount { learned, ..self.text(&example.tokens) }
    }
}

/// Reads every row and goes on after the faulty ones; `measure` tokenises a row by its number as
/// the stage does.
pub fn inspect<T: DeserializeOwned>(
    path: &Path,
    progress: &dyn Progress,
    mut measure: impl FnMut(usize, T) -> Result<Amount, Failure>,
) -> Result<Inspected, Failure> {
    let mut reader = Reader::<T>::open(path)?;
    let mut found = Inspected::default();
    loop {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let before = reader.bytes();
        let Some(read) = reader.next() else { break };
        if read.is_err() && reader.bytes() == before {
            // The file itself cannot be read on.
            read?;
            break;
        }
        found.rows += 1;
        match read.and_then(|row| measure(found.rows, row)) {
            Ok(amount) => found.amount = found.amount.and(amount),
            Err(Failure::Input { message, remedy }) => {
                found.add(Fault { row: found.rows, message, remedy });
            }
            Err(other) => return Err(other),
        }
    }
    Ok(found)
}
