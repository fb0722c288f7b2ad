//! Lockfiles: written, obeyed, broken, merged, reproduced.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use llamake::build::executor::Failure;
use llamake::build::lockfile::{Lock, update_lock};
use llamake::build::plan::plan;
use llamake::build::report::RunReport;
use llamake::build::reproduce::{Deviation, Reproduction, StageVerdict, reproduce};
use llamake::build::schedule::{BuildOptions, build};
use llamake::build::store::Store;
use llamake::lang::value::Value;

use super::keys::every_value;
use super::world::*;

fn lock_path(world: &World) -> PathBuf {
    world.path("a.lock")
}

fn recipe(world: &World, text: &str) -> Recipe {
    world.write("data/source.txt", "source");
    Recipe::default()
        .text("a", text)
        .stage("r", "read", &[("path", world.file("data/source.txt"))])
        .join("b", &["a", "r"])
}

fn build_and_lock(world: &World, recipe: &Recipe, targets: &[&str]) -> bool {
    let fake = Fake::default();
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let plan = plan(&recipe.module, &targets, &fake).unwrap();
    let off = AtomicBool::new(false);
    let report = build(&plan, &options(&off), &world.store(), &fake, &Heard::default());
    assert!(report.is_success(), "{report:?}");
    update_lock(&lock_path(world), &plan, &report).unwrap()
}

fn locked_build(world: &World, recipe: &Recipe, fake: &Fake) -> RunReport {
    let lock = Lock::read(&lock_path(world)).unwrap();
    let off = AtomicBool::new(false);
    let options = BuildOptions { locked: Some(&lock), ..options(&off) };
    build(&planned(recipe), &options, &world.store(), fake, &Heard::default())
}

fn reproduced(world: &World, fake: &Fake) -> Result<Reproduction, Vec<Failure>> {
    let lock = Lock::read(&lock_path(world)).map_err(|failure| vec![failure])?;
    let empty = tempfile::tempdir().unwrap();
    let store = Store::open(empty.path()).unwrap();
    let off = AtomicBool::new(false);
    reproduce(&lock, &store, fake, options(&off).pool, &off, &Heard::default())
}

fn edit(world: &World, from: &str, to: &str) {
    let text = fs::read_to_string(lock_path(world)).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(lock_path(world), text.replacen(from, to, 1)).unwrap();
}

#[test]
fn written_once_and_only_when_it_changes() {
    let world = World::new();
    assert!(build_and_lock(&world, &recipe(&world, "1"), &[]));
    assert!(!build_and_lock(&world, &recipe(&world, "1"), &[]));
    let text = fs::read_to_string(lock_path(&world)).unwrap();
    assert!(text.contains("[stage.b]\nkind = \"join@1\"\n"), "{text}");
    assert!(text.contains("inputs = [\"a.out\", \"r.out\"]\n"), "{text}");
    assert!(text.contains("params.inputs = '[@\"a.out\", @\"r.out\"]'\n"), "{text}");
    assert!(text.contains("params.path = 'path(\"data/source.txt\")'\n"), "{text}");
    assert!(text.contains("metrics.loss = 0.5\n"), "{text}");
    assert_eq!(Lock::read(&lock_path(&world)).unwrap().text(), text);
}

#[test]
fn results_found_in_the_cache_are_locked_as_when_they_were_made() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let made = fs::read_to_string(lock_path(&world)).unwrap();
    assert!(made.contains("metrics.right = 0.9404761904761905\n"), "{made}");
    assert!(made.contains("metrics.perplexity = inf\n"), "{made}");
    fs::remove_file(lock_path(&world)).unwrap();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    assert_eq!(fs::read_to_string(lock_path(&world)).unwrap(), made);
}

#[test]
fn a_partial_build_replaces_only_its_blocks_and_gone_stages_drop_out() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let before = Lock::read(&lock_path(&world)).unwrap();
    assert!(build_and_lock(&world, &recipe(&world, "2"), &["a"]));
    let after = Lock::read(&lock_path(&world)).unwrap();
    assert_ne!(before.stages["a"].key, after.stages["a"].key);
    assert_eq!(before.stages["b"], after.stages["b"]);
    build_and_lock(&world, &Recipe::default().text("a", "2"), &[]);
    let names: Vec<String> = Lock::read(&lock_path(&world)).unwrap().stages.into_keys().collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn every_value_survives_a_lock() {
    let world = World::new();
    world.write("a b.txt", "x");
    let folder = world.folder.path().to_str().unwrap();
    let mut params: Vec<(String, Value)> = Vec::new();
    for (at, value) in every_value(folder).into_iter().enumerate() {
        params.push((format!("p{at}"), value));
    }
    params.push(("text".to_string(), Value::Text("x".to_string())));
    params.push(("odd name.é".to_string(), Value::Int(1)));
    let params: Vec<(&str, Value)> =
        params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let recipe = Recipe::default().stage("odd/näme [rank: 8].x", "text", &params);
    build_and_lock(&world, &recipe, &[]);
    let module = Lock::read(&lock_path(&world)).unwrap().module().unwrap();
    assert_eq!(module.stages[0].params, recipe.module.stages[0].params);
    assert!(reproduced(&world, &Fake::default()).unwrap().is_identical());
}

#[test]
fn a_locked_build_refuses_drift_before_running() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let fake = Fake::default();
    assert!(locked_build(&world, &recipe(&world, "1"), &fake).is_success());
    let report = locked_build(&world, &recipe(&world, "2"), &fake);
    assert_eq!(report.drift, ["`text` of `a` is \"2\" at a.recipe:1, locked is \"1\""]);
    let more = recipe(&world, "1").text("new", "1");
    assert_eq!(locked_build(&world, &more, &fake).drift, ["stage `new` is not in the lock"]);
    let less = Recipe::default().text("a", "1");
    assert_eq!(locked_build(&world, &less, &fake).drift.len(), 2);
    let same = recipe(&world, "1");
    world.write("data/source.txt", "edited");
    let drift = locked_build(&world, &same, &fake).drift;
    assert!(drift[0].starts_with("file `data/source.txt` holds "), "{drift:?}");
    assert!(fake.ran().is_empty());
}

#[test]
fn a_locked_build_refuses_other_bytes() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    fs::remove_dir_all(world.path("cache")).unwrap();
    let fake = Fake { drifts: true, ..Fake::default() };
    let report = locked_build(&world, &recipe(&world, "1"), &fake);
    assert!(report.drift[0].starts_with("stage `a` made another `out`: "), "{:?}", report.drift);
    assert!(!report.is_success());
}

#[test]
fn a_lock_reproduces_from_itself_alone() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let fake = Fake::default();
    let found = reproduced(&world, &fake).unwrap();
    assert!(found.is_identical(), "{found:?}");
    assert_eq!(fake.ran(), ["a", "b", "r"]);
    assert_eq!(found.first_difference(), None);
}

#[test]
fn the_first_stage_that_differs_is_named() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let found = reproduced(&world, &Fake { drifts: true, ..Fake::default() }).unwrap();
    let (stage, verdict) = found.first_difference().unwrap();
    assert_eq!(stage, "a");
    assert!(matches!(verdict, StageVerdict::Different { port, got: Some(_), .. } if port == "out"));
    let verdicts: BTreeMap<String, StageVerdict> = found.stages.into_iter().collect();
    assert_eq!(verdicts["r"], StageVerdict::Identical);
}

/// On another kind of machine: what was made there, and what follows from it, is judged by its
/// metrics; what follows from nothing of that is not.
#[test]
fn bits_of_another_machine_are_judged_by_their_metrics() {
    let world = World::new();
    let recipe = |fake: &Fake| {
        build_and_lock(&world, &recipe(&world, "1"), &[]);
        reproduced(&world, fake).unwrap()
    };
    let of_machine = Some("text");
    let near = recipe(&Fake { drifts: true, loses: 0.02, of_machine, ..Fake::default() });
    assert!(near.is_reproduced() && !near.is_identical(), "{near:?}");
    assert_eq!((near.first_difference(), near.identical()), (None, 1));
    let expected = Deviation { metric: "loss".into(), locked: 0.5, got: 0.52 };
    let verdicts: BTreeMap<String, StageVerdict> = near.stages.into_iter().collect();
    assert_eq!(verdicts["a"], StageVerdict::Within(Some(expected.clone())));
    assert_eq!(verdicts["b"], StageVerdict::Within(Some(expected)));
    assert_eq!(verdicts["r"], StageVerdict::Identical);

    let same = recipe(&Fake { drifts: true, of_machine, ..Fake::default() });
    assert_eq!(same.stages[0].1, StageVerdict::Within(None));

    for loses in [0.03, f64::NAN] {
        let far = recipe(&Fake { drifts: true, loses, of_machine, ..Fake::default() });
        let (stage, verdict) = far.first_difference().unwrap();
        assert_eq!(stage, "a");
        let StageVerdict::Different { beyond: Some(beyond), .. } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((beyond.metric.as_str(), beyond.locked), ("loss", 0.5));
        assert!(!far.is_reproduced());
    }
    let not_its_kind = Fake { drifts: true, of_machine: Some("join"), ..Fake::default() };
    assert!(matches!(
        recipe(&not_its_kind).stages[0].1,
        StageVerdict::Different { beyond: None, .. }
    ));
}

#[test]
fn an_edited_block_is_named_and_nothing_runs() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let digest = Lock::read(&lock_path(&world)).unwrap().stages["r"].outputs["out"].to_string();
    let (first, rest) = digest.split_at(1);
    let other = if first == "0" { "1" } else { "0" };
    edit(&world, &format!("outputs.out = \"{digest}"), &format!("outputs.out = \"{other}{rest}"));
    let fake = Fake::default();
    let found = reproduced(&world, &fake).unwrap();
    let (stage, verdict) = found.first_difference().unwrap();
    assert_eq!(stage, "r");
    assert!(matches!(verdict, StageVerdict::Edited(what) if what.contains("edited by hand")));
    assert!(fake.ran().is_empty());
    let drift = locked_build(&world, &recipe(&world, "1"), &fake).drift;
    assert!(drift[0].starts_with("stage `r` of the lock was edited by hand"), "{drift:?}");
}

#[test]
fn blocks_that_do_not_fit_together_are_named() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    build_and_lock(&world, &recipe(&world, "2"), &["a"]);
    let found = reproduced(&world, &Fake::default()).unwrap();
    let (stage, verdict) = found.first_difference().unwrap();
    assert_eq!(stage, "b");
    assert!(matches!(verdict, StageVerdict::Edited(what) if what.contains("does not follow")));
}

#[test]
fn a_changed_source_and_an_unknown_version_are_named() {
    let world = World::new();
    build_and_lock(&world, &recipe(&world, "1"), &[]);
    let versions = [("join".to_string(), 2)].into();
    let failures = reproduced(&world, &Fake { versions, ..Fake::default() }).unwrap_err();
    assert!(failures[0].message.ends_with("was made by join@1, this llamake has join@2"));
    world.write("data/source.txt", "edited");
    let found = reproduced(&world, &Fake::default()).unwrap();
    let (stage, verdict) = found.first_difference().unwrap();
    assert_eq!(stage, "r");
    assert!(matches!(verdict, StageVerdict::SourceChanged(what) if what.contains("source.txt")));
}

#[test]
fn broken_locks_name_file_and_line() {
    let world = World::new();
    let broken = |text: &str| {
        let failure = Lock::parse(&PathBuf::from("a.lock"), text).unwrap_err();
        assert!(failure.remedy.is_some());
        failure.message
    };
    build_and_lock(&world, &Recipe::default().text("a", "1"), &[]);
    let text = fs::read_to_string(lock_path(&world)).unwrap();
    let swapped = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        broken(&text.replacen(from, to, 1))
    };
    assert!(broken("what is this").starts_with("a.lock:1: "));
    assert_eq!(broken("version = 7"), "a.lock:1: version 7 is unknown");
    assert!(swapped("key = \"", "key = \"zz").starts_with("a.lock:7: `zz"));
    assert_eq!(swapped("'\"1\"'", "'[1'"), "a.lock:8: parameter `text`: `,` is missing at the end");
    assert!(swapped("kind =", "kimd =").starts_with("a.lock:6: unknown field `kimd`"));
    assert_eq!(swapped("text@1", "text"), "a.lock:6: `text` is no kind@version");
}
