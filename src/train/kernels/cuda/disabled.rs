//! The door to GPUs of a program without the feature `cuda`: it is shut, and says so.

use super::gpu::{Absence, Survey};

/// The GPUs of this machine.
pub fn survey() -> Result<Survey, Absence> {
    Err(Absence::NotBuilt)
}
