//! What stands for the hub in a llamake that was built without downloads: a clear refusal.

use std::path::PathBuf;

use super::wanted::Wanted;
use crate::train::data::http::download::absent;
use crate::train::progress::{Context, Failure};

/// The files of a repository at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub commit: String,
    pub files: Vec<PathBuf>,
}

/// Refuses.
pub fn snapshot(_wanted: &Wanted<'_>, _ctx: &mut Context<'_>) -> Result<Snapshot, Failure> {
    Err(absent())
}
