//! A text to ids: cut into words, and each word looked up or merged. Knows how characters and bytes
//! begin as ids; does not know where a vocabulary came from.

use std::collections::BTreeMap;

use super::cache::Cache;
use super::merges::{Merges, Merging};
use super::words::{BLANK, Cut, Words};

/// A vocabulary whose words are cut and merged here.
#[derive(Clone, Debug)]
pub struct Bpe {
    pub(super) words: Words,
    pub(super) alphabet: Alphabet,
    pub(super) merges: Merges,
}

/// The ids that a word begins as.
#[derive(Clone, Debug)]
pub(super) enum Alphabet {
    /// One a byte; there are 256.
    Bytes(Vec<u32>),
    /// One a character. A text begins with a blank, and blanks are `▁`.
    Characters { known: BTreeMap<char, u32>, rest: Rest },
}

/// What becomes of other characters.
#[derive(Clone, Debug)]
pub(super) enum Rest {
    /// One id for each byte.
    Bytes(Vec<u32>),
    /// One id for all that stand together.
    Unknown(u32),
}

/// Encodes one text after another.
#[derive(Debug)]
pub struct Encoder<'b> {
    bpe: &'b Bpe,
    cache: Cache,
    merging: Merging,
    /// The start of a text, with a blank before it.
    head: String,
    /// What a word begins as.
    start: Vec<u32>,
}

impl<'b> Encoder<'b> {
    /// For many texts.
    pub fn new(bpe: &'b Bpe) -> Encoder<'b> {
        Encoder::with_cache(bpe, Cache::new())
    }

    /// For one text.
    pub fn once(bpe: &'b Bpe) -> Encoder<'b> {
        Encoder::with_cache(bpe, Cache::none())
    }

    fn with_cache(bpe: &'b Bpe, cache: Cache) -> Encoder<'b> {
        let (merging, head, start) = (Merging::default(), String::new(), Vec::new());
        Encoder { bpe, cache, merging, head, start }
    }

    /// Adds the ids of a text to `ids`.
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) {
        if text.is_empty() || matches!(self.bpe.alphabet, Alphabet::Bytes(_)) {
            return self.encode_words(text, ids);
        }
        // Up to the first blank after something else, where every cut has a word end.
        let first = Words { cut: Cut::BeforeBlanks, digits: false }.end(text, 0);
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head.push(' ');
        head.push_str(&text[..first]);
        self.encode_words(&head, ids);
        self.head = head;
        self.encode_words(&text[first..], ids);
    }

    fn encode_words(&mut self, text: &str, ids: &mut Vec<u32>) {
        let words = self.bpe.words;
        let mut at = 0;
        while at < text.len() {
            let end = words.end(text, at);
            let word = &text[at..end];
            match self.cache.find(word.as_bytes()) {
                Ok(known) => ids.extend_from_slice(known),
                Err(place) => {
                    let before = ids.len();
                    self.bpe.alphabet.begin(word, &mut self.start);
                    self.merging.merge(&self.bpe.merges, &self.start, ids);
                    if let Some(place) = place {
                        self.cache.keep(place, &ids[before..]);
                    }
                }
            }
            at = end;
        }
    }
}

impl Alphabet {
    /// The ids of a word before any is merged.
    fn begin(&self, word: &str, ids: &mut Vec<u32>) {
        ids.clear();
        let (known, rest) = match self {
            Alphabet::Bytes(bytes) => {
                return ids.extend(word.bytes().map(|byte| bytes[usize::from(byte)]));
            }
            Alphabet::Characters { known, rest } => (known, rest),
        };
        let mut unknown = false;
        for c in word.chars() {
            let id = known.get(if c == ' ' { &BLANK } else { &c });
            match (id, rest) {
                (Some(&id), _) => ids.push(id),
                (None, Rest::Bytes(bytes)) => {
                    let spelled = if c == ' ' { BLANK } else { c };
                    let mut buffer = [0; 4];
                    let spelled = spelled.encode_utf8(&mut buffer).bytes();
                    ids.extend(spelled.map(|byte| bytes[usize::from(byte)]));
                }
                (None, Rest::Unknown(_)) if unknown => {}
                (None, Rest::Unknown(id)) => ids.push(*id),
            }
            unknown = id.is_none();
        }
    }
}
