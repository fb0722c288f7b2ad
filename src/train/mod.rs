//! The trainer: tensors → artifacts. Knows nothing of builds or of the recipe language.
//!
//! In reading order; each part uses only those before it.

pub mod progress;

// Operations with forward and backward, bit-exact on every CPU.
pub mod kernels;

// Rows from files, tokens from rows, batches from tokens.
pub mod data;

// The decoder, its weights and its sampling.
pub mod model;

// What a batch is asked to teach.
pub mod objective;

// How gradients move weights.
pub mod optim;

// One thin file a stage kind, and the only loop.
pub mod stage;
