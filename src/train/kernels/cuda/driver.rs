//! Looks for the driver and asks it for its GPUs. Knows no kernels.
//!
//! cudarc loads `libcuda` at the first call of any of its functions, and panics where it is not
//! there or lacks that function. So every way to the driver begins at [`open`], which looks first,
//! and which no driver passes that is older than the kernels.

use std::sync::OnceLock;

use cudarc::driver::result::{self, DriverError, device};
use cudarc::driver::sys::{self, CUdevice, CUdevice_attribute};

use super::super::launch::Fault;
use super::binaries::{CARDS, RELEASE};
use super::faults;
use super::gpu::{Gpu, Survey};

/// The GPUs of this machine.
pub fn survey() -> Result<Survey, Fault> {
    let driver = open()?;
    let count = device::get_count().map_err(faults::of_driver)?;
    let gpus = (0..count).map(|ordinal| describe(ordinal).map_err(faults::of_driver));
    let gpus = gpus.collect::<Result<Vec<Gpu>, Fault>>()?;
    if gpus.is_empty() {
        return Err(faults::no_gpu());
    }
    Ok(Survey { driver, built_for: CARDS.to_vec(), gpus })
}

/// The version of CUDA that the driver knows, once it is there, new enough and has started.
pub(super) fn open() -> Result<[u32; 2], Fault> {
    static DRIVER: OnceLock<Result<[u32; 2], Fault>> = OnceLock::new();
    DRIVER.get_or_init(start).clone()
}

fn start() -> Result<[u32; 2], Fault> {
    // SAFETY: nothing but the driver has these names, and loading it does nothing by itself.
    if !unsafe { sys::is_culib_present() } {
        return Err(faults::no_driver());
    }
    let mut version = 0;
    // SAFETY: this may be called before all else, and writes one number.
    let told = unsafe { sys::cuDriverGetVersion(&mut version) };
    told.result().map_err(faults::of_driver)?;
    let version = u32::try_from(version).unwrap_or(0);
    let knows = [version / 1000, version % 1000 / 10];
    // Machine code of a release runs under every driver of the same major version.
    if knows[0] < RELEASE[0] {
        return Err(faults::old_driver(knows, RELEASE));
    }
    result::init().map_err(faults::of_driver)?;
    Ok(knows)
}

fn describe(ordinal: i32) -> Result<Gpu, DriverError> {
    let card = device::get(ordinal)?;
    let major = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    let minor = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
    Ok(Gpu {
        index: usize::try_from(ordinal).unwrap_or(0),
        name: device::get_name(card)?,
        // SAFETY: the driver has just named this card.
        memory_bytes: unsafe { device::total_mem(card) }? as u64,
        capability: [attribute(card, major)?, attribute(card, minor)?],
    })
}

fn attribute(card: CUdevice, which: CUdevice_attribute) -> Result<u32, DriverError> {
    // SAFETY: the driver has named this card.
    let number = unsafe { device::get_attribute(card, which) }?;
    Ok(u32::try_from(number).unwrap_or(0))
}
