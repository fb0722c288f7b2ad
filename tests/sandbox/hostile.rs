//! The hostile set: each program's first line names its verdict and says why.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use llamake::eval::sandbox::{Limits, Sandbox};

use super::sandbox;
use crate::train::fixtures::Heard;

/// Nobody, as everywhere.
const ORDINARY: u32 = 65534;

/// The program under test in a folder of its own, where everyone may run it; its path tells its
/// processes from all others.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("llamake-hostile").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place { folder };
        let (from, to) = (super::program(), place.program());
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).unwrap();
        place
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("llamake")
    }

    /// Processes of the sandbox that are there now.
    fn processes(&self) -> Vec<String> {
        let path = self.folder.path().to_str().unwrap();
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        lines.filter(|line| line.contains(path)).collect()
    }
}

/// Files that no program may read or change, in folders that programs like to write to.
struct Canaries {
    files: Vec<PathBuf>,
}

impl Canaries {
    fn new() -> Canaries {
        let home = std::env::home_dir().unwrap();
        let name = format!("canary-{}", std::process::id());
        let files = [home, std::env::temp_dir()].map(|folder| folder.join(&name));
        for file in &files {
            fs::write(file, "untouched").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
        }
        Canaries { files: files.into() }
    }

    fn check(&self) {
        for file in &self.files {
            assert_eq!(fs::read_to_string(file).unwrap(), "untouched", "{}", file.display());
            let left = file.with_file_name("llamake-canary");
            assert!(!left.exists(), "{}", left.display());
        }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        self.files.iter().for_each(|file| drop(fs::remove_file(file)));
    }
}

/// The hostile programs by name, each with the verdict, or verdicts, it names.
fn programs() -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sandbox/hostile");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let first = text.strip_prefix("# ").unwrap_or_else(|| panic!("{}", path.display()));
        let verdict = first.split_once(':').unwrap().0.to_string();
        (path.file_stem().unwrap().to_string_lossy().into_owned(), verdict, text)
    };
    let mut all = fs::read_dir(folder).unwrap().map(read).collect::<Vec<_>>();
    all.sort();
    assert!(all.len() >= 30, "{} hostile programs", all.len());
    all
}

/// Runs them all; none of what they started is left.
fn survives(place: &Place) {
    let Some(sandbox) = sandbox(&place.program()) else { return };
    let programs = programs();
    let texts = programs.iter().map(|(_, _, text)| text.clone()).collect::<Vec<_>>();
    let ran = sandbox.run_all(&texts, Limits::of_seconds(3), 4, &mut Heard::default()).unwrap();
    let mut wrong = Vec::new();
    for ((name, expected, _), ran) in programs.iter().zip(&ran) {
        if !expected.split(" or ").any(|verdict| verdict == ran.verdict.name()) {
            let (found, said) = (ran.verdict.name(), &ran.said);
            wrong.push(format!("{name}: {found} where {expected} was expected: {said}"));
        }
        assert!(ran.said.len() <= 2000, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(place.processes(), Vec::<String>::new());
}

/// Makes the thread, and what it starts, another user's; the other threads stay who they are.
fn become_ordinary() {
    let id = ORDINARY;
    // SAFETY: the calls read no memory; they change this thread alone, where libc's would all.
    let done = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>())
            | libc::syscall(libc::SYS_setresgid, id, id, id)
            | libc::syscall(libc::SYS_setresuid, id, id, id)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn hostile_programs_leave_the_machine_as_it_was() {
    let (place, canaries) = (Place::new(), Canaries::new());
    survives(&place);
    canaries.check();
    if rustix::process::geteuid().is_root() {
        std::thread::scope(|scope| {
            let ordinary = scope.spawn(|| {
                become_ordinary();
                survives(&place);
            });
            ordinary.join().unwrap();
        });
    }
    canaries.check();
}

const ENDLESS: &str = "import os, time\nos.fork()\nos.setsid() if os.getpid() > 2 else None\n\
    print('here', flush=True)\ntime.sleep(1000)\n";

/// A sandbox with a program in it that does not end, and its process outside.
fn started(place: &Place, sandbox: &Sandbox) -> Child {
    let request = serde_json::to_vec(&sandbox.request(ENDLESS, Limits::of_seconds(1000)));
    let mut child = Command::new(place.program())
        .arg("sandboxed")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(&[&request.unwrap()[..], b"\n"].concat()).unwrap();
    let mut here = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut here).unwrap();
    assert_eq!(&here, b"here");
    assert!(!place.processes().is_empty());
    child
}

fn is_soon_empty(place: &Place) -> bool {
    let limit = Instant::now() + Duration::from_secs(20);
    while Instant::now() < limit {
        if place.processes().is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Whether llamake lets go of it, or the process between is killed: nothing stays.
#[test]
fn what_nobody_waits_for_ends() {
    let place = Place::new();
    let Some(sandbox) = sandbox(&place.program()) else { return };
    let mut let_go = started(&place, &sandbox);
    drop(let_go.stdin.take());
    let_go.wait().unwrap();
    assert!(is_soon_empty(&place), "{:?}", place.processes());
    let mut killed = started(&place, &sandbox);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(is_soon_empty(&place), "{:?}", place.processes());
}
