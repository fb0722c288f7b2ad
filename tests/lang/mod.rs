//! Recipes: what is read, what is said of mistakes, and how text is laid out.

mod examples;
mod format;
mod many;
mod mutate;
mod programs;
mod semantics;
mod syntax;
