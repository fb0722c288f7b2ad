//! `llamake generate STAGE|DIR --prompt …`: a model's answer, from the terminal.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::exit::fail;
use super::machine::{cancel_flag, isa, pool};
use super::terminal::{note, out};
use super::{Exit, args, artifact};
use crate::build::executor::Failure;
use crate::eval::examinee::{Examinee, Manner};
use crate::exec::local::translated;
use crate::lang::value::SINGLE_PORT;
use crate::train::kernels::Threads;
use crate::train::kernels::sample::Sampling;
use crate::train::progress::Progress;

/// Answers one prompt.
pub fn run(args: &args::Generate) -> Result<Exit> {
    let (folder, _kept) = match model_folder(args)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let cancel = cancel_flag()?;
    let threads = pool(args.jobs).threads;
    let mut quiet = Quiet { cancel };
    let manner = Manner {
        max_answer: usize::try_from(args.max_answer)?,
        sampling: Sampling {
            temperature: args.temperature as f32,
            top_k: args.top_k.map(usize::try_from).transpose()?,
            top_p: args.top_p.unwrap_or(1.0) as f32,
        },
        seed: args.seed,
    };
    anyhow::ensure!(args.temperature >= 0.0, "`--temperature` is not negative");
    let top_p = args.top_p.unwrap_or(1.0);
    anyhow::ensure!(top_p > 0.0 && top_p <= 1.0, "`--top-p` lies above 0 and at most at 1");
    anyhow::ensure!(args.top_k != Some(0), "`--top-k` is at least 1");
    let answered = Examinee::open(&folder, Threads::with_isa(threads, isa()?))
        .and_then(|model| model.ask(std::slice::from_ref(&args.prompt), manner, &mut quiet));
    match answered {
        Ok(answers) => {
            out(&format!("{}\n", answers[0].text));
            if !answers[0].ended {
                note("the answer was cut; `--max-answer` allows a longer one");
            }
            Ok(Exit::Done)
        }
        Err(crate::train::progress::Failure::Interrupted) => Ok(Exit::Interrupted),
        Err(failure) => Ok(fail(&[translated(failure)])),
    }
}

/// A model folder that was named, or the one that a stage made; with what keeps it in place.
fn model_folder(
    args: &args::Generate,
) -> Result<Result<(PathBuf, Option<tempfile::TempDir>), Exit>> {
    if let [only] = args.model.as_slice()
        && Path::new(only).join("config.json").is_file()
    {
        return Ok(Ok((only.into(), None)));
    }
    let (found, result) = match artifact::find(&args.recipe, &args.model)? {
        Ok(found) => found,
        Err(exit) => return Ok(Err(exit)),
    };
    let kept = tempfile::tempdir()?;
    let place = kept.path().join("model");
    let stage = args.model.last().cloned().unwrap_or_default();
    let Some(manifest) = result.ports.get(SINGLE_PORT) else {
        return Ok(Err(fail(&[Failure::new(format!("`{stage}` makes no model"))])));
    };
    let place = found.store.blobs().lay_out(manifest, &place)?;
    if !place.join("config.json").is_file() {
        let kinds = "name a stage of kind `pretrain` or `sft`, or a model folder";
        return Ok(Err(fail(&[Failure::new(format!("`{stage}` makes no model")).remedy(kinds)])));
    }
    Ok(Ok((place, Some(kept))))
}

/// Says nothing while it works; hears ctrl-C.
struct Quiet {
    cancel: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Progress for Quiet {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, _: &str) {}

    fn notice(&mut self, line: &str) {
        note(line);
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(std::sync::atomic::Ordering::Relaxed)
    }
}
