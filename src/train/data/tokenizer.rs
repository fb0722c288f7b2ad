//! A vocabulary with its merges, as the `tokenizer.json` that others read: encoding, decoding and
//! writing. Text never becomes a special token; only [`Tokenizer::bos`] and its like are. Knows
//! strings and ids; does not know templates, rows or models.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::{AddedToken, Encoding, ModelWrapper};

use super::bpe::{self, Bpe};
use super::tokenizer_files::{self, Names};
use super::tokenizer_json;
use crate::train::progress::Failure;

/// Text to ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same, where words that are entries are not taken whole.
    spelling: Option<Box<tokenizers::Tokenizer>>,
    /// The same vocabulary, where texts can be encoded without the crate.
    bpe: Option<Arc<Bpe>>,
    bos: Special,
    eos: Special,
    unknown: Option<String>,
    specials: Vec<Special>,
    /// Ids that no text becomes, in order.
    control: Vec<u32>,
    /// One more than the highest id.
    vocab: usize,
}

/// An entry of the vocabulary that stands for no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Special {
    pub text: String,
    pub id: u32,
    /// Blanks before it belong to it where a template writes it.
    pub takes_left: bool,
    /// Blanks after it do.
    pub takes_right: bool,
}

/// A token with the bytes of the text it stands for.
pub type Placed = (u32, Range<usize>);

impl Tokenizer {
    /// From an encoder that was made here, whose merges spell no special token.
    pub fn new(
        mut inner: tokenizers::Tokenizer,
        bos: &str,
        eos: &str,
        unknown: Option<&str>,
    ) -> Result<Tokenizer, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::input(format!("the tokenizer is broken: {error}"))
        };
        for name in [Some(bos), Some(eos), unknown].into_iter().flatten() {
            if inner.token_to_id(name).is_none() {
                return Err(Failure::input(format!("the tokenizer has no entry for `{name}`")));
            }
        }
        let marked = [bos, eos].map(|text| {
            let decoder = inner.get_added_tokens_decoder();
            let known = inner.token_to_id(text).and_then(|id| decoder.get(&id).cloned());
            known.unwrap_or_else(|| AddedToken::from(text, true)).special(true)
        });
        inner.add_special_tokens(marked).map_err(|error| broken(&error))?;
        inner.set_encode_special_tokens(true);
        // A rare character, so that a model whose unknown token is missing is found out here.
        inner.encode_fast("\u{10FFFD}", false).map_err(|error| broken(&error))?;
        let specials = specials_of(&inner);
        let find = |text: &str| specials.iter().find(|special| special.text == text).cloned();
        let (Some(bos), Some(eos)) = (find(bos), find(eos)) else {
            return Err(broken(&"a token that frames texts cannot be marked as special"));
        };
        let mut control: Vec<u32> = specials.iter().map(|special| special.id).collect();
        control.retain(|&id| Some(id) != id_of_unknown(&inner));
        control.sort_unstable();
        let vocab = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        let (spelling, unknown) = (spelling_of(&inner), unknown.map(str::to_owned));
        let bpe = Bpe::of(&inner).map(Arc::new);
        Ok(Tokenizer { inner, spelling, bpe, bos, eos, unknown, specials, control, vocab })
    }

    /// From the contents of a `tokenizer.json`, whoever made it.
    pub fn from_json(
        json: Value,
        bos: &str,
        eos: &str,
        unknown: Option<&str>,
    ) -> Result<Tokenizer, Failure> {
        Tokenizer::new(tokenizer_json::vet(json, &[bos, eos])?.build()?, bos, eos, unknown)
    }

    /// Reads a folder that holds a tokenizer and names its `bos` and `eos`.
    pub fn load(folder: &Path) -> Result<Tokenizer, Failure> {
        tokenizer_files::read(&[folder.to_path_buf()], &Names::default())
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

    /// One more than the highest id: how many rows the embedding of a model needs.
    pub fn vocab(&self) -> usize {
        self.vocab
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

    /// Tokens that text can spell and that stand in the vocabulary beside the merges, such as
    /// `<think>`.
    pub fn added(&self) -> Vec<String> {
        let tokens = self.inner.get_added_tokens_decoder().into_values();
        let mut added: Vec<String> =
            tokens.filter(|token| !token.special).map(|token| token.content).collect();
        added.sort_unstable();
        added
    }

    /// The ids of a text, taken as words only: `</s>` in it is four characters.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let bpe = self.bpe.as_deref().map(bpe::Encoder::once);
        Encoder { tokenizer: self, bpe }.encode(text, &mut ids);
        ids
    }

    /// Encodes many texts in a row faster, with the same ids.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { tokenizer: self, bpe: self.bpe.as_deref().map(bpe::Encoder::new) }
    }

    /// All that decides on ids, as text.
    pub fn identity(&self) -> String {
        let tokenizer = self.inner.to_string(false).expect("a tokenizer is JSON");
        json!([tokenizer, self.bos.text, self.eos.text]).to_string()
    }

    /// As [`Tokenizer::encode`], with the bytes that each token stands for.
    pub fn encode_placed(&self, text: &str) -> Vec<Placed> {
        let encoding = self.plain(|inner| inner.encode(text, false));
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        encoding.get_ids().iter().copied().zip(places).collect()
    }

    fn is_plain(&self, ids: &[u32]) -> bool {
        !ids.iter().any(|id| self.control.binary_search(id).is_ok())
    }

    /// An encoding without special tokens. Where a word that is an entry was taken whole and is
    /// special, the text is spelled by merges instead, which cannot make one.
    fn plain(
        &self,
        encode: impl Fn(&tokenizers::Tokenizer) -> tokenizers::Result<Encoding>,
    ) -> Encoding {
        let is_plain = |encoding: &Encoding| self.is_plain(encoding.get_ids());
        let encoding = encode(&self.inner).expect("any text can be encoded");
        match &self.spelling {
            Some(spelling) if !is_plain(&encoding) => {
                encode(spelling).expect("any text can be encoded")
            }
            _ => {
                assert!(is_plain(&encoding), "text became a special token");
                encoding
            }
        }
    }

    /// Documents as the model sees them, `bos`, the text, `eos`; side by side in `threads` threads,
    /// in order.
    pub fn encode_documents(&self, texts: &[String], threads: usize) -> Vec<Vec<u32>> {
        let documents = |texts: &[String]| {
            let mut encoder = self.encoder();
            let document = |text: &String| {
                let mut ids = vec![self.bos.id];
                encoder.encode(text, &mut ids);
                ids.push(self.eos.id);
                ids
            };
            texts.iter().map(document).collect::<Vec<_>>()
        };
        let at_once = texts.len().div_ceil(threads.max(1)).max(1);
        in_threads(threads, || texts.par_chunks(at_once).flat_map_iter(documents).collect())
    }

    /// Every special token, the longest first.
    pub fn specials(&self) -> &[Special] {
        &self.specials
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

/// Encodes one text after another, and remembers the words it met.
pub struct Encoder<'t> {
    tokenizer: &'t Tokenizer,
    bpe: Option<bpe::Encoder<'t>>,
}

impl Encoder<'_> {
    /// Adds the ids of a text, taken as words only.
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) {
        let before = ids.len();
        match &mut self.bpe {
            Some(bpe) => {
                bpe.encode(text, ids);
                assert!(self.tokenizer.is_plain(&ids[before..]), "text became a special token");
            }
            None => {
                let encoding = self.tokenizer.plain(|inner| inner.encode_fast(text, false));
                ids.extend(encoding.get_ids());
            }
        }
    }
}

/// The file of the vocabulary and its merges.
pub const FILE: &str = "tokenizer.json";

/// The file that names its special tokens.
pub const CONFIG_FILE: &str = "tokenizer_config.json";

/// Special tokens, the longest first.
fn specials_of(inner: &tokenizers::Tokenizer) -> Vec<Special> {
    let decoder = inner.get_added_tokens_decoder();
    let special = decoder.into_iter().filter(|(_, token)| token.special);
    let mut specials: Vec<Special> = special
        .map(|(id, token)| Special {
            text: token.content,
            id,
            takes_left: token.lstrip,
            takes_right: token.rstrip,
        })
        .collect();
    specials.sort_by_key(|special| (std::cmp::Reverse(special.text.len()), special.id));
    specials
}

/// The one special token that text may become.
fn id_of_unknown(inner: &tokenizers::Tokenizer) -> Option<u32> {
    let ModelWrapper::BPE(model) = inner.get_model() else { return None };
    model.get_unk_token().as_ref().and_then(|text| inner.token_to_id(text))
}

fn spelling_of(inner: &tokenizers::Tokenizer) -> Option<Box<tokenizers::Tokenizer>> {
    let ModelWrapper::BPE(model) = inner.get_model() else { return None };
    model.ignore_merges.then(|| {
        let mut model = model.clone();
        model.ignore_merges = false;
        let mut spelling = inner.clone();
        spelling.with_model(model);
        Box::new(spelling)
    })
}

/// Where special tokens stand in a text; of those that begin at one place, the longest, which
/// comes first in `specials`.
pub fn find_specials(specials: &[Special], text: &str) -> Vec<Placed> {
    let mut found: Vec<Placed> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match specials.iter().find(|special| text[at..].starts_with(&special.text)) {
            Some(special) => {
                let (mut place, after) = (at..at + special.text.len(), found.last());
                if special.takes_left {
                    let free = after.map_or(0, |(_, place)| place.end);
                    place.start = free + text[free..at].trim_end().len();
                }
                if special.takes_right {
                    let rest = &text[place.end..];
                    place.end += rest.len() - rest.trim_start().len();
                }
                at = place.end;
                found.push((special.id, place));
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
