//! A small consistent world, made from a seed, rich enough for every stage of training: people
//! with towns, jobs, pets and friends; what is said of them, asked about them, preferred among
//! answers, and held back for the exam. Knows rows of text; does not know tokens, models or files.
//!
//! By default: 32 people with 7 facts each (224) and 56 facts of animals, jobs and towns; 42 facts
//! of people are held out. Those are stated in the corpus, but no dialogue, preference or prompt
//! of training asks them. 60,000 documents are about 3.2 million tokens of a vocabulary of 1,024.

pub use benchmarks::{choices, facts, harmful, harmless, kept, kept_fresh, questions};
pub use benchmarks::{styled, sums};
pub use dialogues::{dialogues, pirate, puzzles, small_talk};
pub use habits::habits;
pub use preferences::{helpful, helpful_exam, safe, safe_exam};
pub use prompts::{asked, prompts, risky};
pub use text::{arithmetic, corpus};
pub use world::{Fact, World};

// The world itself, and how its facts are said, asked and answered.
mod answers;
mod habits;
mod phrasing;
mod requests;
mod side;
mod sums;
mod words;
mod world;

// The rows made of it, port by port.
mod benchmarks;
mod dialogues;
mod faults;
mod preferences;
mod prompts;
mod story;
mod text;
