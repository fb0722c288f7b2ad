//! What stands for downloads in a llamake that was built without them: a clear refusal.

use std::path::Path;

use super::digest::Digest;
use super::limits::Limits;
use crate::train::progress::{Failure, Progress};

/// Refuses.
pub fn pinned(
    _url: &str,
    _digest: Option<&Digest>,
    _part: &Path,
    _limits: &Limits,
    _progress: &mut dyn Progress,
) -> Result<u64, Failure> {
    Err(absent())
}

/// Why nothing is downloaded.
pub fn absent() -> Failure {
    Failure::input("this llamake was built without the feature `hub`, so it downloads nothing")
        .remedy("build it with `cargo build --release --features hub`")
}
