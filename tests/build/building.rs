//! Hits, misses, early cutoff, reasons, order, and what is made visible.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use llamake::build::examine::assess;
use llamake::build::report::BuildState;
use llamake::build::verdict::Verdict;
use llamake::lang::value::Value;

use super::world::*;

fn two(text: &str) -> Recipe {
    Recipe::default().text("a", text).join("b", &["a"]).output("b")
}

#[test]
fn built_once_then_fresh_and_free_again_after_a_detour() {
    let world = World::new();
    assert_eq!(world.ran(&two("1")), ["a", "b"]);
    assert!(world.ran(&two("1")).is_empty());
    assert_eq!(world.ran(&two("2")), ["a", "b"]);
    assert!(world.ran(&two("1")).is_empty());
    assert_eq!(fs::read_to_string(world.path("build/b/out")).unwrap(), "1");
}

#[test]
fn equal_bytes_upstream_cut_the_rebuild_off() {
    let world = World::new();
    let recipe = |kind, text: &str| {
        let text = Value::Text(text.to_string());
        Recipe::default().stage("a", kind, &[("text", text)]).join("b", &["a"])
    };
    assert_eq!(world.ran(&recipe("text", "SAME")), ["a", "b"]);
    assert_eq!(world.ran(&recipe("upper", "same")), ["a"]);
}

#[test]
fn names_places_and_parameters_outside_the_key_do_not_rebuild() {
    let world = World::new();
    world.ran(&two("1"));
    let mut renamed = Recipe::default().text("other", "1").join("b", &["other"]);
    renamed.module.stages[0].params.insert("micro_batch".to_string(), Value::Int(8));
    renamed.module.stages[1].place.line = 99;
    assert!(world.ran(&renamed).is_empty());
}

#[test]
fn a_result_that_names_its_inputs_is_made_again_under_new_names() {
    let world = World::new();
    let recipe = |name: &str| {
        let recipe = Recipe::default().text(name, "1");
        let of = recipe.made_by(name);
        recipe.stage("r", "report", &[("of", of)])
    };
    assert_eq!(world.ran(&recipe("a")), ["a", "r"]);
    assert!(world.ran(&recipe("a")).is_empty());
    assert_eq!(world.ran(&recipe("b")), ["r"]);
}

#[test]
fn reasons_are_in_the_users_words() {
    let world = World::new();
    let told = |recipe: &Recipe, fake: &Fake| {
        let heard = Heard::default();
        world.build_told(recipe, fake, &heard);
        let lines = heard.lines.into_inner().into_iter();
        lines.filter_map(|line| line.strip_prefix("started ").map(str::to_string)).collect()
    };
    let first: Vec<String> = told(&two("1"), &Fake::default());
    assert_eq!(first, ["a: never built", "b: never built"]);
    let second: Vec<String> = told(&two("2"), &Fake::default());
    assert_eq!(second, ["a: parameter `text` \"1\" → \"2\" at a.recipe:1", "b: input `a` changed"]);
    // Fresh by an older result: that is what the next change is compared with.
    assert!(told(&two("1"), &Fake::default()).is_empty());
    let third: Vec<String> = told(&two("3"), &Fake::default());
    assert_eq!(third[0], "a: parameter `text` \"1\" → \"3\" at a.recipe:1");
    let versions = [("join".to_string(), 2)].into();
    let fourth: Vec<String> = told(&two("3"), &Fake { versions, ..Fake::default() });
    assert_eq!(fourth, ["b: kind join@1 → join@2"]);
}

#[test]
fn a_plan_tells_what_would_happen_without_running() {
    let world = World::new();
    let fake = Fake::default();
    let verdicts = |recipe: &Recipe| {
        let found = assess(&planned(recipe), &world.store(), &fake, "a").unwrap();
        found.into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>()
    };
    world.build(&two("1"), &fake);
    assert_eq!(verdicts(&two("1")), [Verdict::Fresh, Verdict::Fresh]);
    fake.ran();
    let changed = verdicts(&two("2"));
    assert!(matches!(&changed[0], Verdict::Stale(reason) if reason.to_string().contains("`text`")));
    assert_eq!(changed[1], Verdict::Maybe("a".to_string()));
    assert!(fake.ran().is_empty());
    let missing = Recipe::default().stage("r", "read", &[("path", world.file("none.txt"))]);
    assert!(matches!(&verdicts(&missing)[0], Verdict::Blocked(failure)
        if failure.message == "there is no file `none.txt`, which a.recipe:1 names"));
}

#[test]
fn independent_stages_share_the_cores_and_no_more() {
    let world = World::new();
    let mut recipe = Recipe::default();
    for at in 0..6 {
        recipe = recipe.text(&format!("s{at}"), &at.to_string());
    }
    let fake = Fake { delay: Duration::from_millis(30), ..Fake::default() };
    assert!(world.build(&recipe, &fake).is_success());
    assert_eq!(fake.most_running.load(Ordering::SeqCst), 2);
    assert_eq!(fake.ran().len(), 6);
}

#[test]
fn a_failure_stops_the_build_unless_told_to_keep_going() {
    let recipe = Recipe::default()
        .stage("bad", "fail", &[])
        .join("after", &["bad"])
        .text("x", "1")
        .join("y", &["x"]);
    let run = |keep_going| {
        let world = World::new();
        let (store, fake, off) = (world.store(), Fake::default(), AtomicBool::new(false));
        let one = llamake::build::Pool { threads: 1, ..options(&off).pool };
        let options =
            llamake::build::schedule::BuildOptions { keep_going, pool: one, ..options(&off) };
        let heard = Heard::default();
        llamake::build::schedule::build(&planned(&recipe), &options, &store, &fake, &heard)
    };
    let stopped = run(false);
    assert_eq!((stopped.built, stopped.failed), (0, 1));
    assert_eq!(state(&stopped, &recipe, "y"), BuildState::Skipped);
    let went_on = run(true);
    assert_eq!((went_on.built, went_on.failed), (2, 1));
    assert_eq!(state(&went_on, &recipe, "after"), BuildState::Skipped);
    assert_eq!(failure(&went_on, &recipe, "bad").message, "it was made to fail");
    assert!(!went_on.is_success());
}

#[test]
fn an_interrupt_keeps_what_is_finished() {
    static CANCEL: AtomicBool = AtomicBool::new(false);
    let world = World::new();
    let recipe = |kind| {
        let text = Value::Text("x".to_string());
        Recipe::default().stage("slow", kind, &[("text", text)]).join("after", &["slow"])
    };
    let heard = Heard { cancel_at_start: Some(&CANCEL), ..Heard::default() };
    let report = world.build_told(&recipe("hold"), &Fake::default(), &heard);
    assert!(report.interrupted && !report.is_success());
    assert_eq!(report.failed, 0);
    CANCEL.store(false, Ordering::Relaxed);
    assert_eq!(world.ran(&recipe("text")), ["after", "slow"]);
}

#[test]
fn a_bug_in_a_stage_fails_that_stage_only() {
    let world = World::new();
    let recipe = Recipe::default().text("x", "1").stage("bad", "panic", &[]).join("y", &["x"]);
    let report = world.build(&recipe, &Fake::default());
    let message = &failure(&report, &recipe, "bad").message;
    assert_eq!(message, "a bug in llamake ended stage `bad`: a fake bug");
}

#[test]
fn a_missing_result_is_a_failure() {
    let world = World::new();
    let recipe = Recipe::default().stage("empty", "nothing", &[]);
    let report = world.build(&recipe, &Fake::default());
    let message = &failure(&report, &recipe, "empty").message;
    assert_eq!(message, "stage `empty` did not make its result `out`");
}

fn folder(text: &str) -> Recipe {
    let text = Value::Text(text.to_string());
    Recipe::default()
        .stage("f", "folder", &[("text", text)])
        .join("j", &["f"])
        .output("f")
        .output("j")
}

#[test]
fn folders_are_inputs_and_outputs_too() {
    let world = World::new();
    assert_eq!(world.ran(&folder("hello")), ["f", "j"]);
    assert_eq!(fs::read_to_string(world.path("build/f/a.txt")).unwrap(), "hello");
    assert_eq!(fs::read_to_string(world.path("build/f/deep/b.txt")).unwrap(), "b");
    assert_eq!(fs::read_to_string(world.path("build/j/out")).unwrap(), "hello");
    world.ran(&folder("again"));
    assert_eq!(fs::read_to_string(world.path("build/f/a.txt")).unwrap(), "again");
    let left: Vec<_> = fs::read_dir(world.path("build/.incoming")).unwrap().collect();
    assert!(left.is_empty());
}

#[test]
fn outputs_are_put_back_but_not_copied_again() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new();
    world.ran(&folder("hello"));
    let place = world.path("build/f/a.txt");
    let stat =
        || fs::metadata(&place).map(|meta| (meta.ino(), meta.mtime_nsec(), meta.ctime_nsec()));
    let before = stat().unwrap();
    world.ran(&folder("hello"));
    assert_eq!(stat().unwrap(), before);
    // Not even when the memo is lost.
    fs::remove_file(world.path("cache/memo.db")).unwrap();
    world.ran(&folder("hello"));
    assert_eq!(stat().unwrap(), before);
    // Editing an output edits neither the cache nor the next build's idea of it.
    fs::write(&place, "edited").unwrap();
    assert!(world.ran(&folder("hello")).is_empty());
    assert_eq!(fs::read_to_string(&place).unwrap(), "hello");
    fs::remove_dir_all(world.path("build")).unwrap();
    assert!(world.ran(&folder("hello")).is_empty());
    assert_eq!(fs::read_to_string(&place).unwrap(), "hello");
}

#[test]
fn a_build_with_nothing_to_do_writes_nothing() {
    let world = World::new();
    world.ran(&folder("hello"));
    let store = world.store();
    let runs = store.records.runs("a").unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].built, runs[0].fresh, runs[0].failed), (2, 0, 0));
    assert!(runs[0].seconds.is_some());
    world.ran(&folder("hello"));
    assert_eq!(store.records.runs("a").unwrap().len(), 1);
}

#[test]
fn history_keeps_states_reasons_logs_and_metrics() {
    let world = World::new();
    world.ran(&two("1"));
    let records = &world.store().records;
    let rows = records.stage_runs("a", "a").unwrap();
    assert_eq!((rows[0].state.as_str(), rows[0].reason.as_str()), ("built", "never built"));
    assert_eq!(records.log_of(rows[0].run, "a").unwrap(), ["a begins"]);
    assert_eq!(records.metrics_of(rows[0].run, "a").unwrap()[0].value, 0.5);
    assert_eq!(rows[0].metrics.len(), 3);
    let listed = world.store().list().unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].bytes, 1);
}

#[test]
fn twins_are_built_once_and_shown_twice() {
    let world = World::new();
    let recipe = Recipe::default().text("a", "1").text("b", "1");
    assert_eq!(world.ran(&recipe), ["a"]);
    assert_eq!(fs::read_to_string(world.path("build/b/out")).unwrap(), "1");
}
