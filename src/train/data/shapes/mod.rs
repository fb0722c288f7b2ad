//! How rows of users' files hold dialogues, preferences and prompts. Knows columns and turns; does
//! not know files or formats.

pub mod chat;
pub mod faulty;
pub mod fit;
pub mod preference;
pub mod prompt;
pub mod transcript;
pub mod tree;
pub mod turns;

pub use chat::ChatShape;
pub use faulty::{Faulty, Refusal, Sieve};
pub use preference::PreferenceShape;
pub use prompt::PromptShape;
