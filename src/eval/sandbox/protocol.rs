//! What is said between llamake and the process in which a program runs: one line of JSON in, a few
//! out. Knows plain values only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How much of everything one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of computing, by each of its processes.
    pub seconds: u64,
    /// By the clock, for a program that waits; so much more than `seconds` that a busy machine
    /// does not change a verdict.
    pub seconds_by_the_clock: u64,
    /// Of each process.
    pub memory_bytes: u64,
    /// Of all its files together.
    pub file_bytes: u64,
    /// Printed; not a word more is read.
    pub output_bytes: u64,
    /// Processes and threads at a time.
    pub processes: u64,
}

impl Limits {
    /// What suffices for a program that answers a question in so many seconds.
    pub fn of_seconds(seconds: u64) -> Limits {
        Limits {
            seconds,
            seconds_by_the_clock: seconds.saturating_mul(4),
            memory_bytes: 1 << 30,
            file_bytes: 16 << 20,
            output_bytes: 1 << 20,
            processes: 8,
        }
    }
}

/// A program to be run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub program: String,
    pub interpreter: PathBuf,
    /// What the interpreter is made of: files and folders that the program may read.
    pub readable: Vec<PathBuf>,
    /// Folders inside those that look empty.
    pub hidden: Vec<PathBuf>,
    pub limits: Limits,
}

/// What the process inside says, a line each.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// There is no sandbox; nothing was run.
    Refused(String),
    /// The sandbox stands, and the program starts.
    Ready,
    Ended {
        how: Ending,
        /// Whether its last line was reached.
        sealed: bool,
    },
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Exit(i32),
    Signal(i32),
    /// Its time by the clock was over.
    Clock,
}
