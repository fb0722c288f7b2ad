//! Looks for the driver and asks it for its GPUs. Knows no kernels.
//!
//! cudarc loads `libcuda` at the first call of any of its functions, and panics where it is not
//! there or lacks that function. So every way to the driver begins at [`open`], which looks first,
//! and which no driver passes that is older than the kernels.

use std::sync::OnceLock;

use cudarc::driver::result::{self, DriverError, device};
use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};

use super::binaries::{CARDS, RELEASE};
use super::gpu::{Absence, Gpu, Survey};

/// The GPUs of this machine.
pub fn survey() -> Result<Survey, Absence> {
    let driver = open()?;
    let count = device::get_count().map_err(refused)?;
    let gpus: Result<Vec<Gpu>, Absence> = (0..count).map(gpu).collect();
    let gpus = gpus?;
    if gpus.is_empty() {
        return Err(Absence::NoGpu);
    }
    Ok(Survey { driver, built_for: CARDS.to_vec(), gpus })
}

/// The version of CUDA that the driver knows, once it is there, new enough and has started.
pub(super) fn open() -> Result<[u32; 2], Absence> {
    static DRIVER: OnceLock<Result<[u32; 2], Absence>> = OnceLock::new();
    DRIVER.get_or_init(start).clone()
}

fn start() -> Result<[u32; 2], Absence> {
    // SAFETY: nothing but the driver has these names, and loading it does nothing by itself.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absence::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the function may be called before all others, and writes one number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(refused)?;
    let version = u32::try_from(version).unwrap_or(0);
    let knows = [version / 1000, version % 1000 / 10];
    // Machine code of a release runs under every driver of the same major one, text under those of
    // the same minor one.
    if knows[0] < RELEASE[0] {
        return Err(Absence::OldDriver { knows, needs: RELEASE });
    }
    result::init().map_err(refused)?;
    Ok(knows)
}

fn gpu(ordinal: i32) -> Result<Gpu, Absence> {
    let card = device::get(ordinal).map_err(refused)?;
    let attribute = |which| {
        // SAFETY: the card is one that the driver has just named.
        let number = unsafe { device::get_attribute(card, which) }.map_err(refused)?;
        Ok(u32::try_from(number).unwrap_or(0))
    };
    let major = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    let minor = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
    Ok(Gpu {
        index: usize::try_from(ordinal).unwrap_or(0),
        name: device::get_name(card).map_err(refused)?,
        // SAFETY: as above.
        memory_bytes: unsafe { device::total_mem(card) }.map_err(refused)? as u64,
        capability: [attribute(major)?, attribute(minor)?],
    })
}

fn refused(error: DriverError) -> Absence {
    match error.0 {
        CUresult::CUDA_ERROR_STUB_LIBRARY => Absence::Stub,
        CUresult::CUDA_ERROR_NO_DEVICE => Absence::NoGpu,
        _ => Absence::Refused(said(error)),
    }
}

/// An error in the driver's own words.
pub(super) fn said(error: DriverError) -> String {
    match error.error_string() {
        Ok(words) => words.to_string_lossy().into_owned(),
        Err(_) => format!("error {}", error.0 as u32),
    }
}
