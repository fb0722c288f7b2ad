//! From files to batches: typed rows, the tokenizer, dialogues as a template writes them, packing,
//! mixtures. Knows text and token ids; does not know models or losses.

pub mod batch;
pub mod chat;
pub mod columns;
pub mod files;
pub mod http;
pub mod hub;
pub mod lines;
pub mod mixture;
pub mod pack;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "no_parquet.rs"]
pub mod parquet;
pub mod parts;
pub mod rows;
pub mod shapes;
pub mod smallworld;
pub mod tokenizer;
pub mod vocabulary;
