//! `command`: an external program, run without a shell in an empty folder. It sees its inputs by
//! path, the variables it declares and `PATH`, and must leave exactly the files it declares. Knows
//! processes; does not know what they do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub argv: Vec<String>,
    /// The files or folders of each input.
    pub inputs: BTreeMap<String, Vec<PathBuf>>,
    pub environment: BTreeMap<String, String>,
    pub outputs: Vec<String>,
}

/// Lines kept to explain a failure.
const TAIL_LINES: usize = 20;
/// A longer line is broken, so that output without line ends cannot take all memory.
const LONGEST_LINE_BYTES: u64 = 64 << 10;
/// How often a silent program is looked at for an interruption.
const PATIENCE: Duration = Duration::from_millis(50);

/// Makes the folder `out`. `search_path` is the value of `PATH`.
pub fn run(
    params: &Command,
    search_path: &OsStr,
    ctx: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    check_outputs(&params.outputs)?;
    let out = ctx.out.join("out");
    let out = std::path::absolute(&out).map_err(Failure::io(&out))?;
    std::fs::create_dir(&out).map_err(Failure::io(&out))?;
    let argv = arguments(params, &out)?;
    let place = tempfile::tempdir().map_err(Failure::io(&ctx.out))?;
    let (child, printed) = start(&argv, params, search_path, place.path())?;
    let (status, tail) = follow(child, printed, ctx)?;
    if !status.success() {
        return Err(ended_badly(&argv[0], status, &tail));
    }
    let files = check_made(&out, &params.outputs)?;
    Ok(vec![("files".into(), files as f64)])
}

/// Outputs are plain relative paths, each named once.
fn check_outputs(outputs: &[String]) -> Result<(), Failure> {
    for (at, output) in outputs.iter().enumerate() {
        let plain = |part| matches!(part, Component::Normal(_));
        if output.is_empty() || !Path::new(output).components().all(plain) {
            return Err(Failure::input(format!(
                "output `{output}` is no path inside `{{{{out}}}}`"
            ))
            .remedy("name files relative to it, without `..`"));
        }
        if outputs[..at].contains(output) {
            return Err(Failure::input(format!("output `{output}` is named twice")));
        }
    }
    if outputs.is_empty() {
        return Err(Failure::input("`outputs` names no file")
            .remedy("name what the program leaves in `{{out}}`"));
    }
    Ok(())
}

/// Arguments with every `{{name}}` filled in. One that is nothing else becomes an argument for
/// each file of the input.
fn arguments(params: &Command, out: &Path) -> Result<Vec<String>, Failure> {
    let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, files) in &params.inputs {
        let files: Result<Vec<String>, Failure> = files.iter().map(|path| spelled(path)).collect();
        paths.insert(name, files?);
    }
    paths.insert("out", vec![spelled(out)?]);
    let mut used = BTreeSet::new();
    let mut argv = Vec::new();
    for written in &params.argv {
        let whole = written.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        match whole.and_then(|name| paths.get_key_value(name.trim())) {
            Some((name, files)) => {
                used.insert(*name);
                argv.extend(files.iter().cloned());
            }
            None => argv.push(fill(written, &paths, &mut used)?),
        }
    }
    if argv.first().is_none_or(String::is_empty) {
        return Err(Failure::input("`argv` names no program")
            .remedy("begin it with one, such as `argv: [\"python3\", …]`"));
    }
    match params.inputs.keys().find(|name| !used.contains(name.as_str())) {
        Some(name) => Err(Failure::input(format!("input `{name}` is not used in `argv`"))
            .remedy(format!("write `{{{{{name}}}}}` where its path shall stand, or remove it"))),
        None => Ok(argv),
    }
}

fn spelled(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(Failure::io(path))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Failure::input(format!("the path `{}` is not UTF-8", path.display())))
}

fn fill<'p>(
    written: &str,
    paths: &BTreeMap<&'p str, Vec<String>>,
    used: &mut BTreeSet<&'p str>,
) -> Result<String, Failure> {
    let mut parts = written.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let hole = part.split_once("}}");
        let found = hole.and_then(|(name, rest)| Some((paths.get_key_value(name.trim())?, rest)));
        let Some(((name, files), rest)) = found else {
            let name = hole.map_or(part, |(name, _)| name.trim());
            return Err(Failure::input(format!("`{{{{{name}}}}}` in `argv` names no input"))
                .remedy(format!("known are {}", known(paths))));
        };
        let [file] = files.as_slice() else {
            return Err(Failure::input(format!(
                "input `{name}` is {} files and `{written}` has room for one",
                files.len()
            ))
            .remedy(format!("make `{{{{{name}}}}}` an argument of its own")));
        };
        used.insert(*name);
        filled.push_str(file);
        filled.push_str(rest);
    }
    Ok(filled)
}

fn known(paths: &BTreeMap<&str, Vec<String>>) -> String {
    let names: Vec<String> = paths.keys().map(|name| format!("`{{{{{name}}}}}`")).collect();
    names.join(", ")
}

/// The program in its own process group, so that all it starts can be ended with it, and what it
/// prints, both streams in one.
fn start(
    argv: &[String],
    params: &Command,
    search_path: &OsStr,
    place: &Path,
) -> Result<(Child, PipeReader), Failure> {
    let pipe = || {
        let (reader, writer) = std::io::pipe()?;
        Ok((reader, writer.try_clone()?, writer))
    };
    let (reader, stdout, stderr) = pipe().map_err(Failure::io(place))?;
    let started = Process::new(&argv[0])
        .args(&argv[1..])
        .current_dir(place)
        .env_clear()
        .env("PATH", search_path)
        .envs(&params.environment)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn();
    match started {
        Ok(child) => Ok((child, reader)),
        Err(error) => Err(Failure::input(format!("`{}` cannot be started: {error}", argv[0]))
            .remedy("install it, or name it by its full path")),
    }
}

/// Passes on what the program prints until it ends, and keeps the last lines. Whatever it leaves
/// running is ended too.
fn follow(
    mut child: Child,
    printed: PipeReader,
    ctx: &mut Context<'_>,
) -> Result<(ExitStatus, VecDeque<String>), Failure> {
    let leader = Pid::from_child(&child);
    let (lines, heard) = channel();
    // Not joined: a process that left the group may hold the pipe open.
    std::thread::spawn(move || read_lines(printed, &lines));
    let tail = listen(&heard, leader, ctx);
    // The leader is not waited for yet, so its number is still its own; an empty group is no error.
    let _ = kill_process_group(leader, Signal::KILL);
    let status = child.wait().map_err(Failure::io(Path::new("/proc")))?;
    tail.map(|tail| (status, tail))
}

fn listen(
    heard: &Receiver<String>,
    leader: Pid,
    ctx: &mut Context<'_>,
) -> Result<VecDeque<String>, Failure> {
    let mut tail = VecDeque::new();
    let mut pause = Duration::from_micros(20);
    loop {
        if ctx.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        match heard.recv_timeout(PATIENCE) {
            Ok(line) => {
                ctx.progress.log(&line);
                if tail.len() == TAIL_LINES {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
            Err(_) if ended(leader) => return Ok(tail),
            Err(RecvTimeoutError::Timeout) => {}
            // Most often it is about to end; a program may also close its outputs and run on.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(pause);
                pause = (2 * pause).min(PATIENCE);
            }
        }
    }
}

/// Whether a child has ended; it stays to be waited for.
fn ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(child), options), Ok(None))
}

fn read_lines(from: impl Read, to: &Sender<String>) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.by_ref().take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line).is_ok() {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        if line.is_empty() || to.send(text).is_err() {
            return;
        }
        line.clear();
    }
}

fn ended_badly(program: &str, status: ExitStatus, tail: &VecDeque<String>) -> Failure {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "in an unknown way".into(),
    };
    let said: Vec<&str> = tail.iter().map(String::as_str).collect();
    let said = match said.is_empty() {
        true => "; it printed nothing".into(),
        false => format!("; its last lines were\n{}", said.join("\n")),
    };
    Failure::input(format!("`{program}` ended {how}{said}"))
}

/// The folder must hold the declared files and nothing else. How many there are.
fn check_made(out: &Path, outputs: &[String]) -> Result<usize, Failure> {
    let mut made = BTreeSet::new();
    gather(out, Path::new(""), &mut made)?;
    let declared: BTreeSet<PathBuf> = outputs.iter().map(PathBuf::from).collect();
    if let Some(missing) = declared.difference(&made).next() {
        return Err(Failure::input(format!("the program left no `{}`", missing.display()))
            .remedy("write it to `{{out}}`, or take it out of `outputs`"));
    }
    if let Some(extra) = made.difference(&declared).next() {
        return Err(Failure::input(format!(
            "the program left `{}`, which is not declared",
            extra.display()
        ))
        .remedy("add it to `outputs`, or write it to the folder the program runs in"));
    }
    Ok(made.len())
}

fn gather(out: &Path, inside: &Path, made: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    let folder = out.join(inside);
    for entry in std::fs::read_dir(&folder).map_err(Failure::io(&folder))? {
        let entry = entry.map_err(Failure::io(&folder))?;
        let name = inside.join(entry.file_name());
        let kind = entry.file_type().map_err(Failure::io(&folder))?;
        if kind.is_dir() {
            gather(out, &name, made)?;
        } else if kind.is_file() {
            made.insert(name);
        } else {
            return Err(Failure::input(format!(
                "the program left `{}`, which is no regular file",
                name.display()
            ))
            .remedy("leave a copy instead of a link, pipe or socket"));
        }
    }
    Ok(())
}
