//! From arguments to an exit code: one arm a command.

use std::process::ExitCode;

use clap::Parser;

use super::args::{Cli, Command};
use super::exit::Exit;
use super::terminal::note;
use super::{build, cache, check, doc, doctor, export, fmt, generate, log, new, plan, reproduce};
use crate::eval::sandbox;

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
    if let Command::Sandboxed = cli.command {
        return sandbox::inside::main();
    }
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
        Command::Doctor => doctor::run(),
        Command::Sandboxed => unreachable!("it has no exit of a command"),
    }
}
