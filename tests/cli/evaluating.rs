//! Evaluations from a recipe: what is known is not asked again, what was begun goes on, and what a
//! report must reach decides on the build.

use std::process::{Child, Stdio};

use super::{Project, contents, ran};

const SCORES: &str =
    "stage scores = eval { models: [base, chat], tasks: world.tasks, limit: 10 rows }";

fn asked(project: &Project) -> Vec<String> {
    let log = project.run("log scores").ended(0).out;
    log.lines()
        .filter_map(|line| line.trim_start().strip_prefix("task "))
        .map(str::to_string)
        .collect()
}

#[test]
fn one_more_model_or_task_asks_only_the_new_cells() {
    let project = Project::micro();
    project.edit("a.recipe", "eval { models: [base, chat]", "eval { models: [base]");
    project.run("build scores").ended(0);
    assert_eq!(
        asked(&project),
        ["held-out text to base", "held-out questions to base", "arithmetic to base"]
    );
    project.edit("a.recipe", "eval { models: [base]", "eval { models: [base, chat]");
    let more = "tasks: [..world.tasks, perplexity { name: \"sums\", data: world.arithmetic }]";
    project.edit("a.recipe", "tasks: world.tasks", more);
    project.run("build scores").ended(0);
    assert_eq!(
        asked(&project),
        [
            "held-out text to base: known",
            "held-out questions to base: known",
            "arithmetic to base: known",
            "sums to base",
            "held-out text to chat",
            "held-out questions to chat",
            "arithmetic to chat",
            "sums to chat",
        ]
    );
    // An empty cache knows nothing and gives the same bytes.
    project.run("reproduce a.lock").ended(0);

    // Another model of the same name is another.
    let mut command = project.command("build scores -p");
    ran(command.arg("steps=21 steps").output().unwrap()).ended(0);
    assert!(asked(&project).iter().all(|line| !line.ends_with(": known")));
}

#[test]
fn a_damaged_piece_is_found_and_asked_again() {
    let project = Project::micro();
    project.run("build scores").ended(0);
    let report = contents(&project.path("build/a/scores"));
    let pieces = project.path("cache/pieces");
    let kept = contents(&pieces);
    assert_eq!(kept.len(), 6);
    let (name, mut bytes) = kept[2].clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(pieces.join(&name), bytes).unwrap();
    project.run("build scores").ended(0).told(&["0 built"]);
    let found = project.run("cache verify").ended(3);
    assert!(found.out.starts_with("piece ") && found.out.lines().count() == 1, "{}", found.out);
    project.run("cache verify").ended(0);
    assert_eq!(contents(&pieces).len(), 5);
    // The order of models is in the report, and in no cell.
    project.edit("a.recipe", "models: [base, chat]", "models: [chat, base]");
    project.run("build scores").ended(0);
    assert_eq!(asked(&project).iter().filter(|line| !line.ends_with(": known")).count(), 1);
    project.edit("a.recipe", "models: [chat, base]", "models: [base, chat]");
    project.run("build scores").ended(0);
    assert!(contents(&project.path("build/a/scores")) == report);
    assert!(contents(&pieces) == kept);
}

/// An evaluation that takes seconds.
const LONG: &str = "stage scores = eval {
    models: [base]
    tasks:  [answers { name: \"long\", data: world.questions, temperature: 1, samples: 20 }]
}";

fn begun(project: &Project) -> Child {
    let mut command = project.command("build scores");
    command.env("LLAMAKE_ISA", "portable");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Bytes of answers that a stage which did not end has left.
fn kept(project: &Project) -> u64 {
    let Ok(attempts) = project.path("cache/attempts").read_dir() else { return 0 };
    let files = attempts.flatten().filter_map(|attempt| attempt.path().read_dir().ok());
    let sizes = files.flatten().flatten().map(|file| file.metadata().map_or(0, |meta| meta.len()));
    sizes.sum()
}

#[test]
fn a_killed_evaluation_goes_on_at_the_next_sample() {
    let recipe = include_str!("micro.recipe").replace(SCORES, LONG);
    let never = Project::of(&recipe);
    ran(never.command("build scores").output().unwrap()).ended(0);
    let project = Project::of(&recipe);
    project.run("build base").ended(0);
    let mut least = 1_000;
    while least < 100_000 {
        let mut child = begun(&project);
        while child.try_wait().unwrap().is_none() && kept(&project) < least {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(kept(&project) >= least, "the evaluation was over before it was killed");
        least = 2 * kept(&project);
    }
    let last = project.run("build scores").ended(0).told(&["goes on after "]);
    assert_eq!(last.built(), ["scores"]);
    let scores = |project: &Project| contents(&project.path("build/a/scores"));
    assert!(scores(&project) == scores(&never), "other bytes");
    assert_eq!(kept(&project), 0, "a finished attempt is removed");
}

const JUDGED: &str = r#"
stage score[seed in [1, 2]] = eval { models: [base], tasks: world.tasks, limit: 5 rows, seed }
stage table = compare { reports: score, metric: "perplexity", rows: "seed" }
stage good = expect { report: scores, model: chat, metric: "arithmetic.exact_match", at_most: 0.5 }
stage better = expect { report: good, model: base, metric: "perplexity", at_least: 2, at_most: 9 }

output chat, scores, table, good"#;

#[test]
fn what_a_report_must_reach_decides_on_the_build() {
    let project = Project::micro();
    project.edit("a.recipe", "output chat, scores", JUDGED);
    project.run("check").ended(0);
    project.run("build").ended(0);
    let table = project.read("build/a/table/compare.md");
    assert!(table.starts_with("# perplexity\n\n| seed | held-out text perplexity |\n"), "{table}");
    assert_eq!(table.lines().filter(|line| line.starts_with("| 1 |")).count(), 1, "{table}");
    let files = |stage: &str| contents(&project.path(&format!("build/a/{stage}")));
    assert!(files("good") == files("scores"));
    let failed = project.run("build better").ended(3);
    let said = "`perplexity` of `base` in `held-out text` is ";
    let failed = failed.told(&[said, "above the 9 that is expected"]);
    assert!(failed.built().is_empty());
    project.edit("a.recipe", "rows: \"seed\"", "rows: \"lr\"");
    project
        .run("build table")
        .ended(3)
        .told(&["`score[seed: 1]` has no axis `lr`", "help: name one that it has: `seed`"]);
    project.edit("a.recipe", "arithmetic.exact_match", "exact_match");
    project.run("build good").ended(3).told(&[
        "`exact_match` stands in several tasks of the report `scores`",
        "name one: `held-out questions.exact_match`",
    ]);
}
