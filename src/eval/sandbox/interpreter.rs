//! The Python that runs programs: which one, and which files it is made of. Asks the interpreter
//! itself, outside; it is the user's own. Does not know how it is confined.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::train::progress::Failure;

/// An interpreter, without the virtual environment it may have been found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    pub path: PathBuf,
    pub version: String,
    /// The files and folders it needs to read, all of them there.
    pub readable: Vec<PathBuf>,
    /// Folders inside those that look empty: packages that someone installed.
    pub hidden: Vec<PathBuf>,
}

/// Folders of shared libraries, and of what loads them.
const LIBRARIES: [&str; 6] = ["/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64"];

/// What an interpreter says of itself: its program, its version, the folders of its own library,
/// those of every shared object it has loaded, and those where packages are installed.
const QUESTION: &str = r#"
import json, os, site, sys, sysconfig
objects = (line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if "/" in line)
print(json.dumps({
    "path": os.path.realpath(sys._base_executable),
    "version": sys.version.split()[0],
    "library": [sysconfig.get_path("stdlib"), os.path.dirname(os.__file__)],
    "packages": site.getsitepackages([sys.base_prefix, sys.base_exec_prefix]),
    "objects": [os.path.dirname(path) for path in objects if ".so" in os.path.basename(path)],
}))
"#;

#[derive(Deserialize)]
struct Said {
    path: PathBuf,
    version: String,
    library: Vec<PathBuf>,
    objects: Vec<PathBuf>,
    packages: BTreeSet<PathBuf>,
}

/// The first `python3` of a search path.
pub fn find(search_path: &OsStr) -> Result<Interpreter, Failure> {
    let asked = Command::new("python3")
        .args(["-I", "-c", QUESTION])
        .env("PATH", search_path)
        .stdin(Stdio::null())
        .output();
    let remedy = "install Python 3, so that `python3` is found by `PATH`";
    let output = asked.map_err(|error| {
        Failure::input(format!("`python3` cannot be started: {error}")).remedy(remedy)
    })?;
    let said: Said = serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it printed nothing");
        Failure::input(format!("`python3` does not say what it is made of: {last}")).remedy(remedy)
    })?;
    let mut folders: BTreeSet<PathBuf> = LIBRARIES.iter().map(PathBuf::from).collect();
    folders.extend(said.library);
    folders.extend(said.objects);
    let mut readable = outermost(folders.into_iter().filter(|folder| folder.is_dir()));
    readable.push(said.path.clone());
    let hides = |folder: &PathBuf| {
        folder.is_dir() && readable.iter().any(|outer| folder.starts_with(outer))
    };
    let hidden = said.packages.into_iter().filter(hides).collect();
    Ok(Interpreter { path: said.path, version: said.version, readable, hidden })
}

/// Folders without those that lie in another of them. They come sorted, so that a folder comes
/// before what lies in it.
fn outermost(folders: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for folder in folders.filter(|folder| folder.is_absolute() && folder != Path::new("/")) {
        if !kept.iter().any(|outer| folder.starts_with(outer)) {
            kept.push(folder);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_another_is_not_named_twice() {
        let folders = ["/", "/lib", "/lib-b", "/lib/python", "/opt/x/lib", "relative"];
        let kept = outermost(folders.into_iter().map(PathBuf::from));
        assert_eq!(kept, ["/lib", "/lib-b", "/opt/x/lib"].map(PathBuf::from));
    }

    #[test]
    fn a_missing_interpreter_is_told() {
        let Err(Failure::Input { message, .. }) = find(OsStr::new("/nonexistent")) else {
            panic!("an interpreter in a folder that is not there")
        };
        assert!(message.contains("`python3` cannot be started"), "{message}");
    }
}
