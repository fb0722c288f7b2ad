//! `llamake generate STAGE|DIR --prompt …`: a model's answer, from the terminal.

use std::sync::Arc;

use anyhow::Result;

use super::exit::{fail, tell};
use super::machine::{cancel_flag, isa, pool};
use super::terminal::{note, out};
use super::{Exit, args, artifact, device};
use crate::eval::examinee::{Examinee, Manner};
use crate::exec::local::translated;
use crate::train::kernels::Threads;
use crate::train::kernels::sample::Sampling;
use crate::train::model::Engine;
use crate::train::progress::Progress;

/// Answers one prompt.
pub fn run(args: &args::Generate) -> Result<Exit> {
    let accelerator = match device::for_answers(args.on.device) {
        Ok(accelerator) => accelerator,
        Err(refusal) => {
            tell(&refusal);
            return Ok(Exit::Usage);
        }
    };
    let (place, _kept) = match artifact::model(&args.recipe, &args.model)? {
        Ok(found) => found,
        Err(exit) => return Ok(exit),
    };
    let cancel = cancel_flag()?;
    let threads = pool(args.jobs).threads;
    let mut quiet = Quiet { cancel };
    let manner = Manner {
        samples: 1,
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
    anyhow::ensure!(args.max_answer > 0, "`--max-answer` is at least 1");
    let threads = Arc::new(Threads::with_isa(threads, isa()?));
    let engine = Engine { threads, accelerator };
    let answered = Examinee::open(&place.base, engine).and_then(|mut model| {
        model.wear(place.adapter.as_deref())?;
        model.ask(std::slice::from_ref(&args.prompt), manner, &mut quiet)
    });
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

/// Says nothing while it works; hears ctrl-C.
pub struct Quiet {
    pub cancel: std::sync::Arc<std::sync::atomic::AtomicBool>,
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
