//! The loop: that it learns, that it notices what does not, and that nothing but the rows and the
//! settings changes its bits.

use llamake::train::kernels::Threads;
use llamake::train::model::Batch;
use llamake::train::model::activations::Activations;
use llamake::train::optim::{Schedule, WarmUp};
use llamake::train::progress::Failure;
use llamake::train::stage::ledger::training_memory;

use super::fixtures::{Heard, config, digest, message, model, row, rows, train, training};

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

#[test]
fn neither_micro_batch_nor_threads_change_a_bit() {
    let run = |micro_batch: usize, threads: usize| {
        let mut model = model(&config(), 4);
        let mut heard = Heard::default();
        let settings = training(5, micro_batch);
        let metrics = train(&mut model, rows(6, 50), 8, &settings, threads, &mut heard).unwrap();
        (digest(&model.weights), format!("{metrics:?}"), heard.losses)
    };
    let whole = run(8, 1);
    for (micro_batch, threads) in [(4, 1), (3, 2), (1, 1), (8, 2), (1, 4), (100, 3)] {
        assert_eq!(run(micro_batch, threads), whole, "{micro_batch} rows, {threads} threads");
    }
}

/// A head of zeros lets no gradient below it, and a dead query stays dead without its key.
#[test]
fn a_parameter_that_no_gradient_reaches_is_named() {
    let mut blind = model(&config(), 1);
    blind.weights.head_vd.fill(0.0);
    let dead = train(&mut blind, rows(2, 50), 8, &training(2, 8), 1, &mut Heard::default());
    let said = message(dead);
    assert!(said.contains("`model.embed_tokens.weight`"), "{said}");
    assert!(!said.contains("`lm_head.weight`"), "{said}");

    let mut deaf = model(&config(), 1);
    deaf.weights.blocks[1].key_kd.fill(0.0);
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

    let mut heard = Heard { stop_after: Some(3), ..Heard::default() };
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

/// What the ledger says of the arena is what the arena takes.
#[test]
fn the_ledger_counts_the_arena() {
    let config = config();
    let ledger = training_memory(&config, 4, 32);
    let a = Activations::for_training(&config, 4 * 32);
    let per_block: usize = [24 * 3, 2 * 8, 2 * 6, 2, 2 * 40].iter().sum();
    let shared = 3 * 24 + 24 + 40 + 1 + 24 + 1 + 24;
    let gradients = 4 * 24 + 2 * 8 + 3 * 40;
    let numbers = (2 * per_block + shared + gradients) * 128;
    assert_eq!(ledger.activations, 4 * numbers as u64);
    assert_eq!(a.hidden_td.capacity(), 24 * 128);
    assert_eq!(ledger.total(), ledger.weights * 4 + ledger.activations + ledger.workspace);
}
