//! The door to GPUs of a program without the feature `cuda`: it is shut, and says so.

use std::sync::Arc;

use super::super::launch::{Accelerator, Fault};
use super::gpu::Survey;

/// The GPUs of this machine.
pub fn survey() -> Result<Survey, Fault> {
    Err(shut())
}

/// Whether products in 16 bits can be made.
pub fn has_products() -> bool {
    false
}

/// The GPUs of some indices, of which there are none.
pub fn open(indices: &[usize]) -> Result<Vec<Arc<dyn Accelerator>>, Fault> {
    if indices.is_empty() { Ok(Vec::new()) } else { Err(shut()) }
}

fn shut() -> Fault {
    Fault::new("this llamake was built without `cuda`")
        .remedy("build it with `cargo build --release --features cuda`")
}
