//! The rows of some tasks held against files of training data, in a stream: memory does not grow
//! with the data, and nothing found depends on the number of threads. Knows files of rows and
//! tokens; does not know which model learnt from them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::index::{Index, Span};
use super::said::{Said, prompt_of};
use crate::train::data::pipeline::in_order;
use crate::train::data::rows::{Chat, Message, Preference, Prompt, Reader, Text};
use crate::train::data::tokenizer::{Encoder, Tokenizer};
use crate::train::progress::{Failure, Progress};

/// Bytes of a file that a thread takes at once.
const BATCH_BYTES: u64 = 1 << 18;

/// Rows of training data that are named for each row of a task: those with most of it.
const NAMED: usize = 3;

/// Data that a model learnt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// How the recipe calls it.
    pub name: String,
    pub path: PathBuf,
}

/// What training data has of one row of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// By token: whether it stands there.
    pub tokens: Vec<bool>,
    /// Whether what is asked stands there as it is.
    pub prompt: bool,
    pub places: Vec<Place>,
}

/// A row of training data, and how many tokens of a task's row stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: usize,
    /// Counted from 1.
    pub row: usize,
    pub tokens: usize,
    pub prompt: bool,
}

/// The rows of tasks, ready to be looked for.
pub struct Wanted<'t> {
    tokenizer: &'t Tokenizer,
    index: Index,
    /// Rows by what they ask.
    prompts: BTreeMap<String, Vec<usize>>,
}

impl<'t> Wanted<'t> {
    /// Rows of any tasks, one after the other; runs count that are longer than so many tokens.
    pub fn new(rows: &[&Said], tokenizer: &'t Tokenizer, longer_than: usize) -> Wanted<'t> {
        let mut encoder = tokenizer.encoder();
        let mut prompts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut texts = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            texts.push(tokens_of(row.texts(), &mut encoder));
            if let Some(prompt) = row.prompt() {
                prompts.entry(prompt).or_default().push(at);
            }
        }
        Wanted { tokenizer, index: Index::new(texts, longer_than), prompts }
    }

    /// What the data has of each row.
    pub fn scan(
        &self,
        sources: &[Source],
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Touched>, Failure> {
        let blank =
            |tokens: &Vec<u32>| Touched { tokens: vec![false; tokens.len()], ..Touched::default() };
        let mut touched = self.index.texts().iter().map(blank).collect::<Vec<_>>();
        let sizes =
            sources.iter().map(|source| size(&source.path)).collect::<Result<Vec<_>, _>>()?;
        let mut read = Read { done: 0, total: sizes.iter().sum(), progress };
        for (at, source) in sources.iter().enumerate() {
            let mut write = |met: Vec<Met>| met.iter().for_each(|met| met.mark(at, &mut touched));
            let scanned = match Rows::of(&source.path) {
                Ok(Rows::Text) => self.file::<Text>(source, threads, &mut read, &mut write),
                Ok(Rows::Chat) => self.file::<Chat>(source, threads, &mut read, &mut write),
                Ok(Rows::Prompt) => self.file::<Prompt>(source, threads, &mut read, &mut write),
                Ok(Rows::Preference) => {
                    self.file::<Preference>(source, threads, &mut read, &mut write)
                }
                Err(failure) => Err(failure),
            };
            scanned.map_err(|failure| failure.of(&format!("data `{}`", source.name)))?;
        }
        Ok(touched)
    }

    fn file<T: DeserializeOwned + Speaks + Send>(
        &self,
        source: &Source,
        threads: usize,
        read: &mut Read<'_>,
        write: &mut dyn FnMut(Vec<Met>),
    ) -> Result<(), Failure> {
        in_order(
            threads,
            |give| batches::<T>(&source.path, give),
            || {
                let mut encoder = self.tokenizer.encoder();
                move |batch: Result<Batch<T>, Failure>| {
                    let Batch { rows, first, bytes } = batch?;
                    let rows = (first..).zip(&rows);
                    let met = rows.flat_map(|(at, row)| self.row(at, row, &mut encoder));
                    Ok((met.collect::<Vec<_>>(), bytes))
                }
            },
            |made: Result<(Vec<Met>, u64), Failure>| {
                let (met, bytes) = made?;
                write(met);
                read.on(bytes)
            },
        )
    }

    /// What one row of training data has of the wanted rows, in their order.
    fn row(&self, row: usize, says: &impl Speaks, encoder: &mut Encoder<'_>) -> Vec<Met> {
        let mut spans = Vec::new();
        says.passages(&mut |texts| {
            self.index.look(&tokens_of(texts.iter().copied(), encoder), &mut spans);
        });
        let mut met: BTreeMap<usize, Met> = BTreeMap::new();
        let blank = || Met { row, ..Met::default() };
        for span in spans {
            met.entry(span.text).or_insert_with(blank).spans.push(span);
        }
        says.prompts(&mut |prompt| {
            for wanted in self.prompts.get(&prompt).into_iter().flatten() {
                met.entry(*wanted).or_insert_with(blank).prompt = true;
            }
        });
        met.into_iter().map(|(wanted, met)| Met { wanted, ..met }).collect()
    }
}

/// What one row of training data has of one wanted row.
#[derive(Default)]
struct Met {
    wanted: usize,
    row: usize,
    spans: Vec<Span>,
    prompt: bool,
}

impl Met {
    fn mark(&self, source: usize, touched: &mut [Touched]) {
        let touched = &mut touched[self.wanted];
        let mut places = self.spans.iter().flat_map(Span::places).collect::<Vec<_>>();
        places.sort_unstable();
        places.dedup();
        places.iter().for_each(|at| touched.tokens[*at] = true);
        touched.prompt |= self.prompt;
        let (row, tokens, prompt) = (self.row, places.len(), self.prompt);
        let more = |place: &Place| (tokens, prompt) > (place.tokens, place.prompt);
        let before = touched.places.iter().position(more).unwrap_or(touched.places.len());
        touched.places.insert(before, Place { source, row, tokens, prompt });
        touched.places.truncate(NAMED);
    }
}

/// Texts one after the other, each tokenised by itself, without the marks of any template.
fn tokens_of<'s>(texts: impl Iterator<Item = &'s str>, encoder: &mut Encoder<'_>) -> Vec<u32> {
    let mut tokens = Vec::new();
    texts.for_each(|text| encoder.encode(text, &mut tokens));
    tokens
}

/// What the rows of a file hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    Text,
    Chat,
    Prompt,
    Preference,
}

impl Rows {
    /// As its first row says: no row is of two kinds.
    fn of(path: &Path) -> Result<Rows, Failure> {
        let is = |holds: bool, rows: Rows| holds.then_some(rows);
        let found = is(begins::<Text>(path)?, Rows::Text)
            .or(is(begins::<Chat>(path)?, Rows::Chat))
            .or(is(begins::<Preference>(path)?, Rows::Preference))
            .or(is(begins::<Prompt>(path)?, Rows::Prompt));
        found.ok_or_else(|| Failure::input("row 1 is nothing that a model learns from"))
    }
}

/// Whether a file begins with a row of this kind, or is empty.
fn begins<T: DeserializeOwned>(path: &Path) -> Result<bool, Failure> {
    Ok(Reader::<T>::open(path)?.next().is_none_or(|row| row.is_ok()))
}

/// A row of training data.
trait Speaks {
    /// What a model reads in one go, text by text.
    fn passages(&self, see: &mut dyn FnMut(&[&str]));

    /// What is asked in it, as [`prompt_of`] writes it.
    fn prompts(&self, see: &mut dyn FnMut(String));
}

impl Speaks for Text {
    fn passages(&self, see: &mut dyn FnMut(&[&str])) {
        see(&[&self.text]);
    }

    fn prompts(&self, _: &mut dyn FnMut(String)) {}
}

impl Speaks for Chat {
    fn passages(&self, see: &mut dyn FnMut(&[&str])) {
        see(&contents(&self.messages));
    }

    fn prompts(&self, see: &mut dyn FnMut(String)) {
        asked(&self.messages, see);
    }
}

impl Speaks for Prompt {
    fn passages(&self, see: &mut dyn FnMut(&[&str])) {
        see(&contents(&self.prompt));
    }

    fn prompts(&self, see: &mut dyn FnMut(String)) {
        asked(&self.prompt, see);
    }
}

impl Speaks for Preference {
    fn passages(&self, see: &mut dyn FnMut(&[&str])) {
        for answer in [&self.chosen, &self.rejected] {
            let mut texts = contents(&self.prompt);
            texts.push(answer);
            see(&texts);
        }
    }

    fn prompts(&self, see: &mut dyn FnMut(String)) {
        asked(&self.prompt, see);
    }
}

fn contents(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.content.as_str()).collect()
}

/// Every turn of the user by itself, and the later ones with what was said before as well.
fn asked(messages: &[Message], see: &mut dyn FnMut(String)) {
    let spoken = messages.iter().filter(|message| message.role != "system").collect::<Vec<_>>();
    for (at, _) in spoken.iter().enumerate().filter(|(_, message)| message.role == "user") {
        let turns = spoken[..=at].iter().map(|message| message.content.as_str());
        let alone = prompt_of(std::iter::once(spoken[at].content.as_str()));
        let whole = if at > 0 { prompt_of(turns) } else { None };
        alone.into_iter().chain(whole).for_each(&mut *see);
    }
}

/// Some rows of a file.
struct Batch<T> {
    rows: Vec<T>,
    /// The number of the first one; rows count from 1.
    first: usize,
    bytes: u64,
}

/// Gives the rows of a file in batches; a failure is the last thing given.
fn batches<T: DeserializeOwned>(
    path: &Path,
    give: &mut dyn FnMut(Result<Batch<T>, Failure>) -> bool,
) {
    let mut reader = match Reader::<T>::open(path) {
        Ok(reader) => reader,
        Err(failure) => {
            give(Err(failure));
            return;
        }
    };
    let mut first = 1;
    loop {
        let batch = batch(&mut reader, first);
        let count = batch.as_ref().map_or(0, |batch| batch.rows.len());
        first += count;
        let is_last = batch.is_ok() && count == 0;
        let failed = batch.is_err();
        if is_last || !give(batch) || failed {
            return;
        }
    }
}

fn batch<T: DeserializeOwned>(reader: &mut Reader<T>, first: usize) -> Result<Batch<T>, Failure> {
    let (before, mut rows) = (reader.bytes(), Vec::new());
    while reader.bytes() - before < BATCH_BYTES {
        match reader.next() {
            Some(row) => rows.push(row?),
            None => break,
        }
    }
    Ok(Batch { rows, first, bytes: reader.bytes() - before })
}

fn size(path: &Path) -> Result<u64, Failure> {
    Ok(std::fs::metadata(path).map_err(Failure::io(path))?.len())
}

/// How far all files are read.
struct Read<'p> {
    done: u64,
    total: u64,
    progress: &'p mut dyn Progress,
}

impl Read<'_> {
    fn on(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        self.done += bytes;
        self.progress.at(self.done, self.total, "bytes", &[]);
        Ok(())
    }
}
