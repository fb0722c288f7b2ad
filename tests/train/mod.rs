//! The trainer: against references, against itself cut in other ways, and against broken files.

mod adapted;
mod adapters;
mod alignment;
mod chat;
mod chat_renders;
mod combining;
mod command;
mod encoding;
pub mod export;
#[cfg(feature = "hub")]
mod fetch;
pub mod fixtures;
mod foreign_tokenizers;
mod gguf;
mod golden_data;
#[cfg(feature = "hub")]
pub mod hub;
mod kernels;
mod mapped;
mod memory;
mod merging;
mod optimizers;
mod oracle;
pub mod pipeline;
mod preferences;
mod quantize;
mod read;
mod read_model;
mod samplers;
mod sampling;
mod shards;
mod smallworld;
mod tokenizer;
mod training;
mod weights;

use std::path::{Path, PathBuf};

use llamake::train::progress::{Context, Failure, Metrics, Progress};

/// Progress that only remembers.
#[derive(Default)]
pub struct Silent {
    pub log: Vec<String>,
    pub cancel_after: Option<usize>,
}

impl Progress for Silent {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, line: &str) {
        self.log.push(line.into());
    }

    fn notice(&mut self, line: &str) {
        self.log(line);
    }

    fn cancelled(&self) -> bool {
        self.cancel_after.is_some_and(|lines| self.log.len() >= lines)
    }
}

/// Runs a stage into a fresh folder.
pub fn run_stage(
    threads: usize,
    run: impl FnOnce(&mut Context<'_>) -> Result<Metrics, Failure>,
) -> (tempfile::TempDir, Result<Metrics, Failure>) {
    let out = tempfile::tempdir().unwrap();
    let mut progress = Silent::default();
    let mut ctx = Context::new(threads, out.path().into(), &mut progress);
    let result = run(&mut ctx);
    (out, result)
}

/// A file of a test.
pub fn file(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A failure of the input as it is told, the folder of the test left out, with its remedy.
pub fn told(failure: Failure, folder: &Path) -> String {
    let Failure::Input { message, remedy } = failure else { panic!("{failure:?}") };
    let told = message + &remedy.map_or(String::new(), |remedy| format!(" | {remedy}"));
    told.replace(&format!("{}/", folder.display()), "")
}

/// A folder of the shared data sets, unless it is not there, which only CI takes amiss.
pub fn shared_data(folder: &str) -> Option<PathBuf> {
    let root = std::env::var("LLAMAKE_DATA").unwrap_or_else(|_| "../shared/data".into());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(folder);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no folder {}", path.display());
    eprintln!("SKIPPED: no data at {}", path.display());
    None
}
