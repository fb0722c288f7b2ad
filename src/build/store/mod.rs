//! # The cache: blobs by digest, results by key
//!
//! Paths inside the cache are known here and nowhere else.

// The door.
mod cache;

// What lies behind it.
mod blobs;

mod records;

mod memo;

mod pieces;

// How several builds share it.
mod key_lock;

mod scratch;

pub use blobs::{BlobFault, Blobs, manifest_of};
pub use cache::{Fault, Lookup, Store};
pub use key_lock::KeyLock;
pub use memo::{FileStat, Memo};
pub use pieces::Pieces;
pub use records::{ActionResult, LogLine, MetricPoint, Records, ResultRow, RunRow, StageRow};
pub use scratch::Scratch;
