//! Which vocabularies can be encoded here: those whose whole pipeline is one of a few that are
//! written out in [`words`](super::words), with a model that has nothing unusual. Knows what
//! `tokenizer.json` can say; does not know how it is encoded.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::encoder::{Alphabet, Bpe, Rest};
use super::merges::Merges;
use super::words::{BLANK, Cut, Words};
use crate::train::data::vocabulary;

impl Bpe {
    /// The same vocabulary; `None` where the crate has to encode it.
    pub fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Bpe> {
        let whole = tokenizer.get_truncation().is_none() && tokenizer.get_padding().is_none();
        // A special token is never found in a text; any other added one is.
        let added = tokenizer.get_added_tokens_decoder();
        let plain = tokenizer.get_encode_special_tokens()
            && added.into_iter().all(|(_, token)| token.special);
        let words = words(tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer())?;
        match tokenizer.get_model() {
            ModelWrapper::BPE(model) if whole && plain => of_model(model, words),
            _ => None,
        }
    }
}

/// The cut that a pipeline makes, if it is known.
fn words(
    normalizer: Option<&NormalizerWrapper>,
    pre_tokenizer: Option<&PreTokenizerWrapper>,
) -> Option<Words> {
    let sentencepiece = same(normalizer, &vocabulary::sentencepiece_normalizer());
    let Some(pre_tokenizer) = pre_tokenizer else {
        return sentencepiece.then_some(Words { cut: Cut::BeforeBlanks, digits: false });
    };
    let is = |steps: &[Value]| {
        let sequence = json!({ "type": "Sequence", "pretokenizers": steps });
        same(Some(pre_tokenizer), &sequence)
    };
    let (pieces, level) = (vocabulary::pieces(), vocabulary::byte_level());
    let digits = vocabulary::digits();
    let known = [
        (sentencepiece, Cut::Pieces, true, is(&[pieces.clone(), digits.clone()])),
        (sentencepiece, Cut::Pieces, false, is(&[pieces])),
        (normalizer.is_none(), Cut::ByteLevel, true, is(&[digits, level.clone()])),
        (normalizer.is_none(), Cut::ByteLevel, false, is(std::slice::from_ref(&level))),
        (normalizer.is_none(), Cut::ByteLevel, false, same(Some(pre_tokenizer), &level)),
    ];
    let found = known.into_iter().find(|(normalized, _, _, cut)| *normalized && *cut);
    found.map(|(_, cut, digits, _)| Words { cut, digits })
}

/// Whether a step is the one that `json` states, whatever is spelled out in it.
fn same<Step: Serialize + DeserializeOwned>(step: Option<&Step>, json: &Value) -> bool {
    let stated: Step = serde_json::from_value(json.clone()).expect("a step of a pipeline");
    let value = |step: &Step| serde_json::to_value(step).expect("a step is JSON");
    step.is_some_and(|step| value(step) == value(&stated))
}

/// What of a model cannot be seen from outside the crate.
#[derive(Deserialize)]
struct Saved {
    merges: Vec<(String, String)>,
}

fn of_model(model: &BPE, words: Words) -> Option<Bpe> {
    let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
    let usual = model.dropout.is_none()
        && !model.ignore_merges
        && empty(&model.continuing_subword_prefix)
        && empty(&model.end_of_word_suffix);
    let vocab: BTreeMap<String, u32> = model.get_vocab().into_iter().collect();
    if !usual || vocab.contains_key("") || !without_gaps(&vocab) {
        return None;
    }
    let alphabet = match words.cut {
        Cut::ByteLevel => Alphabet::Bytes(level_bytes(&vocab)?),
        Cut::Pieces | Cut::BeforeBlanks => characters(model, &vocab)?,
    };
    let Saved { merges } = serde_json::to_value(model).and_then(serde_json::from_value).ok()?;
    let blank = vocab.contains_key(BLANK.encode_utf8(&mut [0; 4]) as &str);
    if words.cut == Cut::BeforeBlanks && !(blank && merges.iter().all(stays_between_blanks)) {
        return None;
    }
    let merge = |(left, right): &(String, String)| {
        let made = vocab.get(&format!("{left}{right}"))?;
        Some([*vocab.get(left)?, *vocab.get(right)?, *made])
    };
    let ranked: Option<Vec<[u32; 3]>> = merges.iter().map(merge).collect();
    Some(Bpe { words, alphabet, merges: Merges::new(vocab.len(), &ranked?) })
}

/// Whether ids are the numbers from 0, each once.
fn without_gaps(vocab: &BTreeMap<String, u32>) -> bool {
    let mut ids: Vec<u32> = vocab.values().copied().collect();
    ids.sort_unstable();
    ids.into_iter().eq(0..vocab.len() as u32)
}

/// Whether a merge leaves alone the cut before blanks.
fn stays_between_blanks((left, right): &(String, String)) -> bool {
    left.ends_with(BLANK) || !right.starts_with(BLANK)
}

/// The ids of all bytes as the byte-level alphabet writes them.
fn level_bytes(vocab: &BTreeMap<String, u32>) -> Option<Vec<u32>> {
    let shown = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut hidden = (0x100..).filter_map(char::from_u32);
    let letter = |byte: u8| {
        let letter = if shown(byte) { Some(char::from(byte)) } else { hidden.next() };
        vocab.get(letter?.encode_utf8(&mut [0; 4]) as &str).copied()
    };
    (0..=255).map(letter).collect()
}

fn characters(model: &BPE, vocab: &BTreeMap<String, u32>) -> Option<Alphabet> {
    let single = |(text, &id): (&String, &u32)| {
        let mut characters = text.chars();
        let first = characters.next()?;
        characters.next().is_none().then_some((first, id))
    };
    let rest = match (model.byte_fallback, &model.unk_token) {
        (true, _) => {
            let byte = |byte: u8| vocab.get(&format!("<0x{byte:02X}>")).copied();
            Rest::Bytes((0..=255).map(byte).collect::<Option<_>>()?)
        }
        (false, Some(unknown)) if model.fuse_unk => Rest::Unknown(*vocab.get(unknown)?),
        (false, _) => return None,
    };
    Some(Alphabet::Characters { known: vocab.iter().filter_map(single).collect(), rest })
}
