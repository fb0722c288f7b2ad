//! A model wherever it lies: a folder as Hugging Face lays it out, or a GGUF file; with its
//! tokenizer and the chat template it carries. Knows which is which; does not know what they hold.

use std::path::{Path, PathBuf};

use super::folder::{self, ModelFolder};
use super::gguf;
use super::tensor::Stored;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::progress::Failure;

/// Where a model lies: its folder or file, and the adapter it is used under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPath {
    pub base: PathBuf,
    pub adapter: Option<PathBuf>,
}

impl ModelPath {
    /// The folder with the tokenizer and the template it is used with.
    pub fn dress(&self) -> &Path {
        self.adapter.as_ref().unwrap_or(&self.base)
    }
}

impl From<PathBuf> for ModelPath {
    fn from(base: PathBuf) -> ModelPath {
        ModelPath { base, adapter: None }
    }
}

impl From<&Path> for ModelPath {
    fn from(base: &Path) -> ModelPath {
        base.to_path_buf().into()
    }
}

/// A model with all that goes with it.
#[derive(Debug)]
pub struct Anywhere {
    pub model: ModelFolder<Stored>,
    pub tokenizer: Tokenizer,
    pub chat_template: Option<String>,
}

impl Anywhere {
    /// Opens a folder or a GGUF file; weights stay in their files.
    pub fn open(path: &Path) -> Result<Anywhere, Failure> {
        if !is_gguf(path) {
            return Ok(Anywhere {
                model: folder::open(path)?,
                tokenizer: Tokenizer::load(path)?,
                chat_template: folder::read_chat_template(path)?,
            });
        }
        let gguf::GgufModel { model, tokenizer, chat_template } = gguf::open(path)?;
        Ok(Anywhere { model, tokenizer, chat_template })
    }
}

/// Whether a path names a GGUF file.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}
