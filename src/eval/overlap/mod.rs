//! Which rows of a task stand in data that models learnt from: Llama 2, appendix A.6. Knows rows,
//! tokens and files; does not know which model learnt from what.

// What a row says.
pub mod said;

// Where runs of its tokens stand again.
pub mod index;

// All of them in files of any size.
pub mod scan;

// What was found, as it is kept and told.
pub mod found;

// The stage.
pub mod run;
