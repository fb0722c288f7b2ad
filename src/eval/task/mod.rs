//! What a model is asked, one file a kind of task. Knows rows and answers, and asks whatever model
//! it is handed; does not know which models there are.

pub mod answers;
pub mod asked;
pub mod choice;
mod harness_draw;
pub mod kept;
pub mod likened;
pub mod pairs;
pub mod perplexity;
pub mod posing;
pub mod programs;
pub mod rewards;
pub mod written;
