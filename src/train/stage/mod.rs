//! Stage kinds, one thin file each, and the loop they share. Each begins from paths and plain
//! parameters and ends with files in an empty folder.

// Rows from what users and programs have.
pub mod command;
pub mod fetch;
pub mod hub;
pub mod read_benchmark;
pub mod read_chat;
pub mod read_preferences;
pub mod read_prompts;
pub mod read_text;
pub mod smallworld;
pub mod split;

// A vocabulary.
pub mod read_tokenizer;
pub mod train_tokenizer;

// The only loop, what a run costs, and what of its data can be proved before it.
pub mod checkpoint;
pub mod inspect;
pub mod ledger;
pub mod length;
pub mod moving;
pub mod on_device;
pub mod rollout;
pub mod scored;
pub mod train_loop;

// Rows that models make.
pub mod answers;
pub mod context_distill;
pub mod generate;
pub mod ghost_attention;
pub mod journal;
pub mod prompts_of;
pub mod rejection_sampling;
pub mod samples;

// Models.
pub mod combine;
pub mod dpo;
pub mod export;
pub mod group;
pub mod grpo;
pub mod learner;
pub mod lora;
pub mod merge;
pub mod policy;
pub mod ppo;
pub mod pretrain;
pub mod quantize;
pub mod read_model;
pub mod reward_model;
pub mod safety_gate;
pub mod sft;
pub mod worth;

pub use combine::Combine;
pub use context_distill::ContextDistill;
pub use dpo::Dpo;
pub use export::Export;
pub use generate::Generate;
pub use ghost_attention::GhostAttention;
pub use grpo::Grpo;
pub use length::{BatchSize, Course, Length};
pub use lora::Lora;
pub use ppo::Ppo;
pub use pretrain::Pretrain;
pub use prompts_of::PromptsOf;
pub use quantize::Quantize;
pub use rejection_sampling::RejectionSampling;
pub use reward_model::RewardModel;
pub use safety_gate::SafetyGate;
pub use samples::Answering;
pub use sft::Sft;
pub use train_loop::{Numerics, Training};
