//! # The engine: checked module → Plan → ActionKey → Verdict → Outcome → RunReport
//!
//! It knows digests, not meanings: work is done by whatever [`executor::Executor`] it is given.

// A module becomes work.
pub mod plan;

pub mod target;

pub mod action;

pub mod executor;

// What work is identified by.
pub mod digest;

pub mod sources;

pub mod literal;

pub mod key;

// What was done before.
pub mod store;

// What must be done now.
pub mod verdict;

pub mod examine;

// Doing it.
pub mod resources;

pub mod placement;

pub mod report;

pub mod outputs;

pub mod perform;

pub mod schedule;

// What was built, for others.
pub mod lockfile;

pub mod reproduce;

// What went wrong with the world.
pub mod failures;

pub use digest::Digest;
pub use examine::assess;
pub use executor::{Executor, Failure};
pub use key::ActionKey;
pub use lockfile::{Lock, update_lock};
pub use plan::{Plan, plan};
pub use report::{ActionReport, BuildState, Event, Events, RunReport};
pub use reproduce::{Reproduction, StageVerdict, reproduce};
pub use resources::Pool;
pub use schedule::{BuildOptions, build};
pub use store::Store;
pub use verdict::{StaleReason, Verdict};
