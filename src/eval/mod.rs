//! A model and a task → scores. Uses the trainer's model and sampling only; knows nothing of builds
//! or of the recipe language.
//!
//! In reading order; each part uses only those before it.

// How rows become words, and what is found in words.
pub mod prompt;

// Numbers kept to the bit.
mod exact;

// How one answer or one text is measured.
pub mod metric;

// What a model would have to beat.
pub mod baseline;

// What a reader should know of a task.
pub mod about;

// What one model shows on one task.
pub mod finding;

// What other evaluations have found.
pub mod cells;

// What an unfinished evaluation knows already.
pub mod notes;

// How turns become the tokens of one model.
pub mod wording;

// A model that can be asked in words.
pub mod examinee;

// A reward model that reads answers in words.
pub mod critic;

// Where programs that a model wrote are run.
pub mod sandbox;

// One file a kind of task.
pub mod task;

// Which models there are, and which tasks fit them.
pub mod roster;

// What others have published.
pub mod reference;

// Which rows of a task stand in what models learnt from.
pub mod overlap;

// What is written down in the end.
pub mod report;

// The same in the shape of lm-evaluation-harness, which tells groups within groups.
mod groups;
pub mod harness;

// The same as a page.
pub mod page;

// All of it in a folder.
pub mod publish;

// Every model on every task that fits it.
pub mod run;

// A report read back, what is demanded of it, and several side by side.
pub mod reading;

pub mod compare;
pub mod expect;
