//! `llamake doctor`: what this machine offers, and whether a sandbox holds on it.

use anyhow::Result;

use super::Exit;
use super::exit::tell;
use super::machine::{isa, launcher, pool};
use super::terminal::out;
use crate::eval::sandbox::Sandbox;
use crate::exec::ledger::bytes_text;
use crate::exec::local::translated;

/// Looks, and ends well only if everything is there.
pub fn run() -> Result<Exit> {
    let machine = pool(None);
    out(&format!("threads   {}\n", machine.threads));
    out(&format!("memory    {}\n", bytes_text(machine.memory_bytes)));
    out(&format!("kernels   {}\n", format!("{:?}", isa()?).to_lowercase()));
    match Sandbox::open(&launcher()) {
        Ok(sandbox) => {
            out(&format!("sandbox   holds, with {}\n", sandbox.interpreter()));
            Ok(Exit::Done)
        }
        Err(failure) => {
            out("sandbox   missing\n");
            tell(&translated(failure));
            Ok(Exit::StageFailed)
        }
    }
}
