//! A tokenizer as the facts of a GGUF file. A vocabulary of pieces is written as llama.cpp's
//! `llama`: it merges neighbours whose joint piece has the highest score, so a score is the rank of
//! the first merge that makes the piece, negated. A vocabulary of bytes is written as its `gpt2`,
//! merges and all, under the name that llama.cpp has for the way text is cut first. Does not know
//! weights.

use std::collections::BTreeMap;

use serde_json::Value;

use super::facts::Fact;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::progress::Failure;

/// What an entry of a vocabulary is, by llama.cpp's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// The words of Llama 3's vocabulary.
pub const LLAMA3_WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// How text is cut before pieces are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// `▁` for blanks, and bytes for what no piece covers.
    Pieces,
    /// GPT-2's words, in bytes.
    Gpt2,
    /// The same, each digit a word of its own.
    Gpt2Digits,
    /// Llama 3's words, in bytes; a word that is an entry is not merged.
    Llama3,
}

/// The names of llama.cpp for the ways to cut text into words of bytes; the first of each is
/// written.
const CUTS: [(&str, Cut); 8] = [
    ("gpt-2", Cut::Gpt2),
    ("smollm", Cut::Gpt2Digits),
    ("starcoder", Cut::Gpt2Digits),
    ("refact", Cut::Gpt2Digits),
    ("command-r", Cut::Gpt2Digits),
    ("llama-bpe", Cut::Llama3),
    ("llama3", Cut::Llama3),
    ("llama-v3", Cut::Llama3),
];

impl Cut {
    /// The way of that name.
    pub fn named(name: &str) -> Option<Cut> {
        CUTS.iter().find(|(known, _)| *known == name).map(|(_, cut)| *cut)
    }

    fn name(self) -> &'static str {
        CUTS.iter().find(|(_, cut)| *cut == self).map_or("default", |(name, _)| *name)
    }

    /// As `tokenizer.json` states it.
    fn of(json: &Value) -> Option<Cut> {
        let model = &json["model"];
        let words = &json["pre_tokenizer"];
        if model["byte_fallback"] == true {
            return Some(Cut::Pieces);
        }
        let bytes = find(words, "ByteLevel")?;
        let split = find(words, "Split").map(|split| split["pattern"]["Regex"].as_str());
        let digits = find(words, "Digits").map(|digits| digits["individual_digits"] == true);
        match (split, digits) {
            (None, None) if bytes["use_regex"] == true => Some(Cut::Gpt2),
            (None, Some(true)) if bytes["use_regex"] == true => Some(Cut::Gpt2Digits),
            (Some(Some(LLAMA3_WORDS)), None) if bytes["use_regex"] == false => Some(Cut::Llama3),
            _ => None,
        }
    }
}

/// The step of that type, in a sequence or by itself.
fn find<'v>(step: &'v Value, kind: &str) -> Option<&'v Value> {
    let inside = ["normalizers", "pretokenizers"].iter().filter_map(|key| step[key].as_array());
    let mut steps = inside.flatten().chain([step]);
    steps.find(|step| step["type"] == kind)
}

/// The facts of a tokenizer for a model whose embedding has `vocab` rows.
pub fn facts_of(
    tokenizer: &Tokenizer,
    chat_template: Option<&str>,
    vocab: usize,
) -> Result<Vec<(String, Fact)>, Failure> {
    let json = tokenizer.to_json();
    let cut = Cut::of(&json).ok_or_else(|| {
        Failure::input("GGUF has no name for the way in which this tokenizer cuts text")
            .remedy("export to `hf`, or train the tokenizer with `train_tokenizer`")
    })?;
    let entries = entries(tokenizer, &json, cut, vocab)?;
    let merges = merges(&json);
    let ggml = |key: &str, fact: Fact| (format!("tokenizer.ggml.{key}"), fact);
    let kinds = entries.iter().map(|(_, kind)| *kind as i32).collect();
    let texts = entries.iter().map(|(text, _)| text.clone()).collect();
    let mut facts = match cut {
        Cut::Pieces => vec![
            ggml("model", Fact::Text("llama".into())),
            ggml("pre", Fact::Text("default".into())),
            ggml("tokens", Fact::Texts(texts)),
            ggml("scores", Fact::F32s(scores(&entries, &merges))),
            ggml("token_type", Fact::I32s(kinds)),
            ggml("add_space_prefix", Fact::Bool(begins_with_blank(&json))),
        ],
        _ => vec![
            ggml("model", Fact::Text("gpt2".into())),
            ggml("pre", Fact::Text(cut.name().into())),
            ggml("tokens", Fact::Texts(texts)),
            ggml("token_type", Fact::I32s(kinds)),
            ggml("merges", Fact::Texts(merges.iter().map(|(a, b)| format!("{a} {b}")).collect())),
        ],
    };
    facts.push(ggml("bos_token_id", Fact::U32(tokenizer.bos().id)));
    facts.push(ggml("eos_token_id", Fact::U32(tokenizer.eos().id)));
    if let Some(unknown) = tokenizer.unknown() {
        facts.push(ggml("unknown_token_id", Fact::U32(unknown.id)));
    }
    // Every text that a model learns from begins with `bos`, and a prompt has no `eos`.
    facts.push(ggml("add_bos_token", Fact::Bool(true)));
    facts.push(ggml("add_eos_token", Fact::Bool(false)));
    if let Some(template) = chat_template {
        facts.push(("tokenizer.chat_template".into(), Fact::Text(template.into())));
    }
    Ok(facts)
}

/// The entries by id, with names for rows of the embedding that have none.
fn entries(
    tokenizer: &Tokenizer,
    json: &Value,
    cut: Cut,
    vocab: usize,
) -> Result<Vec<(String, EntryKind)>, Failure> {
    let pad = |id| (format!("[PAD{id}]"), EntryKind::Unused);
    let mut entries: Vec<(String, EntryKind)> = (0..vocab).map(pad).collect();
    let mut put = |text: &str, id: &Value, kind| {
        let place = id.as_u64().and_then(|id| entries.get_mut(usize::try_from(id).ok()?));
        let place = place.ok_or_else(|| {
            let fact = format!("token `{text}` has the id {id}, outside the model's {vocab}");
            Failure::input(fact)
        })?;
        *place = (text.to_string(), kind);
        Ok(())
    };
    for (text, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        let byte = cut == Cut::Pieces && byte_of(text).is_some();
        put(text, id, if byte { EntryKind::Byte } else { EntryKind::Normal })?;
    }
    let unknown = tokenizer.unknown().map(|unknown| unknown.id as u64);
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let kind = match token["special"] == true {
            true if cut == Cut::Pieces && token["id"].as_u64() == unknown => EntryKind::Unknown,
            true => EntryKind::Control,
            false => EntryKind::UserDefined,
        };
        put(token["content"].as_str().unwrap_or_default(), &token["id"], kind)?;
    }
    let bytes = entries.iter().filter(|(_, kind)| *kind == EntryKind::Byte).count();
    if cut == Cut::Pieces && bytes != 256 {
        let fact =
            format!("the tokenizer has entries for {bytes} of the 256 bytes; GGUF needs all");
        return Err(Failure::input(fact).remedy("train it with `byte_fallback: true`"));
    }
    Ok(entries)
}

/// The byte that `<0x0A>` stands for.
pub fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let exact = digits.len() == 2 && !digits.starts_with('+');
    u8::from_str_radix(digits, 16).ok().filter(|_| exact)
}

/// The pairs that are merged, first things first.
fn merges(json: &Value) -> Vec<(String, String)> {
    let pair = |merge: &Value| match merge {
        Value::String(pair) => pair.split_once(' ').map(|(a, b)| (a.to_string(), b.to_string())),
        pair => Some((pair[0].as_str()?.to_string(), pair[1].as_str()?.to_string())),
    };
    json["model"]["merges"].as_array().into_iter().flatten().filter_map(pair).collect()
}

/// Pieces that no merge makes come last, for they are never made.
fn scores(entries: &[(String, EntryKind)], merges: &[(String, String)]) -> Vec<f32> {
    let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let score = |(id, (text, kind)): (usize, &(String, EntryKind))| {
        if !matches!(kind, EntryKind::Normal | EntryKind::UserDefined) {
            return 0.0;
        }
        -(ranks.get(text).copied().unwrap_or(merges.len() + id) as f32)
    };
    entries.iter().enumerate().map(score).collect()
}

/// Whether each text begins with `▁`.
fn begins_with_blank(json: &Value) -> bool {
    let metaspace = find(&json["pre_tokenizer"], "Metaspace");
    let scheme = metaspace.map(|step| step["prepend_scheme"] != "never");
    find(&json["normalizer"], "Prepend").is_some() || scheme.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::byte_of;

    #[test]
    fn bytes_are_written_with_two_digits() {
        assert_eq!(byte_of("<0x0A>"), Some(10));
        for text in ["<0xA>", "<0x+A>", "<0x00A>", "<0xGG>", "0x0A"] {
            assert_eq!(byte_of(text), None, "{text}");
        }
    }
}
