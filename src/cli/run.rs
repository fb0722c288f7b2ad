//! From arguments to an exit code: one arm a command.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use super::args::{Cli, Command};
use super::terminal::note;
use super::{build, cache, check, doc, export, fmt, generate, log, new, plan, reproduce};
use crate::build::executor::Failure;
use crate::exec::Local;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    RecipeWrong = 1,
    Usage = 2,
    StageFailed = 3,
    LockMismatch = 4,
    Interrupted = 130,
}

pub use super::terminal::color;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked = !error.use_stderr();
            drop(error.print());
            return ExitCode::from(if asked { 0 } else { Exit::Usage as u8 });
        }
    };
    let exit = run(cli.command).unwrap_or_else(|error| {
        note(&format!("error: {error:#}"));
        Exit::Usage
    });
    ExitCode::from(exit as u8)
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Build(args) => build::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Why(args) => plan::why(&args),
        Command::Status(args) => plan::status(&args),
        Command::Graph(args) => plan::graph(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Cache(args) => cache::run(&args),
        Command::Doc(args) => doc::run(args.name.as_deref()),
        Command::Fmt(args) => fmt::run(&args.files, args.check),
        Command::New(args) => new::run(&args.folder).map(|()| Exit::Done),
    }
}

/// The executor of this machine.
pub fn executor() -> Local {
    Local { search_path: std::env::var_os("PATH").unwrap_or_default() }
}

/// Says what went wrong with the world.
pub fn tell(failure: &Failure) {
    note(&format!("error: {}", failure.message));
    for line in &failure.tail {
        note(&format!("  | {line}"));
    }
    if let Some(remedy) = &failure.remedy {
        note(&format!("help: {remedy}"));
    }
}

/// Says all of it and ends as a stage that failed.
pub fn fail(failures: &[Failure]) -> Exit {
    failures.iter().for_each(tell);
    Exit::StageFailed
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
