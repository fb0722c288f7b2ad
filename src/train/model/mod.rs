//! The decoder: one for every family; a family is a configuration.
//!
//! Names of tensors end in their shape, the slowest dimension first:
//!
//! | letter | dimension |
//! |---|---|
//! | b | rows of a batch |
//! | t | tokens; all rows of a batch end to end, so `td` stands for `btd` without padding |
//! | d | width of the residual stream; also of all query heads together |
//! | h | query heads |
//! | k | width of all key heads together, and of all value heads |
//! | f | width inside the feed-forward block |
//! | v | vocabulary |

pub mod accelerated;
pub mod activations;
pub mod anywhere;
pub mod asked;
pub mod batch;
pub mod combine;
pub mod config;
pub mod encoding;
pub mod endings;
pub mod folder;
pub mod gguf;
pub mod host;
pub mod inference;
pub mod init;
pub mod judge;
pub mod kv_cache;
pub mod loaded;
pub mod lora;
pub mod machine;
pub mod parameters;
pub mod peft;
pub mod projection;
pub mod quantized;
pub mod sample;
pub mod tensor;
pub mod trainable;
pub mod transformer;
pub mod weights;

pub use anywhere::{Anywhere, ModelPath};
pub use asked::Engine;
pub use batch::Batch;
pub use config::{Head, ModelConfig, SpecialTokens};
pub use loaded::LoadedModel;
pub use parameters::Parameters;
pub use trainable::Trainable;
pub use transformer::Transformer;
