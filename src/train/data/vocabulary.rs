//! How a vocabulary is learnt: byte-pair merges (Sennrich, Haddow, Birch, "Neural machine
//! translation of rare words with subword units", 2016) over word counts, by the trainer of the
//! `tokenizers` crate. What that trainer leaves to chance or drops in silence is settled here: the
//! alphabet, the order of ids, the exact size, and that no merge spells a special or byte token.
//! Knows words and counts; does not know files or templates.

use std::collections::{BTreeMap, HashSet};

use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::tokenizer::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer,
};

use super::tokenizer::{Tokenizer, in_threads};
use crate::train::progress::Failure;

/// How text is cut into words before pieces are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Llama 2's: a blank becomes `▁`, a word begins with it, and so does each text.
    SentencePiece,
    /// GPT-2's: the alphabet is the 256 bytes.
    ByteLevel,
}

/// What a vocabulary shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    pub size: usize,
    pub manner: Manner,
    /// Each digit is a piece of its own.
    pub split_digits: bool,
    /// Characters outside the alphabet become bytes, `<0xNN>`; otherwise the unknown token.
    pub byte_fallback: bool,
    pub bos: String,
    pub eos: String,
    pub unknown: String,
}

/// Words with how often they occur. Ordered, so that nothing depends on hashing.
pub type WordCounts = BTreeMap<String, u64>;

/// The share of all characters that the alphabet covers where bytes stand in for the rest, in
/// hundredths of a percent. SentencePiece's default is the same.
const COVERAGE: u128 = 9995;

/// The trainer counts pairs in 32 bits.
const MOST_CHARACTERS: u64 = 1 << 30;

impl Vocabulary {
    /// Splits texts into words and counts them, in `threads` threads.
    pub fn count_words(&self, texts: &[String], threads: usize) -> WordCounts {
        let pipeline = self.pipeline();
        let merge = |mut a: WordCounts, b: WordCounts| {
            b.into_iter().for_each(|(word, count)| *a.entry(word).or_default() += count);
            a
        };
        let count = |mut counts: WordCounts, text: &String| {
            for word in pipeline.words(text) {
                *counts.entry(word).or_default() += 1;
            }
            counts
        };
        in_threads(threads, || {
            texts.par_iter().fold(WordCounts::new, count).reduce(WordCounts::new, merge)
        })
    }

    /// Learns the merges, and makes exactly `size` entries or fails.
    pub fn train(&self, counts: &WordCounts, threads: usize) -> Result<Tokenizer, Failure> {
        let reserved = self.reserved();
        self.check_names(&reserved)?;
        let alphabet = self.alphabet(counts, self.size.saturating_sub(reserved.len()))?;
        let words = trainable(counts, &alphabet, &reserved);
        let trainer = BpeTrainer::builder()
            .vocab_size(self.size.min(reserved.len() + alphabet.len() + most_merges(&words)))
            .min_frequency(1)
            .show_progress(false)
            .special_tokens(reserved.iter().map(|text| AddedToken::from(text, true)).collect())
            .initial_alphabet(alphabet)
            .build();
        let model = BPE::builder().unk_token(self.unknown.clone()).fuse_unk(true);
        let mut model = model
            .byte_fallback(self.byte_fallback && self.manner == Manner::SentencePiece)
            .build()
            .expect("an empty model");
        let counts = words.into_iter().map(|(word, count)| (word.into(), count)).collect();
        in_threads(threads, || trainer.do_train(&counts, &mut model))
            .map_err(|error| Failure::input(format!("the vocabulary cannot be learnt: {error}")))?;
        let made = model.get_vocab().len();
        if made != self.size {
            return Err(self.too_few(made));
        }
        Tokenizer::new(
            self.pipeline().tokenizer(model, [&self.unknown, &self.bos, &self.eos]),
            &self.bos,
            &self.eos,
            Some(&self.unknown),
        )
    }

    fn too_few(&self, made: usize) -> Failure {
        Failure::input(format!(
            "a vocabulary of {} was asked for and the text yields {made}",
            self.size
        ))
        .remedy(format!("set `vocab` to {made} or less, or give more text"))
    }

    /// Entries that no text may spell: the special tokens, then the bytes.
    fn reserved(&self) -> Vec<String> {
        let mut reserved = vec![self.unknown.clone(), self.bos.clone(), self.eos.clone()];
        if self.manner == Manner::SentencePiece && self.byte_fallback {
            reserved.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        }
        reserved
    }

    fn check_names(&self, reserved: &[String]) -> Result<(), Failure> {
        let specials = &reserved[..3];
        for (at, name) in specials.iter().enumerate() {
            if name.chars().count() < 2 {
                return Err(Failure::input(format!("`{name}` is too short for a special token"))
                    .remedy("use a name that no text holds, such as `<s>`"));
            }
            if reserved.iter().skip(at + 1).any(|other| other == name) {
                return Err(Failure::input(format!("two special tokens are named `{name}`"))
                    .remedy("give `bos`, `eos` and `unknown` different names"));
            }
        }
        if self.manner == Manner::ByteLevel && !self.byte_fallback {
            return Err(Failure::input("a byte-level vocabulary always covers every byte")
                .remedy("leave `byte_fallback` out, or set `manner: \"sentencepiece\"`"));
        }
        Ok(())
    }

    /// The single characters of the vocabulary. `room` is what the reserved entries leave.
    fn alphabet(&self, counts: &WordCounts, room: usize) -> Result<HashSet<char>, Failure> {
        if self.manner == Manner::ByteLevel {
            let bytes: HashSet<char> =
                tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
            return if bytes.len() <= room { Ok(bytes) } else { Err(self.no_room(bytes.len())) };
        }
        let mut characters: BTreeMap<char, u64> = BTreeMap::new();
        for (word, count) in counts {
            word.chars().for_each(|c| *characters.entry(c).or_default() += count);
        }
        if !self.byte_fallback && characters.len() > room {
            return Err(self.no_room(characters.len()));
        }
        let total: u128 = characters.values().map(|&count| u128::from(count)).sum();
        let mut by_count: Vec<(char, u64)> = characters.into_iter().collect();
        by_count.sort_by_key(|&(c, count)| (std::cmp::Reverse(count), c));
        let mut covered = 0;
        let needed = |(_, count): &(char, u64)| {
            let wanted = !self.byte_fallback || covered * 10_000 < total * COVERAGE;
            covered += u128::from(*count);
            wanted
        };
        Ok(by_count.into_iter().take(room).take_while(needed).map(|(c, _)| c).collect())
    }

    fn no_room(&self, characters: usize) -> Failure {
        let least = characters + self.reserved().len();
        Failure::input(format!(
            "a vocabulary of {} cannot hold the {characters} characters of the text",
            self.size
        ))
        .remedy(match self.manner {
            Manner::ByteLevel => format!("set `vocab` to {least} or more"),
            Manner::SentencePiece => {
                format!("set `vocab` to {least} or more, or `byte_fallback: true`")
            }
        })
    }

    fn pipeline(&self) -> Pipeline {
        let (normalizer, words, decoder) = match self.manner {
            Manner::SentencePiece => {
                (sentencepiece_normalizer(), pieces(), sentencepiece_decoder())
            }
            Manner::ByteLevel => (Value::Null, byte_level(), byte_level()),
        };
        let mut steps = vec![words];
        if self.split_digits {
            // Byte-level words are bytes afterwards, so their digits are cut off first.
            let at = if self.manner == Manner::ByteLevel { 0 } else { 1 };
            steps.insert(at, digits());
        }
        let sequence = json!({ "type": "Sequence", "pretokenizers": steps });
        Pipeline {
            normalizer: serde_json::from_value(normalizer).expect("a normalizer"),
            pre_tokenizer: serde_json::from_value(sequence).expect("a pre-tokenizer"),
            decoder: serde_json::from_value(decoder).expect("a decoder"),
        }
    }
}

/// Text begins with `▁`, and blanks become it.
pub(super) fn sentencepiece_normalizer() -> Value {
    json!({ "type": "Sequence", "normalizers": [
        { "type": "Prepend", "prepend": "▁" },
        { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
    ] })
}

/// Words with the blank before them; longer blanks and line ends by themselves.
pub(super) fn pieces() -> Value {
    let pattern = r"▁+(?=▁)|▁?[^▁\n]+|▁|\n+";
    json!({
        "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false,
    })
}

/// Each digit by itself.
pub(super) fn digits() -> Value {
    json!({ "type": "Digits", "individual_digits": true })
}

fn sentencepiece_decoder() -> Value {
    json!({ "type": "Sequence", "decoders": [
        { "type": "ByteFallback" },
        { "type": "Fuse" },
        { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
        { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
    ] })
}

/// GPT-2's words, written in letters that stand for bytes.
pub(super) fn byte_level() -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    })
}

/// The steps around the merges, as `tokenizer.json` states them.
struct Pipeline {
    normalizer: Option<tokenizers::NormalizerWrapper>,
    pre_tokenizer: tokenizers::PreTokenizerWrapper,
    decoder: tokenizers::DecoderWrapper,
}

impl Pipeline {
    fn words(&self, text: &str) -> Vec<String> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(&mut normalized).expect("any text can be normalized");
        }
        let mut words = PreTokenizedString::from(normalized);
        self.pre_tokenizer.pre_tokenize(&mut words).expect("any text can be split");
        let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(word, _, _)| word.to_owned()).collect()
    }

    fn tokenizer(self, model: BPE, specials: [&String; 3]) -> tokenizers::Tokenizer {
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_normalizer(self.normalizer).expect("no token is normalized");
        tokenizer.with_pre_tokenizer(Some(self.pre_tokenizer)).with_decoder(Some(self.decoder));
        let special = specials.map(|text| AddedToken::from(text.clone(), true));
        tokenizer.add_special_tokens(special).expect("they are entries already");
        tokenizer
    }
}

/// No more pieces than this can be merged: the trainer makes room for all it is told to make.
fn most_merges(words: &WordCounts) -> usize {
    words.keys().map(|word| word.chars().count()).sum()
}

/// Words as the trainer may see them. A word is broken where a character is outside the alphabet,
/// for merges across it could never apply, and inside anything reserved, so that no merge spells
/// it. Huge counts are scaled down together.
fn trainable(counts: &WordCounts, alphabet: &HashSet<char>, reserved: &[String]) -> WordCounts {
    let length = |(word, count): (&String, &u64)| count.saturating_mul(word.len() as u64);
    let total = counts.iter().map(length).fold(0u64, u64::saturating_add);
    let divisor = total.div_ceil(MOST_CHARACTERS).max(1);
    let mut parts = WordCounts::new();
    for (word, count) in counts {
        for known in word.split(|c| !alphabet.contains(&c)) {
            for part in break_reserved(known, reserved) {
                *parts.entry(part.to_owned()).or_default() += count.div_ceil(divisor);
            }
        }
    }
    parts.remove("");
    parts
}

/// Cuts a word after the first character of each reserved text in it.
fn break_reserved<'w>(word: &'w str, reserved: &[String]) -> Vec<&'w str> {
    let mut cuts: Vec<usize> = Vec::new();
    for text in reserved {
        let first = text.chars().next().map_or(1, char::len_utf8);
        cuts.extend(word.match_indices(text.as_str()).map(|(at, _)| at + first));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.iter().copied().chain([word.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| &word[start..end]).collect()
}
