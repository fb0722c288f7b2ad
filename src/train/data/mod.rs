//! From files to batches: typed rows, the tokenizer, dialogues as a template writes them, packing,
//! mixtures. Knows text and token ids; does not know models or losses.

pub mod batch;
pub mod chat;
pub mod columns;
pub mod files;
pub mod lines;
pub mod mixture;
pub mod pack;
pub mod rows;
pub mod smallworld;
pub mod tokenizer;
pub mod vocabulary;
