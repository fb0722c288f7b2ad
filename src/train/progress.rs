//! How training code speaks while it works, and how it fails. Knows neither terminals nor stages
//! of a build.

use std::path::PathBuf;

/// Hears how far the work is and says whether to go on.
pub trait Progress {
    /// `done` of `total` in `unit`, with named figures such as `loss`.
    fn at(&mut self, done: u64, total: u64, unit: &'static str, metrics: &[(&str, f64)]);

    /// A line for the log of the stage.
    fn log(&mut self, line: &str);

    /// True once the user asked to stop; work then returns [`Failure::Interrupted`] soon.
    fn cancelled(&self) -> bool;
}

/// Where work happens: how many threads it may use, and the folder its results go to.
pub struct Context<'a> {
    pub threads: usize,
    /// An empty folder; result `port` is made at `out/port`.
    pub out: PathBuf,
    pub progress: &'a mut dyn Progress,
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
