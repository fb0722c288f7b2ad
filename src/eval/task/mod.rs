//! What a model is asked, one file a kind of task. Knows rows and answers; does not know which
//! model answers.

pub mod answers;
pub mod perplexity;

/// Named figures of one model on one task, in the order they should be read.
pub type Scores = Vec<(&'static str, f64)>;
