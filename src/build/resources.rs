//! The pools that running actions draw from: cores, memory, and each GPU. Knows amounts; does not
//! know what they are used for.

use std::fs;
use std::thread::available_parallelism;

use super::executor::{Demand, OnGpu};

/// An amount of each resource: all there is, or what is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub threads: usize,
    pub memory_bytes: u64,
    /// Those that actions may run on, by ascending index.
    pub gpus: Vec<Gpu>,
    /// How many of them one action may have, at least 1.
    pub gpus_together: usize,
}

/// A GPU, whole: one action at a time keeps it busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    pub index: usize,
    /// The same number for all of one kind; only those share an action.
    pub kind: usize,
    pub memory_bytes: u64,
}

/// What one action was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub threads: usize,
    pub memory_bytes: u64,
    pub gpus: Vec<Gpu>,
}

impl Pool {
    /// The cores and the memory of this machine; a door finds its GPUs.
    pub fn of_machine() -> Pool {
        let threads = available_parallelism().map_or(1, |threads| threads.get());
        let memory_bytes = machine_memory().unwrap_or(u64::MAX);
        Pool { threads, memory_bytes, gpus: Vec::new(), gpus_together: 1 }
    }

    /// Takes what an action may have now, leaving a share of the threads for each of `others`
    /// that could run beside it. `None` if it must wait. An action that asks more than `whole`
    /// runs when nothing else does. One that can run on a GPU and fits one of `whole` waits for
    /// that rather than run without; one that several can share has as many as are free.
    pub fn grant(&mut self, whole: &Pool, demand: Demand, others: usize) -> Option<Grant> {
        let on_gpu = demand.gpu.filter(|gpu| whole.gpus.iter().any(|one| one.fits(gpu.gpu_bytes)));
        let gpus = match on_gpu {
            Some(asked) => self.gpus_for(asked)?,
            None => Vec::new(),
        };
        let (threads, memory_bytes) = match on_gpu {
            Some(asked) => (asked.threads, asked.memory_bytes),
            None => (demand.threads, demand.memory_bytes),
        };
        let memory_bytes = memory_bytes.min(whole.memory_bytes);
        if self.threads == 0 || memory_bytes > self.memory_bytes {
            return None;
        }
        let share = (self.threads / (others + 1)).max(1);
        let threads = threads.clamp(1, share);
        self.threads -= threads;
        self.memory_bytes -= memory_bytes;
        self.gpus.retain(|free| !gpus.contains(free));
        Some(Grant { threads, memory_bytes, gpus })
    }

    /// Those to take, so that what needs more finds more: of those that fit, the smallest, and
    /// others like it.
    fn gpus_for(&self, asked: OnGpu) -> Option<Vec<Gpu>> {
        let fit = self.gpus.iter().filter(|gpu| gpu.fits(asked.gpu_bytes));
        let first = fit.min_by_key(|gpu| (gpu.memory_bytes, gpu.index))?;
        let alike = self.gpus.iter().filter(|gpu| gpu.kind == first.kind).copied();
        let alike = alike.filter(|gpu| gpu.fits(asked.gpu_bytes));
        Some(alike.take(asked.most.min(self.gpus_together).max(1)).collect())
    }

    /// Gives back what was granted.
    pub fn release(&mut self, grant: Grant) {
        self.threads += grant.threads;
        self.memory_bytes += grant.memory_bytes;
        self.gpus.extend(grant.gpus);
        self.gpus.sort_by_key(|gpu| gpu.index);
    }
}

impl Gpu {
    /// Whether an action that needs so much of its memory can run on it.
    pub fn fits(&self, bytes: u64) -> bool {
        bytes <= self.memory_bytes
    }
}

fn machine_memory() -> Option<u64> {
    meminfo("MemTotal:")
}

/// The memory of this machine with the room that it has to swap to: what needs more cannot run.
pub fn memory_and_swap() -> u64 {
    let all = ["MemTotal:", "SwapTotal:"].map(meminfo);
    let all = all.into_iter().sum::<Option<u64>>();
    all.unwrap_or(u64::MAX)
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one kind where they are as large.
    fn gpu(index: usize, memory_bytes: u64) -> Gpu {
        Gpu { index, kind: memory_bytes as usize, memory_bytes }
    }

    fn machine(gpus: &[u64]) -> Pool {
        let gpu = |(index, bytes): (usize, &u64)| gpu(index, *bytes);
        let gpus = gpus.iter().enumerate().map(gpu).collect();
        Pool { threads: 4, memory_bytes: 100, gpus, gpus_together: 1 }
    }

    #[test]
    fn threads_are_shared_and_memory_is_respected() {
        let whole = machine(&[]);
        let mut free = whole.clone();
        let demand = Demand { threads: 8, memory_bytes: 60, gpu: None, gpu_only: false };
        let first = free.grant(&whole, demand, 1).unwrap();
        assert_eq!(first, Grant { threads: 2, memory_bytes: 60, gpus: vec![] });
        assert_eq!(free.grant(&whole, demand, 0), None);
        free.release(first);
        assert_eq!(free, whole);
        let huge = Demand { threads: 1, memory_bytes: 1000, gpu: None, gpu_only: false };
        assert!(free.grant(&whole, huge, 0).is_some());
    }

    fn on_gpu(gpu_bytes: u64) -> Demand {
        let gpu = Some(OnGpu { threads: 1, memory_bytes: 10, gpu_bytes, most: 3 });
        Demand { threads: 8, memory_bytes: 60, gpu, gpu_only: false }
    }

    #[test]
    fn each_action_has_a_gpu_of_its_own_that_it_fits() {
        let whole = machine(&[80, 24]);
        let mut free = whole.clone();
        let small = free.grant(&whole, on_gpu(20), 0).unwrap();
        assert_eq!(small, Grant { threads: 1, memory_bytes: 10, gpus: vec![gpu(1, 24)] });
        let large = free.grant(&whole, on_gpu(40), 0).unwrap();
        assert_eq!(large.gpus, [gpu(0, 80)]);
        assert_eq!(free.grant(&whole, on_gpu(20), 0), None, "it waits for one that it fits");
        free.release(large);
        free.release(small);
        assert_eq!(free, whole);
    }

    #[test]
    fn gpus_of_a_kind_share_an_action() {
        let whole = Pool { gpus_together: 4, threads: 8, ..machine(&[24, 80, 80, 80, 80]) };
        let mut free = whole.clone();
        let first = free.grant(&whole, on_gpu(40), 0).unwrap();
        assert_eq!(first.gpus, [1, 2, 3].map(|index| gpu(index, 80)), "it can use three");
        let small = free.grant(&whole, on_gpu(20), 0).unwrap();
        assert_eq!(small.gpus, [gpu(0, 24)], "there is one of its kind");
        let rest = free.grant(&whole, on_gpu(40), 0).unwrap();
        assert_eq!(rest.gpus, [gpu(4, 80)], "what is free is enough");
        for grant in [first, small, rest] {
            free.release(grant);
        }
        assert_eq!(free, whole);
        let mut two = Pool { gpus_together: 2, ..whole.clone() };
        assert_eq!(two.grant(&whole, on_gpu(40), 0).unwrap().gpus.len(), 2);
    }

    #[test]
    fn what_fits_no_gpu_runs_without() {
        let whole = machine(&[24, 24]);
        let mut free = whole.clone();
        let grant = free.grant(&whole, on_gpu(25), 0).unwrap();
        assert_eq!(grant, Grant { threads: 4, memory_bytes: 60, gpus: vec![] });
        assert_eq!(free.gpus, whole.gpus);
    }
}
