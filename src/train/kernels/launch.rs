//! Kernels on an accelerator, seen from the operations: memory by address, launches by name. The
//! implementors are the driver of NVIDIA's GPUs and, in tests, a host build of the same kernels. It
//! knows neither of them, and no operation.
//!
//! Everything is done in the order of the calls. A kernel's parameters are passed as
//! `cuLaunchKernel` takes them: a pointer to each, of the size that the kernel declares.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use super::gemm::halves::Product;

/// A place in an accelerator's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    /// So many bytes further.
    pub fn skip(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

/// One parameter of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    Address(Address),
    U32(u32),
    U64(u64),
    F32(f32),
    F64(f64),
}

impl Argument {
    /// Where its value lies, for as long as the argument does.
    pub fn as_ptr(&self) -> *const c_void {
        match self {
            Argument::Address(address) => (&raw const address.0).cast(),
            Argument::U32(value) => (&raw const *value).cast(),
            Argument::U64(value) => (&raw const *value).cast(),
            Argument::F32(value) => (&raw const *value).cast(),
            Argument::F64(value) => (&raw const *value).cast(),
        }
    }
}

/// Why an accelerator did not do what was asked: a sentence, and what to do about it where one
/// thing is certainly right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    pub remedy: Option<String>,
    /// Whether less memory was free than was asked for.
    pub lacks_memory: bool,
}

impl Fault {
    /// One without a remedy.
    pub fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), remedy: None, lacks_memory: false }
    }

    /// The same with what to do about it.
    pub fn remedy(self, remedy: impl Into<String>) -> Fault {
        Fault { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// A moment in what an accelerator was told to do: after all that was launched before it.
#[derive(Debug)]
pub struct Mark {
    /// What the accelerator knows it by.
    pub(super) raw: u64,
    forget: fn(u64),
}

impl Mark {
    /// One that is known by `raw` until it is forgotten.
    pub fn new(raw: u64, forget: fn(u64)) -> Mark {
        Mark { raw, forget }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        (self.forget)(self.raw);
    }
}

/// Memory and kernels of one accelerator. Calls act in their order; those that write to it need not
/// wait until it is done, and a fault of an earlier call may be told by a later one.
pub trait Accelerator: fmt::Debug + Send + Sync {
    /// New memory of any content, aligned to at least 256 bytes; of no bytes, any address.
    fn allocate(&self, bytes: usize) -> Result<Address, Fault>;

    /// Bytes that `allocate` can still give, as far as nobody else takes them.
    fn free_bytes(&self) -> Result<u64, Fault>;

    /// The most bytes of its memory that were taken at once since this was last asked.
    fn peak_bytes(&self) -> u64;

    /// Gives back what `allocate` gave, once all that was launched before is done with it.
    fn release(&self, at: Address, bytes: usize);

    /// New memory of the host that kernels read and write, slowly, and that is never moved: what
    /// does not fit in the accelerator's.
    fn allocate_pages(&self, bytes: usize) -> Result<Address, Fault>;

    /// Gives back what `allocate_pages` gave, once all that was launched before is done with it.
    fn release_pages(&self, at: Address, bytes: usize);

    /// Sets bytes to zero.
    fn clear(&self, at: Address, bytes: usize) -> Result<(), Fault>;

    /// Copies to the accelerator; `bytes` may be changed as soon as this returns.
    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), Fault>;

    /// Copies from the accelerator, after all that was launched before.
    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), Fault>;

    /// Copies inside the accelerator; the two places do not overlap.
    fn copy(&self, from: Address, to: Address, bytes: usize) -> Result<(), Fault>;

    /// The moment at which all that was launched so far is done.
    fn mark(&self) -> Result<Mark, Fault>;

    /// Lets all that is launched from here on wait for a moment, of this accelerator or another of
    /// its kind.
    fn wait(&self, mark: &Mark) -> Result<(), Fault>;

    /// Copies from another accelerator of its kind after these moments, beside all else; gives the
    /// moment at which the bytes are here.
    fn bring(
        &self,
        from: Address,
        to: Address,
        bytes: usize,
        after: &[&Mark],
    ) -> Result<Mark, Fault>;

    /// Starts a kernel with `shared` bytes of dynamic shared memory to a block; more than 48 KiB
    /// must be asked of the driver for each function first.
    fn launch(
        &self,
        kernel: &'static str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        arguments: &[Argument],
    ) -> Result<(), Fault>;

    /// Makes a product of matrices in 16 bits.
    fn multiply(&self, product: &Product) -> Result<(), Fault>;
}

/// Numbers that are the same bytes on the host and on an accelerator.
///
/// # Safety
/// Every bit pattern must be a value, and there must be no padding.
pub unsafe trait Plain: Copy + Default + fmt::Debug + 'static {}

// SAFETY: numbers of one width.
unsafe impl Plain for u8 {}
// SAFETY: the same.
unsafe impl Plain for u16 {}
// SAFETY: the same.
unsafe impl Plain for u32 {}
// SAFETY: the same.
unsafe impl Plain for u64 {}
// SAFETY: the same.
unsafe impl Plain for f32 {}
// SAFETY: the same.
unsafe impl Plain for f64 {}
// SAFETY: the same, as sixteen bits.
unsafe impl Plain for half::bf16 {}

/// Numbers that operations compute with: of the class `exact-f32`, or of `bf16`, which are widened
/// where they are read and rounded once where they are written.
pub trait Float: Plain {
    /// What belongs to these numbers, of what belongs to f32 and to bf16: a kernel, a size.
    fn choose<X>(of_f32: X, of_bf16: X) -> X;

    /// Of numbers of both, its own.
    fn own<'a>(of_f32: Slice<'a, f32>, of_bf16: Slice<'a, half::bf16>) -> Slice<'a, Self>;
}

impl Float for f32 {
    fn choose<X>(of_f32: X, _: X) -> X {
        of_f32
    }

    fn own<'a>(of_f32: Slice<'a, f32>, _: Slice<'a, half::bf16>) -> Slice<'a, f32> {
        of_f32
    }
}

impl Float for half::bf16 {
    fn choose<X>(_: X, of_bf16: X) -> X {
        of_bf16
    }

    fn own<'a>(_: Slice<'a, f32>, of_bf16: Slice<'a, half::bf16>) -> Slice<'a, half::bf16> {
        of_bf16
    }
}

fn bytes_of<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: plain numbers are bytes without padding.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

fn bytes_of_mut<T: Plain>(numbers: &mut [T]) -> &mut [u8] {
    let bytes = size_of_val(numbers);
    // SAFETY: plain numbers are bytes without padding, and any bytes are numbers.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), bytes) }
}

/// Numbers in an accelerator's memory, or in pages of the host's, given back when dropped.
#[derive(Debug)]
pub struct Array<T: Plain> {
    on: Arc<dyn Accelerator>,
    at: Address,
    len: usize,
    is_paged: bool,
    numbers: PhantomData<T>,
}

impl<T: Plain> Array<T> {
    /// Room for `len` numbers, of any value.
    pub fn new(on: &Arc<dyn Accelerator>, len: usize) -> Result<Array<T>, Fault> {
        let at = on.allocate(len * size_of::<T>())?;
        Ok(Array { on: Arc::clone(on), at, len, is_paged: false, numbers: PhantomData })
    }

    /// A copy of numbers in pages of the host's memory.
    pub fn paged(on: &Arc<dyn Accelerator>, numbers: &[T]) -> Result<Array<T>, Fault> {
        let len = numbers.len();
        let at = on.allocate_pages(size_of_val(numbers))?;
        let on = Arc::clone(on);
        let mut array = Array { on, at, len, is_paged: true, numbers: PhantomData };
        array.write(numbers)?;
        Ok(array)
    }

    /// Zeros.
    pub fn zeros(on: &Arc<dyn Accelerator>, len: usize) -> Result<Array<T>, Fault> {
        let array = Array::new(on, len)?;
        on.clear(array.at, len * size_of::<T>())?;
        Ok(array)
    }

    /// A copy of numbers on the host.
    pub fn of(on: &Arc<dyn Accelerator>, numbers: &[T]) -> Result<Array<T>, Fault> {
        let mut array = Array::new(on, numbers.len())?;
        array.write(numbers)?;
        Ok(array)
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces all numbers.
    pub fn write(&mut self, numbers: &[T]) -> Result<(), Fault> {
        assert_eq!(numbers.len(), self.len, "as many numbers as there is room for");
        self.on.write(self.at, bytes_of(numbers))
    }

    /// Sets all numbers to zero.
    pub fn clear(&mut self) -> Result<(), Fault> {
        self.on.clear(self.at, self.len * size_of::<T>())
    }

    /// All numbers, on the host.
    pub fn read(&self) -> Result<Vec<T>, Fault> {
        let mut numbers = vec![T::default(); self.len];
        self.on.read(self.at, bytes_of_mut(&mut numbers))?;
        Ok(numbers)
    }

    /// Replaces the first numbers.
    pub fn write_first(&mut self, numbers: &[T]) -> Result<(), Fault> {
        assert!(numbers.len() <= self.len, "there is room");
        self.on.write(self.at, bytes_of(numbers))
    }

    /// The first numbers, as many as there is room for on the host.
    pub fn read_first(&self, numbers: &mut [T]) -> Result<(), Fault> {
        assert!(numbers.len() <= self.len, "there are as many");
        self.on.read(self.at, bytes_of_mut(numbers))
    }

    /// Copies some numbers to where others stand, which are none of them.
    pub fn copy_within(&mut self, from: Range<usize>, to: usize) -> Result<(), Fault> {
        let target = to..to + from.len();
        assert!(from.end.max(target.end) <= self.len, "there is room");
        assert!(from.end <= to || target.end <= from.start, "the places do not overlap");
        let byte = |at: usize| self.at.skip(at * size_of::<T>());
        self.on.copy(byte(from.start), byte(to), from.len() * size_of::<T>())
    }

    /// The first numbers, to be read by a kernel.
    pub fn first(&self, len: usize) -> Slice<'_, T> {
        self.all().part(0..len)
    }

    /// The same, to be written by a kernel.
    pub fn first_mut(&mut self, len: usize) -> SliceMut<'_, T> {
        assert!(len <= self.len, "there is room");
        SliceMut { at: self.at, len, numbers: PhantomData }
    }

    /// All numbers, to be read by a kernel.
    pub fn all(&self) -> Slice<'_, T> {
        Slice { at: self.at, len: self.len, numbers: PhantomData }
    }

    /// All numbers, to be written by a kernel.
    pub fn all_mut(&mut self) -> SliceMut<'_, T> {
        SliceMut { at: self.at, len: self.len, numbers: PhantomData }
    }
}

impl<T: Plain> Drop for Array<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        match self.is_paged {
            true => self.on.release_pages(self.at, bytes),
            false => self.on.release(self.at, bytes),
        }
    }
}

/// Numbers that a kernel reads.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a, T> {
    at: Address,
    len: usize,
    numbers: PhantomData<&'a [T]>,
}

impl<'a, T: Plain> Slice<'a, T> {
    /// How many numbers there are.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Where they lie.
    pub(super) fn address(self) -> Address {
        self.at
    }

    /// Some of them.
    pub fn part(self, range: Range<usize>) -> Slice<'a, T> {
        assert!(range.start <= range.end && range.end <= self.len);
        Slice { at: self.at.skip(range.start * size_of::<T>()), len: range.len(), ..self }
    }
}

/// Where numbers of an accelerator lie that others copy.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    at: Address,
    bytes: usize,
}

/// Numbers that a kernel writes.
#[derive(Debug)]
pub struct SliceMut<'a, T> {
    at: Address,
    len: usize,
    numbers: PhantomData<&'a mut [T]>,
}

impl<T: Plain> SliceMut<'_, T> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where they lie.
    pub(super) fn address(&self) -> Address {
        self.at
    }

    /// Some of them.
    pub fn part(&mut self, range: Range<usize>) -> SliceMut<'_, T> {
        assert!(range.start <= range.end && range.end <= self.len);
        let at = self.at.skip(range.start * size_of::<T>());
        SliceMut { at, len: range.len(), numbers: PhantomData }
    }

    /// The same, to be copied by others.
    pub fn lent(&self) -> Lent {
        Lent { at: self.at, bytes: self.len * size_of::<T>() }
    }

    /// Replaces all numbers by those of another accelerator after these moments; gives the moment
    /// at which they are here.
    pub fn bring(
        &mut self,
        on: &dyn Accelerator,
        of: Lent,
        after: &[&Mark],
    ) -> Result<Mark, Fault> {
        assert_eq!(of.bytes, self.len * size_of::<T>(), "as many numbers as there are");
        on.bring(of.at, self.at, of.bytes, after)
    }

    /// The same, to be read for a while.
    pub fn read(&self) -> Slice<'_, T> {
        Slice { at: self.at, len: self.len, numbers: PhantomData }
    }
}

impl<'a> SliceMut<'a, f32> {
    /// The first numbers, and the bytes of the others.
    pub fn split_into_bytes(self, len: usize) -> (SliceMut<'a, f32>, SliceMut<'a, u8>) {
        assert!(len <= self.len, "there are as many");
        let bytes = size_of::<f32>();
        let (at, rest) = (self.at.skip(len * bytes), (self.len - len) * bytes);
        (SliceMut { len, ..self }, SliceMut { at, len: rest, numbers: PhantomData })
    }
}

impl<T> From<Slice<'_, T>> for Argument {
    fn from(slice: Slice<'_, T>) -> Argument {
        Argument::Address(slice.at)
    }
}

impl<T> From<&SliceMut<'_, T>> for Argument {
    fn from(slice: &SliceMut<'_, T>) -> Argument {
        Argument::Address(slice.at)
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Argument {
        Argument::U32(value)
    }
}

impl From<u64> for Argument {
    fn from(value: u64) -> Argument {
        Argument::U64(value)
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Argument {
        Argument::F32(value)
    }
}

/// A count as kernels take it.
pub(super) fn count(items: usize) -> u32 {
    u32::try_from(items).expect("no dimension of an operation has 2³² items")
}

/// How many blocks of `size` cover `items`, along the first direction.
pub(super) fn blocks(items: usize, size: usize) -> [u32; 3] {
    [count(items.div_ceil(size)), 1, 1]
}

/// Threads of most blocks.
pub(super) const THREADS: usize = 256;

/// Starts a kernel in whose blocks each thread has four of `len` numbers.
pub(super) fn launch_fours(
    on: &dyn Accelerator,
    kernel: &'static str,
    len: usize,
    arguments: &[Argument],
) -> Result<(), Fault> {
    if len == 0 {
        return Ok(());
    }
    on.launch(kernel, blocks(len, 4 * THREADS), [THREADS as u32, 1, 1], 0, arguments)
}
