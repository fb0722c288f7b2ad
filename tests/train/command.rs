//! External programs: what they see, what they must leave, and how they end.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use llamake::train::progress::{Context, Failure};
use llamake::train::stage::command::{self, Command};

use super::{Silent, file, told};

struct Run {
    folder: tempfile::TempDir,
    command: Command,
    progress: Silent,
}

impl Run {
    fn sh(script: &str, outputs: &[&str]) -> Run {
        let command = Command {
            argv: ["sh", "-c", script].map(String::from).to_vec(),
            inputs: BTreeMap::new(),
            environment: BTreeMap::new(),
            outputs: outputs.iter().map(|name| name.to_string()).collect(),
        };
        Run { folder: tempfile::tempdir().unwrap(), command, progress: Silent::default() }
    }

    fn input(mut self, name: &str, files: &[&str]) -> Run {
        let files = files.iter().map(|text| file(self.folder.path(), text, text)).collect();
        self.command.inputs.insert(name.into(), files);
        self
    }

    fn result(&mut self) -> Result<(), Failure> {
        let mut ctx = Context::new(1, self.out(), &mut self.progress);
        std::fs::create_dir(&ctx.out).unwrap();
        command::run(&self.command, OsStr::new("/usr/bin:/bin"), &mut ctx).map(|_| ())
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("outputs")
    }

    fn made(mut self, name: &str) -> String {
        self.result().unwrap();
        std::fs::read_to_string(self.out().join("out").join(name)).unwrap()
    }

    fn refused(mut self) -> String {
        told(self.result().unwrap_err(), self.folder.path())
    }
}

#[test]
fn inputs_stand_in_the_arguments() {
    let run = Run::sh("cat {{text}} > {{out}}/a; pwd > /dev/null; ls >> {{out}}/a", &["a"]);
    assert_eq!(run.input("text", &["hello"]).made("a"), "hello");
    let mut run = Run::sh("cat \"$@\" > {{out}}/a", &["a"]).input("many", &["x", "y", "z"]);
    run.command.argv.extend(["sh".into(), "{{many}}".into()]);
    assert_eq!(run.made("a"), "xyz");
}

#[test]
fn only_declared_variables_are_seen() {
    let mut run =
        Run::sh("/usr/bin/env | grep -v '^\\(PWD\\|_\\|SHLVL\\)=' | sort > {{out}}/a", &["a"]);
    run.command.environment.insert("NAME".into(), "a b".into());
    assert_eq!(run.made("a"), "NAME=a b\nPATH=/usr/bin:/bin\n");
}

#[test]
fn a_folder_of_results_may_be_deep() {
    let run = Run::sh("mkdir {{out}}/d; echo 1 > {{out}}/d/e; echo 2 > {{out}}/f", &["d/e", "f"]);
    assert_eq!(run.made("d/e"), "1\n");
}

#[test]
fn what_is_printed_is_logged_and_explains() {
    let mut run = Run::sh("echo out; echo err >&2; echo 1 > {{out}}/a", &["a"]);
    run.result().unwrap();
    assert_eq!(run.progress.log, ["out", "err"]);
    let told = Run::sh("seq 100; exit 3", &["a"]).refused();
    let tail: Vec<String> = (81..=100).map(|n: u32| n.to_string()).collect();
    assert_eq!(
        told,
        format!("`sh` ended with exit code 3; its last lines were\n{}", tail.join("\n"))
    );
    assert_eq!(
        Run::sh("kill -9 $$", &["a"]).refused(),
        "`sh` ended by signal 9; it printed nothing"
    );
}

#[test]
fn results_are_exactly_those_declared() {
    let check = |script: &str, expected: &str| {
        assert_eq!(Run::sh(script, &["a"]).refused(), expected);
    };
    check("true", "the program left no `a` | write it to `{{out}}`, or take it out of `outputs`");
    check(
        "cd {{out}}; touch a b",
        "the program left `b`, which is not declared | add it to `outputs`, or write it to the \
         folder the program runs in",
    );
    for script in ["ln -s /etc/passwd {{out}}/a", "mkfifo {{out}}/a"] {
        check(
            script,
            "the program left `a`, which is no regular file | leave a copy instead of a link, pipe \
             or socket",
        );
    }
}

#[test]
fn mistakes_are_found_before_the_start() {
    for (output, expected) in [
        ("../a", "output `../a` is no path inside `{{out}}`"),
        ("/a", "output `/a` is no path inside `{{out}}`"),
        ("", "output `` is no path inside `{{out}}`"),
    ] {
        let told = Run::sh("true", &[output]).refused();
        assert!(told.starts_with(expected), "{told}");
    }
    let told = Run::sh("cat {{texts}}", &["a"]).input("text", &["x"]).refused();
    assert_eq!(told, "`{{texts}}` in `argv` names no input | known are `{{out}}`, `{{text}}`");
    let told = Run::sh("cat {{text}}", &["a"]).input("text", &["x", "y"]).refused();
    assert!(told.starts_with("input `text` is 2 files and `cat {{text}}` has room for one"));
    let told = Run::sh("true", &["a"]).input("text", &["x"]).refused();
    assert!(told.starts_with("input `text` is not used in `argv`"), "{told}");
    let mut run = Run::sh("", &["a"]);
    run.command.argv = vec!["no-such-program".into()];
    let told = run.refused();
    assert!(told.starts_with("`no-such-program` cannot be started: "), "{told}");
}

#[test]
fn nothing_is_left_running() {
    let mut run = Run::sh("sleep 1000 & echo $!; sleep 1000", &["a"]);
    run.progress.cancel_after = Some(1);
    assert!(matches!(run.result(), Err(Failure::Interrupted)));
    assert_gone(&run.progress.log[0]);
    let mut run = Run::sh("sleep 1000 & echo $!; echo 1 > {{out}}/a", &["a"]);
    run.result().unwrap();
    assert_gone(&run.progress.log[0]);
}

/// A killed process may linger as a zombie until its new parent looks at it.
fn assert_gone(process: &str) {
    let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    for _ in 0..200 {
        if state().is_empty() || state().contains(") Z ") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("process {process} still runs");
}
