//! The Hugging Face hub: files of a repository at a commit, through the cache that other programs
//! use too. Knows repositories and files; does not know what is in them.

// How to reach it, and what is wanted of it.
pub mod settings;
pub mod wanted;

// What it lists and answers, and what its refusals mean.
#[cfg(feature = "hub")]
mod api;
#[cfg(feature = "hub")]
mod refusal;

// The folders of the cache.
#[cfg(feature = "hub")]
mod cache;

// All of it: from a name to files.
#[cfg(feature = "hub")]
mod snapshot;
#[cfg(not(feature = "hub"))]
#[path = "absent.rs"]
mod snapshot;

pub use settings::{Hub, Token};
pub use snapshot::{Snapshot, snapshot};
pub use wanted::{RepoKind, Wanted};
