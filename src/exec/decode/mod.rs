//! From fields to the parameters of each stage kind, every field read once.

pub mod adapters;
pub mod align;
pub mod data;
pub mod eval;
pub mod hub;
pub mod model;
pub mod sampling;
pub mod task;
pub mod training;
