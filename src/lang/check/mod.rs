//! Checking and evaluating in one pass: a recipe has an actual value for everything, so what is
//! checked is what will really run. Knows types, values and facts; does not know what a stage does.

// Values with the places that wrote them.
pub mod known;

// What is declared: types, and the signatures of records and stage kinds.
mod lower;
mod signature;

// A value against a type, and the sentence where it does not fit.
mod fit;
mod mismatch;

// A call: its fields, defaults and requirements; the facts of what it makes.
mod call;
mod facts;
mod fields;
mod placeholders;
mod require;

// What stands for many stages: functions with a body, and sweeps.
mod body;
mod calls;
mod sample;
mod sweep;

// A file: its bindings in the order they need each other, its stages and outputs.
mod bindings;
mod order;
mod outputs;
mod state;

pub use outputs::check;
pub(super) use signature::elsewhere;
pub use state::{Checker, Names, Override, Reading};
pub(super) use sweep::{Flat, flat};
