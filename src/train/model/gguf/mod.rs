//! Models as llama.cpp keeps them, a whole model in one file, GGUF:
//!
//! ```text
//! "GGUF" version  how many tensors  how many facts
//! facts      key, type, value: the shape (`llama.*`), the tokenizer (`tokenizer.*`)
//! places     name, shape, type and offset of each tensor
//! numbers    each tensor at a multiple of the alignment
//! ```
//!
//! Versions 2 and 3 are read, little-endian, of the architecture `llama`; what the trainer does not
//! compute is refused, never ignored. Version 3 is written.

// Bytes → facts and tensors, whoever wrote them; and back.
pub mod facts;
pub mod file;

// Facts ↔ the shape of a decoder, and the names and the order of its numbers.
pub mod layout;
pub mod shape;

// Facts ↔ a tokenizer.
pub mod tokens;
pub mod vocabulary;

/// The name of a model's file in a folder.
pub const FILE: &str = "model.gguf";

// Whole models.
pub mod read;
pub mod write;

pub use read::{GgufModel, open, read};
pub use write::write;
