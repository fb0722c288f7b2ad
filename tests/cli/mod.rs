//! The program as its users run it: what it prints, what it leaves behind, and its exit codes.

mod adapters;
mod bad_input;
mod building;
mod check_data;
mod commands;
mod contamination;
mod devices;
mod evaluating;
#[cfg(feature = "hub")]
mod hub;
mod interrupted;
mod limits;
mod places;
mod programs;
mod qlora;
mod rounds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with files, in which the program runs.
pub struct Project {
    folder: tempfile::TempDir,
}

/// What a run printed and how it ended.
pub struct Ran {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Ran {
    /// Fails unless the run ended so.
    pub fn ended(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// Fails unless the error holds all of these.
    pub fn told(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.err.contains(part), "`{part}` is not in:\n{}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// The stages that ran, in order.
    pub fn built(&self) -> Vec<&str> {
        let lines = self.err.lines().filter_map(|line| line.strip_prefix("built "));
        let mut names = lines.map(|line| line.split_whitespace().next().unwrap());
        let mut names = names.by_ref().collect::<Vec<_>>();
        names.sort_unstable();
        names
    }
}

impl Project {
    pub fn new() -> Project {
        Project { folder: tempfile::tempdir().unwrap() }
    }

    /// One with this recipe as `a.recipe`.
    pub fn of(recipe: &str) -> Project {
        let project = Project::new();
        project.write("a.recipe", recipe);
        project
    }

    /// One with a recipe of every stage kind of the main job that builds in a second.
    pub fn micro() -> Project {
        Project::of(include_str!("micro.recipe"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces a part of a file that occurs there once.
    pub fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert_eq!(text.matches(old).count(), 1, "`{old}` in {name}");
        self.write(name, text.replace(old, new));
    }

    /// A command with the words of a line.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llamake"));
        command.current_dir(self.folder.path()).args(line.split_whitespace());
        command.env_remove("RUST_BACKTRACE").env("NO_COLOR", "1");
        command
    }

    pub fn run(&self, line: &str) -> Ran {
        ran(self.command(line).output().unwrap())
    }
}

pub fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
}

/// Every file below a folder with its bytes.
pub fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut open = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_path_buf();
                    found.push((name, fs::read(path).unwrap()));
                }
            }
        }
    }
    found.sort();
    found
}
