//! A `tokenizer.json` from anywhere, made into an encoder that cannot surprise: it is a BPE, each
//! entry has one id and each id one entry, every text is covered, no step inflates a text without
//! bound, and no merge spells a special token. What is not understood is refused by name. Knows
//! the format; does not know files, nor which tokens begin and end a text.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::train::progress::Failure;

/// What a tokenizer is made from, on its way to being one.
pub struct Vetted {
    json: Value,
    /// Ids of the model's own entries.
    vocab: BTreeMap<String, u32>,
    added: Vec<Added>,
}

/// A token beside the merges.
#[derive(Clone, Debug)]
struct Added {
    content: String,
    id: u32,
    special: bool,
}

type Checked<T> = Result<T, String>;

/// Vets the contents of a `tokenizer.json`. `framing` are the tokens that begin and end texts,
/// which are special whatever the file says of them.
pub fn vet(json: Value, framing: &[&str]) -> Result<Vetted, Failure> {
    vetted(json, framing).map_err(|what| Failure::input(format!("the tokenizer {what}")))
}

fn vetted(mut json: Value, framing: &[&str]) -> Checked<Vetted> {
    let Some(object) = json.as_object_mut() else { return Err("is no JSON object".into()) };
    // How long a text may be, and what frames it, is said elsewhere.
    for key in ["truncation", "padding", "post_processor"] {
        object.insert(key.into(), Value::Null);
    }
    object.entry("version").or_insert(json!("1.0"));
    check_steps(object)?;
    let model = object.get_mut("model").and_then(Value::as_object_mut);
    let model = model.ok_or("has no `model`")?;
    check_model(model)?;
    let vocab = vocabulary(model)?;
    let mut added = added_tokens(object.get_mut("added_tokens"), framing)?;
    for name in framing {
        if !added.iter().any(|token| token.content == *name) {
            let id = vocab.get(*name).ok_or_else(|| format!("has no entry for `{name}`"))?;
            added.push(Added { content: (*name).into(), id: *id, special: true });
        }
    }
    let vetted = Vetted { json, vocab, added };
    vetted.check_ids()?;
    vetted.without_spelled(framing)
}

/// Ids further apart than this are no ids of one vocabulary.
const MOST_HOLES: usize = 100_000;

impl Vetted {
    fn model(&mut self) -> &mut Map<String, Value> {
        self.json["model"].as_object_mut().expect("it was checked")
    }

    fn check_ids(&self) -> Checked<()> {
        let mut by_id: BTreeMap<u32, &str> = BTreeMap::new();
        let added = self.added.iter().map(|token| (token.content.as_str(), token.id));
        let own = self.vocab.iter().map(|(text, &id)| (text.as_str(), id));
        for (text, id) in own.chain(added) {
            if let Some(other) = by_id.insert(id, text).filter(|other| *other != text) {
                return Err(format!("gives id {id} to both `{other}` and `{text}`"));
            }
        }
        for token in &self.added {
            if let Some(id) = self.vocab.get(&token.content).filter(|id| **id != token.id) {
                let Added { content, id: other, .. } = token;
                return Err(format!("gives `{content}` both id {id} and id {other}"));
            }
        }
        let highest = by_id.keys().next_back().map_or(0, |&id| id as usize);
        if highest >= by_id.len() * 2 + MOST_HOLES {
            return Err(format!("has an id {highest} and only {} entries", by_id.len()));
        }
        Ok(())
    }

    /// Takes away what would let text become a special token.
    fn without_spelled(mut self, framing: &[&str]) -> Checked<Vetted> {
        let special: BTreeSet<String> =
            self.added.iter().filter(|token| token.special).map(|t| t.content.clone()).collect();
        let byte_fallback = self.model().get("byte_fallback") == Some(&Value::Bool(true));
        let unknown = self.model().get("unk_token").and_then(Value::as_str).map(str::to_owned);
        for text in special.iter().filter(|text| self.vocab.contains_key(*text)) {
            let a_byte = byte_fallback && byte_of(text).is_some();
            if unknown.as_ref() != Some(text) && (a_byte || text.chars().nth(1).is_none()) {
                return Err(format!("marks `{text}` as special, which every text may hold"));
            }
        }
        let covered = self.covers_every_text(byte_fallback);
        match unknown {
            Some(text) if !self.vocab.contains_key(&text) || framing.contains(&text.as_str()) => {
                if !covered {
                    let what = "for the unknown, which text must not be able to write";
                    return Err(format!("has `{text}` {what}, or no such entry"));
                }
                self.model().insert("unk_token".into(), Value::Null);
            }
            None if !covered => {
                return Err("has no token for the unknown and not every byte, so that text would \
                            be lost"
                    .into());
            }
            _ => {}
        }
        let vocab = &self.vocab;
        let merges = self.json["model"]["merges"].as_array_mut().ok_or("has no `merges`")?;
        let mut fault = None;
        merges.retain(|merge| match merged(merge, vocab) {
            Ok(text) => !special.contains(&text),
            Err(what) => {
                fault.get_or_insert(what);
                false
            }
        });
        fault.map_or(Ok(self), Err)
    }

    /// Whether there is an entry for each byte that text in UTF-8 can hold.
    fn covers_every_text(&self, byte_fallback: bool) -> bool {
        let bytes = (0u8..=0xF4).filter(|byte| !(0xC0..0xC2).contains(byte));
        if byte_fallback {
            let mut codes = bytes.map(|byte| format!("<0x{byte:02X}>"));
            return codes.all(|code| self.vocab.contains_key(&code));
        }
        let levels = |step: &Value| step["type"] == "ByteLevel";
        let steps = ["normalizer", "pre_tokenizer"].map(|key| &self.json[key]);
        let byte_level = steps.iter().any(|step| {
            let inner = step.get("pretokenizers").or_else(|| step.get("normalizers"));
            levels(step) || inner.and_then(Value::as_array).is_some_and(|s| s.iter().any(levels))
        });
        byte_level && bytes.map(byte_character).all(|c| self.vocab.contains_key(c.as_str()))
    }

    /// Builds it. The crate numbers added tokens itself, and must come to the numbers of the file.
    pub fn build(self) -> Result<tokenizers::Tokenizer, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::input(format!("the tokenizer is broken: {error}"))
        };
        let tokenizer: tokenizers::Tokenizer =
            serde_json::from_value(self.json).map_err(|error| broken(&error))?;
        for token in &self.added {
            let found = tokenizer.token_to_id(&token.content);
            if found != Some(token.id) {
                return Err(broken(&format!(
                    "`{}` has id {} in the file, which is not the next that is free",
                    token.content, token.id
                )));
            }
        }
        Ok(tokenizer)
    }
}

fn check_model(model: &mut Map<String, Value>) -> Checked<()> {
    match model.get("type").and_then(Value::as_str) {
        Some("BPE") => {}
        Some(other) => return Err(format!("is a {other}, and only BPE can be read")),
        // Files of the first versions do not say it, but only a BPE has merges.
        None if model.contains_key("merges") => {
            model.insert("type".into(), json!("BPE"));
        }
        None => return Err("does not say what its model is".into()),
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        match model.insert(key.into(), Value::Null) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(_) => return Err(format!("marks pieces by `{key}`, which cannot be read")),
        }
    }
    let dropout = model.insert("dropout".into(), Value::Null).unwrap_or_default();
    if !dropout.is_null() && dropout.as_f64() != Some(0.0) {
        return Err("leaves merges out by chance: its `dropout` is set".into());
    }
    match model.get("unk_token") {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(_) => Err("has an `unk_token` that is no text".into()),
    }
}

fn vocabulary(model: &Map<String, Value>) -> Checked<BTreeMap<String, u32>> {
    let vocab = model.get("vocab").and_then(Value::as_object).ok_or("has no `vocab`")?;
    let entry = |(text, id): (&String, &Value)| match id_of(id) {
        Some(id) => Ok((text.clone(), id)),
        None => Err(format!("gives `{text}` the id {id}")),
    };
    vocab.iter().map(entry).collect()
}

fn id_of(value: &Value) -> Option<u32> {
    // The last is kept free: one more than the highest id must be a number of the same kind.
    value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| id < u32::MAX)
}

fn added_tokens(list: Option<&mut Value>, framing: &[&str]) -> Checked<Vec<Added>> {
    let tokens = match list {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(tokens)) => tokens,
        Some(_) => return Err("has `added_tokens` that are no list".into()),
    };
    let mut seen = BTreeSet::new();
    let mut added = Vec::new();
    for token in tokens {
        let content = token["content"].as_str().filter(|text| !text.is_empty());
        let content = content.ok_or("has an added token without `content`")?.to_owned();
        let id = id_of(&token["id"]).ok_or_else(|| format!("gives `{content}` no id"))?;
        if !seen.insert(content.clone()) {
            return Err(format!("adds `{content}` twice"));
        }
        let special = framing.contains(&content.as_str()) || token["special"] == true;
        token["special"] = json!(special);
        for key in ["single_word", "lstrip", "rstrip", "normalized"] {
            if token[key].is_null() {
                token[key] = json!(key == "normalized" && !special);
            }
        }
        added.push(Added { content, id, special });
    }
    Ok(added)
}

/// What a merge makes, whose parts and whole must all be entries.
fn merged(merge: &Value, vocab: &BTreeMap<String, u32>) -> Checked<String> {
    let parts = match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
            _ => None,
        },
        _ => None,
    };
    let (left, right) = parts.ok_or_else(|| format!("has a merge of {merge}"))?;
    let whole = format!("{left}{right}");
    match [left, right, &whole].iter().find(|text| !vocab.contains_key(**text)) {
        None => Ok(whole),
        Some(text) => Err(format!("merges `{left}` and `{right}`, and `{text}` is no entry")),
    }
}

/// The byte that `<0xNN>` names.
fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The character that stands for a byte in a byte-level vocabulary: bytes that print are
/// themselves, the others follow from U+0100 on.
pub fn byte_character(byte: u8) -> String {
    let prints = |byte: &u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = match prints(&byte) {
        true => u32::from(byte),
        false => 0x100 + (0..byte).filter(|byte| !prints(byte)).count() as u32,
    };
    char::from_u32(code).map(String::from).unwrap_or_default()
}

/// Steps around the merges that are understood, each for text of any size.
const STEPS: [(&str, &str, &[&str]); 3] = [
    (
        "normalizer",
        "normalizers",
        &["ByteLevel", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Prepend", "Replace", "Strip"],
    ),
    (
        "pre_tokenizer",
        "pretokenizers",
        &["ByteLevel", "Digits", "Metaspace", "Punctuation", "Split", "Whitespace"],
    ),
    (
        "decoder",
        "decoders",
        &["ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Strip"],
    ),
];

/// A text may grow this many times on its way through all steps of a kind.
const MOST_GROWTH: usize = 4096;

/// A pattern that users write is shorter.
const LONGEST_PATTERN: usize = 8192;

fn check_steps(object: &Map<String, Value>) -> Checked<()> {
    for (key, inner, known) in STEPS {
        let Some(step) = object.get(key).filter(|step| !step.is_null()) else { continue };
        let mut steps = vec![step];
        let mut growth = 1usize;
        while let Some(step) = steps.pop() {
            let kind = step["type"].as_str().unwrap_or("nothing");
            if kind == "Sequence" {
                let list = step[inner].as_array();
                steps.extend(list.ok_or_else(|| format!("has a {key} without `{inner}`"))?);
                continue;
            }
            if !known.contains(&kind) {
                return Err(format!("has the {key} `{kind}`, which cannot be read"));
            }
            check_step(key, step)?;
            let grows = |name| step[name].as_str().map_or(0, str::len);
            growth = growth.saturating_mul(1 + grows("content").max(grows("prepend")));
        }
        if growth > MOST_GROWTH {
            return Err(format!("has a {key} that makes texts {growth} times as long"));
        }
    }
    Ok(())
}

fn check_step(key: &str, step: &Value) -> Checked<()> {
    if let Some(pattern) = step["pattern"].as_object() {
        let longest = pattern.values().filter_map(Value::as_str).map(str::len).max();
        if longest.is_some_and(|length| length == 0 || length > LONGEST_PATTERN) {
            return Err(format!("has a {key} with a pattern of {} bytes", longest.unwrap_or(0)));
        }
    }
    // The crate cuts the end without looking how long the text is.
    if step["stop"].as_u64().is_some_and(|stop| stop > 0) {
        return Err(format!("has a {key} that strips the end of a text"));
    }
    Ok(())
}
