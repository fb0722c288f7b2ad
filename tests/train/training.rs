//! The loop: that it learns, that it notices what does not, and that nothing but the rows and the
//! settings changes its bits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::{Isa, Threads};
use llamake::train::model::activations::{Activations, Keep};
use llamake::train::model::tensor::Tensor as _;
use llamake::train::model::{Batch, ModelConfig};
use llamake::train::optim::{Schedule, WarmUp};
use llamake::train::progress::{Attempt, Context, Failure};
use llamake::train::stage::Training;

use super::fixtures::{
    End, Heard, config, digest, message, model, row, rows, train, train_in, training,
};

#[test]
fn one_batch_is_learnt_by_heart() {
    let mut model = model(&config(), 1);
    let mut settings = training(120, 4);
    settings.optimizer.weight_decay = 0.0;
    let mut heard = Heard::default();
    let four = rows(2, 50)[..4].to_vec();
    train(&mut model, four, 4, &settings, 1, &mut heard).unwrap();
    let (first, last) = (heard.losses[0], heard.losses[119]);
    assert!(first > 3.0 && last < 0.05, "from {first} to {last}");
}

#[test]
fn what_is_counted_is_what_was_learnt() {
    let mut model = model(&config(), 1);
    let metrics =
        train(&mut model, rows(2, 50), 8, &training(3, 8), 1, &mut Heard::default()).unwrap();
    let figure = |name: &str| metrics.iter().find(|(known, _)| known == name).unwrap().1;
    let tokens: usize = rows(2, 50).iter().map(|row| row.tokens.len()).sum();
    let supervised: usize = rows(2, 50).iter().map(|row| row.supervised()).sum();
    assert_eq!(figure("steps"), 3.0);
    assert_eq!(figure("tokens"), 3.0 * tokens as f64);
    assert_eq!(figure("supervised tokens"), 3.0 * supervised as f64);
    let weights: usize = model.weights.tensors().iter().map(|tensor| tensor.len()).sum();
    assert_eq!(figure("parameters"), weights as f64);
}

/// What 20 steps give, by everything that must not change it.
fn after_20_steps(
    config: &ModelConfig,
    micro_batch: usize,
    keep: Keep,
    threads: usize,
    isa: Isa,
) -> (String, String, Vec<f64>) {
    let mut model = model(config, 4);
    let mut heard = Heard::default();
    let settings = Training { keep, ..training(20, micro_batch) };
    let mut context = Context { isa, ..Context::new(threads, std::env::temp_dir(), &mut heard) };
    let metrics = train_in(&mut model, rows(6, 50), 8, &settings, &mut context).unwrap();
    (digest(&model.weights), format!("{metrics:?}"), heard.losses)
}

#[test]
fn nothing_but_rows_and_settings_changes_a_bit() {
    for tied in [false, true] {
        let config = ModelConfig { tied, ..config() };
        let whole = after_20_steps(&config, 8, Keep::Activations, 1, Isa::Portable);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for threads in 1..=3 {
                for micro_batch in [8, 4, 3, 1, 100] {
                    for keep in [Keep::Activations, Keep::Residuals] {
                        let got = after_20_steps(&config, micro_batch, keep, threads, isa);
                        let how = format!("{isa:?}, {threads} threads, {micro_batch}, {keep:?}");
                        assert_eq!(got, whole, "{how}, tied {tied}");
                    }
                }
            }
        }
    }
}

/// A whole run of 20 steps in attempts that end at the given steps, each in a process of its own as
/// far as the trainer can tell.
fn in_attempts(ends: &[Option<End>]) -> (String, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let every = Duration::ZERO;
    let attempt = Attempt { folder: folder.path().join("attempts/key"), every };
    let mut said = Vec::new();
    for end in ends {
        let mut model = model(&config(), 4);
        let mut heard = Heard { end: *end, ..Heard::default() };
        let mut context = Context {
            attempt: Some(attempt.clone()),
            ..Context::new(2, std::env::temp_dir(), &mut heard)
        };
        let done = catch_unwind(AssertUnwindSafe(|| {
            train_in(&mut model, rows(6, 50), 8, &training(20, 8), &mut context)
        }));
        said.append(&mut heard.said);
        match (end, done) {
            (None, Ok(Ok(metrics))) => {
                return (digest(&model.weights), format!("{metrics:?}"), said);
            }
            (Some(End::Stop(_)), Ok(Err(Failure::Interrupted))) => {}
            (Some(End::Kill(_)), Err(_)) => {}
            (end, done) => panic!("{end:?} gave {done:?}"),
        }
    }
    unreachable!("the last attempt is not ended");
}

#[test]
fn a_stopped_or_killed_run_ends_with_the_bits_of_one_never_stopped() {
    let (weights, metrics, said) = in_attempts(&[None]);
    assert!(said.is_empty(), "{said:?}");
    let never = after_20_steps(&config(), 8, Keep::Activations, 1, Isa::Portable);
    assert_eq!(weights, never.0);
    let mut walk = Stream::new(5, "ends").walk();
    for _ in 0..20 {
        // Kills fall between a step and its report, so the step is saved; stops before the next.
        let count = 1 + walk.below(3);
        let mut ends: Vec<Option<End>> = (0..count)
            .map(|_| {
                let after = 1 + walk.below(5) as u64;
                Some(if walk.chance(50) { End::Kill(after) } else { End::Stop(after) })
            })
            .collect();
        ends.push(None);
        let (resumed, resumed_metrics, said) = in_attempts(&ends);
        assert_eq!((&resumed, &resumed_metrics), (&weights, &metrics), "{ends:?}");
        assert_eq!(said.len(), count, "{ends:?}: {said:?}");
        assert!(said.iter().all(|line| line.starts_with("goes on after step ")), "{said:?}");
    }
}

#[test]
fn a_checkpoint_that_is_not_whole_is_told_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let attempt = Attempt { folder: folder.path().into(), every: Duration::ZERO };
    let path = folder.path().join("checkpoint");
    let run = |steps: u64, end: Option<End>| {
        let mut model = model(&config(), 4);
        let mut heard = Heard { end, ..Heard::default() };
        let mut context = Context {
            attempt: Some(attempt.clone()),
            ..Context::new(1, std::env::temp_dir(), &mut heard)
        };
        let done = train_in(&mut model, rows(6, 50), 8, &training(steps, 8), &mut context);
        (done.is_ok().then(|| digest(&model.weights)), heard.said.join(" "))
    };
    run(20, Some(End::Stop(7)));
    let whole = std::fs::read(&path).unwrap();
    let never = after_20_steps(&config(), 8, Keep::Activations, 1, Isa::Portable).0;
    for at in [0, 20, 90, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let (weights, said) = run(20, None);
        assert!(said.contains("its checksum does not fit"), "{at}: {said}");
        assert_eq!(weights.as_ref(), Some(&never));
    }
    for length in [0, 10, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(run(20, None).1.contains("it is cut off"), "{length}");
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(run(19, Some(End::Stop(0))).1.contains("it is of a run of 20 steps"));
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(run(20, None), (Some(never), "goes on after step 7 of 20".into()));
}

#[test]
fn training_goes_on_where_no_checkpoint_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    // In the place of the file that a checkpoint is written to first.
    std::fs::create_dir(folder.path().join("checkpoint.new")).unwrap();
    let mut model = model(&config(), 4);
    let mut heard = Heard::default();
    let mut context = Context {
        attempt: Some(Attempt { folder: folder.path().into(), every: Duration::ZERO }),
        ..Context::new(1, std::env::temp_dir(), &mut heard)
    };
    let done = train_in(&mut model, rows(6, 50), 8, &training(20, 8), &mut context);
    assert!(done.is_ok(), "{done:?}");
    let never = after_20_steps(&config(), 8, Keep::Activations, 1, Isa::Portable).0;
    assert_eq!(digest(&model.weights), never);
    let told = "training goes on, but no checkpoint can be written: `";
    assert!(heard.said.len() == 1 && heard.said[0].starts_with(told), "{:?}", heard.said);
}

/// A head of zeros lets no gradient below it, and a dead query stays dead without its key.
#[test]
fn a_parameter_that_no_gradient_reaches_is_named() {
    let mut blind = model(&config(), 1);
    blind.weights.head_vd.floats_mut().fill(0.0);
    let dead = train(&mut blind, rows(2, 50), 8, &training(2, 8), 1, &mut Heard::default());
    let said = message(dead);
    assert!(said.contains("`model.embed_tokens.weight`"), "{said}");
    assert!(!said.contains("`lm_head.weight`"), "{said}");

    let mut deaf = model(&config(), 1);
    deaf.weights.blocks[1].key_kd.floats_mut().fill(0.0);
    let dead = train(&mut deaf, rows(2, 50), 8, &training(2, 8), 1, &mut Heard::default());
    let said = message(dead);
    assert!(said.contains("reaches `model.layers.1.self_attn.q_proj.weight` in"), "{said}");
}

#[test]
fn a_run_that_diverges_or_is_stopped_says_so() {
    let mut settings = training(50, 8);
    (settings.lr, settings.clip) = (1e30, None);
    let mut wild = model(&config(), 1);
    let said = message(train(&mut wild, rows(2, 50), 8, &settings, 1, &mut Heard::default()));
    assert!(said.starts_with("training diverged: in step "), "{said}");

    let mut heard = Heard { end: Some(End::Stop(3)), ..Heard::default() };
    let mut model = model(&config(), 1);
    let stopped = train(&mut model, rows(2, 50), 8, &training(50, 8), 1, &mut heard);
    assert!(matches!(stopped, Err(Failure::Interrupted)));
    assert_eq!(heard.reports, 3);
}

#[test]
fn a_packed_segment_is_what_it_is_alone() {
    let model = model(&config(), 8);
    let t = Threads::new(2);
    let packed = row(3, 50, &[7, 11, 1, 13]);
    let hidden = |batch: &Batch| {
        let mut a = Activations::for_inference(&model.config, 0);
        model.forward(&t, batch, &mut a);
        model.losses(&t, batch, &mut a);
        (a.hidden_td, a.nll_t)
    };
    let neighbour = row(4, 50, &[5]);
    let (hidden_td, nll_t) = hidden(&Batch::of(&[&neighbour, &packed]));
    for segment in &packed.segments {
        let mut alone = packed.clone();
        alone.tokens = packed.tokens[segment.clone()].to_vec();
        alone.targets = packed.targets[segment.clone()].to_vec();
        alone.segments = std::iter::once(0..segment.len()).collect();
        let (alone_td, alone_nll_t) = hidden(&Batch::of(&[&alone]));
        let (start, end) = (5 + segment.start, 5 + segment.end);
        assert_eq!(hidden_td[start * 24..end * 24], alone_td);
        assert_eq!(nll_t[start..end], alone_nll_t);
    }
}

#[test]
fn rates_follow_the_schedule() {
    let cosine = Schedule::Cosine { warmup: WarmUp::Percent { millionths: 3_000_000 }, last: 0.1 };
    let rate = |step| cosine.rate(2e-5, step, 1000);
    let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-12, "{got}, {want}");
    near(rate(1), 2e-5 / 30.0);
    near(rate(15), 1e-5);
    near(rate(30), 2e-5);
    near(rate(515), 2e-5 * 0.55);
    near(rate(1000), 2e-6);
    assert!((30..1000).all(|step| rate(step) > rate(step + 1)));
    // A tenth of a percent of 1000 steps is one; of 999 it is rounded up to one.
    assert_eq!(WarmUp::Percent { millionths: 100_000 }.steps(999), 1);
    assert_eq!(WarmUp::Percent { millionths: 100_000 }.steps(1001), 2);
    let constant = Schedule::Constant { warmup: WarmUp::Steps(0) };
    assert_eq!([1, 2, 9].map(|step| constant.rate(3e-4, step, 9)), [3e-4; 3]);
    // Warm-up that outlasts the run: the last step still has its part of the way.
    let long = Schedule::Cosine { warmup: WarmUp::Steps(10), last: 0.1 };
    near(long.rate(1.0, 4, 4), 0.4);
}
