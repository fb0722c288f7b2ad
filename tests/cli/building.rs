//! Building again: what is fresh, what runs, why, and that a lockfile gives back the same bits.

use super::{Project, contents, ran};

const ALL: [&str; 8] = ["base", "chat", "desk", "parts", "scores", "short", "tokenizer", "world"];

#[test]
fn everything_is_built_once() {
    let project = Project::micro();
    assert_eq!(project.run("build").ended(0).built(), ALL);
    let again = project.run("build").ended(0).told(&["0 built, 8 fresh"]);
    assert!(again.built().is_empty());
    assert!(project.path("build/a/chat/model.safetensors").is_file());
    assert!(project.read("build/a/scores/report.md").contains("held-out questions"));
}

#[test]
fn comments_and_formatting_build_nothing() {
    let project = Project::micro();
    project.run("build").ended(0);
    project.edit(
        "a.recipe",
        "stage parts = split {",
        "// why\nstage parts =\n split    { // here\n",
    );
    project.run("build").ended(0).told(&["0 built, 8 fresh"]);
}

#[test]
fn an_edit_rebuilds_what_depends_on_it_and_a_revert_nothing() {
    let project = Project::micro();
    project.run("build").ended(0);
    let before = project.read("a.recipe");
    let place = "length:   4 steps\n    batch:    2 sequences\n    lr:       1e-3";
    project.edit("a.recipe", place, &place.replace("1e-3", "5e-4"));
    let line =
        project.read("a.recipe").lines().position(|line| line.ends_with("5e-4")).unwrap() + 1;
    let change = format!("parameter `lr` 0.001 → 0.0005 at a.recipe:{line}");
    let why = project.run("why chat").ended(0);
    assert!(why.out.contains(&change), "{}", why.out);
    let built = project.run("build").ended(0).told(&[&change]);
    assert_eq!(built.built(), ["chat", "scores"]);
    project.write("a.recipe", before);
    project.run("build").ended(0).told(&["0 built, 8 fresh"]);
}

#[test]
fn equal_bytes_upstream_keep_the_rest_fresh() {
    let recipe = "stage upper = command {
        argv:    [\"sh\", \"-c\", \"tr a-z A-Z < {{text}} > {{out}}/upper.txt\"]
        inputs:  { text: \"book.txt\" }
        outputs: [\"upper.txt\"]
    }
    stage book = read_text { files: upper }
    output book\n";
    let project = Project::of(recipe);
    project.write("book.txt", "some text\n");
    assert_eq!(project.run("build").ended(0).built(), ["book", "upper"]);
    project.write("book.txt", "Some Text\n");
    let again = project.run("build").ended(0).told(&["1 built, 1 fresh"]);
    assert_eq!(again.built(), ["upper"]);
}

#[test]
fn a_param_is_given_on_the_command_line() {
    let project = Project::micro();
    project.run("build").ended(0);
    let built = ran(project.command("build -p").arg("steps=3 steps").output().unwrap()).ended(0);
    assert_eq!(built.built(), ["base", "chat", "scores"]);
    ran(project.command("build -p").arg("stepz=3 steps").output().unwrap())
        .ended(1)
        .told(&["stepz", "steps"]);
}

#[test]
fn a_lockfile_gives_back_the_same_bits_elsewhere_with_other_threads() {
    let project = Project::micro();
    project.run("build -j 2").ended(0);
    let other = Project::micro();
    other.run("build -j 1").ended(0);
    assert_eq!(contents(&project.path("build")), contents(&other.path("build")));
    let told = project.run("reproduce a.lock -j 1").ended(0);
    assert_eq!(told.out.matches("bit-identical").count(), ALL.len(), "{}", told.out);
}

#[test]
fn a_digest_edited_by_hand_is_named_with_its_stage() {
    let project = Project::micro();
    project.run("build").ended(0);
    let lock = project.read("a.lock");
    let stage = lock.find("[stage.base]").unwrap();
    let at = stage + lock[stage..].find("outputs.out = \"").unwrap() + "outputs.out = \"".len();
    let digest = &lock[at..at + 64];
    project.write("a.lock", lock.replace(digest, &format!("{:0>64}", 7)));
    let told = project.run("reproduce a.lock").ended(4);
    assert!(told.out.contains("base") || told.err.contains("base"), "{}{}", told.out, told.err);
}

#[test]
fn a_locked_build_refuses_what_differs() {
    let project = Project::micro();
    project.run("build").ended(0);
    project.run("build --locked").ended(0);
    project.edit("a.recipe", "length:   4 steps", "length:   5 steps");
    project.run("build --locked").ended(4).told(&["chat", "length"]);
}
