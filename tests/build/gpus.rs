//! Stages on a made-up machine with GPUs: which runs where, and what is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use llamake::build::placement::{Misplaced, misplaced, uses_gpus};
use llamake::build::resources::{Gpu, Pool};
use llamake::build::schedule::{BuildOptions, build};
use llamake::lang::value::Value;

use super::world::{Fake, Heard, Recipe, World, options, planned};

/// Two GPUs, the first with more memory.
fn gpus() -> Vec<Gpu> {
    [(0, 80), (1, 24)]
        .map(|(index, memory_bytes)| Gpu { index, kind: index, memory_bytes })
        .to_vec()
}

/// A stage that can run on a GPU with so much memory.
fn on_gpu(recipe: Recipe, name: &str, bytes: i64) -> Recipe {
    let text = Value::Text(name.to_string());
    recipe.stage(name, "text", &[("text", text), ("gpu_bytes", Value::Int(bytes))])
}

/// Builds on eight threads and these GPUs.
fn built(recipe: &Recipe, gpus: Vec<Gpu>) -> Fake {
    let (world, off) = (World::new(), AtomicBool::new(false));
    let fake = Fake { delay: Duration::from_millis(50), ..Fake::default() };
    let pool = Pool { threads: 8, memory_bytes: 1 << 20, gpus, gpus_together: 2 };
    let options = BuildOptions { pool, ..options(&off) };
    let report = build(&planned(recipe), &options, &world.store(), &fake, &Heard::default());
    assert!(report.is_success(), "{report:?}");
    fake
}

fn ran_on(fake: &Fake, name: &str) -> Vec<usize> {
    fake.ran_on.lock().unwrap()[name].clone()
}

#[test]
fn independent_stages_run_on_two_gpus_at_the_same_time() {
    let names = ["a", "b", "c", "d"];
    let recipe = names.iter().fold(Recipe::default(), |recipe, name| on_gpu(recipe, name, 20));
    let fake = built(&recipe, gpus());
    assert_eq!(fake.most_running.load(Ordering::SeqCst), 2, "no more than there are GPUs");
    let mut used = names.map(|name| ran_on(&fake, name)).concat();
    used.sort_unstable();
    assert_eq!(used, [0, 0, 1, 1]);
}

#[test]
fn a_stage_runs_where_it_fits_and_leaves_the_cores_to_others() {
    let recipe = on_gpu(Recipe::default(), "large", 60);
    let recipe = on_gpu(on_gpu(recipe, "small", 20), "huge", 100).text("plain", "x");
    let fake = built(&recipe, gpus());
    assert_eq!(ran_on(&fake, "large"), [0]);
    assert_eq!(ran_on(&fake, "small"), [1]);
    assert!(ran_on(&fake, "huge").is_empty());
    assert!(ran_on(&fake, "plain").is_empty());
    assert_eq!(fake.most_running.load(Ordering::SeqCst), 4);
}

#[test]
fn a_stage_that_can_has_both_gpus_of_a_kind() {
    let twins = [0, 1].map(|index| Gpu { index, kind: 0, memory_bytes: 80 }).to_vec();
    let fake = built(&on_gpu(Recipe::default(), "shared", 60).text("plain", "x"), twins);
    assert_eq!(ran_on(&fake, "shared"), [0, 1]);
}

#[test]
fn a_stage_waits_for_the_only_gpu_that_it_fits() {
    let recipe = on_gpu(on_gpu(Recipe::default(), "first", 60), "second", 60);
    let fake = built(&recipe, gpus());
    assert_eq!([ran_on(&fake, "first"), ran_on(&fake, "second")], [[0], [0]]);
    assert_eq!(fake.most_running.load(Ordering::SeqCst), 1);
}

#[test]
fn a_plan_that_gpus_cannot_run_is_refused() {
    let fake = Fake::default();
    let plain = planned(&Recipe::default().text("x", "1"));
    assert!(!uses_gpus(&plain, &fake));
    assert_eq!(misplaced(&plain, &fake, &gpus()), Some(Misplaced::NothingToRun));
    let mixed = on_gpu(Recipe::default().text("x", "1"), "fits", 80);
    assert!(uses_gpus(&planned(&mixed), &fake));
    assert_eq!(misplaced(&planned(&mixed), &fake, &gpus()), None);
    let huge = planned(&on_gpu(mixed, "huge", 81));
    let too_large = Misplaced::TooLarge { stage: "huge".into(), gpu_bytes: 81 };
    assert_eq!(misplaced(&huge, &fake, &gpus()), Some(too_large));
}
