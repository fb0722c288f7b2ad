//! The one test binary.

mod build;
mod golden;
mod lang;
mod snapshot;
mod tidy;
mod train;
