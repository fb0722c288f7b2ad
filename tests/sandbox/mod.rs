//! The sandbox, as root and as an ordinary user: hostile programs come to the verdicts that they
//! name and leave the machine as it was; HumanEval's own solutions all pass in it.

mod hostile;
mod humaneval;

use std::path::{Path, PathBuf};

use llamake::eval::sandbox::Sandbox;
use llamake::train::progress::{Failure, Launcher};

/// A sandbox of the program under test at this path, unless the machine gives none, which only CI
/// takes amiss.
fn sandbox(program: &Path) -> Option<Sandbox> {
    let search_path = std::env::var_os("PATH").unwrap();
    match Sandbox::open(&Launcher { program: program.into(), search_path }) {
        Ok(sandbox) => Some(sandbox),
        Err(Failure::Input { message, .. }) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
            eprintln!("not tried: {message}");
            None
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_llamake").into()
}

#[test]
fn without_a_sandbox_nothing_runs() {
    for other in ["/bin/true", "/bin/echo", "/bin/false"] {
        let search_path = std::env::var_os("PATH").unwrap();
        let opened = Sandbox::open(&Launcher { program: other.into(), search_path });
        let Err(Failure::Input { message, remedy }) = opened else { panic!("{opened:?}") };
        assert!(message.contains("cannot be confined here"), "{message}");
        assert!(remedy.unwrap().contains("llamake doctor"));
    }
}
