//! GPUs through NVIDIA's driver, which is looked for when it is needed: a program that was compiled
//! with the feature `cuda` runs where there is none, and one without it says so. Knows the kernels
//! by their names only, not what they compute.
//!
//! ```text
//! x.cu ── build.rs ──→ fat binary in this program ── driver ──→ functions by name
//! ```
//!
//! Of candle nothing is used here: no tensor of the trainer is one of candle's, so its hundred
//! kernels would only be compiled, and it links against the driver, without which a program would
//! not start.

// What is found, or why nothing is; with and without the feature.
pub mod gpu;

#[cfg(not(feature = "cuda"))]
mod disabled;
#[cfg(not(feature = "cuda"))]
pub use disabled::survey;

#[cfg(feature = "cuda")]
mod binaries;

#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
pub use driver::survey;

pub use gpu::{Absence, Gpu, Survey};
