//! What is refused before it costs anything: more than the machine has, what is no file, quotes
//! that swallow a table, an epoch shorter than a step, an answer of nothing. And what takes less
//! memory changes no bit.

use std::process::Command;

use super::Project;

#[test]
fn a_stage_that_cannot_fit_the_machine_is_refused_before_anything_runs() {
    let project = Project::micro();
    project.edit("a.recipe", "dim:     16\n    layers:  1", "dim:     65536\n    layers:  200");
    let told = ["`base` holds ", "this machine has ", "`llamake check --device-memory "];
    project.run("build --device cpu").ended(2).told(&told);
    assert!(!project.path("build").exists());
    // What does not need it is built.
    project.run("build world").ended(0);
}

#[test]
fn a_pipe_is_no_file() {
    let project = Project::of("stage book = read_text { files: \"books\" }\noutput book\n");
    project.write("books/a.txt", "words");
    project.run("build").ended(0);
    let pipe = project.path("books/b.txt");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    project.run("build").ended(3).told(&["b.txt` is a pipe, a socket or a device"]);
    project.edit("a.recipe", "\"books\"", "\"books/b.txt\"");
    project.run("build").ended(3).told(&["b.txt` is a pipe, a socket or a device"]);
}

#[test]
fn quotes_that_never_close_are_told_with_their_line() {
    let recipe = "stage book = read_text { files: \"q.csv\", column: \"text\" }\noutput book\n";
    let project = Project::of(recipe);
    project.write("q.csv", "text\n\"hello\nworld\"\n\"foo\nbar\n");
    project
        .run("build")
        .ended(3)
        .told(&["q.csv", "the quote that opens on line 4 is never closed"]);
    project.write("q.csv", "text\n\"hello\nworld\"\n\"x\"y\n");
    project.run("build").ended(3).told(&["q.csv", "line 4: a quoted field goes on"]);
    project.write("q.csv", "text\n\"hello\nworld\"\nfoo\n");
    project.run("build").ended(0);
}

#[test]
fn an_epoch_is_no_shorter_than_a_step() {
    let project = Project::micro();
    project.edit("a.recipe", "length:   4 steps", "length:   1 epoch");
    project.edit("a.recipe", "batch:    2 sequences", "batch:    5000 sequences");
    let told = ["stage `chat`", "one step has 5000 sequences and all data ", "set `batch` to "];
    project.run("build chat").ended(3).told(&told);
}

#[test]
fn an_answer_has_at_least_a_token() {
    let project = Project::micro();
    project.run("build chat").ended(0);
    let told = project.run("generate chat --prompt hi --max-answer 0").ended(2);
    told.told(&["`--max-answer` is at least 1"]);
}

#[test]
fn weights_that_move_on_the_way_back_make_the_same_model() {
    let project = Project::micro();
    project.edit("a.recipe", "batch:  4 sequences", "batch: 4 sequences, clip: none");
    project.run("build base").ended(0);
    let made = project.read("build/a/base/config.json");
    let digest = |project: &Project| {
        let lock = project.read("a.lock");
        let line = lock.lines().find(|line| line.starts_with("outputs.out")).unwrap();
        line.to_string()
    };
    let first = digest(&project);
    project.edit("a.recipe", "clip: none", "clip: none, optimizer_in_backward: true");
    // It is no part of the key.
    project.run("build base").ended(0).told(&["0 built"]);
    let other = Project::micro();
    let moved = "batch: 4 sequences, clip: none, optimizer_in_backward: true";
    other.edit("a.recipe", "batch:  4 sequences", moved);
    other.run("build base").ended(0);
    assert_eq!((digest(&other), other.read("build/a/base/config.json")), (first, made));
    project.edit("a.recipe", "clip: none, ", "");
    project.run("build base").ended(1).told(&["clip", "optimizer_in_backward"]);
}
