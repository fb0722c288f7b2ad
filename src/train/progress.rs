//! How training code speaks while it works, and how it fails. Knows neither terminals nor stages
//! of a build.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::data::hub::Hub;
use super::kernels::launch::Accelerator;
use super::kernels::{Isa, Threads};
use super::model::Engine;

/// Hears how far the work is and says whether to go on.
pub trait Progress {
    /// `done` of `total` in `unit`, with named figures such as `loss`.
    fn at(&mut self, done: u64, total: u64, unit: &'static str, metrics: &[(&str, f64)]);

    /// A line for the log of the stage.
    fn log(&mut self, line: &str);

    /// A line for the log that is also shown where the work runs: what a user would not expect.
    fn notice(&mut self, line: &str);

    /// True once the user asked to stop; work then returns [`Failure::Interrupted`] soon.
    fn cancelled(&self) -> bool;
}

/// Hears nothing of a part of the work, but still knows when to stop.
pub struct Quiet<'a>(pub &'a mut dyn Progress);

impl Progress for Quiet<'_> {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, line: &str) {
        self.0.log(line);
    }

    fn notice(&mut self, line: &str) {
        self.0.notice(line);
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// Parts of results that other results may share, each under a key that says all that decides on
/// its bits: a part that is there need not be made again.
pub trait Pieces {
    /// What was put there, whole; a damaged piece is none.
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>>;

    /// Keeps a piece.
    fn put(&self, key: &[u8; 32], bytes: &[u8]) -> std::io::Result<()>;
}

/// Where work happens: what it may compute with, and the folders it may write to.
pub struct Context<'a> {
    pub threads: usize,
    /// The instruction set of the kernels; it never changes a result.
    pub isa: Isa,
    /// What computes with models instead of the CPU, with the same bits.
    pub accelerator: Option<Arc<dyn Accelerator>>,
    /// Others of the same kind that share the steps of what learns, with the same bits.
    pub others: Vec<Arc<dyn Accelerator>>,
    /// Where unfinished work is kept, if it is to survive its process.
    pub attempt: Option<Attempt>,
    /// Parts of results, if they are shared with others.
    pub pieces: Option<&'a dyn Pieces>,
    pub hub: Hub,
    /// What runs programs that a model wrote; nothing does unless the user allowed it.
    pub untrusted: Option<Launcher>,
    /// An empty folder; result `port` is made at `out/port`.
    pub out: PathBuf,
    pub progress: &'a mut dyn Progress,
}

/// A place for unfinished work of one stage with one set of inputs and parameters.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// May not exist yet.
    pub folder: PathBuf,
    /// The least time between two savings; saving never takes more than a twentieth of all time.
    pub every: Duration,
}

/// What starts a program in a sandbox.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// llamake itself.
    pub program: PathBuf,
    /// The `PATH` that its interpreter is found by.
    pub search_path: OsString,
}

impl<'a> Context<'a> {
    /// The fastest instruction set there is; unfinished work is not kept, nothing is shared, no hub
    /// is asked, no program of a model runs.
    pub fn new(threads: usize, out: PathBuf, progress: &'a mut dyn Progress) -> Context<'a> {
        let (isa, hub) = (Isa::detect(), Hub::none());
        let (accelerator, attempt, pieces, untrusted) = (None, None, None, None);
        let others = Vec::new();
        Context {
            threads,
            isa,
            accelerator,
            others,
            attempt,
            pieces,
            hub,
            untrusted,
            out,
            progress,
        }
    }

    /// Threads for the kernels.
    pub fn kernels(&self) -> Threads {
        Threads::with_isa(self.threads, self.isa)
    }

    /// What finished models are asked on.
    pub fn engine(&self) -> Engine {
        Engine { threads: Arc::new(self.kernels()), accelerator: self.accelerator.clone() }
    }
}

/// The headline figures of a result, in the order they should be read.
pub type Metrics = Vec<(String, f64)>;

/// Why work could not be done.
#[derive(Debug)]
pub enum Failure {
    Interrupted,
    /// The input is wrong: a sentence that names file, line or row, and what to do about it.
    Input {
        message: String,
        remedy: Option<String>,
    },
    /// A device had less memory than was asked of it.
    Memory {
        message: String,
        remedy: Option<String>,
    },
    /// The machine refused: a full disk, a missing permission.
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
}

impl Failure {
    pub fn input(message: impl Into<String>) -> Failure {
        Failure::Input { message: message.into(), remedy: None }
    }

    pub fn remedy(self, text: impl Into<String>) -> Failure {
        match self {
            Failure::Input { message, .. } => Failure::Input { message, remedy: Some(text.into()) },
            other => other,
        }
    }

    /// The same with what it belongs to before it: a task, a data set.
    pub fn of(self, what: &str) -> Failure {
        match self {
            Failure::Input { message, remedy } => {
                Failure::Input { message: format!("{what}: {message}"), remedy }
            }
            other => other,
        }
    }

    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.into();
        move |error| Failure::Io { path, error }
    }
}
