//! This machine: its executor, its cores and memory, and the signals that interrupt a build.

use std::collections::BTreeMap;
use std::env::VarError;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::exit::Exit;
use crate::build::resources::Pool;
use crate::exec::Local;
use crate::train::kernels::Isa;
use crate::train::progress::Launcher;

/// The least time between two checkpoints of a training stage, unless `LLAMAKE_CHECKPOINT` says
/// another number of seconds.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(15);

/// The executor of this machine.
pub fn executor() -> Result<Local> {
    Ok(Local {
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        isa: isa()?,
        checkpoint_every: match variable("LLAMAKE_CHECKPOINT")? {
            None => CHECKPOINT_EVERY,
            Some(text) => seconds(&text).with_context(|| {
                format!("`LLAMAKE_CHECKPOINT` is `{text}`, not a number of seconds")
            })?,
        },
        hub: super::hub::hub()?,
        untrusted: None,
        bytes: BTreeMap::new(),
        open: crate::train::kernels::cuda::open,
    })
}

/// The same, and it runs programs of a model if that is allowed.
pub fn executor_allowing(untrusted: bool) -> Result<Local> {
    Ok(Local { untrusted: untrusted.then(launcher), ..executor()? })
}

/// This very program, even where its file was replaced since it started.
pub fn launcher() -> Launcher {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    Launcher { program: "/proc/self/exe".into(), search_path }
}

/// The instruction set of the kernels: the fastest there is, or a narrower one that `LLAMAKE_ISA`
/// names. It changes the time, never a result.
pub fn isa() -> Result<Isa> {
    match variable("LLAMAKE_ISA")? {
        None => Ok(Isa::detect()),
        Some(name) => name.parse().map_err(|fact| anyhow!("`LLAMAKE_ISA`: {fact}")),
    }
}

/// A variable of the environment, unless it is empty.
pub fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("`{name}`")),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// Every thread and all memory, or as many threads as `-j` says, without GPUs.
pub fn pool(jobs: Option<std::num::NonZeroUsize>) -> Pool {
    let machine = Pool::of_machine();
    Pool { threads: jobs.map_or(machine.threads, |jobs| jobs.get()), ..machine }
}

/// Whether this program was started with SIGHUP ignored.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// A flag that ctrl-C, a polite kill and a closed terminal set; a second one ends the program at
/// once. What is finished by then is in the store either way.
pub fn cancel_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let mut signals = vec![signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    // A terminal that is closed, unless `nohup` said that it does not matter.
    signals.extend((!is_hangup_ignored()).then_some(signal_hook::consts::SIGHUP));
    for signal in signals {
        let code = Exit::Interrupted as i32;
        signal_hook::flag::register_conditional_shutdown(signal, code, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}
