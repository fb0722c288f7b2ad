//! The GPUs of a machine, or why there is none that can be used, in words. Does not look for them.

use std::fmt;

/// What there is to run kernels on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The version of CUDA that the driver knows, as in 13.0.
    pub driver: [u32; 2],
    /// Capabilities there is machine code for, ascending: 80 for 8.0.
    pub built_for: Vec<u32>,
    /// At least one, by ascending index.
    pub gpus: Vec<Gpu>,
}

/// One GPU, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The N of `cuda:N`: the driver's number, which `CUDA_VISIBLE_DEVICES` changes.
    pub index: usize,
    pub name: String,
    pub memory_bytes: u64,
    /// The compute capability, as in 9.0.
    pub capability: [u32; 2],
}

impl Gpu {
    /// How it runs kernels that were compiled for the capabilities `built_for`.
    pub fn kernels(&self, built_for: &[u32]) -> Kernels {
        let [major, minor] = self.capability;
        let own = built_for.iter().rev().find(|built| {
            // Machine code runs on every later card of the same generation.
            **built / 10 == major && **built % 10 <= minor
        });
        match (own, built_for.last()) {
            (Some(built), _) => Kernels::Machine(*built),
            (None, Some(last)) if 10 * major + minor >= *last => Kernels::Text(*last),
            _ => Kernels::None,
        }
    }
}

/// In which form a GPU finds the kernels in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Machine code for this capability.
    Machine(u32),
    /// Text of this capability, which the driver compiles when it is loaded.
    Text(u32),
    /// They need what the card has not.
    None,
}

/// Why no GPU can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// This program has no kernels for them.
    NotBuilt,
    NoDriver,
    /// The library that was loaded is the toolkit's, to link against, and drives nothing.
    Stub,
    OldDriver {
        knows: [u32; 2],
        needs: [u32; 2],
    },
    NoGpu,
    /// What the driver says.
    Refused(String),
}

impl fmt::Display for Absence {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absence::NotBuilt => write!(text, "this llamake was built without `cuda`"),
            Absence::NoDriver => write!(text, "there is no driver of NVIDIA on this machine"),
            Absence::Stub => write!(text, "the `libcuda.so` that is found first is a stub"),
            Absence::OldDriver { knows: [major, minor], needs } => {
                let [needs_major, needs_minor] = needs;
                write!(text, "the driver knows CUDA {major}.{minor}, ")?;
                write!(text, "and the kernels are of CUDA {needs_major}.{needs_minor}")
            }
            Absence::NoGpu => write!(text, "the driver finds no GPU"),
            Absence::Refused(said) => write!(text, "the driver refuses: {said}"),
        }
    }
}

impl Absence {
    /// What to do about it, where that is certain.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Absence::NotBuilt => Some("build it with `cargo build --release --features cuda`"),
            Absence::NoDriver => {
                Some("install NVIDIA's driver, so that `libcuda.so.1` is found, or use the CPU")
            }
            Absence::Stub => Some("take the folder `stubs` out of `LD_LIBRARY_PATH`"),
            Absence::OldDriver { .. } => {
                Some("install a newer driver, or build llamake with an older CUDA toolkit")
            }
            Absence::NoGpu => {
                Some("see that `nvidia-smi` lists one and `CUDA_VISIBLE_DEVICES` does not hide it")
            }
            Absence::Refused(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_takes_the_form_that_fits_it() {
        let kernels = |capability, built: &[u32]| {
            let (index, name, memory_bytes) = (0, String::new(), 1 << 30);
            Gpu { index, name, memory_bytes, capability }.kernels(built)
        };
        let built = [80, 90];
        assert_eq!(kernels([8, 0], &built), Kernels::Machine(80));
        assert_eq!(kernels([8, 9], &built), Kernels::Machine(80));
        assert_eq!(kernels([9, 0], &built), Kernels::Machine(90));
        assert_eq!(kernels([10, 0], &built), Kernels::Text(90));
        assert_eq!(kernels([12, 1], &built), Kernels::Text(90));
        assert_eq!(kernels([7, 5], &built), Kernels::None);
        assert_eq!(kernels([8, 0], &[86]), Kernels::None);
        assert_eq!(kernels([9, 0], &[]), Kernels::None);
    }
}
