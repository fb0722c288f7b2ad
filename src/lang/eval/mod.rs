//! Expressions → values. Total: no loops, no I/O, nothing that fails but overflow. Does not know
//! which type a value is meant for.

pub mod number;

mod arithmetic;
pub(super) mod built_in;
mod expr;
mod path;
