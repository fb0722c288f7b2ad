//! A process that is killed, one that is interrupted, and two at once: nothing finished is lost,
//! and nothing is done twice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::{Project, ran};

/// Starts a build whose `base` trains for minutes, and waits until it does.
fn training(project: &Project) -> (Child, impl Iterator) {
    let mut command = project.command("build --json -p");
    command.arg("steps=100000 steps");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
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

#[test]
fn an_interrupt_ends_a_build_soon_and_keeps_what_was_finished() {
    let project = Project::micro();
    let (mut child, _listening) = training(&project);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    project.run("build").ended(0).told(&["fresh   tokenizer", "fresh   world"]);
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
