//! Reward models and PPO: they learn what they are to learn, in any division and after any stop
//! with the same bits, and what cannot be learnt from is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use llamake::train::data::mixture::Mix;
use llamake::train::data::rows::{Message, Preference};
use llamake::train::kernels::rng::{Stream, Walk};
use llamake::train::model::judge::Gate;
use llamake::train::model::{ModelPath, peft};
use llamake::train::objective::ranking::Margins;
use llamake::train::optim::{Schedule, WarmUp};
use llamake::train::progress::{Attempt, Context, Failure, Metrics};
use llamake::train::stage::{
    Length, Ppo, RewardModel, SafetyGate, Training, ppo, reward_model, safety_gate,
};

use super::fixtures::{End, Heard, message, training};
use super::pipeline::World;
use super::samplers::world;

/// The bytes of a result's weights: a model's, or an adapter's.
fn weights(out: &Path) -> blake3::Hash {
    let file = ["model.safetensors", peft::WEIGHTS].map(|name| out.join("out").join(name));
    let file = file.iter().find(|file| file.is_file()).unwrap();
    blake3::hash(&std::fs::read(file).unwrap())
}

pub fn metric(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{metrics:?}")).1
}

/// Says which pet a person has; cats are preferred to all other pets.
pub fn preferences(pets: &[&str]) -> Vec<Preference> {
    let pair = |(at, pet): (usize, &&str)| Preference {
        prompt: vec![Message::new(
            "user",
            format!("What pet does {} have?", ["Ada", "Ben"][at % 2]),
        )],
        chosen: "It is a cat.".into(),
        rejected: format!("It is a {pet}."),
        rating: Some(1 + (at % 4) as u8),
        chosen_safe: Some(true),
        rejected_safe: Some(false),
        ..Preference::default()
    };
    pets.iter().enumerate().map(pair).collect()
}

fn scorer(world: &World, data: &str) -> RewardModel {
    let length = Length::Epochs { millionths: 30_000_000 };
    let training = Training { length, lr: 3e-3, ..training(0, 2) };
    RewardModel {
        init: world.at("chat/out"),
        data: Mix::Joined(vec![world.at(data)]),
        context: 160,
        batch: 4,
        margins: Margins::Small,
        safety_loss: true,
        training,
    }
}

fn scored(params: &RewardModel, threads: usize) -> Result<(blake3::Hash, Metrics), Failure> {
    let out = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let mut context = Context::new(threads, out.path().into(), &mut heard);
    let metrics = reward_model::run(params, &mut context)?;
    Ok((weights(out.path()), metrics))
}

#[test]
fn a_reward_model_learns_what_is_preferred() {
    let world = world();
    world
        .write("pets", preferences(&["dog", "duck", "goat", "dog", "goat", "duck", "dog", "duck"]));
    let params = scorer(world, "pets");
    let (bits, metrics) = scored(&params, 1).unwrap();
    let (first, last) = (std::f64::consts::LN_2, metric(&metrics, "loss"));
    assert!(last < 0.5 * first, "the loss ends at {last}");
    let micro = Training { micro_batch: 3, ..params.training.clone() };
    let cut = RewardModel { training: micro, ..params.clone() };
    assert_eq!(scored(&cut, 3).unwrap(), (bits, metrics));
}

#[test]
fn pairs_that_teach_nothing_are_told_by_row() {
    let world = world();
    let mut pairs = preferences(&["dog", "duck", "goat", "dog"]);
    pairs[1].rejected = pairs[1].chosen.clone();
    pairs[3].chosen = "cat ".repeat(200);
    world.write("faulty", pairs.clone());
    let told = message(scored(&scorer(world, "faulty"), 1));
    assert!(told.starts_with("2 pairs cannot be learned from: row 2: the two answers"), "{told}");
    assert!(told.contains("row 4 is ") && told.contains("more than the context of 160"), "{told}");

    let unrated = |pair: Preference| Preference { rating: None, ..pair };
    world.write("unrated", preferences(&["dog", "duck"]).into_iter().map(unrated));
    let told = message(scored(&scorer(world, "unrated"), 1));
    assert_eq!(told, "row 1 has no rating for a margin");

    let unlabelled = |pair| Preference { chosen_safe: None, rejected_safe: None, ..pair };
    world.write("unlabelled", preferences(&["dog", "duck"]).into_iter().map(unlabelled));
    let told = message(scored(&scorer(world, "unlabelled"), 1));
    assert_eq!(told, "no answer says whether it is harmless");
}

#[test]
fn a_gate_holds_two_reward_models_and_no_gate() {
    let world = world();
    let judge = ModelPath::from(world.at("judge"));
    let gate = SafetyGate { helpful: judge.clone(), safe: judge, gate: Gate { below: 0.15 } };
    world.run("gate", 1, |context| safety_gate::run(&gate, context)).unwrap();
    let nested = SafetyGate { safe: world.at("gate/out").into(), ..gate };
    let told = message(world.run("nested", 1, |context| safety_gate::run(&nested, context)));
    assert!(told.ends_with("is a gate already"), "{told}");
}

fn policy(iterations: u64, beta: f64, lr: f64) -> Ppo {
    let world = world();
    Ppo {
        policy: world.at("chat/out"),
        judge: world.at("judge").into(),
        prompts: Mix::Joined(vec![world.at("questions")]),
        held_out: None,
        check_every: 2,
        patience: 2,
        batch: 12,
        mini_batch: 4,
        beta,
        gamma: 1.0,
        lambda: 0.95,
        clip_ratio: 0.2,
        clip_value: 0.2,
        value_weight: 0.1,
        max_answer: 12,
        temperature: 1.0,
        training: Training {
            length: Length::Steps(iterations),
            lr,
            schedule: Schedule::Constant { warmup: WarmUp::Steps(0) },
            ..training(0, 2)
        },
    }
}

/// One run after another in the same attempt; the last one comes to its end.
pub fn ended(
    stage: &dyn Fn(&mut Context<'_>) -> Result<Metrics, Failure>,
    threads: usize,
    ends: &[Option<End>],
) -> (blake3::Hash, Metrics, String) {
    let folder = tempfile::tempdir().unwrap();
    for end in ends {
        let out = tempfile::tempdir().unwrap();
        let mut heard = Heard { end: *end, ..Heard::default() };
        let attempt = Attempt { folder: folder.path().into(), every: Duration::from_secs(3600) };
        let run = AssertUnwindSafe(|| {
            let context = Context::new(threads, out.path().into(), &mut heard);
            stage(&mut Context { attempt: Some(attempt), ..context })
        });
        match (end, catch_unwind(run)) {
            (None, Ok(done)) => {
                let metrics = done.unwrap();
                return (weights(out.path()), metrics, heard.said.join("\n"));
            }
            (Some(End::Stop(_)), Ok(Err(Failure::Interrupted))) => {}
            (Some(End::Kill(_)), Err(_)) => {}
            (end, done) => panic!("{end:?} gave {done:?}"),
        }
    }
    unreachable!("the last attempt is not ended");
}

fn aligned(params: &Ppo, threads: usize, ends: &[Option<End>]) -> (blake3::Hash, Metrics, String) {
    ended(&|context| ppo::run(params, context), threads, ends)
}

/// Ways to be ended once or twice, each within so many reports, and then no more.
pub fn endings(within: usize) -> Vec<Vec<Option<End>>> {
    let mut walk = Stream::new(8, "ends").walk();
    let mut ending = || {
        let end = |walk: &mut Walk| {
            let after = 1 + walk.below(within) as u64;
            Some(if walk.chance(50) { End::Kill(after) } else { End::Stop(after) })
        };
        let count = 1 + walk.below(2);
        let mut ends: Vec<_> = (0..count).map(|_| end(&mut walk)).collect();
        ends.push(None);
        ends
    };
    (0..6).map(|_| ending()).collect()
}

#[test]
fn ppo_killed_anywhere_ends_with_the_bits_of_one_never_killed() {
    let questions = Some(world().at("questions"));
    let params = Ppo { held_out: questions, ..policy(6, 0.05, 1e-4) };
    let (bits, metrics, _) = aligned(&params, 1, &[None]);
    let micro = Training { micro_batch: 3, ..params.training.clone() };
    let cut = Ppo { training: micro, ..params.clone() };
    let (other, told, _) = aligned(&cut, 3, &[None]);
    assert_eq!((other, &told), (bits, &metrics), "three threads, parts of three");
    for ends in endings(8) {
        let (resumed, told, _) = aligned(&params, 2, &ends);
        assert_eq!((resumed, &told), (bits, &metrics), "{ends:?}");
    }
}

#[test]
fn a_run_shorter_than_a_look_still_counts() {
    let held_out = Some(world().at("questions"));
    let (looked, metrics, _) =
        aligned(&Ppo { held_out, check_every: 50, ..policy(3, 0.05, 1e-4) }, 2, &[None]);
    let (plain, ..) = aligned(&policy(3, 0.05, 1e-4), 2, &[None]);
    assert_eq!(looked, plain, "the last policy is the only one that was looked at");
    assert!(metric(&metrics, "held-out reward") > 0.0);
}

#[test]
fn ppo_raises_the_reward_and_without_a_penalty_drifts() {
    let rewards = |beta: f64, lr: f64| {
        let (_, first, _) = aligned(&policy(1, beta, lr), 2, &[None]);
        let (_, last, said) = aligned(&policy(60, beta, lr), 2, &[None]);
        let rise = metric(&last, "reward") - metric(&first, "reward");
        (rise, metric(&last, "kl"), said)
    };
    let (held_rise, held_kl, said) = rewards(0.2, 1e-3);
    assert!(!said.contains("drifted"), "{held_kl} nats: {said}");
    let (free_rise, free_kl, said) = rewards(0.0, 4e-3);
    println!("held {held_rise:.3} at {held_kl:.2} nats, free {free_rise:.3} at {free_kl:.2} nats");
    assert!(free_rise > 0.05 && free_rise > held_rise, "{held_rise} and {free_rise}");
    assert!(free_kl > 3.0 * held_kl.max(1.0), "{free_kl} nats beside {held_kl}");
    assert!(said.contains("the policy drifted") && said.contains("`beta` is 0"), "{said}");
}
