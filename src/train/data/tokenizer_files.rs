//! A tokenizer as files that others made hold it: a `tokenizer.json`, SentencePiece's
//! `tokenizer.model`, or GPT-2's vocabulary and merges, with the files beside it that name its
//! special tokens. Knows which file says what; does not know how text is cut.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::sentencepiece::{self, SentencePiece};
use super::tokenizer::{CONFIG_FILE, FILE, Tokenizer};
use crate::train::progress::Failure;

/// Tokens that frame texts, as a recipe names them. What is not named is looked for in the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub bos: Option<String>,
    pub eos: Option<String>,
    pub unknown: Option<String>,
}

/// Mistral's carry a version in their names.
const SENTENCEPIECE_FILES: [&str; 4] =
    ["tokenizer.model", "tokenizer.model.v3", "tokenizer.model.v2", "tokenizer.model.v1"];

/// Larger files are no tokenizers: a quarter of a million entries take 35 MB.
const LARGEST_BYTES: u64 = 256 << 20;

/// GPT-2's only special token, which none of its files names.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Reads a tokenizer from its files or from the folder that holds them.
pub fn read(paths: &[PathBuf], given: &Names) -> Result<Tokenizer, Failure> {
    let files = Files::of(paths)?;
    let source = Source::find(&files)?;
    let (mut json, own) = source.load(&files)?;
    files.add_tokens(&mut json)?;
    let named = files.names(&json)?;
    let entries = Entries::of(&json);
    let choose = |given: &Option<String>, files: Option<String>, own: Option<String>, what| {
        let name = given.clone().or(files).or(own);
        name.ok_or_else(|| {
            Failure::input(format!("no file names the token that {what} a text"))
                .remedy("name it in the recipe: `bos` begins a text and `eos` ends it")
        })
    };
    let bos = choose(&given.bos, named.bos, own.bos, "begins")?;
    let eos = choose(&given.eos, named.eos, own.eos, "ends")?;
    // Configurations name one for the sake of older programs, even where there is none.
    let found = named.unknown.or(own.unknown).filter(|name| entries.has(name));
    let unknown = given.unknown.clone().or(found);
    Tokenizer::from_json(json, &bos, &eos, unknown.as_deref())
        .map_err(|failure| failure.of(&format!("`{}`", source.path().display())))
}

fn none_among(paths: &[PathBuf]) -> Failure {
    let place = paths.first().and_then(|path| path.parent());
    let place = place.map_or("an empty folder".into(), |place| format!("`{}`", place.display()));
    Failure::input(format!("there is no tokenizer in {place}")).remedy(
        "name a `tokenizer.json`, a `tokenizer.model`, or a `vocab.json` with its `merges.txt`",
    )
}

/// The files that may belong to a tokenizer.
struct Files(Vec<PathBuf>);

impl Files {
    /// The files named; of a folder those directly in it. Where several have one name, those that
    /// lie least deep count: folders of models keep older forms below.
    fn of(paths: &[PathBuf]) -> Result<Files, Failure> {
        let mut files = Vec::new();
        for path in paths {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let entries = std::fs::read_dir(path).map_err(Failure::io(path))?;
            for entry in entries {
                files.push(entry.map_err(Failure::io(path))?.path());
            }
        }
        files.sort_by_key(|path| (path.components().count(), path.clone()));
        Ok(Files(files))
    }

    /// The file of one of these names, the first name first.
    fn find(&self, names: &[&str]) -> Result<Option<&PathBuf>, Failure> {
        for name in names {
            let mut named = self.0.iter().filter(|path| path.ends_with(name));
            let Some(first) = named.next() else { continue };
            let depth = first.components().count();
            return match named.next().filter(|other| other.components().count() == depth) {
                None => Ok(Some(first)),
                Some(other) => {
                    let (a, b) = (first.display(), other.display());
                    Err(Failure::input(format!("`{a}` and `{b}` are two tokenizers"))
                        .remedy("name the files of one"))
                }
            };
        }
        Ok(None)
    }

    /// The JSON in the file of this name, where there is one.
    fn json(&self, name: &str) -> Result<Option<Value>, Failure> {
        self.find(&[name])?.map(|path| read_json(path)).transpose()
    }

    /// Adds the tokens that only the files beside the vocabulary list.
    fn add_tokens(&self, json: &mut Value) -> Result<(), Failure> {
        let mut more: Vec<(Value, Value)> = Vec::new();
        if let Some(Value::Object(tokens)) = self.json("added_tokens.json")? {
            more.extend(tokens.into_iter().map(|(text, id)| (id, json!({ "content": text }))));
        }
        let config = self.json(CONFIG_FILE)?.unwrap_or_default();
        for (id, token) in config["added_tokens_decoder"].as_object().into_iter().flatten() {
            let number = id.parse::<u32>().map_or(json!(id), |id| json!(id));
            more.push((number, token.clone()));
        }
        let Some(object) = json.as_object_mut() else { return Ok(()) };
        let list = object.entry("added_tokens").or_insert(json!([]));
        let Some(list) = list.as_array_mut() else { return Ok(()) };
        for (id, mut token) in more {
            let known = list.iter().any(|known| known["content"] == token["content"]);
            if known || !token.is_object() {
                continue;
            }
            token["id"] = id;
            list.push(token);
        }
        list.sort_by_key(|token| token["id"].as_u64());
        Ok(())
    }

    /// What the files call the tokens that frame texts.
    fn names(&self, json: &Value) -> Result<Names, Failure> {
        let mut names = Names::default();
        for file in [CONFIG_FILE, "special_tokens_map.json"] {
            let Some(config) = self.json(file)? else { continue };
            let special = |key: &str| match &config[key] {
                Value::String(text) => Some(text.clone()),
                token => token["content"].as_str().map(str::to_owned),
            };
            names.bos = names.bos.or_else(|| special("bos_token"));
            names.eos = names.eos.or_else(|| special("eos_token"));
            names.unknown = names.unknown.or_else(|| special("unk_token"));
        }
        let entries = Entries::of(json);
        for file in ["generation_config.json", "config.json"] {
            if names.bos.is_some() && names.eos.is_some() {
                break;
            }
            let Some(config) = self.json(file)? else { continue };
            // Several may end a text; the first is the one to write.
            let special = |key: &str| {
                let id = config[key].as_array().map_or(&config[key], |ids| &ids[0]);
                entries.with_id(id)
            };
            names.bos = names.bos.or_else(|| special("bos_token_id"));
            names.eos = names.eos.or_else(|| special("eos_token_id"));
        }
        Ok(names)
    }
}

/// The entries of a `tokenizer.json`, to look names up in.
struct Entries<'j>(&'j Value);

impl<'j> Entries<'j> {
    fn of(json: &'j Value) -> Entries<'j> {
        Entries(json)
    }

    fn added(&self) -> impl Iterator<Item = &'j Value> {
        self.0["added_tokens"].as_array().into_iter().flatten()
    }

    fn has(&self, name: &str) -> bool {
        self.0["model"]["vocab"].get(name).is_some()
            || self.added().any(|token| token["content"] == name)
    }

    fn with_id(&self, id: &Value) -> Option<String> {
        let added = self.added().find(|token| token["id"] == *id);
        let vocab = self.0["model"]["vocab"].as_object();
        let own = || vocab?.iter().find(|(_, own)| *own == id).map(|(text, _)| text.clone());
        id.is_u64()
            .then(|| added.and_then(|token| token["content"].as_str()))?
            .map(str::to_owned)
            .or_else(own)
    }
}

/// In which form the files hold the vocabulary.
enum Source<'f> {
    Json(&'f PathBuf),
    SentencePiece(&'f PathBuf),
    /// A vocabulary and its merges.
    Pair(&'f PathBuf, &'f PathBuf),
}

impl<'f> Source<'f> {
    fn find(files: &'f Files) -> Result<Source<'f>, Failure> {
        if let Some(path) = files.find(&[FILE])? {
            return Ok(Source::Json(path));
        }
        if let Some(path) = files.find(&SENTENCEPIECE_FILES)? {
            return Ok(Source::SentencePiece(path));
        }
        let vocab = files.find(&["vocab.json", "encoder.json"])?;
        if let (Some(vocab), Some(merges)) = (vocab, files.find(&["merges.txt", "vocab.bpe"])?) {
            return Ok(Source::Pair(vocab, merges));
        }
        match files.0.as_slice() {
            [path] if path.extension().is_some_and(|end| end == "json") => Ok(Source::Json(path)),
            [path] if path.is_file() => Ok(Source::SentencePiece(path)),
            paths => Err(none_among(paths)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Source::Json(path) | Source::SentencePiece(path) | Source::Pair(path, _) => path,
        }
    }

    /// The vocabulary as a `tokenizer.json`, and what it says itself of its special tokens.
    fn load(&self, files: &Files) -> Result<(Value, Names), Failure> {
        match self {
            Source::Json(path) => Ok((read_json(path)?, Names::default())),
            Source::SentencePiece(path) => {
                let file = path.display().to_string();
                let model = sentencepiece::read(&file, &read_bytes(path)?)?;
                let SentencePiece { pieces, rules, bos, eos } = model;
                let json = sentencepiece::json_of(&pieces, &rules);
                let json = json.map_err(|failure| failure.of(&format!("`{file}`")))?;
                Ok((json, Names { bos, eos, unknown: None }))
            }
            Source::Pair(vocab, merges) => {
                let merges = merges_of(merges)?;
                let vocab = read_json(vocab)?;
                let whole = vocab.get(END_OF_TEXT).map(|_| END_OF_TEXT.to_owned());
                let config = files.json(CONFIG_FILE)?.unwrap_or_default();
                let prefix = config["add_prefix_space"] == true;
                let names = Names { bos: whole.clone(), eos: whole, unknown: None };
                Ok((byte_level(vocab, merges, prefix), names))
            }
        }
    }
}

/// The `tokenizer.json` of a byte-level vocabulary as GPT-2 has it.
pub fn byte_level(vocab: Value, merges: Vec<[String; 2]>, prefix: bool) -> Value {
    let step = json!({
        "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": step,
        "decoder": step,
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    })
}

/// One merge a line, best first, after a line that may name a version.
fn merges_of(path: &Path) -> Result<Vec<[String; 2]>, Failure> {
    let bytes = read_bytes(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let (file, at) = (path.display(), error.valid_up_to());
        Failure::input(format!("`{file}` is not UTF-8 from byte {at} on"))
    })?;
    let lines = text.lines().enumerate();
    let written = lines.filter(|(at, line)| !line.is_empty() && (*at > 0 || !is_version(line)));
    written
        .map(|(at, line)| match line.split_once(' ') {
            Some((left, right)) => Ok([left.to_owned(), right.to_owned()]),
            None => Err(Failure::input(format!(
                "`{}` line {} is no merge of two entries",
                path.display(),
                at + 1
            ))),
        })
        .collect()
}

fn is_version(line: &str) -> bool {
    line.starts_with("#version")
}

fn read_json(path: &Path) -> Result<Value, Failure> {
    serde_json::from_slice(&read_bytes(path)?)
        .map_err(|error| Failure::input(format!("`{}` cannot be read: {error}", path.display())))
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(Failure::io(path))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes).map_err(Failure::io(path))?;
    if bytes.len() as u64 > LARGEST_BYTES {
        return Err(Failure::input(format!("`{}` is larger than 256 MiB", path.display())));
    }
    Ok(bytes)
}
