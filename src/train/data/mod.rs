//! From files to batches: typed rows, the tokenizer, dialogues as a template writes them, packing,
//! mixtures. Knows text and token ids; does not know models or losses.

pub mod batch;
pub mod bpe;
pub mod chat;
pub mod chat_template;
pub mod columns;
pub mod files;
pub mod http;
pub mod hub;
pub mod inspect;
pub mod jinja;
pub mod lines;
pub mod mixture;
pub mod pack;
pub mod pairs;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "no_parquet.rs"]
pub mod parquet;
pub mod parts;
pub mod pipeline;
pub mod protobuf;
pub mod quotes;
pub mod rows;
pub mod sentencepiece;
pub mod shapes;
pub mod shard;
pub mod smallworld;
pub mod tokenise;
pub mod tokenizer;
pub mod tokenizer_files;
pub mod tokenizer_json;
pub mod vocabulary;
