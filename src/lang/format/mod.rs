//! Tree → canonical text: four spaces, 100 columns, values aligned, comments kept. Knows layout;
//! does not know names or types, and does not touch a file with faults.

mod expr;
mod items;
mod layout;
mod number;
mod printer;

pub use items::format;
