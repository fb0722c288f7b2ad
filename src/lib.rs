//! llamake: to model training what make and cargo are to programs.
//!
//! A `.recipe` file declares how a model comes to be. Data flows one way; every arrow is a function
//! from one plain value to the next:
//!
//! ```text
//! text → syntax tree → checked module → Plan → ActionKey → Verdict → Outcome → RunReport
//!        └──────── lang ────────┘      └───────────────── build ─────────────────┘
//! ```
//!
//! Two wings that never meet, and one bridge. The engine (`lang`, `build`) knows recipes, values
//! and digests; it has never heard of a tensor. The trainer (`train`, `eval`) knows tensors,
//! batches and losses; it has never heard of a graph or a cache. Only `exec` sees both.
//!
//! # What is absent, on purpose
//!
//! - `lang` reads no file, no clock and no environment. A path in a recipe is only text to it; the
//!   standard library is embedded in it under the virtual paths `std/…`.
//! - `lang` never stops at the first mistake, and never returns `Result`: a tree and its
//!   diagnostics.
//! - `build` does not know what any kind of stage means. It runs whatever an `Executor` it is given
//!   offers, and names parameters only to quote them.
//! - Names, comments, formatting, paths, times and hosts are in no key, and in no artifact's bytes.
//! - `train` names no stage of a build and no cache; it is handed paths, an empty folder and
//!   threads.
//! - No sum of floats depends on the number of threads or the width of a vector. No function of
//!   libm is called in training; exp, log, sin and cos are our own polynomials.
//! - The decoder's backward is written out beside its forward. candle is no part of the program:
//!   its slow operations, which are differentiable, are the tests' oracle.
//! - Only the doors (`cli`) print, read the environment or look at the terminal.
//! - Only `train/data/http` opens a connection, and only for stages whose kind says so (`fetch`,
//!   `hub_…`); what comes is checked against the digest that the recipe or the hub states.
//! - No program that a model wrote runs but in `eval/sandbox`, and only where the recipe and the
//!   user both allow it.
//! - No number in a stranger's file is believed before the file's own length bears it out.
//!
//! # Invariants
//!
//! - Defaults live in `stdlib/` alone; Rust parameter structs have no `Default`, and a test proves
//!   that the signatures and the structs list the same fields.
//! - A result is in the store only when its blobs are: temp file, fsync, rename, row.
//! - A stage kind carries a semantic version; it is bumped whenever its output bits change.

// From text to a checked module of plain values. Pure.
pub mod lang;

// From a checked module to outcomes: plan, keys, store, schedule, lockfile.
pub mod build;

// From tensors to artifacts: kernels, data, model, objectives, optimisers, stage kinds.
pub mod train;

// From a model and a task to scores.
pub mod eval;

// The bridge: one action → one call into train or eval.
pub mod exec;

// The door to the terminal.
pub mod cli;
