//! `hub_text`, `hub_chat` and the other `hub_…`: what a hub has, as the `read_…` of that name reads
//! it. Its files are made to lie in the hub's cache and then read like any others. Knows which
//! files each can read; does not know how a hub is asked.

use std::path::{Path, PathBuf};

use super::read_benchmark::{self, ReadBenchmark};
use super::read_chat::{self, ReadChat};
use super::read_model::{self, ReadModel};
use super::read_preferences::{self, ReadPreferences};
use super::read_prompts::{self, ReadPrompts};
use super::read_text::{self, ReadText};
use super::read_tokenizer::{self, ReadTokenizer};
use crate::train::data::files::Format;
use crate::train::data::hub::{RepoKind, Wanted, snapshot};
use crate::train::progress::{Context, Failure, Metrics};

/// The record `from_hub` of `stdlib/hub.recipe`.
#[derive(Clone, Debug, PartialEq)]
pub struct FromHub {
    pub repo: String,
    pub revision: String,
    pub folder: Option<String>,
    pub files: Vec<String>,
}

impl FromHub {
    fn wanted(&self, kind: RepoKind, readable: fn(&Path) -> bool) -> Wanted<'_> {
        Wanted {
            kind,
            repo: &self.repo,
            revision: &self.revision,
            folder: self.folder.as_deref(),
            files: &self.files,
            readable,
        }
    }
}

/// Rows of a data set, read as `read` says, which names no files.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<R> {
    pub from: FromHub,
    pub read: R,
}

/// A base or chat model; `read` names no files.
#[derive(Clone, Debug, PartialEq)]
pub struct HubModel {
    pub repo: String,
    pub revision: String,
    pub read: ReadModel,
}

/// Makes `out` as `read_text` does. A column is read from tables, else text files are.
pub fn text(params: &Rows<ReadText>, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let readable = if params.read.column.is_some() { is_table } else { is_text };
    let files = snapshot(&params.from.wanted(RepoKind::Dataset, readable), ctx)?.files;
    read_text::run(&ReadText { files, ..params.read.clone() }, ctx)
}

fn tables(from: &FromHub, ctx: &mut Context<'_>) -> Result<Vec<PathBuf>, Failure> {
    Ok(snapshot(&from.wanted(RepoKind::Dataset, is_table), ctx)?.files)
}

/// Makes `out` as `read_chat` does.
pub fn chat(params: &Rows<ReadChat>, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let files = tables(&params.from, ctx)?;
    read_chat::run(&ReadChat { files, ..params.read.clone() }, ctx)
}

/// Makes `out` as `read_preferences` does.
pub fn preferences(
    params: &Rows<ReadPreferences>,
    ctx: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let files = tables(&params.from, ctx)?;
    read_preferences::run(&ReadPreferences { files, ..params.read.clone() }, ctx)
}

/// Makes `out` as `read_prompts` does.
pub fn prompts(params: &Rows<ReadPrompts>, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let files = tables(&params.from, ctx)?;
    read_prompts::run(&ReadPrompts { files, ..params.read.clone() }, ctx)
}

/// Makes `out` as `read_benchmark` does.
pub fn benchmark(params: &Rows<ReadBenchmark>, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let files = tables(&params.from, ctx)?;
    read_benchmark::run(&ReadBenchmark { files, ..params.read.clone() }, ctx)
}

/// Makes `out` as `read_base_model` and `read_chat_model` do.
pub fn model(params: &HubModel, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let (repo, revision) = (&params.repo, &params.revision);
    let kind = RepoKind::Model;
    let readable = is_of_model;
    let wanted = Wanted { kind, repo, revision, folder: None, files: &[], readable };
    let files = snapshot(&wanted, ctx)?.files;
    read_model::run(&ReadModel { files, ..params.read.clone() }, ctx)
}

/// A vocabulary; `read` names no files.
#[derive(Clone, Debug, PartialEq)]
pub struct HubTokenizer {
    pub repo: String,
    pub revision: String,
    pub read: ReadTokenizer,
}

/// Makes `out` as `read_tokenizer` does.
pub fn tokenizer(params: &HubTokenizer, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let (repo, revision) = (&params.repo, &params.revision);
    let kind = RepoKind::Model;
    let readable = is_of_tokenizer;
    let wanted = Wanted { kind, repo, revision, folder: None, files: &[], readable };
    let files = snapshot(&wanted, ctx)?.files;
    read_tokenizer::run(&ReadTokenizer { files, ..params.read.clone() }, ctx)
}

/// What a vocabulary and its special tokens are read from.
const OF_TOKENIZER: [&str; 7] = [
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

fn is_of_tokenizer(path: &Path) -> bool {
    path.to_str().is_some_and(|name| OF_TOKENIZER.contains(&name))
}

/// What a model is read from; the same weights in other formats, which many repositories hold, are
/// left where they are.
const OF_MODEL: [&str; 9] = [
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
];

fn is_of_model(path: &Path) -> bool {
    let Some(name) = path.to_str() else { return false };
    let weights = name.starts_with("model") && name.ends_with(".safetensors");
    (weights && !name.contains('/')) || OF_MODEL.contains(&name)
}

fn is_table(path: &Path) -> bool {
    Format::of(path).is_ok_and(|format| format != Format::Text)
}

fn is_text(path: &Path) -> bool {
    Format::of(path).is_ok_and(|format| format == Format::Text)
}
