//! `llamake export STAGE|DIR|FILE PATH --to hf|gguf|bnb4|peft`: a model in another program's form.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::exit::fail;
use super::generate::Quiet;
use super::machine::{cancel_flag, isa, pool};
use super::terminal::note;
use super::{Exit, args, artifact};
use crate::exec::local::translated;
use crate::train::model::encoding::Encoding;
use crate::train::progress::{Context, Failure};
use crate::train::stage::export::{self, Export, GGUF_FILE, Target};

/// Writes a model to a path that does not exist, or a folder to an empty one.
pub fn run(args: &args::Export) -> Result<Exit> {
    let Some((path, words)) = args.stage.split_last().filter(|(_, words)| !words.is_empty()) else {
        bail!("name a stage and where to write: `llamake export chat PATH`")
    };
    let path = PathBuf::from(path);
    check_place(&path, args.format)?;
    let (model, _kept) = match artifact::model(&args.recipe, words)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let part = beside(&path)?;
    let mut quiet = Quiet { cancel: cancel_flag()? };
    let mut context = Context {
        isa: isa()?,
        ..Context::new(pool(args.jobs).threads, part.path().into(), &mut quiet)
    };
    let params = Export { model, to: args.format.target(), dtype: args.dtype.encoding() };
    match export::run(&params, &mut context) {
        Ok(_) => {}
        Err(Failure::Interrupted) => return Ok(Exit::Interrupted),
        Err(failure) => return Ok(fail(&[translated(failure)])),
    }
    put(&part.path().join("out"), &path, args.format)
        .map_err(|error| anyhow::anyhow!("`{}` cannot be written: {error}", path.display()))?;
    note(&format!("wrote {}", path.display()));
    Ok(Exit::Done)
}

fn check_place(path: &Path, format: args::Format) -> Result<()> {
    let empty = || path.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    match format {
        args::Format::Hf | args::Format::Bnb4 | args::Format::Peft if path.exists() && !empty() => {
            bail!("`{}` is there already; name a new folder", path.display())
        }
        args::Format::Gguf if path.exists() => {
            bail!("`{}` is there already; name a new file", path.display())
        }
        args::Format::Gguf if path.extension().is_none_or(|end| end != "gguf") => {
            bail!("`{}` does not end in `.gguf`", path.display())
        }
        _ => Ok(()),
    }
}

/// Moves what was made to where it belongs.
fn put(made: &Path, path: &Path, format: args::Format) -> std::io::Result<()> {
    match format {
        args::Format::Gguf => std::fs::rename(made.join(GGUF_FILE), path),
        args::Format::Hf | args::Format::Bnb4 | args::Format::Peft => {
            if path.exists() {
                std::fs::remove_dir(path)?;
            }
            std::fs::rename(made, path)
        }
    }
}

impl args::Format {
    fn target(self) -> Target {
        match self {
            args::Format::Bnb4 => Target::Bnb4,
            args::Format::Hf => Target::Hf,
            args::Format::Gguf => Target::Gguf,
            args::Format::Peft => Target::Peft,
        }
    }
}

impl args::Dtype {
    fn encoding(self) -> Encoding {
        match self {
            args::Dtype::F32 => Encoding::F32,
            args::Dtype::F16 => Encoding::F16,
            args::Dtype::Bf16 => Encoding::Bf16,
            args::Dtype::Q8_0 => Encoding::Q8_0,
            args::Dtype::Q4_0 => Encoding::Q4_0,
            args::Dtype::Q4K => Encoding::Q4_K,
        }
    }
}

/// A temporary folder on the same disk, so that the whole appears at once.
fn beside(path: &Path) -> Result<TempDir> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    Ok(tempfile::Builder::new().prefix(".llamake-export").tempdir_in(parent)?)
}
