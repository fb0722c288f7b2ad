//! Threads that wait for work by watching a counter, so that an operation of twenty microseconds is
//! worth sharing. It knows parts by number; not what they are, nor who may write where.
//!
//! Each thread begins with parts of its own, the same ones in every call, so that what it wrote in
//! one operation is in its cache in the next; then it helps the others.
//!
//! A call opens an epoch, takes parts together with whichever workers come, closes the epoch and
//! waits for the workers inside. A worker that comes late finds it closed and touches nothing. One
//! that finds nothing for some microseconds sleeps until it is woken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};

/// How often a thread looks before it lets others run, and before a worker sleeps.
const LOOKS: u32 = 1 << 11;

/// What all threads see of the call under way.
struct Shared {
    /// Odd while a call is open.
    epoch: AtomicU64,
    /// How many parts of each thread's own were taken; the caller's first.
    taken: Vec<Padded>,
    parts: AtomicUsize,
    /// Workers that may be looking at `job`.
    inside: AtomicUsize,
    /// The caller's closure; valid while the epoch is open.
    job: Mutex<Option<Job>>,
    panicked: AtomicBool,
    over: AtomicBool,
    asleep: Vec<AtomicBool>,
}

/// A counter with a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Padded(AtomicUsize);

/// A closure of the caller's stack, which outlives the call.
#[derive(Clone, Copy)]
struct Job(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure is `Sync`, and `Pool::run` does not return while a worker is inside.
unsafe impl Send for Job {}

/// Workers beside the calling thread.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
    /// Held by the call under way.
    calling: Mutex<()>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} workers)", self.workers.len())
    }
}

impl Pool {
    /// A pool with so many workers, or as many as the machine gives.
    pub(super) fn new(workers: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            taken: (0..=workers).map(|_| Padded::default()).collect(),
            parts: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            job: Mutex::new(None),
            panicked: AtomicBool::new(false),
            over: AtomicBool::new(false),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
        });
        let start = |at: usize| {
            let shared = shared.clone();
            let thread = thread::Builder::new().name(format!("kernels-{at}"));
            thread.spawn(move || shared.work(at)).ok()
        };
        let workers = (0..workers).map_while(start);
        let workers = workers.map(|handle| (handle.thread().clone(), Some(handle))).collect();
        Pool { shared, workers, calling: Mutex::new(()) }
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Calls `body` once for each part. A call from inside another, or beside it from another
    /// thread, is done by its caller alone.
    pub(super) fn run(&self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        let Ok(calling) = self.calling.try_lock() else {
            (0..parts).for_each(body);
            return;
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed; `Open` keeps it by waiting when it is dropped.
        let job: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(body) };
        *shared.job() = Some(Job(job));
        shared.taken.iter().for_each(|taken| taken.0.store(0, Ordering::Relaxed));
        shared.parts.store(parts, Ordering::Relaxed);
        let open = Open::new(shared);
        for ((thread, _), asleep) in self.workers.iter().zip(&shared.asleep) {
            if asleep.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
        shared.take_parts(0, body);
        drop(open);
        drop(calling);
        if shared.panicked.swap(false, Ordering::Relaxed) {
            panic!("a thread of the pool panicked");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for (thread, handle) in &mut self.workers {
            thread.unpark();
            // Its panics were passed on by the call that met them.
            let _ = handle.take().map(JoinHandle::join);
        }
    }
}

/// An open epoch; dropping it, also in a panic, closes it and waits for the workers inside.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Open<'a> {
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // Either a worker's entry is seen here, or the worker sees that the epoch is closed: both
        // counters are sequentially consistent.
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
        let mut looks = 0;
        while self.0.inside.load(Ordering::SeqCst) > 0 {
            look_again(&mut looks);
        }
    }
}

/// Waits a moment; now and then lets other threads run.
fn look_again(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS) {
        thread::yield_now();
    }
    std::hint::spin_loop();
}

impl Shared {
    fn job(&self) -> std::sync::MutexGuard<'_, Option<Job>> {
        self.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Thread `me`, the caller being 0, takes its own parts and then those of the others.
    fn take_parts(&self, me: usize, body: &(dyn Fn(usize) + Sync)) {
        let (parts, threads) = (self.parts.load(Ordering::Relaxed), self.taken.len());
        for owner in (me..threads).chain(0..me) {
            let (first, end) = (parts * owner / threads, parts * (owner + 1) / threads);
            loop {
                let part = first + self.taken[owner].0.fetch_add(1, Ordering::Relaxed);
                if part >= end {
                    break;
                }
                body(part);
            }
        }
    }

    /// The life of a worker.
    fn work(&self, at: usize) {
        let mut seen = 0;
        while let Some(epoch) = self.wait_for(seen, at) {
            seen = epoch;
            self.inside.fetch_add(1, Ordering::SeqCst);
            let joined = self.epoch.load(Ordering::SeqCst);
            if joined % 2 == 1 {
                seen = joined;
                self.join_in(at + 1);
            }
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn join_in(&self, me: usize) {
        let Some(Job(job)) = *self.job() else { return };
        // SAFETY: the epoch is open and this thread counted as inside, so the caller waits.
        let body = unsafe { &*job };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_parts(me, body))) {
            self.panicked.store(true, Ordering::Relaxed);
            drop(panic);
        }
    }

    /// The next open epoch after `seen`; none once the pool is over.
    fn wait_for(&self, seen: u64, at: usize) -> Option<u64> {
        let mut looks = 0;
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            if self.over.load(Ordering::SeqCst) {
                return None;
            }
            if epoch % 2 == 1 && epoch != seen {
                return Some(epoch);
            }
            if looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
                continue;
            }
            self.asleep[at].store(true, Ordering::SeqCst);
            let changed = self.epoch.load(Ordering::SeqCst) != epoch;
            if changed || self.over.load(Ordering::SeqCst) {
                self.asleep[at].store(false, Ordering::SeqCst);
            } else {
                thread::park();
            }
            looks = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_part_is_done_once_in_every_call() {
        let pool = Pool::new(2);
        for call in 0..2000 {
            let done: Vec<AtomicUsize> = (0..call % 17).map(|_| AtomicUsize::new(0)).collect();
            pool.run(done.len(), &|part| {
                done[part].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            if call % 500 == 0 {
                // Long enough for the workers to sleep.
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn calls_inside_calls_and_side_by_side_are_done() {
        let (pool, sum) = (Pool::new(1), AtomicUsize::new(0));
        let add = |_| {
            sum.fetch_add(1, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..200).for_each(|_| pool.run(5, &|_| pool.run(2, &add))));
            }
        });
        assert_eq!(sum.into_inner(), 3 * 200 * 5 * 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        for bad in 0..20 {
            let call = || pool.run(20, &|part| assert!(part != bad, "planted"));
            let panic = catch_unwind(AssertUnwindSafe(call));
            assert!(panic.is_err());
            pool.run(20, &|_| {});
        }
    }
}
