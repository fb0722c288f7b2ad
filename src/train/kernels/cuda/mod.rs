//! GPUs through NVIDIA's driver, which is looked for when it is needed: a program that was compiled
//! with the feature `cuda` runs where there is none, and one without it says so. Knows the kernels
//! by their names only, not what they compute.
//!
//! ```text
//! x.cu ── build.rs ──→ fat binary in this program ── driver ──→ functions by name
//! ```
//!
//! candle has no part in this: no tensor of the trainer is one of candle's, so its kernels would be
//! compiled for nothing, and a program that has them does not start without the driver.

// What is found, in words; with and without the feature.
pub mod gpu;

#[cfg(not(feature = "cuda"))]
mod disabled;
#[cfg(not(feature = "cuda"))]
pub use disabled::{has_products, open, survey};

// What was compiled, and what can go wrong with it.
#[cfg(feature = "cuda")]
mod binaries;
#[cfg(feature = "cuda")]
mod faults;

// The driver, one GPU of it, and products in 16 bits by NVIDIA's library.
#[cfg(feature = "cuda")]
pub mod card;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod kept;
#[cfg(feature = "cuda")]
mod products;
#[cfg(feature = "cuda")]
mod staging;
#[cfg(feature = "cuda")]
pub use card::open;
#[cfg(feature = "cuda")]
pub use driver::survey;
#[cfg(feature = "cuda")]
pub use products::has_products;

pub use gpu::{Gpu, Survey};
