//! How one answer is measured, and what many of them tell. Knows strings and numbers; does not know
//! models or tasks.

pub mod answer;
pub mod slot;
pub mod statistics;
