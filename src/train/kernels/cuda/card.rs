//! One GPU as an accelerator: its memory, the kernels in it, and one stream in which everything is
//! done in the order of the calls. Knows no operation.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use cudarc::driver::result::stream::{self, StreamKind};
use cudarc::driver::result::{
    self, DriverError, ctx, device, event, function, module, primary_ctx,
};
use cudarc::driver::sys::{CU_MEMHOSTALLOC_DEVICEMAP, CUresult, CUstream};
use cudarc::driver::sys::{CUcontext, CUdevice, CUfunction, CUfunction_attribute, CUmodule};
use cudarc::driver::sys::{CUevent, CUevent_flags, CUevent_wait_flags};
use cudarc::driver::sys::{cuCtxEnablePeerAccess, cuDeviceCanAccessPeer, cuMemcpyAsync};

use super::super::conformance;
use super::super::device::Threads;
use super::super::gemm::halves::Product;
use super::super::launch::{Accelerator, Address, Argument, Fault, Mark};
use super::binaries::{BINARIES, CARDS};
use super::driver;
use super::faults;
use super::gpu::{Form, Gpu};
use super::kept::{self, Kept};
use super::products::Products;
use super::staging::Staging;

/// Dynamic shared memory that a block has without being asked for.
const SHARED_BYTES: u32 = 48 << 10;

/// A GPU with the kernels loaded.
pub struct Card {
    gpu: Gpu,
    place: Place,
    modules: Vec<CUmodule>,
    functions: Mutex<BTreeMap<&'static str, Function>>,
    /// Gone only when the card is dropped.
    staging: Mutex<Option<Staging>>,
    kept: Mutex<Kept>,
    /// Bytes that somebody uses, and the most since that was last asked.
    taken: AtomicU64,
    peak: AtomicU64,
    /// Opened when the first is asked for.
    products: Mutex<Option<Products>>,
}

/// Where calls go: a context of the driver's, and a stream in it.
struct Place {
    device: CUdevice,
    context: CUcontext,
    stream: CUstream,
    /// Another, of what is copied beside all else.
    copies: CUstream,
}

#[derive(Clone, Copy)]
struct Function {
    raw: CUfunction,
    /// Dynamic shared memory that the driver was asked for.
    shared: u32,
}

// SAFETY: the driver may be called from any thread, in whose context every call begins.
unsafe impl Send for Card {}
// SAFETY: the same; what changes lies behind locks.
unsafe impl Sync for Card {}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} ({})", self.gpu.index, self.gpu.name)
    }
}

/// The GPUs of some indices, each once it has given the processor's bits; one that is in use is not
/// opened again. Those that can reach each other's memory do.
pub fn open(indices: &[usize]) -> Result<Vec<Arc<dyn Accelerator>>, Fault> {
    static CARDS: Mutex<BTreeMap<usize, Weak<Card>>> = Mutex::new(BTreeMap::new());
    let mut cards = CARDS.lock().expect("no opening panics");
    let opened = indices.iter().map(|index| match cards.get(index).and_then(Weak::upgrade) {
        Some(card) => Ok(card),
        None => proved(*index).inspect(|card| {
            cards.insert(*index, Arc::downgrade(card));
        }),
    });
    let opened: Vec<Arc<Card>> = opened.collect::<Result<_, _>>()?;
    for (one, other) in opened.iter().flat_map(|one| opened.iter().map(move |other| (one, other))) {
        one.reach(other)?;
    }
    Ok(opened.into_iter().map(|card| card as Arc<dyn Accelerator>).collect())
}

/// A GPU that gives the processor's bits.
fn proved(index: usize) -> Result<Arc<Card>, Fault> {
    let gpu = driver::survey()?.usable(Some(index))?.swap_remove(0);
    let card = Arc::new(Card::open(&gpu)?);
    // Before any run leans on them.
    let on: Arc<dyn Accelerator> = Arc::clone(&card) as _;
    let differing = conformance::differing(&on, &Threads::new(1))?;
    if !differing.is_empty() {
        return Err(faults::other_bits(index, &differing));
    }
    Ok(card)
}

impl Card {
    /// Loads the kernels on a GPU that a survey found.
    pub fn open(gpu: &Gpu) -> Result<Card, Fault> {
        driver::open()?;
        if gpu.form(&CARDS) == Form::None {
            return Err(gpu.too_old(&CARDS));
        }
        let of_gpu = |error| faults::of_gpu(gpu.index, error);
        let place = Place::open(gpu.index).map_err(of_gpu)?;
        let staging = Staging::new().map_err(of_gpu)?;
        // From here on whatever was made is given back on drop.
        let mut card = Card {
            gpu: gpu.clone(),
            place,
            modules: Vec::new(),
            functions: Mutex::default(),
            staging: Mutex::new(Some(staging)),
            kept: Mutex::default(),
            taken: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            products: Mutex::default(),
        };
        for (_, binary) in BINARIES {
            card.modules.push(load(binary).map_err(of_gpu)?);
        }
        Ok(card)
    }

    /// The GPU it is.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The stream that everything is done in.
    pub(super) fn stream(&self) -> CUstream {
        self.place.stream
    }

    /// Makes its context that of this thread's calls.
    pub(super) fn enter(&self) -> Result<(), Fault> {
        self.within(|| Ok(()))
    }

    /// Does something in its context.
    fn within<T>(&self, body: impl FnOnce() -> Result<T, DriverError>) -> Result<T, Fault> {
        // SAFETY: the context is retained for as long as the card is there.
        let entered = unsafe { ctx::set_current(self.place.context) };
        entered.and_then(|()| body()).map_err(|error| faults::of_gpu(self.gpu.index, error))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no thread panics while it looks")
    }

    /// New memory, if there is so much.
    fn ask(&self, bytes: usize) -> Result<Option<u64>, Fault> {
        // SAFETY: nobody reads it before it was written.
        self.within(|| match unsafe { result::malloc_sync(bytes) } {
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            other => other.map(Some),
        })
    }

    /// A place that is free, of its own or the driver's.
    fn place_of(&self, bytes: usize) -> Result<u64, Fault> {
        let size = kept::size_of(bytes);
        if let Some(at) = self.kept().take(size) {
            return Ok(at);
        }
        // What is kept may be what is missing.
        let asked = match self.ask(size)? {
            None if self.give_back() => self.ask(size)?,
            asked => asked,
        };
        if let Some(at) = asked {
            return Ok(at);
        }
        let (free, total) = self.within(result::mem_get_info)?;
        Err(faults::out_of_memory(self.gpu.index, bytes, free, total))
    }

    /// Gives the driver all that is kept; whether that was anything.
    fn give_back(&self) -> bool {
        let places = self.kept().empty();
        self.free(&places);
        !places.is_empty()
    }

    fn free(&self, places: &[u64]) {
        // A fault of what was launched before is told by the next call that can tell one.
        let _ = self.within(|| {
            // SAFETY: `ask` gave them, and nothing uses them any more once the stream is done.
            unsafe {
                let done = stream::synchronize(self.place.stream);
                let freed = places.iter().map(|at| result::free_sync(*at));
                freed.fold(done, Result::and)
            }
        });
    }

    /// Lets copies from another card go straight to this one, where the machine has a way.
    fn reach(&self, other: &Card) -> Result<(), Fault> {
        if self.gpu.index == other.gpu.index {
            return Ok(());
        }
        let mut can = 0;
        self.within(|| {
            // SAFETY: both devices and contexts are there for as long as the cards are.
            unsafe {
                cuDeviceCanAccessPeer(&mut can, self.place.device, other.place.device).result()?;
                if can == 0 {
                    return Ok(());
                }
                match cuCtxEnablePeerAccess(other.place.context, 0) {
                    CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(()),
                    told => told.result(),
                }
            }
        })
    }

    /// The moment at which all that a stream was told is done; in its context.
    fn mark_in(stream: CUstream) -> Result<Mark, DriverError> {
        let event = event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        let mark = Mark::new(event as u64, |event| {
            // SAFETY: a mark is forgotten once; what waits for the event goes on waiting. That a
            // context is lost is told where it is used.
            let _ = unsafe { event::destroy(event as CUevent) };
        });
        // SAFETY: the event was just made, in the context of the stream.
        unsafe { event::record(event, stream) }?;
        Ok(mark)
    }

    /// A kernel, with at least so much dynamic shared memory allowed.
    fn function(&self, kernel: &'static str, shared: u32) -> Result<CUfunction, Fault> {
        let mut functions = self.functions.lock().expect("no thread panics while it looks");
        let mut function = match functions.get(kernel) {
            Some(function) => *function,
            None => self.find(kernel)?,
        };
        if shared > function.shared {
            self.within(|| allow(function.raw, shared))?;
            function.shared = shared;
        }
        functions.insert(kernel, function);
        Ok(function.raw)
    }

    fn find(&self, kernel: &'static str) -> Result<Function, Fault> {
        for module in &self.modules {
            let name = CString::new(kernel).expect("the name of a kernel has no zero");
            // SAFETY: the module is loaded for as long as the card is there.
            let found = self.within(|| match unsafe { module::get_function(*module, name) } {
                Ok(raw) => Ok(Some(Function { raw, shared: SHARED_BYTES })),
                Err(DriverError(CUresult::CUDA_ERROR_NOT_FOUND)) => Ok(None),
                Err(error) => Err(error),
            })?;
            if let Some(function) = found {
                return Ok(function);
            }
        }
        Err(faults::no_kernel(kernel))
    }
}

impl Place {
    /// The context that all programs of this process share on a GPU, and a stream of its own.
    fn open(index: usize) -> Result<Place, DriverError> {
        let ordinal = i32::try_from(index).expect("the driver counts its GPUs in 31 bits");
        let device = device::get(ordinal)?;
        // SAFETY: the driver has just named this device; it is released on drop.
        let context = unsafe { primary_ctx::retain(device) }?;
        let [stream, copies] = [std::ptr::null_mut(); 2];
        let mut place = Place { device, context, stream, copies };
        // SAFETY: the context was just retained.
        unsafe { ctx::set_current(context) }?;
        place.stream = stream::create(StreamKind::NonBlocking)?;
        place.copies = stream::create(StreamKind::NonBlocking)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: stream and context are this place's. That they are lost is told where it is used.
        unsafe {
            for stream in [self.stream, self.copies].into_iter().filter(|one| !one.is_null()) {
                let _ = stream::destroy(stream);
            }
            let _ = primary_ctx::release(self.device);
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let products = self.products.get_mut().ok().and_then(Option::take);
        products.into_iter().for_each(|products| products.close(self));
        self.give_back();
        let staging = self.staging.get_mut().ok().and_then(Option::take);
        let modules = std::mem::take(&mut self.modules);
        // What cannot be given back goes with the context.
        let _ = self.within(|| {
            drop(staging);
            // SAFETY: the modules are this card's, and no kernel of theirs runs after this.
            unsafe {
                stream::synchronize(self.place.copies)?;
                stream::synchronize(self.place.stream)?;
            }
            modules.into_iter().try_for_each(|module| unsafe { module::unload(module) })
        });
    }
}

/// Lets a stream wait for a moment.
///
/// # Safety
/// Its event must be there.
unsafe fn wait_for(stream: CUstream, mark: &Mark) -> Result<(), DriverError> {
    let flags = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
    // SAFETY: the caller's.
    unsafe { stream::wait_event(stream, mark.raw as CUevent, flags) }
}

/// Loads a fat binary; the driver takes of it what fits the card best.
fn load(binary: &[u8]) -> Result<CUmodule, DriverError> {
    // The driver reads words of eight bytes; those embedded in a program lie anywhere.
    let words = binary.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    });
    let words: Vec<u64> = words.collect();
    // SAFETY: build.rs made it, whole, and its header says how long it is.
    unsafe { module::load_data(words.as_ptr().cast()) }
}

fn allow(function: CUfunction, shared: u32) -> Result<(), DriverError> {
    let which = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
    // SAFETY: the function is of a loaded module.
    unsafe { function::set_function_attribute(function, which, bytes) }
}

impl Accelerator for Card {
    fn allocate(&self, bytes: usize) -> Result<Address, Fault> {
        if bytes == 0 {
            return Ok(Address(0));
        }
        let (at, size) = (self.place_of(bytes)?, kept::size_of(bytes) as u64);
        let before = self.taken.fetch_add(size, Relaxed);
        self.peak.fetch_max(before + size, Relaxed);
        Ok(Address(at))
    }

    fn free_bytes(&self) -> Result<u64, Fault> {
        let (free, _) = self.within(result::mem_get_info)?;
        Ok((free + self.kept().bytes()) as u64)
    }

    fn peak_bytes(&self) -> u64 {
        self.peak.swap(self.taken.load(Relaxed), Relaxed)
    }

    fn release(&self, at: Address, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let size = kept::size_of(bytes);
        self.taken.fetch_sub(size as u64, Relaxed);
        if !self.kept().keep(at.0, size) {
            self.free(&[at.0]);
        }
    }

    fn allocate_pages(&self, bytes: usize) -> Result<Address, Fault> {
        if bytes == 0 {
            return Ok(Address(0));
        }
        // With one space of addresses for both, as on every 64-bit machine, the GPU finds it at
        // the host's.
        // SAFETY: nobody reads it before it was written.
        let pages =
            self.within(|| unsafe { result::malloc_host(bytes, CU_MEMHOSTALLOC_DEVICEMAP) });
        let pages = pages.map_err(|fault| faults::no_pages(bytes, fault))?;
        Ok(Address(pages as u64))
    }

    fn release_pages(&self, at: Address, bytes: usize) {
        if bytes > 0 {
            // A fault of what was launched before is told by the next call that can tell one.
            let _ = self.within(|| {
                // SAFETY: `allocate_pages` gave it, and nothing uses it once the stream is done.
                unsafe {
                    let done = stream::synchronize(self.place.stream);
                    done.and(result::free_host(at.0 as *mut c_void))
                }
            });
        }
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the memory is the caller's.
        self.within(|| unsafe { result::memset_d8_async(at.0, 0, bytes, self.place.stream) })
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), Fault> {
        let mut staging = self.staging.lock().expect("no thread panics while it copies");
        let staging = staging.as_mut().expect("a card in use has staging memory");
        self.within(|| staging.send(to.0, bytes, self.place.stream))
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: both places are the caller's until the stream is done.
        self.within(|| unsafe {
            let asked = result::memcpy_dtoh_async(bytes, from.0, self.place.stream);
            stream::synchronize(self.place.stream).and(asked)
        })
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: both places are the caller's, and do not overlap.
        self.within(|| unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, self.place.stream) })
    }

    fn mark(&self) -> Result<Mark, Fault> {
        self.within(|| Card::mark_in(self.place.stream))
    }

    fn wait(&self, mark: &Mark) -> Result<(), Fault> {
        // SAFETY: the event is there until the mark is dropped.
        self.within(|| unsafe { wait_for(self.place.stream, mark) })
    }

    fn bring(
        &self,
        from: Address,
        to: Address,
        bytes: usize,
        after: &[&Mark],
    ) -> Result<Mark, Fault> {
        let copies = self.place.copies;
        // SAFETY: the events are there until their marks are dropped, and both places are the
        // caller's; with one space of addresses for all GPUs the driver knows whose each is.
        self.within(|| unsafe {
            after.iter().try_for_each(|mark| wait_for(copies, mark))?;
            if bytes > 0 {
                cuMemcpyAsync(to.0, from.0, bytes, copies).result()?;
            }
            Card::mark_in(copies)
        })
    }

    fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        let function = self.function(kernel, shared)?;
        let pointers = arguments.iter().map(|argument| argument.as_ptr() as *mut c_void);
        let mut pointers: Vec<*mut c_void> = pointers.collect();
        let ([x, y, z], [width, height, depth]) = (grid, block);
        let stream = self.place.stream;
        // SAFETY: the operation passes what the kernel declares; the driver copies all arguments
        // before it returns.
        self.within(|| unsafe {
            let (grid, block) = ((x, y, z), (width, height, depth));
            result::launch_kernel(function, grid, block, shared, stream, &mut pointers)
        })
    }

    fn multiply(&self, product: &Product) -> Result<(), Fault> {
        let mut products = self.products.lock().expect("no thread panics while it multiplies");
        if products.is_none() {
            *products = Some(Products::open(self)?);
        }
        products.as_mut().map_or(Ok(()), |products| products.multiply(self, product))
    }
}
