//! How one answer is measured. Knows strings; does not know models or tasks.

pub mod answer;
pub mod slot;
