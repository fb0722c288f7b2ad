//! How one answer is measured, and what many of them tell. Knows strings and numbers; does not know
//! models or tasks.

pub mod answer;
pub mod blanks;
pub mod bleu;
pub mod chrf;
pub mod extract;
pub mod grams;
pub mod likeness;
pub mod measure;
pub mod pass;
pub mod perplexity;
pub mod porter;
pub mod resample;
pub mod rouge;
pub mod slot;
pub mod statistics;
pub mod tokens;
