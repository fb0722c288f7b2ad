//! From gradients to better weights.

pub mod adamw;
pub mod clip;
pub mod schedule;

pub use adamw::{AdamW, AdamWState};
pub use schedule::{Schedule, WarmUp};
