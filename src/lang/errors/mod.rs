//! The phrasebook: one function for each sentence the compiler can say, so that they read alike.
//! Knows words; does not know how a fault is found.

pub mod nearest;
pub mod semantics;
pub mod syntax;
