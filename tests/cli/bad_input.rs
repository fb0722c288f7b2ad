//! Input that is wrong: an error that names the place and the remedy, and the right exit code.

use std::fs;

use super::Project;

const READ: &str = "use std/shapes
stage desk = read_chat { files: \"desk.jsonl\", shape: shapes.prompt_completion {} }
output desk\n";

fn desk(bytes: impl AsRef<[u8]>) -> Project {
    let project = Project::of(READ);
    project.write("desk.jsonl", bytes);
    project
}

#[test]
fn a_missing_file_is_named_with_its_place() {
    let project = Project::of(READ);
    project.write("disk.jsonl", "");
    project.run("build").ended(3).told(&["desk.jsonl", "a.recipe:2"]);
}

#[test]
fn malformed_rows_are_named_with_file_and_line() {
    let good = "{\"prompt\":\"a\",\"completion\":\"b\"}\n";
    let project = desk(format!("{good}{{\"prompt\": \"a\", \"completion\" \"b\"}}\n"));
    project.run("build").ended(3).told(&["stage `desk`", "desk.jsonl", "line 2"]);
    desk(format!("{good}{{\"prompt\":1}}\n")).run("build").ended(3).told(&["line 2", "completion"]);
    desk(b"{\"prompt\":\"\xff\",\"completion\":\"\"}\n").run("build").ended(3).told(&["line 1"]);
    desk("").run("build").ended(3).told(&["desk.jsonl", "no rows"]);
}

#[test]
fn a_row_longer_than_the_context_is_named() {
    let project = Project::micro();
    project.edit("a.recipe", "length($0) < 200", "length($0) > 0");
    project.edit(
        "a.recipe",
        "    length:   4 steps",
        "    context:  16 tokens\n    length:   4 steps",
    );
    project.run("build").ended(3).told(&["stage `chat`", "row", "16"]);
    project.edit("a.recipe", "context:  16 tokens", "context:  4096 tokens");
    project.run("build").ended(1).told(&["context", "4096 tokens", "128 tokens"]);
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_line() {
    let project = Project::of("stage book = read_text { files: \"book.txt\" }\noutput book\n");
    project.write("book.txt", b"fine\nnot \xff fine\n");
    project.run("build").ended(3).told(&["book.txt", "UTF-8"]);
    project.write("book.txt", b"");
    project.run("build").ended(3).told(&["book.txt", "no rows"]);
}

#[test]
fn a_broken_lockfile_is_named() {
    let project = desk("{\"prompt\":\"a\",\"completion\":\"b\"}\n");
    project.run("build").ended(0);
    let lock = project.read("a.lock");
    project.write("a.lock", &lock[..lock.len() / 2]);
    project.run("build --locked").ended(4).told(&["a.lock"]);
    project.run("reproduce a.lock").ended(4).told(&["a.lock"]);
    // What a plain build cannot read it does not write over.
    project.run("build").ended(4).told(&["a.lock", "delete it"]);
    fs::remove_file(project.path("a.lock")).unwrap();
    project.run("build").ended(0);
    assert_eq!(project.read("a.lock"), lock);
}

#[test]
fn a_corrupted_blob_is_found_and_made_again() {
    let project = Project::micro();
    project.run("build").ended(0);
    let weights = project.path("build/a/base/model.safetensors");
    assert!(!weights.exists(), "only outputs are shown");
    let largest = super::contents(&project.path("cache/blobs"));
    let (name, bytes) = largest.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let path = project.path("cache/blobs").join(name);
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();
    let mut spoiled = bytes.clone();
    spoiled[7] ^= 1;
    fs::write(&path, spoiled).unwrap();
    let found = project.run("cache verify");
    assert_ne!(found.code, Some(0));
    project.run("build").ended(0);
    project.run("cache verify").ended(0);
}

#[test]
fn a_program_that_fails_says_what_it_said() {
    let project = Project::of(
        "stage lost = command {
        argv:    [\"sh\", \"-c\", \"echo no luck >&2; exit 7\"]
        outputs: [\"x\"]
    }
    output lost\n",
    );
    project.run("build").ended(3).told(&["stage `lost`", "7", "no luck"]);
    project.edit("a.recipe", "\"sh\", \"-c\", \"echo no luck >&2; exit 7\"", "\"nosuchprogram\"");
    project.run("build").ended(3).told(&["nosuchprogram"]);
    project.edit("a.recipe", "\"nosuchprogram\"", "\"true\"");
    project.run("build").ended(3).told(&["`x`"]);
}

#[test]
fn a_lockfile_with_marks_of_a_merge_is_told_before_anything_runs() {
    let project = desk("{\"prompt\":\"a\",\"completion\":\"b\"}\n");
    project.run("build").ended(0);
    let lock = project.read("a.lock");
    project.write("a.lock", lock.replace("[stage.desk]", "<<<<<<< ours\n[stage.desk]"));
    fs::remove_dir_all(project.path("cache")).unwrap();
    let line = lock.lines().position(|line| line == "[stage.desk]").unwrap() + 1;
    let told = [format!("error: a.lock:{line}: "), "version control, or delete it".to_string()];
    for command in ["build", "build --locked", "check --data"] {
        let ran = project.run(command).ended(4);
        ran.told(&[&told[0], &told[1]]);
    }
    assert!(!project.path("cache").exists(), "nothing is begun");
    project.write("a.lock", "");
    project.run("build").ended(0);
    assert_eq!(project.read("a.lock"), lock);
}

#[test]
fn a_lockfile_to_reproduce_that_is_not_there_is_no_broken_one() {
    let project = Project::new();
    let told = project.run("reproduce nosuch.lock").ended(2);
    told.told(&["error: there is no lockfile `nosuch.lock`"]);
    project.write("broken.lock", "version =\n");
    project.run("reproduce broken.lock").ended(4).told(&["broken.lock:1"]);
}
