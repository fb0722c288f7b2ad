//! A vocabulary with its merges, as the `tokenizer.json` that others read: loading, encoding and
//! decoding. Text never becomes a special token; only [`Tokenizer::bos`] and its like are. Knows
//! strings and ids; does not know templates, rows or models.

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::AddedToken;

use crate::train::progress::Failure;

/// Text to ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Special,
    eos: Special,
    unknown: Option<String>,
    specials: Vec<Special>,
}

/// An entry of the vocabulary that stands for no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    pub text: String,
    pub id: u32,
}

/// A token with the bytes of the text it stands for.
pub type Placed = (u32, Range<usize>);

impl Tokenizer {
    /// From the parts of a tokenizer folder.
    pub fn new(
        mut inner: tokenizers::Tokenizer,
        bos: &str,
        eos: &str,
        unknown: Option<&str>,
    ) -> Result<Tokenizer, Failure> {
        let id = |text: &str| match inner.token_to_id(text) {
            Some(id) => Ok(Special { text: text.into(), id }),
            None => Err(Failure::input(format!("the tokenizer has no entry for `{text}`"))),
        };
        let (bos, eos) = (id(bos)?, id(eos)?);
        let marked = [&bos.text, &eos.text].map(|text| AddedToken::from(text.clone(), true));
        let broken = |error: &dyn std::fmt::Display| {
            Failure::input(format!("the tokenizer is broken: {error}"))
        };
        inner.add_special_tokens(marked).map_err(|error| broken(&error))?;
        inner.set_encode_special_tokens(true);
        // A rare character, so that a model whose unknown token is missing is found out here.
        inner.encode_fast("\u{10FFFD}", false).map_err(|error| broken(&error))?;
        let decoder = inner.get_added_tokens_decoder();
        let special = decoder.into_iter().filter(|(_, token)| token.special);
        let mut specials: Vec<Special> =
            special.map(|(id, token)| Special { text: token.content, id }).collect();
        specials.sort_by_key(|special| (std::cmp::Reverse(special.text.len()), special.id));
        Ok(Tokenizer { inner, bos, eos, unknown: unknown.map(str::to_owned), specials })
    }

    /// Reads a folder with `tokenizer.json` and `tokenizer_config.json`.
    pub fn load(folder: &Path) -> Result<Tokenizer, Failure> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(Failure::io(&path))
        };
        let broken = |name: &str, error: &dyn std::fmt::Display| {
            Failure::input(format!("`{}` cannot be read: {error}", folder.join(name).display()))
        };
        let inner = tokenizers::Tokenizer::from_bytes(read(FILE)?);
        let inner = inner.map_err(|error| broken(FILE, &error))?;
        let config: Value = serde_json::from_slice(&read(CONFIG_FILE)?)
            .map_err(|error| broken(CONFIG_FILE, &error))?;
        let special = |key: &str| match &config[key] {
            Value::String(text) => Some(text.clone()),
            token => token["content"].as_str().map(str::to_owned),
        };
        let named = |key: &str| {
            special(key).ok_or_else(|| broken(CONFIG_FILE, &format!("it names no `{key}`")))
        };
        let unknown = special("unk_token");
        Tokenizer::new(inner, &named("bos_token")?, &named("eos_token")?, unknown.as_deref())
    }

    /// Writes the two files into an existing folder, in bytes that depend on the contents alone.
    pub fn save(&self, folder: &Path) -> Result<(), Failure> {
        let text = self.inner.to_string(true).expect("a tokenizer is JSON");
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": self.bos.text,
            "eos_token": self.eos.text,
            "add_bos_token": false,
            "add_eos_token": false,
            "clean_up_tokenization_spaces": false,
            // Any length: the bound is the model's, whose own folder states it.
            "model_max_length": 1_000_000_000,
        });
        if let Some(unknown) = &self.unknown {
            config["unk_token"] = json!(unknown);
        }
        let config = serde_json::to_string_pretty(&config).expect("string keys") + "\n";
        for (name, text) in [(FILE, text + "\n"), (CONFIG_FILE, config)] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Failure::io(&path))?;
        }
        Ok(())
    }

    /// All of it as `tokenizer.json` states it.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(&self.inner).expect("a tokenizer is JSON")
    }

    /// Entries of the vocabulary, special ones included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// An entry of the vocabulary, as the file spells it.
    pub fn entry(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The token that begins a text.
    pub fn bos(&self) -> &Special {
        &self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> &Special {
        &self.eos
    }

    /// The token that stands for what has no entry.
    pub fn unknown(&self) -> Option<Special> {
        let text = self.unknown.clone()?;
        self.inner.token_to_id(&text).map(|id| Special { text, id })
    }

    /// The ids of a text, taken as words only: `</s>` in it is four characters.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let encoding = self.inner.encode_fast(text, false).expect("any text can be encoded");
        self.assert_plain(encoding.get_ids());
        encoding.get_ids().to_vec()
    }

    /// As [`Tokenizer::encode`], with the bytes that each token stands for.
    pub fn encode_placed(&self, text: &str) -> Vec<Placed> {
        let encoding = self.inner.encode(text, false).expect("any text can be encoded");
        self.assert_plain(encoding.get_ids());
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        encoding.get_ids().iter().copied().zip(places).collect()
    }

    fn assert_plain(&self, ids: &[u32]) {
        let control = |id: &&u32| **id == self.bos.id || **id == self.eos.id;
        assert!(!ids.iter().any(|id| control(&id)), "text became a special token");
    }

    /// A document as the model sees it: `bos`, the text, `eos`.
    pub fn encode_document(&self, text: &str) -> Vec<u32> {
        let mut ids = vec![self.bos.id];
        ids.extend(self.encode(text));
        ids.push(self.eos.id);
        ids
    }

    /// Documents side by side in `threads` threads, in order.
    pub fn encode_documents(&self, texts: &[String], threads: usize) -> Vec<Vec<u32>> {
        in_threads(threads, || texts.par_iter().map(|text| self.encode_document(text)).collect())
    }

    /// The special tokens in a text that is trusted, such as a template's own, in order.
    pub fn find_specials(&self, text: &str) -> Vec<Placed> {
        find_specials(&self.specials, text)
    }

    /// The text of ids; special tokens stand for none.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, true).expect("ids of this vocabulary")
    }

    /// The text of ids, with special tokens as they are named.
    pub fn decode_with_specials(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, false).expect("ids of this vocabulary")
    }
}

const FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Where special tokens stand in a text; of those that begin at one place, the longest, which
/// comes first in `specials`.
pub fn find_specials(specials: &[Special], text: &str) -> Vec<Placed> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match specials.iter().find(|special| text[at..].starts_with(&special.text)) {
            Some(special) => {
                found.push((special.id, at..at + special.text.len()));
                at += special.text.len();
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

/// Runs parallel iterators in so many threads and no more.
pub fn in_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
    pool.expect("threads can be started").install(work)
}
