//! The door to GPUs of a program without the feature `cuda`: it is shut, and says so.

use super::super::launch::Fault;
use super::gpu::Survey;

/// The GPUs of this machine.
pub fn survey() -> Result<Survey, Fault> {
    Err(Fault {
        message: "this llamake was built without `cuda`".into(),
        remedy: Some("build it with `cargo build --release --features cuda`".into()),
    })
}
