//! How a command ends: its exit code, and what is said of a world that was wrong.

use super::terminal::note;
use crate::build::executor::Failure;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    RecipeWrong = 1,
    Usage = 2,
    StageFailed = 3,
    LockMismatch = 4,
    Interrupted = 130,
}

/// Says what went wrong with the world.
pub fn tell(failure: &Failure) {
    note(&format!("error: {}", failure.message));
    for line in &failure.tail {
        note(&format!("  | {line}"));
    }
    if let Some(remedy) = &failure.remedy {
        note(&format!("help: {remedy}"));
    }
}

/// Says all of it and ends as a stage that failed.
pub fn fail(failures: &[Failure]) -> Exit {
    failures.iter().for_each(tell);
    Exit::StageFailed
}
