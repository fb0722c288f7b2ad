//! The one test binary.

mod build;
mod cli;
#[cfg(target_os = "linux")]
mod cuda;
mod damaged;
mod examining;
mod exams;
mod exec;
#[cfg(feature = "hub")]
mod fake_hub;
mod golden;
mod golden_align;
mod golden_export;
mod golden_lora;
mod golden_metrics;
mod golden_nf4;
mod lang;
mod metrics;
mod ngram;
mod real_preferences;
#[cfg(target_os = "linux")]
mod sandbox;
mod snapshot;
mod tidy;
mod tiny;
mod train;
