//! A process that is killed, one that is interrupted, and two at once: nothing finished is lost,
//! and nothing is done twice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Project, ran};

/// Starts a build whose `base` trains for minutes, and waits until it does.
fn training(project: &Project) -> (Child, impl Iterator + use<>) {
    let mut command = project.command("build --json -p");
    command.arg("steps=100000 steps").stderr(Stdio::null());
    until_base_trains(command)
}

/// Starts what speaks JSON, and waits until `base` trains.
fn until_base_trains(mut command: Command) -> (Child, impl Iterator + use<>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = out.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    let steps = |event: &serde_json::Value| event["stage"] == "base" && event["done"].is_u64();
    assert!(lines.any(|event| steps(&event)), "`base` never began");
    (child, lines)
}

#[test]
fn a_killed_build_keeps_what_was_finished() {
    let project = Project::micro();
    let (mut child, _listening) = training(&project);
    child.kill().unwrap();
    child.wait().unwrap();
    let next = project.run("build").ended(0).told(&["fresh   tokenizer", "fresh   world"]);
    assert!(next.built().contains(&"base"));
    project.run("cache verify").ended(0);
}

/// Wherever the kill falls, the next build goes on from a checkpoint and its bits are those of a
/// build that was never killed, on whatever instruction set.
#[test]
fn a_killed_stage_goes_on_and_gives_the_same_bits() {
    let build = |project: &Project| {
        let mut command = project.command("build base -p");
        command.arg("steps=400 steps");
        command
    };
    let weights =
        |project: &Project| std::fs::read(project.path("build/a/base/model.safetensors")).unwrap();
    let never = Project::micro();
    ran(build(&never).output().unwrap()).ended(0);
    let project = Project::micro();
    for wait in [0, 30, 70, 110] {
        kill_after_a_checkpoint(&project, &build, Duration::from_millis(wait));
    }
    ran(build(&project).output().unwrap()).ended(0).told(&["goes on after step "]);
    assert!(weights(&project) == weights(&never), "other bits");
    let log = project.run("log base").ended(0);
    assert!(log.out.contains("goes on after step "), "{}", log.out);
    assert!(!has_checkpoint(&project), "a finished attempt is removed");
}

/// Runs a build and kills it so long after there is a checkpoint; in an empty folder and sooner
/// where the build was quicker, so that a killed stage with a checkpoint is always left.
fn kill_after_a_checkpoint(project: &Project, build: &dyn Fn(&Project) -> Command, wait: Duration) {
    for halvings in 0..20 {
        let mut command = build(project);
        command.env("LLAMAKE_CHECKPOINT", "0").env("LLAMAKE_ISA", "portable");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && !has_checkpoint(project) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(wait / (1 << halvings));
        let _ = child.kill();
        child.wait().unwrap();
        if has_checkpoint(project) {
            return;
        }
        std::fs::remove_dir_all(project.path("cache")).unwrap();
    }
    panic!("every build was done before it was killed");
}

/// Whether a stage that did not end has left a whole checkpoint.
fn has_checkpoint(project: &Project) -> bool {
    let Ok(attempts) = project.path("cache/attempts").read_dir() else { return false };
    attempts.flatten().any(|attempt| attempt.path().join("checkpoint").exists())
}

#[test]
fn a_wrong_setting_of_the_machine_is_told() {
    let project = Project::micro();
    for (name, value, told) in [
        ("LLAMAKE_ISA", "avx1024", "`avx1024` is none of avx512, avx2, portable"),
        ("LLAMAKE_CHECKPOINT", "often", "`often`, not a number of seconds"),
    ] {
        let output = project.command("build").env(name, value).output().unwrap();
        ran(output).ended(2).told(&[told]);
    }
}

#[test]
fn an_interrupt_ends_a_build_soon_and_keeps_what_was_finished() {
    use rustix::process::{Pid, Signal, kill_process};
    // Ctrl-C, and a terminal that was closed.
    for signal in [Signal::INT, Signal::HUP] {
        let project = Project::micro();
        let (mut child, _listening) = training(&project);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}");
        let log = project.run("log base").ended(0);
        assert!(log.out.starts_with("base stopped in "), "{}", log.out);
        project.run("build").ended(0).told(&["fresh   tokenizer", "fresh   world"]);
    }
}

#[test]
fn an_interrupted_reproduction_goes_on_in_its_folder() {
    let project = Project::micro();
    let mut build = project.command("build base -p");
    ran(build.arg("steps=2000 steps").output().unwrap()).ended(0);
    let mut command = project.command("reproduce --json a.lock --into");
    command.arg("a copy").stderr(Stdio::piped());
    let (child, _listening) = until_base_trains(command);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let stopped = ran(child.wait_with_output().unwrap()).ended(130);
    stopped.told(&["llamake reproduce a.lock --into 'a copy'"]);
    let again = |lock: &str| {
        let mut command = project.command("reproduce --into");
        ran(command.args(["a copy", lock]).output().unwrap())
    };
    let lock = project.read("a.lock");
    project.write("other.lock", lock.replacen("params.seed = '7'", "params.seed = '8'", 1));
    again("other.lock").ended(2).told(&["`a copy` is not empty; name a new folder"]);
    let done = again("a.lock").ended(0).told(&["fresh   world", "goes on after step "]);
    assert!(done.out.lines().all(|line| line.ends_with(" bit-identical")), "{}", done.out);
    again("a.lock").ended(2).told(&["`a copy` is not empty; name a new folder"]);
}

#[test]
fn two_builds_at_once_do_the_work_once() {
    let project = Project::micro();
    let start = || {
        let mut command = project.command("build -p");
        command.arg("steps=300 steps");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| ran(child.wait_with_output().unwrap()).ended(0));
    let mut built = both.iter().flat_map(|ran| ran.built()).collect::<Vec<_>>();
    built.sort_unstable();
    let all = ["base", "chat", "desk", "parts", "scores", "short", "tokenizer", "world"];
    assert_eq!(built, all);
}
