//! The process in which one program runs: takes everything from itself, starts the interpreter,
//! waits, and says how it ended. It has one thread throughout. Knows a [`Request`]; does not know
//! what the program is for.

use std::fs::File;
use std::io::{self, BufRead, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::process::{DumpableBehavior, PidfdFlags, Resource, Rlimit, Signal};
use rustix::process::{getrlimit, pidfd_open, setrlimit, waitpid};

use super::protocol::{Ending, Limits, Report, Request};
use super::tree::{self, NOBODY, WORK};
use super::{filter, system};

/// A program and what surrounds it is at most so long.
const LONGEST_REQUEST_BYTES: u64 = 64 << 20;

/// The namespaces that everyone needs beside that of users.
const SPACES: i32 = system::CLONE_NEWNS
    | system::CLONE_NEWPID
    | system::CLONE_NEWNET
    | system::CLONE_NEWIPC
    | system::CLONE_NEWUTS
    | system::CLONE_NEWCGROUP;

/// Runs the program that standard input asks for; reports on standard error. What the program
/// prints goes to standard output. When standard input ends, so does everything.
pub fn main() -> ExitCode {
    match prepare() {
        Ok(code) => code,
        Err(fact) => {
            say(&Report::Refused(fact));
            ExitCode::FAILURE
        }
    }
}

fn say(report: &Report) {
    let said = serde_json::to_string(report).expect("a report is plain values");
    // Whoever does not hear it sees that it is missing.
    drop(writeln!(io::stderr(), "{said}"));
}

/// Leaves the namespaces of the machine, and waits for the keeper: a process is only the first of
/// a namespace if it is made in it.
fn prepare() -> Result<ExitCode, String> {
    system::close_files().map_err(|error| told("files cannot be closed", &error))?;
    let request = asked().map_err(|error| told("the request cannot be read", &error))?;
    let filter = filter::filter().ok_or("this machine's calls are not known to the filter")?;
    let mut seal = [0; 16];
    let drawn = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seal));
    drawn.map_err(|error| told("`/dev/urandom` cannot be read", &error))?;
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let own = open_own_entry()?;
        own_users(&own)?;
    }
    system::unshare(SPACES).map_err(|error| told("new namespaces are refused", &error))?;
    match system::fork().map_err(|error| told("no process can be made", &error))? {
        None => {
            let kept = keep(&request, filter, &hex(&seal), is_root);
            say(&kept.unwrap_or_else(Report::Refused));
            Ok(ExitCode::SUCCESS)
        }
        Some(keeper) => {
            waitpid(Some(keeper), rustix::process::WaitOptions::empty())
                .map_err(|error| told("the keeper is gone", &error.into()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn told(what: &str, error: &io::Error) -> String {
    format!("{what}: {error}")
}

fn asked() -> io::Result<Request> {
    let mut line = String::new();
    io::stdin().lock().take(LONGEST_REQUEST_BYTES).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// This process's folder in `/proc`, to be used after `/proc` is gone.
fn open_own_entry() -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/proc/self", flags, Mode::empty())
        .map_err(|error| told("`/proc` is needed and missing", &error.into()))
}

/// Enters a new user namespace, in which this user is nobody, and nobody else is anyone.
fn own_users(own: &OwnedFd) -> Result<(), String> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    system::unshare(system::CLONE_NEWUSER).map_err(|error| {
        told(
            "a user namespace is refused (see the sysctls user.max_user_namespaces, \
            kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns)",
            &error,
        )
    })?;
    let write = |name: &str, text: String| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = openat(own, name, flags, Mode::empty()).map_err(io::Error::from);
        let written = opened.and_then(|file| File::from(file).write_all(text.as_bytes()));
        written.map_err(|error| told(&format!("`{name}` of a user namespace is refused"), &error))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{NOBODY} {uid} 1"))?;
    write("gid_map", format!("{NOBODY} {gid} 1"))
}

/// Process 1: builds the walls around itself, then runs the program in them.
fn keep(
    request: &Request,
    filter: Vec<system::Instruction>,
    seal: &str,
    is_root: bool,
) -> Result<Report, String> {
    let limits = &request.limits;
    let own = open_own_entry()?;
    // Where memory is short after all, this goes first.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    tree::build(&request.readable, &request.hidden, limits.file_bytes)?;
    if is_root {
        system::become_user(NOBODY).map_err(|error| told("no other user can be", &error))?;
        // Who changed identity may not write its own maps unless it may be looked into.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(|error| told("the keeper cannot be looked into", &error.into()))?;
        own_users(&own)?;
    }
    drop(own);
    confine(limits, is_root).map_err(|error| told("rights cannot be given up", &error))?;
    let (program, sealed) = begin(request, filter, seal)
        .map_err(|error| told("the interpreter cannot be started", &error))?;
    let how = wait(program, limits).map_err(|error| told("the program is lost", &error))?;
    Ok(Report::Ended { how, sealed: is_sealed(sealed, seal) })
}

/// Gives up what the keeper does not need, for itself and so for the program.
fn confine(limits: &Limits, is_root: bool) -> io::Result<()> {
    system::drop_capabilities()?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::setsid()?;
    // The keeper counts, and the process that made it unless it is root outside.
    let own = if is_root { 1 } else { 2 };
    let processes = limits.processes.saturating_add(own);
    limit(Resource::Nproc, processes, processes)
}

/// Sets a limit at which a signal comes or a call fails, and the one that ends a process; keeps
/// what is tighter already.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let known = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let (current, maximum) = (Some(soft.min(known)), Some(hard.min(known)));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Starts the interpreter on the program. The last line of the program, which no one could know
/// before, writes the seal; the pipe returned is where it comes.
fn begin(
    request: &Request,
    filter: Vec<system::Instruction>,
    seal: &str,
) -> io::Result<(Child, PipeReader)> {
    let (sealed, seals) = io::pipe()?;
    fcntl_setfd(&seals, FdFlags::empty())?;
    let program = format!(
        "{}\nimport os as _os\n_os.write({}, b\"{seal}\")\n",
        request.program,
        seals.as_raw_fd()
    );
    std::fs::write(Path::new(WORK).join("program.py"), program)?;
    let Limits { seconds, memory_bytes, file_bytes, .. } = request.limits;
    let (empty, _) = io::pipe()?;
    let mut command = Command::new(&request.interpreter);
    command
        .args(["-s", "-B", "program.py"])
        .env_clear()
        .envs([("HOME", WORK), ("TMPDIR", WORK), ("LC_ALL", "C.UTF-8")])
        // The same order of sets at every run.
        .env("PYTHONHASHSEED", "0")
        .stdin(empty)
        .stderr(io::stdout().as_fd().try_clone_to_owned()?)
        .stdout(Stdio::inherit());
    system::before_program(&mut command, move || {
        limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
        limit(Resource::As, memory_bytes, memory_bytes)?;
        limit(Resource::Fsize, file_bytes, file_bytes)?;
        limit(Resource::Nofile, 64, 64)?;
        limit(Resource::Core, 0, 0)?;
        system::install_filter(&filter)
    });
    say(&Report::Ready);
    Ok((command.spawn()?, sealed))
}

/// Waits until the program ends, its time is over, or llamake wants no more of it.
fn wait(mut program: Child, limits: &Limits) -> io::Result<Ending> {
    let watched = pidfd_open(rustix::process::Pid::from_child(&program), PidfdFlags::empty())?;
    let limit = Duration::from_secs(limits.seconds_by_the_clock);
    let [ended, _] = system::wait_any([watched.as_fd(), io::stdin().as_fd()], limit)?;
    if !ended {
        program.kill()?;
        program.wait()?;
        return Ok(Ending::Clock);
    }
    Ok(ending(program.wait()?))
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exit(code),
        (None, signal) => Ending::Signal(signal.unwrap_or_default()),
    }
}

/// Whether the seal came, whole and alone. What the program left running may hold the pipe open,
/// so it is not waited for.
fn is_sealed(mut sealed: PipeReader, seal: &str) -> bool {
    let mut found = [0; 64];
    let read = ioctl_fionbio(&sealed, true).map_err(io::Error::from);
    let read = read.and_then(|()| sealed.read(&mut found));
    read.is_ok_and(|count| found[..count] == *seal.as_bytes())
}
