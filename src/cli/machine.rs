//! This machine: its executor, its cores and memory, and the signals that interrupt a build.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::exit::Exit;
use crate::build::resources::Pool;
use crate::exec::Local;

/// The executor of this machine.
pub fn executor() -> Local {
    Local { search_path: std::env::var_os("PATH").unwrap_or_default() }
}

/// Every thread and all memory, or as many threads as `-j` says.
pub fn pool(jobs: Option<std::num::NonZeroUsize>) -> Pool {
    let machine = Pool::of_machine();
    Pool { threads: jobs.map_or(machine.threads, |jobs| jobs.get()), ..machine }
}

/// A flag that ctrl-C and a polite kill set; a second ctrl-C ends the program at once. What is
/// finished by then is in the store either way.
pub fn cancel_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let code = Exit::Interrupted as i32;
        signal_hook::flag::register_conditional_shutdown(signal, code, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}
