//! Programs as llamake runs them: one by one or many at once, each in a sandbox of its own. Knows
//! texts and verdicts; the walls are the business of the process inside.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use super::interpreter::{self, Interpreter};
use super::proof;
use super::protocol::{Ending, Limits, Report, Request};
use crate::train::progress::{Failure, Launcher, Progress};

/// How a program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It reached its last line and ended well.
    Passed,
    /// It ended before its last line, or badly.
    Failed,
    /// A signal ended it: it touched what is not its own, or memory was short.
    Killed,
    OutOfTime,
    /// It printed without end.
    OutOfOutput,
}

/// A verdict, and the last that the program printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub verdict: Verdict,
    pub said: String,
}

/// A place to run programs in, proved to hold.
#[derive(Clone, Debug)]
pub struct Sandbox {
    launcher: Launcher,
    interpreter: Interpreter,
}

/// So much of what a program printed is kept.
const SAID_BYTES: usize = 2000;
/// Reports are short; more than this is no report.
const REPORT_BYTES: u64 = 64 << 10;

impl Verdict {
    /// In a word or two, as a report shows it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Killed => "killed",
            Verdict::OutOfTime => "out of time",
            Verdict::OutOfOutput => "printed too much",
        }
    }
}

impl Sandbox {
    /// Finds the interpreter and proves on this machine that every wall holds.
    pub fn open(launcher: &Launcher) -> Result<Sandbox, Failure> {
        let interpreter = interpreter::find(&launcher.search_path)?;
        let sandbox = Sandbox { launcher: launcher.clone(), interpreter };
        proof::prove(&sandbox)?;
        Ok(sandbox)
    }

    /// `Python 3.11.7 at /usr/bin/python3`.
    pub fn interpreter(&self) -> String {
        format!("Python {} at {}", self.interpreter.version, self.interpreter.path.display())
    }

    /// What the process inside is asked for.
    pub fn request(&self, program: &str, limits: Limits) -> Request {
        Request {
            program: program.into(),
            interpreter: self.interpreter.path.clone(),
            readable: self.interpreter.readable.clone(),
            hidden: self.interpreter.hidden.clone(),
            limits,
        }
    }

    /// Runs one program to its end.
    pub fn run(&self, program: &str, limits: Limits) -> Result<Ran, Failure> {
        let request = self.request(program, limits);
        let place = &self.launcher.program;
        let started = Command::new(place)
            .arg("sandboxed")
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = started.map_err(Failure::io(place))?;
        let heard = follow(&mut child, &request);
        // Whatever happened, nothing of it is left.
        let _ = child.kill();
        child.wait().map_err(Failure::io(place))?;
        let (printed, reports) = heard.map_err(Failure::io(place))?;
        let verdict = verdict(&reports, printed.len() as u64 > limits.output_bytes)?;
        Ok(Ran { verdict, said: tail(&printed) })
    }

    /// Runs many, so many at a time; what each came to, in their order.
    pub fn run_all(
        &self,
        programs: &[String],
        limits: Limits,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Ran>, Failure> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (results, heard) = channel();
        let work = |results: std::sync::mpsc::Sender<(usize, Result<Ran, Failure>)>| {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(program) = programs.get(at).filter(|_| !stop.load(Ordering::Relaxed))
                else {
                    return;
                };
                if results.send((at, self.run(program, limits))).is_err() {
                    return;
                }
            }
        };
        let mut ran = vec![None; programs.len()];
        let mut fault = None;
        thread::scope(|scope| {
            for _ in 0..threads.clamp(1, programs.len().max(1)) {
                let results = results.clone();
                scope.spawn(|| work(results));
            }
            drop(results);
            for (done, (at, one)) in (1..).zip(&heard) {
                match one {
                    Ok(one) => ran[at] = Some(one),
                    Err(failure) => fault = fault.take().or(Some(failure)),
                }
                progress.at(done, programs.len() as u64, "programs", &[]);
                let over = fault.is_some() || progress.cancelled();
                stop.fetch_or(over, Ordering::Relaxed);
            }
        });
        match fault {
            Some(failure) => Err(failure),
            None if progress.cancelled() => Err(Failure::Interrupted),
            None => Ok(ran.into_iter().flatten().collect()),
        }
    }
}

/// Asks, and hears until the program can print no more, or has printed too much. While the pipe of
/// the request is open, the process inside knows that it is wanted.
fn follow(child: &mut Child, request: &Request) -> io::Result<(Vec<u8>, Vec<Report>)> {
    let piped = "every stream of it is a pipe";
    let mut wish = child.stdin.take().expect(piped);
    let output = child.stdout.take().expect(piped);
    let report = child.stderr.take().expect(piped);
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // Who ended without reading it has said why.
    let _ = wish.write_all(&line);
    let mut printed = Vec::new();
    output.take(request.limits.output_bytes.saturating_add(1)).read_to_end(&mut printed)?;
    if printed.len() as u64 > request.limits.output_bytes {
        child.kill()?;
    }
    drop(wish);
    let mut said = Vec::new();
    report.take(REPORT_BYTES).read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    let read = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|_| Report::Refused(line.to_string()))
    };
    Ok((printed, said.lines().map(read).collect()))
}

/// What the reports come to.
fn verdict(reports: &[Report], printed_too_much: bool) -> Result<Verdict, Failure> {
    let refused = reports.iter().find_map(|report| match report {
        Report::Refused(fact) => Some(fact.as_str()),
        Report::Ready | Report::Ended { .. } => None,
    });
    let silent = reports.is_empty().then_some("the process inside said nothing");
    if let Some(fact) = refused.or(silent) {
        return Err(proof::missing(fact));
    }
    let ended = reports.iter().find_map(|report| match report {
        Report::Ended { how, sealed } => Some((*how, *sealed)),
        Report::Ready | Report::Refused(_) => None,
    });
    Ok(match ended {
        _ if printed_too_much => Verdict::OutOfOutput,
        Some((Ending::Exit(0), true)) => Verdict::Passed,
        Some((Ending::Exit(_), _)) => Verdict::Failed,
        Some((Ending::Signal(SIGXCPU) | Ending::Clock, _)) => Verdict::OutOfTime,
        // Without an end the keeper itself was killed, which only a want of memory does.
        Some((Ending::Signal(_), _)) | None => Verdict::Killed,
    })
}

/// The signal of a process that has computed for too long.
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();

fn tail(printed: &[u8]) -> String {
    let from = printed.len().saturating_sub(SAID_BYTES);
    String::from_utf8_lossy(&printed[from..]).trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reports: &[Report], printed_too_much: bool) -> Verdict {
        verdict(reports, printed_too_much).unwrap()
    }

    #[test]
    fn only_a_seal_and_a_good_end_pass() {
        let ended = |how, sealed| [Report::Ready, Report::Ended { how, sealed }];
        assert_eq!(of(&ended(Ending::Exit(0), true), false), Verdict::Passed);
        assert_eq!(of(&ended(Ending::Exit(0), false), false), Verdict::Failed);
        assert_eq!(of(&ended(Ending::Exit(1), true), false), Verdict::Failed);
        assert_eq!(of(&ended(Ending::Signal(SIGXCPU), true), false), Verdict::OutOfTime);
        assert_eq!(of(&ended(Ending::Signal(11), true), false), Verdict::Killed);
        assert_eq!(of(&ended(Ending::Clock, false), false), Verdict::OutOfTime);
        assert_eq!(of(&ended(Ending::Exit(0), true), true), Verdict::OutOfOutput);
        assert_eq!(of(&[Report::Ready], false), Verdict::Killed);
        assert_eq!(of(&[Report::Ready], true), Verdict::OutOfOutput);
    }

    #[test]
    fn without_a_sandbox_there_is_no_verdict() {
        for reports in [vec![], vec![Report::Refused("no user namespace".into())]] {
            assert!(verdict(&reports, false).is_err(), "{reports:?}");
        }
    }
}
