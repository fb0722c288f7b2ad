//! What is learnt, an objective a file. The loop that calls them is one for all.

pub mod contract;
pub mod dpo;
pub mod grpo;
pub mod next_token;
pub mod ppo;
pub mod ranking;

pub use contract::{Figures, Objective};
