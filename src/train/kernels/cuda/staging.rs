//! Memory of the host that a GPU fetches from while the host goes on: what is to be copied there
//! waits in one of two halves, and its owner may change it at once. Knows no kernels.

use std::ffi::c_void;
use std::ptr::NonNull;

use cudarc::driver::result::{self, DriverError, event};
use cudarc::driver::sys::{CUdeviceptr, CUevent, CUevent_flags, CUstream};

/// Bytes of a half: long enough that the bus is busy, short enough that filling one hides behind
/// emptying the other.
const HALF: usize = 4 << 20;

/// Two halves of pinned memory, filled and emptied by turns.
#[derive(Debug)]
pub struct Staging {
    halves: [Half; 2],
    next: usize,
}

#[derive(Debug)]
struct Half {
    bytes: NonNull<u8>,
    /// When the last copy out of it is done.
    empty: CUevent,
}

// SAFETY: a half belongs to its `Staging` alone, and the driver may be called from any thread.
unsafe impl Send for Half {}

impl Staging {
    /// In the current context, in which it must also be used and dropped.
    pub fn new() -> Result<Staging, DriverError> {
        Ok(Staging { halves: [Half::new()?, Half::new()?], next: 0 })
    }

    /// Copies to the GPU, after all that is in the stream.
    pub fn send(&mut self, to: u64, bytes: &[u8], stream: CUstream) -> Result<(), DriverError> {
        for (at, piece) in bytes.chunks(HALF).enumerate() {
            let half = &mut self.halves[self.next];
            self.next = 1 - self.next;
            half.send(to + (at * HALF) as CUdeviceptr, piece, stream)?;
        }
        Ok(())
    }
}

impl Half {
    fn new() -> Result<Half, DriverError> {
        let empty = event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        // SAFETY: what is allocated is freed once, on drop.
        let bytes = unsafe { result::malloc_host(HALF, 0) }?;
        let bytes = NonNull::new(bytes.cast()).expect("the driver gives no null as memory");
        Ok(Half { bytes, empty })
    }

    fn send(&mut self, to: u64, piece: &[u8], stream: CUstream) -> Result<(), DriverError> {
        // SAFETY: the event is this half's, and an event that was never recorded has happened.
        unsafe { event::synchronize(self.empty) }?;
        // SAFETY: a piece is no longer than a half, and nothing reads the half any more.
        let staged = unsafe {
            std::ptr::copy_nonoverlapping(piece.as_ptr(), self.bytes.as_ptr(), piece.len());
            std::slice::from_raw_parts(self.bytes.as_ptr(), piece.len())
        };
        // SAFETY: the half is left alone until the event, which is recorded behind the copy.
        unsafe {
            result::memcpy_htod_async(to, staged, stream)?;
            event::record(self.empty, stream)
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // SAFETY: both are this half's. That the context is lost is told where it is used.
        unsafe {
            let _ = event::synchronize(self.empty);
            let _ = event::destroy(self.empty);
            let _ = result::free_host(self.bytes.as_ptr().cast::<c_void>());
        }
    }
}
