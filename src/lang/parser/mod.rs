//! Tokens → tree, with nom's combinators. Every choice is made on the next token. Never fails: what
//! cannot be read becomes an error node and a diagnostic, and reading goes on at the next separator
//! or item. Does not know what a name means.

mod expr;
mod file;
mod items;
mod log;
mod recover;
mod tokens;
mod types;

pub use file::{parse, parse_expression};
