//! Recipes: text → checked module. Pure: no files, no clock, no environment. Knows names, types
//! and facts; does not know what a stage does when it runs.

// Where text stands, and what is wrong with it.
pub mod diagnostic;
pub mod source;

// Characters → tokens → tree → canonical text.
pub mod ast;
pub mod format;
pub mod lexer;
pub mod parser;

// Trees → definitions → types and values → checked module.
pub mod check;
pub mod compile;
pub mod eval;
pub mod resolve;
pub mod stdlib;
pub mod types;

// What other rooms receive, and how it reads.
pub mod declarations;
pub mod render;
pub mod value;

// The phrasebook.
pub mod errors;

pub use compile::compile;
pub use format::format;
pub use parser::{parse, parse_expression};
pub use resolve::imports;
