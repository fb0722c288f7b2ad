//! From files of rows to a shard of tokens, in a stream: memory does not grow with the data, and no
//! byte depends on the number of threads. Knows texts and dialogues; does not know how rows for a
//! model are cut from them.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::chat::{ChatFormat, Template};
use super::pack::Sizes;
use super::pipeline::in_order;
use super::rows::{Chat, Reader, Text};
use super::shard::{Form, Found, Name, Shard, Writer};
use super::tokenizer::{Encoder, Tokenizer};
use crate::train::progress::{Context, Failure};

/// Bytes of a file that a thread takes at once.
const BATCH_BYTES: u64 = 1 << 18;

/// Files that become one shard.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub paths: &'a [&'a PathBuf],
    /// Tells apart the shards of one stage.
    pub number: usize,
}

/// Documents end to end, each between `bos` and `eos`.
pub fn documents(
    part: Part<'_>,
    tokenizer: &Tokenizer,
    context: &mut Context<'_>,
) -> Result<Shard, Failure> {
    let form = Form::new(tokenizer.vocab(), false);
    let name = name(&[b"documents", tokenizer.identity().as_bytes()], part.paths)?;
    let work = || {
        let mut encoder = tokenizer.encoder();
        let mut tokens = Vec::new();
        move |batch: Batch<Text>| {
            tokens.clear();
            for row in &batch.rows {
                document(tokenizer, &mut encoder, row, &mut tokens);
            }
            let mut made = Made::of(&batch);
            made.put(form, tokenizer, &tokens, &[])?;
            Ok(made)
        }
    };
    tokenise(part, &name, form, Sizes::any(), work, context)
}

/// A document between `bos` and `eos`.
pub fn document(tokenizer: &Tokenizer, encoder: &mut Encoder<'_>, row: &Text, to: &mut Vec<u32>) {
    to.push(tokenizer.bos().id);
    encoder.encode(&row.text, to);
    to.push(tokenizer.eos().id);
}

/// Dialogues as a template writes them, kept apart; one that is longer than a row is an error.
pub fn dialogues(
    part: Part<'_>,
    tokenizer: &Tokenizer,
    template: &Template,
    longest: usize,
    context: &mut Context<'_>,
) -> Result<Shard, Failure> {
    let form = Form::new(tokenizer.vocab(), true);
    let Template { name: _, jinja, bos, eos, forbidden } = template;
    let identity = tokenizer.identity();
    let mut made_from: Vec<&[u8]> = vec![b"dialogues"];
    made_from.extend([&identity, jinja, bos, eos].map(|text| text.as_bytes()));
    made_from.extend(forbidden.iter().map(|text| text.as_bytes()));
    let longest_bytes = longest.to_le_bytes();
    made_from.push(&longest_bytes);
    let name = name(&made_from, part.paths)?;
    let format = ChatFormat::new(template)?;
    let format = &format;
    let work = || {
        move |batch: Batch<Chat>| {
            let mut made = Made::of(&batch);
            for (row, chat) in (batch.first..).zip(&batch.rows) {
                let example = format.learned(tokenizer, row, chat)?;
                made.put(form, tokenizer, &example.tokens, &example.learned)?;
                made.lengths.push(example.tokens.len() as u32);
            }
            Ok(made)
        }
    };
    tokenise(part, &name, form, Sizes::within(longest), work, context)
}

/// Some rows of a file.
struct Batch<T> {
    rows: Vec<T>,
    /// The number of the first one; a file's rows count from 1.
    first: usize,
    /// What was read for them.
    bytes: u64,
}

/// A batch as the shard will hold it.
struct Made {
    units: Vec<u8>,
    /// Of texts that are kept apart.
    lengths: Vec<u32>,
    first: usize,
    bytes: u64,
}

impl Made {
    fn of<T>(batch: &Batch<T>) -> Made {
        let Batch { first, bytes, .. } = *batch;
        Made { units: Vec::new(), lengths: Vec::new(), first, bytes }
    }

    fn put(
        &mut self,
        form: Form,
        tokenizer: &Tokenizer,
        tokens: &[u32],
        learned: &[bool],
    ) -> Result<(), Failure> {
        let vocab = tokenizer.vocab();
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(Failure::input(format!(
                "the tokenizer gives the id {id}, and it has {vocab} entries"
            )));
        }
        form.put(tokens, learned, &mut self.units);
        Ok(())
    }
}

/// A digest of what a shard is made from, the contents of the files included.
fn name(parts: &[&[u8]], paths: &[&PathBuf]) -> Result<Name, Failure> {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    for path in paths {
        let mut file = blake3::Hasher::new();
        file.update_mmap(path).map_err(Failure::io(*path))?;
        hasher.update(file.finalize().as_bytes());
    }
    Ok(hasher.finalize())
}

/// The shard that an earlier run of the same attempt has left, or a new one.
fn tokenise<T: DeserializeOwned + Send, Work: FnMut(Batch<T>) -> Result<Made, Failure>>(
    part: Part<'_>,
    name: &Name,
    form: Form,
    mut sizes: Sizes,
    worker: impl Fn() -> Work + Sync,
    context: &mut Context<'_>,
) -> Result<Shard, Failure> {
    let kept = context.attempt.as_ref().map(|attempt| &attempt.folder);
    let place = kept.map(|folder| folder.join(format!("shard-{}", part.number)));
    if let Some(place) = &place {
        match Shard::open(place, name, form)? {
            Found::Shard(shard) => return Ok(shard),
            Found::Unusable(why) => {
                context.progress.notice(&format!("tokens kept earlier are not used: {why}"));
            }
            Found::Nothing => {}
        }
    }
    let mut writer = Writer::create(place, name, form)?;
    let (mut done, total) = (0, size(part.paths)?);
    in_order(
        context.threads,
        |give| read(part.paths, give),
        || {
            let mut work = worker();
            move |batch: Result<Batch<T>, Failure>| work(batch?)
        },
        |made| {
            if context.progress.cancelled() {
                return Err(Failure::Interrupted);
            }
            let Made { units, lengths, first, bytes } = made?;
            (first..).zip(&lengths).for_each(|(row, &length)| sizes.add(row, length as usize));
            writer.write(&units, &lengths)?;
            done += bytes;
            context.progress.at(done, total, "bytes", &[]);
            Ok(())
        },
    )?;
    sizes.check()?;
    writer.finish()
}

fn size(paths: &[&PathBuf]) -> Result<u64, Failure> {
    let size = |path: &&PathBuf| {
        let file = File::open(path).and_then(|file| file.metadata());
        Ok(file.map_err(Failure::io(*path))?.len())
    };
    paths.iter().map(size).sum()
}

/// Gives the rows of files in batches; a failure is the last thing given.
fn read<T: DeserializeOwned>(
    paths: &[&PathBuf],
    give: &mut dyn FnMut(Result<Batch<T>, Failure>) -> bool,
) {
    for path in paths {
        match read_file(path, give) {
            Ok(true) => {}
            Ok(false) => return,
            Err(failure) => {
                give(Err(failure));
                return;
            }
        }
    }
}

/// False once no more is wanted.
fn read_file<T: DeserializeOwned>(
    path: &Path,
    give: &mut dyn FnMut(Result<Batch<T>, Failure>) -> bool,
) -> Result<bool, Failure> {
    let mut reader = Reader::<T>::open(path)?;
    let mut first = 1;
    loop {
        let before = reader.bytes();
        let mut rows = Vec::new();
        while reader.bytes() - before < BATCH_BYTES {
            match reader.next() {
                Some(row) => rows.push(row?),
                None => break,
            }
        }
        let count = rows.len();
        if count == 0 {
            return Ok(true);
        }
        if !give(Ok(Batch { rows, first, bytes: reader.bytes() - before })) {
            return Ok(false);
        }
        first += count;
    }
}
