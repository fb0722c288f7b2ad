//! The pools that running actions draw from: cores, memory, and each GPU. Knows amounts; does not
//! know what they are used for.

use std::fs;
use std::thread::available_parallelism;

use super::executor::Demand;

/// An amount of each resource: all there is, or what is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub threads: usize,
    pub memory_bytes: u64,
    /// Those that actions may run on, by ascending index.
    pub gpus: Vec<Gpu>,
}

/// A GPU, whole: one action at a time keeps it busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    pub index: usize,
    pub memory_bytes: u64,
}

/// What one action was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub threads: usize,
    pub memory_bytes: u64,
    pub gpu: Option<Gpu>,
}

impl Pool {
    /// The cores and the memory of this machine; a door finds its GPUs.
    pub fn of_machine() -> Pool {
        let threads = available_parallelism().map_or(1, |threads| threads.get());
        let memory_bytes = machine_memory().unwrap_or(u64::MAX);
        Pool { threads, memory_bytes, gpus: Vec::new() }
    }

    /// Takes what an action may have now, leaving a share of the threads for each of `others`
    /// that could run beside it. `None` if it must wait. An action that asks more than `whole`
    /// runs when nothing else does. One that can run on a GPU and fits one of `whole` waits for
    /// that rather than run without.
    pub fn grant(&mut self, whole: &Pool, demand: Demand, others: usize) -> Option<Grant> {
        let on_gpu = demand.gpu.filter(|gpu| whole.gpus.iter().any(|one| one.fits(gpu.gpu_bytes)));
        let gpu = match on_gpu {
            Some(asked) => Some(self.smallest_gpu(asked.gpu_bytes)?),
            None => None,
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
        self.gpus.retain(|free| Some(*free) != gpu);
        Some(Grant { threads, memory_bytes, gpu })
    }

    /// The one to take, so that what needs more finds more: of those that fit, the smallest.
    fn smallest_gpu(&self, bytes: u64) -> Option<Gpu> {
        let fit = self.gpus.iter().filter(|gpu| gpu.fits(bytes));
        fit.min_by_key(|gpu| (gpu.memory_bytes, gpu.index)).copied()
    }

    /// Gives back what was granted.
    pub fn release(&mut self, grant: Grant) {
        self.threads += grant.threads;
        self.memory_bytes += grant.memory_bytes;
        self.gpus.extend(grant.gpu);
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
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::executor::OnGpu;

    fn machine(gpus: &[u64]) -> Pool {
        let gpu = |(index, bytes): (usize, &u64)| Gpu { index, memory_bytes: *bytes };
        let gpus = gpus.iter().enumerate().map(gpu).collect();
        Pool { threads: 4, memory_bytes: 100, gpus }
    }

    #[test]
    fn threads_are_shared_and_memory_is_respected() {
        let whole = machine(&[]);
        let mut free = whole.clone();
        let demand = Demand { threads: 8, memory_bytes: 60, gpu: None, gpu_only: false };
        let first = free.grant(&whole, demand, 1).unwrap();
        assert_eq!(first, Grant { threads: 2, memory_bytes: 60, gpu: None });
        assert_eq!(free.grant(&whole, demand, 0), None);
        free.release(first);
        assert_eq!(free, whole);
        let huge = Demand { threads: 1, memory_bytes: 1000, gpu: None, gpu_only: false };
        assert!(free.grant(&whole, huge, 0).is_some());
    }

    fn on_gpu(gpu_bytes: u64) -> Demand {
        let gpu = Some(OnGpu { threads: 1, memory_bytes: 10, gpu_bytes });
        Demand { threads: 8, memory_bytes: 60, gpu, gpu_only: false }
    }

    #[test]
    fn each_action_has_a_gpu_of_its_own_that_it_fits() {
        let whole = machine(&[80, 24]);
        let mut free = whole.clone();
        let small = free.grant(&whole, on_gpu(20), 0).unwrap();
        let expected = Gpu { index: 1, memory_bytes: 24 };
        assert_eq!(small, Grant { threads: 1, memory_bytes: 10, gpu: Some(expected) });
        let large = free.grant(&whole, on_gpu(40), 0).unwrap();
        assert_eq!(large.gpu.map(|gpu| gpu.index), Some(0));
        assert_eq!(free.grant(&whole, on_gpu(20), 0), None, "it waits for one that it fits");
        free.release(large);
        free.release(small);
        assert_eq!(free, whole);
    }

    #[test]
    fn what_fits_no_gpu_runs_without() {
        let whole = machine(&[24, 24]);
        let mut free = whole.clone();
        let grant = free.grant(&whole, on_gpu(25), 0).unwrap();
        assert_eq!(grant, Grant { threads: 4, memory_bytes: 60, gpu: None });
        assert_eq!(free.gpus, whole.gpus);
    }
}
