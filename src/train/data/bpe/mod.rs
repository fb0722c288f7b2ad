//! Byte-pair encoding by hand, for the pipelines that most vocabularies for Llamas have: the ids
//! are those of the `tokenizers` crate, in a fraction of its time. What is not recognised here goes
//! through the crate. Knows words, merges and ids; does not know files, special tokens or rows.

pub use encoder::{Bpe, Encoder};

// Where words end, what merges in them, and the words met before.
mod cache;
mod merges;
mod words;

// A text through all three, and which vocabularies can be.
mod encoder;
mod recognise;
