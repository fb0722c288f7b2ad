//! `llamake export STAGE DIR --to hf`: what a stage made, as a folder of its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::exit::fail;
use super::terminal::note;
use super::{Exit, args, artifact};
use crate::build::executor::Failure;
use crate::lang::value::SINGLE_PORT;

/// Copies a model folder out of the store; the folder must not exist, or be empty.
pub fn run(args: &args::Export) -> Result<Exit> {
    let args::Format::Hf = args.format;
    let Some((folder, words)) = args.stage.split_last().filter(|(_, words)| !words.is_empty())
    else {
        bail!("name a stage and the folder to write: `llamake export chat DIR`")
    };
    let folder = PathBuf::from(folder);
    if folder.exists() && !folder.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        bail!("`{}` is there already; name a new folder", folder.display());
    }
    let (found, result) = match artifact::find(&args.recipe, words)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let stage = words.last().cloned().unwrap_or_default();
    let manifest = result.ports.get(SINGLE_PORT);
    let is_model = |entry: &crate::build::digest::Entry| entry.path == "config.json";
    let Some(manifest) = manifest.filter(|one| one.entries().iter().any(is_model)) else {
        let failure = Failure::new(format!("`{stage}` makes no model"));
        return Ok(fail(&[failure.remedy("only models have the form of Hugging Face")]));
    };
    if folder.exists() {
        std::fs::remove_dir(&folder)?;
    }
    let part = beside(&folder)?;
    let written = found.store.blobs().copy_out(manifest, &part.path().join("model"));
    written
        .and_then(|()| std::fs::rename(part.path().join("model"), &folder))
        .map_err(|error| anyhow::anyhow!("`{}` cannot be written: {error}", folder.display()))?;
    note(&format!("wrote {}", folder.display()));
    Ok(Exit::Done)
}

/// A temporary folder on the same disk, so that the whole appears at once.
fn beside(folder: &Path) -> Result<tempfile::TempDir> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    Ok(tempfile::Builder::new().prefix(".llamake-export").tempdir_in(parent)?)
}
