//! The tokenizer that the facts of a GGUF file describe. Knows both of llama.cpp's forms that a
//! Llama may have, `llama` and `gpt2`; does not know weights.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::facts::Value;
use super::file::Gguf;
use super::vocabulary::{Cut, EntryKind, LLAMA3_WORDS};
use crate::train::data::tokenizer::Tokenizer;
use crate::train::progress::Failure;

/// Bytes of a token; no vocabulary has longer ones.
const LONGEST_ENTRY: usize = 1 << 12;

/// An entry of the vocabulary; its id is its place.
struct Entry<'a> {
    text: &'a str,
    kind: EntryKind,
}

/// The tokenizer of a file whose embedding has `vocab` rows.
pub fn tokenizer_of(file: &Gguf<'_>, vocab: usize) -> Result<Tokenizer, Failure> {
    let entries = entries(file, vocab)?;
    match file.needed("tokenizer.ggml.model", Value::as_text)? {
        "llama" => pieces(file, &entries),
        "gpt2" => words(file, &entries),
        other => Err(file.fault(format!(
            "its tokenizer is of the kind `{other}`; `llama` and `gpt2` are supported"
        ))),
    }
}

fn entries<'a>(file: &Gguf<'a>, vocab: usize) -> Result<Vec<Entry<'a>>, Failure> {
    let texts = file.needed("tokenizer.ggml.tokens", Value::as_texts)?;
    if texts.len() != vocab {
        return Err(file.fault(format!(
            "`tokenizer.ggml.tokens` has {} entries and the embedding {vocab} rows",
            texts.len()
        )));
    }
    let kinds = file.fact("tokenizer.ggml.token_type", Value::as_counts)?;
    let kinds = kinds.unwrap_or_else(|| vec![EntryKind::Normal as u64; vocab]);
    if kinds.len() != vocab {
        let found = kinds.len();
        return Err(file
            .fault(format!("`tokenizer.ggml.token_type` has {found} entries for {vocab} tokens")));
    }
    let mut seen = BTreeSet::new();
    let entry = |(id, (text, kind)): (usize, (&'a str, u64))| {
        if text.len() > LONGEST_ENTRY {
            let length = text.len();
            return Err(file.fault(format!("token {id} is {length} bytes long")));
        }
        let kind = kind_of(kind)
            .ok_or_else(|| file.fault(format!("token {id} is of the unknown type {kind}")))?;
        if kind != EntryKind::Unused && !seen.insert(text) {
            return Err(file.fault(format!("token `{text}` is there twice")));
        }
        Ok(Entry { text, kind })
    };
    texts.into_iter().zip(kinds).enumerate().map(entry).collect()
}

fn kind_of(number: u64) -> Option<EntryKind> {
    use EntryKind::{Byte, Control, Normal, Unknown, Unused, UserDefined};
    let kinds = [Normal, Unknown, Control, UserDefined, Unused, Byte];
    kinds.into_iter().find(|kind| *kind as u64 == number)
}

/// The entry that a fact names.
fn special<'a>(
    file: &Gguf<'a>,
    entries: &[Entry<'a>],
    role: &str,
) -> Result<Option<&'a str>, Failure> {
    let key = format!("tokenizer.ggml.{role}_token_id");
    let Some(id) = file.fact(&key, Value::as_count)? else { return Ok(None) };
    let entry = usize::try_from(id).ok().and_then(|id| entries.get(id));
    match entry {
        Some(entry) => Ok(Some(entry.text)),
        None => {
            let vocab = entries.len();
            Err(file.fault(format!("`{key}` is {id}, outside the vocabulary of {vocab}")))
        }
    }
}

/// The texts of bos, eos and the unknown token.
fn specials<'a>(
    file: &Gguf<'a>,
    entries: &[Entry<'a>],
) -> Result<(&'a str, &'a str, Option<&'a str>), Failure> {
    let needed = |role: &str| {
        special(file, entries, role)?.ok_or_else(|| {
            file.fault(format!("it does not state `tokenizer.ggml.{role}_token_id`"))
        })
    };
    Ok((needed("bos")?, needed("eos")?, special(file, entries, "unknown")?))
}

/// Pieces with their scores. Any two neighbours merge whose joint text is a piece, the highest
/// score first; control and byte entries are never made from text.
fn pieces(file: &Gguf<'_>, entries: &[Entry<'_>]) -> Result<Tokenizer, Failure> {
    let scores = file.needed("tokenizer.ggml.scores", Value::as_f32s)?;
    if scores.len() != entries.len() {
        let (found, vocab) = (scores.len(), entries.len());
        let fact = format!("`tokenizer.ggml.scores` has {found} entries for {vocab} tokens");
        return Err(file.fault(fact));
    }
    if let Some(id) = scores.iter().position(|score| score.is_nan()) {
        return Err(file.fault(format!("the score of token {id} is not a number")));
    }
    let unknown = file.needed("tokenizer.ggml.unknown_token_id", Value::as_count)?;
    let prefix = file.fact("tokenizer.ggml.add_space_prefix", Value::as_bool)?.unwrap_or(true);
    let blanks = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let mut normalizers = vec![blanks];
    if prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
    }
    let strip = json!({ "type": "Strip", "content": " ", "start": usize::from(prefix), "stop": 0 });
    let model = Model {
        normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
        pre_tokenizer: Json::Null,
        decoder: json!({ "type": "Sequence", "decoders": [
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            strip,
        ] }),
        unknown: usize::try_from(unknown).ok().and_then(|id| entries.get(id)).map(|one| one.text),
        ignore_merges: false,
        merges: merges_of(entries, &scores),
    };
    model.tokenizer(file, entries)
}

/// Every way to make a piece of two, best first; ways to make one piece by the places of its parts.
fn merges_of(entries: &[Entry<'_>], scores: &[f32]) -> Vec<Json> {
    let mergeable = |entry: &Entry<'_>| matches!(entry.kind, EntryKind::Normal);
    let by_text: BTreeMap<&str, usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| mergeable(entry))
        .map(|(id, entry)| (entry.text, id))
        .collect();
    let mut merges: Vec<(f32, usize, usize)> = Vec::new();
    for (text, id) in &by_text {
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let parts = cuts.filter_map(|(a, b)| Some((*by_text.get(a)?, *by_text.get(b)?)));
        merges.extend(parts.map(|(a, b)| (scores[*id], a, b)));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(_, a, b)| json!([entries[a].text, entries[b].text])).collect()
}

/// Words of bytes with their merges.
fn words(file: &Gguf<'_>, entries: &[Entry<'_>]) -> Result<Tokenizer, Failure> {
    let pre = file.needed("tokenizer.ggml.pre", Value::as_text)?;
    let cut = Cut::named(pre).ok_or_else(|| {
        file.fault(format!("it cuts text in the way `{pre}`, which is not supported"))
    })?;
    let merges = file.needed("tokenizer.ggml.merges", Value::as_texts)?;
    let merges: Option<Vec<Json>> = merges
        .into_iter()
        .map(|merge| merge.split_once(' ').map(|(left, right)| json!([left, right])))
        .collect();
    let merges =
        merges.ok_or_else(|| file.fault("an entry of `tokenizer.ggml.merges` is no pair"))?;
    let model = Model {
        normalizer: Json::Null,
        pre_tokenizer: cut_json(cut),
        decoder: byte_level(true),
        unknown: None,
        ignore_merges: cut == Cut::Llama3,
        merges,
    };
    model.tokenizer(file, entries)
}

/// What tells one tokenizer from another, in the words of `tokenizer.json`.
struct Model<'a> {
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    /// What stands for characters without entries; byte-level vocabularies have none.
    unknown: Option<&'a str>,
    ignore_merges: bool,
    merges: Vec<Json>,
}

impl Model<'_> {
    fn tokenizer(self, file: &Gguf<'_>, entries: &[Entry<'_>]) -> Result<Tokenizer, Failure> {
        let (bos, eos, unknown) = specials(file, entries)?;
        let used =
            || entries.iter().enumerate().filter(|(_, entry)| entry.kind != EntryKind::Unused);
        let vocab: Map<String, Json> =
            used().map(|(id, entry)| (entry.text.to_string(), json!(id))).collect();
        let added: Vec<Json> = used()
            .filter(|(_, entry)| !matches!(entry.kind, EntryKind::Normal | EntryKind::Byte))
            .map(|(id, entry)| added_token(id, entry))
            .collect();
        let json = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": self.normalizer,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": null,
            "decoder": self.decoder,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": self.unknown,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": self.unknown.is_some(), "byte_fallback": self.unknown.is_some(),
                "ignore_merges": self.ignore_merges, "vocab": vocab, "merges": self.merges,
            },
        });
        Tokenizer::from_json(json, bos, eos, unknown)
            .map_err(|failure| failure.of(&format!("`{}`", file.name)))
    }
}

fn added_token(id: usize, entry: &Entry<'_>) -> Json {
    json!({
        "id": id,
        "content": entry.text,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": entry.kind != EntryKind::UserDefined,
    })
}

fn byte_level(use_regex: bool) -> Json {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": use_regex,
    })
}

fn cut_json(cut: Cut) -> Json {
    let first = match cut {
        Cut::Pieces | Cut::Gpt2 => return byte_level(true),
        Cut::Gpt2Digits => json!({ "type": "Digits", "individual_digits": true }),
        Cut::Llama3 => json!({
            "type": "Split", "pattern": { "Regex": LLAMA3_WORDS }, "behavior": "Isolated",
            "invert": false,
        }),
    };
    json!({ "type": "Sequence", "pretokenizers": [first, byte_level(cut != Cut::Llama3)] })
}
