//! The pools that running actions draw from: cores and memory. Knows amounts; does not know what
//! they are used for.

use std::fs;
use std::thread::available_parallelism;

use super::executor::Demand;

/// An amount of each resource: all there is, what is free, or what one action was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    pub threads: usize,
    pub memory_bytes: u64,
}

impl Pool {
    /// All of this machine.
    pub fn of_machine() -> Pool {
        let threads = available_parallelism().map_or(1, |threads| threads.get());
        Pool { threads, memory_bytes: machine_memory().unwrap_or(u64::MAX) }
    }

    /// Takes what an action may have now, leaving a share of the threads for each of `others`
    /// that could run beside it. `None` if it must wait. An action that asks more than `whole`
    /// runs when nothing else does.
    pub fn grant(&mut self, whole: Pool, demand: Demand, others: usize) -> Option<Pool> {
        let memory_bytes = demand.memory_bytes.min(whole.memory_bytes);
        if self.threads == 0 || memory_bytes > self.memory_bytes {
            return None;
        }
        let share = (self.threads / (others + 1)).max(1);
        let threads = demand.threads.clamp(1, share);
        self.threads -= threads;
        self.memory_bytes -= memory_bytes;
        Some(Pool { threads, memory_bytes })
    }

    /// Gives back what was granted.
    pub fn release(&mut self, grant: Pool) {
        self.threads += grant.threads;
        self.memory_bytes += grant.memory_bytes;
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

    #[test]
    fn threads_are_shared_and_memory_is_respected() {
        let whole = Pool { threads: 4, memory_bytes: 100 };
        let mut free = whole;
        let demand = Demand { threads: 8, memory_bytes: 60 };
        let first = free.grant(whole, demand, 1).unwrap();
        assert_eq!(first, Pool { threads: 2, memory_bytes: 60 });
        assert_eq!(free.grant(whole, demand, 0), None);
        free.release(first);
        assert_eq!(free, whole);
        let huge = Demand { threads: 1, memory_bytes: 1000 };
        assert!(free.grant(whole, huge, 0).is_some());
    }
}
