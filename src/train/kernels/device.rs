//! Where the operations run: a pool of threads and an instruction set. Both change only the speed:
//! threads share out outputs, never sums, and every instruction set does the same roundings. It
//! does not know the environment; a door decides how many threads there are.

use std::marker::PhantomData;
use std::ops::Range;

use super::pool::Pool;

/// An instruction set that the inner loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    Avx512,
    Avx2,
    Portable,
}

impl std::str::FromStr for Isa {
    type Err = String;

    fn from_str(name: &str) -> Result<Isa, String> {
        let isa = match name {
            "avx512" => Isa::Avx512,
            "avx2" => Isa::Avx2,
            "portable" => Isa::Portable,
            _ => return Err(format!("`{name}` is none of avx512, avx2, portable")),
        };
        if isa.available() { Ok(isa) } else { Err(format!("this processor lacks {name}")) }
    }
}

impl Isa {
    /// All of them, fastest first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The fastest one that this processor has.
    pub fn detect() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.available()).unwrap_or(Isa::Portable)
    }

    /// Whether this processor has it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && Isa::Avx2.available()
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }

    /// Runs `body` compiled for this instruction set. The closure must be marked
    /// `#[inline(always)]`, and so must all that it calls.
    #[inline(always)]
    pub(super) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        match self {
            // SAFETY: `Threads` checked that the processor has these features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { run_avx512(body) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { run_avx2(body) },
            _ => body(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn run_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// A pool of threads and the instruction set they use.
#[derive(Debug)]
pub struct Threads {
    /// None when there is one thread: the caller's.
    pool: Option<Pool>,
    isa: Isa,
}

impl Threads {
    /// `count` threads with the fastest instruction set of this processor.
    pub fn new(count: usize) -> Threads {
        Threads::with_isa(count, Isa::detect())
    }

    /// `count` threads with the given instruction set, which the processor must have.
    pub fn with_isa(count: usize, isa: Isa) -> Threads {
        assert!(count > 0, "no thread to run on");
        assert!(isa.available(), "this processor lacks {isa:?}");
        Threads { pool: (count > 1).then(|| Pool::new(count - 1)), isa }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| 1 + pool.workers())
    }

    /// Calls `body` on consecutive ranges that cover `0..items`, each of at least `grain` items
    /// (the last may be shorter), on all threads.
    pub(super) fn split(&self, items: usize, grain: usize, body: impl Fn(Range<usize>) + Sync) {
        self.split_in(PARTS_PER_THREAD, items, grain, body);
    }

    /// The same in at most one range a thread, for work that first prepares something for each.
    pub(super) fn share(&self, items: usize, grain: usize, body: impl Fn(Range<usize>) + Sync) {
        self.split_in(1, items, grain, body);
    }

    fn split_in(
        &self,
        parts_per_thread: usize,
        items: usize,
        grain: usize,
        body: impl Fn(Range<usize>) + Sync,
    ) {
        let count = self.count();
        let parts = (items / grain.max(1)).clamp(1, count * parts_per_thread);
        let parts = if parts > count { parts - parts % count } else { parts };
        match &self.pool {
            Some(pool) if parts > 1 => pool.run(parts, &|part| {
                body(items * part / parts..items * (part + 1) / parts);
            }),
            _ if items > 0 => body(0..items),
            _ => {}
        }
    }
}

/// More parts than threads, so that a thread which was held up is helped by the others.
const PARTS_PER_THREAD: usize = 4;

/// A slice whose parts are written by several threads, each its own.
pub(super) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: the contract of `part` keeps threads apart.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(super) fn new(slice: &'a mut [T]) -> Parts<'a, T> {
        Parts { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// Ranges in use at the same time must not overlap.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the slice, and not shared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Where the slice starts, for operations that write strided parts.
    #[inline(always)]
    pub(super) fn start(&self) -> *mut T {
        self.start
    }
}
