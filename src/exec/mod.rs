//! The bridge: one action → one call into train or eval. The only room that sees both wings.

// Plain values → typed fields, nothing left over.
pub mod inputs;

// Typed fields → the parameters of each stage kind.
pub mod decode;

// Which kinds there are, and the function that does each.
pub mod work;

// What an action costs, and what of it can be proved before it runs.
mod adapted;
mod asking;
mod blocks;
mod course;
pub mod device;
pub mod ledger;
pub mod needs;

// Whether what is evaluated fits, what is learned from, and whether that is asked again.
pub mod exams;
pub mod fits;
pub mod inspect;
mod questions;
mod senseless;

// The executor that runs stages in this process.
pub mod local;

pub use local::Local;
