//! An accelerator made of the host: the kernels' own files compiled by g++ behind `shim.h`. Memory
//! is the host's, filled with NaN and with guards on both sides. It knows no operation.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};

use half::bf16;
use llamake::train::kernels::gemm::halves::{Output, Product, Shape, Stored};
use llamake::train::kernels::launch::{Accelerator, Address, Argument, Fault, Mark};

/// Where the kernels lie.
pub fn kernels_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/train/kernels")
}

/// The files under a folder that end so, ascending.
pub fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The names of the kernels in a file.
pub fn kernels_in(text: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let parts = text.split("extern \"C\" __global__").skip(1);
    let name = |part: &str| {
        let before = part.split_once("(").expect("a list of parameters");
        // `__launch_bounds__(…)` may stand before the name.
        let (before, rest) = before;
        let named = match before.trim().ends_with("__launch_bounds__") {
            true => rest.split_once(')').unwrap().1.split('(').next().unwrap(),
            false => before,
        };
        named.rsplit(|c| !word(c)).find(|part| !part.is_empty()).unwrap().to_string()
    };
    parts.map(name).collect()
}

type Entry = unsafe extern "C" fn(
    *const u32,
    *const u32,
    u32,
    *const *const c_void,
    *const c_char,
    u64,
) -> c_int;

type Message = extern "C" fn() -> *const c_char;

/// A compiled file of kernels.
struct Library {
    path: PathBuf,
    text: String,
    handle: OnceLock<usize>,
    /// Held while one of its kernels runs.
    running: Mutex<()>,
}

impl Library {
    fn new(path: PathBuf) -> Library {
        let text = fs::read_to_string(&path).unwrap();
        Library { path, text, handle: OnceLock::new(), running: Mutex::new(()) }
    }

    fn symbol(&self, name: &str) -> *mut c_void {
        let handle = *self.handle.get_or_init(|| open(&compile(&self.path, &self.text)) as usize);
        let name = CString::new(name).unwrap();
        // SAFETY: the library is never closed.
        let symbol = unsafe { libc::dlsym(handle as *mut c_void, name.as_ptr()) };
        assert!(!symbol.is_null(), "no {name:?} in {}", self.path.display());
        symbol
    }
}

/// Compiles a file of kernels into a library, unless one of the same text and compiler is there.
pub fn compile(path: &Path, text: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/shim.h");
    // CUDA's own headers, as far as kernels need them.
    let headers = here.with_file_name("include");
    let entries: String =
        kernels_in(text).iter().map(|name| format!("SHIM_ENTRY({name})\n")).collect();
    let source = format!("#include {here:?}\n#include {path:?}\n{entries}");
    let mut flags = vec!["-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-w"];
    flags.extend([
        "-fvisibility=hidden",
        "-fno-gnu-unique",
        "-fno-math-errno",
        "-fno-extern-tls-init",
    ]);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("fma") {
        flags.push("-mfma");
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes()).update(flags.join(" ").as_bytes());
    let parts = files(path.parent().unwrap(), "cuh").into_iter().chain([here]);
    let parts = parts.chain(files(&headers, "h"));
    parts.for_each(|part| _ = hasher.update(&fs::read(part).unwrap()));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim");
    fs::create_dir_all(&folder).unwrap();
    let library = folder.join(format!("{}.so", hasher.finalize().to_hex()));
    if library.exists() {
        return library;
    }
    let room = tempfile::tempdir_in(&folder).unwrap();
    let (unit, made) = (room.path().join("unit.cpp"), room.path().join("made.so"));
    fs::write(&unit, source).unwrap();
    let include = format!("-I{}", headers.display());
    let compiler =
        Command::new("g++").args(flags).arg(include).arg("-o").arg(&made).arg(&unit).output();
    let output = compiler.expect("the kernels' tests need g++: install it");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "g++ does not compile {}:\n{told}", path.display());
    fs::rename(made, &library).unwrap();
    library
}

fn open(library: &Path) -> *mut c_void {
    let path = CString::new(library.to_str().unwrap()).unwrap();
    // SAFETY: the library runs nothing when it is loaded.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    // SAFETY: a message that stays until the next call.
    let why = || unsafe { CStr::from_ptr(libc::dlerror()) };
    assert!(!handle.is_null(), "{:?}", why());
    handle
}

/// Every kernel of the crate, by name.
static KERNELS: LazyLock<BTreeMap<String, Arc<Library>>> =
    LazyLock::new(|| libraries(&kernels_folder()));

fn libraries(folder: &Path) -> BTreeMap<String, Arc<Library>> {
    let mut found = BTreeMap::new();
    for path in files(folder, "cu") {
        let library = Arc::new(Library::new(path));
        for name in kernels_in(&library.text) {
            let twice = found.insert(name.clone(), Arc::clone(&library));
            assert!(twice.is_none(), "two kernels are called {name}");
        }
    }
    found
}

/// Bytes before and after what is allocated.
const GUARD: usize = 256;

/// The host as an accelerator.
#[derive(Debug)]
pub struct Shim {
    /// Where threads and blocks begin; results must not depend on it.
    seed: u64,
    /// Kernels of a test of the shim itself, before those of the crate.
    planted: BTreeMap<String, Arc<Library>>,
    /// What is allocated.
    live: Mutex<BTreeMap<u64, Vec<u8>>>,
    launched: Mutex<BTreeMap<&'static str, u64>>,
    /// Bytes that are allocated, and the most at once.
    taken: Mutex<[u64; 2]>,
    pages: Mutex<BTreeSet<u64>>,
    /// What it says there is room for.
    free: u64,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Shim {
    /// One whose orders follow from `seed`.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(seed: u64) -> Arc<dyn Accelerator> {
        Arc::new(Shim::empty(seed, BTreeMap::new()))
    }

    /// One that also has the kernels of another folder.
    pub fn with_folder(seed: u64, folder: &Path) -> Arc<dyn Accelerator> {
        Arc::new(Shim::empty(seed, libraries(folder)))
    }

    /// One that has no more free memory than this.
    pub fn with_free(seed: u64, free: u64) -> Arc<dyn Accelerator> {
        Arc::new(Shim { free, ..Shim::empty(seed, BTreeMap::new()) })
    }

    fn empty(seed: u64, planted: BTreeMap<String, Arc<Library>>) -> Shim {
        Shim {
            seed,
            planted,
            live: Mutex::default(),
            launched: Mutex::default(),
            taken: Mutex::default(),
            pages: Mutex::default(),
            free: 1 << 40,
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.live.lock().unwrap()
    }

    /// Room with guards on both sides.
    fn place_for(&self, bytes: usize) -> Address {
        let memory = vec![0xff; bytes + 3 * GUARD];
        let at = (memory.as_ptr() as u64 + GUARD as u64).next_multiple_of(GUARD as u64);
        self.live().insert(at, memory);
        Address(at)
    }

    fn give_back(&self, at: Address, bytes: usize) {
        let memory = self.live().remove(&at.0).expect("allocated");
        let before = at.0 as usize - memory.as_ptr() as usize;
        let untouched = |part: &[u8]| part.iter().all(|byte| *byte == 0xff);
        let holds = untouched(&memory[..before]) && untouched(&memory[before + bytes..]);
        assert!(holds || std::thread::panicking(), "a kernel wrote beside an array of {bytes}");
    }

    /// The bytes at an address, which must be allocated.
    fn place(&self, at: Address, bytes: usize) -> *mut u8 {
        let live = self.live();
        let inside = live.range(..=at.0).next_back().is_some_and(|(start, memory)| {
            at.0 + bytes as u64 <= start + (memory.len() - 3 * GUARD) as u64
        });
        assert!(inside || bytes == 0, "{bytes} bytes at {:#x} are not allocated", at.0);
        at.0 as *mut u8
    }
}

impl Accelerator for Shim {
    fn allocate(&self, bytes: usize) -> Result<Address, Fault> {
        let [taken, most] = &mut *self.taken.lock().unwrap();
        *taken += bytes as u64;
        *most = *taken.max(most);
        Ok(self.place_for(bytes))
    }

    fn free_bytes(&self) -> Result<u64, Fault> {
        Ok(self.free)
    }

    fn release(&self, at: Address, bytes: usize) {
        assert!(!self.pages.lock().unwrap().contains(&at.0), "pages are given back as pages");
        self.taken.lock().unwrap()[0] -= bytes as u64;
        self.give_back(at, bytes);
    }

    fn peak_bytes(&self) -> u64 {
        let [taken, most] = &mut *self.taken.lock().unwrap();
        std::mem::replace(most, *taken)
    }

    /// Memory of another kind, of which nothing is counted.
    fn allocate_pages(&self, bytes: usize) -> Result<Address, Fault> {
        let at = self.place_for(bytes);
        self.pages.lock().unwrap().insert(at.0);
        Ok(at)
    }

    fn release_pages(&self, at: Address, bytes: usize) {
        assert!(self.pages.lock().unwrap().remove(&at.0), "pages are given back as pages");
        self.give_back(at, bytes);
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<(), Fault> {
        // SAFETY: allocated, and no kernel runs.
        unsafe { self.place(at, bytes).write_bytes(0, bytes) };
        Ok(())
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), Fault> {
        // SAFETY: the same.
        unsafe { self.place(to, bytes.len()).copy_from(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), Fault> {
        // SAFETY: the same.
        unsafe { self.place(from, bytes.len()).copy_to(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), Fault> {
        // SAFETY: the same.
        unsafe { self.place(from, bytes).copy_to(self.place(to, bytes), bytes) };
        Ok(())
    }

    /// Everything is done at once.
    fn mark(&self) -> Result<Mark, Fault> {
        Ok(Mark::new(0, |_| ()))
    }

    fn wait(&self, _: &Mark) -> Result<(), Fault> {
        Ok(())
    }

    fn bring(&self, from: Address, to: Address, bytes: usize, _: &[&Mark]) -> Result<Mark, Fault> {
        let to = self.place(to, bytes);
        // SAFETY: allocated here and, as addresses are the host's, by another.
        unsafe { to.copy_from(from.0 as *const u8, bytes) };
        self.mark()
    }

    fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument],
    ) -> Result<(), Fault> {
        let library = self.planted.get(kernel).or_else(|| KERNELS.get(kernel));
        let library = library.unwrap_or_else(|| panic!("no kernel is called {kernel}"));
        let seed = {
            let mut launched = self.launched.lock().unwrap();
            let times = launched.entry(kernel).or_insert(0);
            *times += 1;
            self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(*times)
        };
        let pointers: Vec<*const c_void> = arguments.iter().map(Argument::as_ptr).collect();
        let kinds = CString::new(arguments.iter().map(kind).collect::<Vec<u8>>()).unwrap();
        let entry = library.symbol(&format!("shim_launch_{kernel}"));
        // SAFETY: `SHIM_ENTRY` declares it so; it compares the parameters' kinds.
        let entry = unsafe { std::mem::transmute::<*mut c_void, Entry>(entry) };
        let message = library.symbol("shim_message");
        // SAFETY: `shim.h` declares it so.
        let message = unsafe { std::mem::transmute::<*mut c_void, Message>(message) };
        let _alone = library.running.lock().unwrap_or_else(|held| held.into_inner());
        // SAFETY: the kernel's addresses are those of the operation's arrays.
        let fault = unsafe {
            let (grid, block) = (grid.as_ptr(), block.as_ptr());
            entry(grid, block, shared, pointers.as_ptr(), kinds.as_ptr(), seed)
        };
        if fault == 0 {
            return Ok(());
        }
        // SAFETY: a string of the library.
        let message = unsafe { CStr::from_ptr(message()) }.to_string_lossy();
        Err(Fault::new(format!("kernel `{kernel}`: {message}")))
    }

    /// Each sum in ascending order.
    fn multiply(&self, product: &Product) -> Result<(), Fault> {
        let Product { shape, left, right, into, output, adds } = *product;
        let Shape { rows, inner, columns, .. } = shape;
        let factor = |at: Address, len: usize| {
            // SAFETY: allocated, and no kernel runs.
            unsafe { std::slice::from_raw_parts(self.place(at, 2 * len).cast::<bf16>(), len) }
        };
        let (left, right) = (factor(left, rows * inner), factor(right, inner * columns));
        let width = if output == Output::F32 { 4 } else { 2 };
        let into = self.place(into, width * rows * columns);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |at| (row, at))) {
            let product = |sum: f32, k: usize| {
                let a = match shape.left {
                    Stored::AsUsed => left[row * inner + k],
                    Stored::Transposed => left[k * rows + row],
                };
                let b = match shape.right {
                    Stored::AsUsed => right[k * columns + column],
                    Stored::Transposed => right[column * inner + k],
                };
                sum + a.to_f32() * b.to_f32()
            };
            let (sum, at) = ((0..inner).fold(0.0, product), row * columns + column);
            // SAFETY: the same; a product does not overlap its factors.
            unsafe {
                match output {
                    Output::F32 => {
                        let to = into.cast::<f32>().add(at);
                        *to = if adds { *to + sum } else { sum };
                    }
                    Output::Bf16 => {
                        let to = into.cast::<bf16>().add(at);
                        let before = if adds { (*to).to_f32() } else { 0.0 };
                        *to = bf16::from_f32(before + sum);
                    }
                }
            }
        }
        Ok(())
    }
}

fn kind(argument: &Argument) -> u8 {
    match argument {
        Argument::Address(_) => b'p',
        Argument::U32(_) => b'u',
        Argument::U64(_) => b'l',
        Argument::F32(_) => b'f',
        Argument::F64(_) => b'd',
    }
}
