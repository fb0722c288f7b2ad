//! A model and a task → scores. Uses the trainer's model and sampling only; knows nothing of builds
//! or of the recipe language.
//!
//! In reading order; each part uses only those before it.

// How one answer or one text is measured.
pub mod metric;

// What a model would have to beat.
pub mod baseline;

// A model that can be asked in words.
pub mod examinee;

// One file a kind of task.
pub mod task;

// What is written down in the end.
pub mod report;

// Every model on every task.
pub mod run;
