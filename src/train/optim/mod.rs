//! From gradients to better weights.

pub mod adamw;
pub mod clip;
pub mod device;
pub mod moments;
pub mod schedule;

pub use adamw::{AdamW, AdamWState};
pub use device::DeviceMoments;
pub use moments::Bits;
pub use schedule::{Schedule, WarmUp};
