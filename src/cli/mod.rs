//! The terminal's door. Only here is anything printed, the environment read, or a signal heard.

// What was typed, and what it means.
mod args;
mod device;
mod hub;
mod machine;
mod project;

// How anything is said.
pub mod draw;
mod exit;
mod screen;
mod terminal;

// One file a command, or a few that belong together.
mod artifact;
mod build;
mod cache;
mod check;
mod check_data;
mod doc;
mod doctor;
mod export;
mod fmt;
mod generate;
mod graph;
mod log;
mod new;
mod plan;
mod reproduce;

// From arguments to an exit code.
mod run;

use exit::Exit;
pub use run::main;
