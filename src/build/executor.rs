//! The door through which the engine gets work done. Knows that an action has parameters, inputs
//! and outputs; does not know what any kind of stage means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::action::Action;
use super::key::Contents;
use super::store::Pieces;
use crate::lang::value::{Artifact, PathValue};

/// Runs actions. `exec` implements it for real, the tests with fakes.
pub trait Executor: Sync {
    /// The semantic version of a stage kind, bumped when its output bits change.
    fn version(&self, kind: &str) -> Option<u32>;

    /// What of the action decides on the bits of its result.
    fn keyed(&self, action: &Action) -> Keyed;

    /// What the action takes while it runs.
    fn demand(&self, action: &Action) -> Demand;

    /// Does the work. Every port must lie under [`Job::out`] when it returns.
    fn run(&self, job: &Job<'_>, sink: &dyn JobSink) -> Result<Outcome, Failure>;
}

/// What a key holds of an action besides its contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keyed {
    /// Parameters that cannot change the bits of the result, and so stay out of the key.
    pub outside: &'static [&'static str],
    /// Whether the result calls its inputs by their names in the recipe, as a report does.
    pub input_names: bool,
    /// Whether the bits also depend on the kind of machine, which is in no key: then a result made
    /// elsewhere may differ and still be the same one, as far as its metrics tell.
    pub of_machine: bool,
}

/// Cores and memory that an action asks of the pools. `threads` is the most it can use well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    pub threads: usize,
    pub memory_bytes: u64,
    /// What it asks instead where it runs on a GPU, if it can.
    pub gpu: Option<OnGpu>,
    /// Whether it runs nowhere else.
    pub gpu_only: bool,
}

/// What an action that runs on a GPU asks of it, and of the machine around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnGpu {
    pub threads: usize,
    pub memory_bytes: u64,
    pub gpu_bytes: u64,
    /// How many GPUs could share it, each with so many bytes.
    pub most: usize,
}

/// One action with everything found for it.
pub struct Job<'a> {
    pub action: &'a Action,
    /// Where each input artifact lies, by action name and port (`base`, `out`); read-only.
    pub artifacts: &'a BTreeMap<(String, String), PathBuf>,
    /// The files that each path parameter stands for, sorted; keyed by what was written.
    pub files: &'a BTreeMap<(String, String), Vec<PathBuf>>,
    /// What those artifacts and files hold.
    pub contents: &'a Contents,
    /// Parts of results that actions share; none where nothing is run.
    pub pieces: Option<&'a Pieces>,
    /// An empty folder; port `p` is made at `out/p`, as a file or a folder.
    pub out: &'a Path,
    /// Where the action may keep unfinished work under its key, for the next time it is started.
    /// May not exist yet; it is removed once the result is published, and never by a failure.
    pub attempt: &'a Path,
    /// Threads granted, at least 1.
    pub threads: usize,
    /// The indices of the GPUs granted, if any are.
    pub gpus: &'a [usize],
    /// Set when the user interrupts: stop soon and return [`Failure::interrupted`].
    pub cancel: &'a AtomicBool,
}

impl Job<'_> {
    /// Where an input artifact lies. Every artifact in the parameters was found before the run.
    pub fn artifact(&self, artifact: &Artifact) -> &Path {
        let name = self.action.input_name(artifact.stage).to_string();
        &self.artifacts[&(name, artifact.port.clone())]
    }

    /// The files of a path parameter, in order.
    pub fn files(&self, path: &PathValue) -> &[PathBuf] {
        &self.files[&(path.folder.clone(), path.written.clone())]
    }
}

/// Receives what a running action has to say; the engine stores it and passes it on.
pub trait JobSink: Sync {
    fn progress(&self, progress: Progress);
    fn log(&self, line: &str);
    /// A line of the log that the user should see while it runs.
    fn notice(&self, line: &str);
}

/// How far an action is, with named figures such as `loss`.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// What is counted: `steps`, `documents`.
    pub unit: &'static str,
    pub metrics: Vec<(String, f64)>,
}

/// What a finished action says of itself: the headline figures of its result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub metrics: Vec<(String, f64)>,
}

/// The world was wrong: what happened to one action, and what to do about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub message: String,
    /// The last lines an external program printed, if one ran.
    pub tail: Vec<String>,
    pub remedy: Option<String>,
    pub interrupted: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), tail: Vec::new(), remedy: None, interrupted: false }
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }

    pub fn interrupted() -> Failure {
        Failure { interrupted: true, ..Failure::new("interrupted") }
    }
}
