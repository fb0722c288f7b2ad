//! Whole runs on an accelerator: the decoder, its losses and its optimizer, launch by launch, end
//! with the bits of a run on the CPU, wherever each part of them was made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use llamake::train::kernels::Threads;
use llamake::train::kernels::gemm::halves::WORKSPACE;
use llamake::train::kernels::launch::Accelerator;
use llamake::train::model::activations::Keep;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::quantized::{Form, quantised};
use llamake::train::model::tensor::Tensor;
use llamake::train::model::{ModelConfig, Transformer};
use llamake::train::objective::ranking::{PairFacts, Ranking};
use llamake::train::optim::Bits;
use llamake::train::progress::{Attempt, Context, Failure};
use llamake::train::stage::ledger::{
    Kept, Learnt, device_memory, gradients_of_a_block, halves_memory,
};
use llamake::train::stage::{Numerics, Training, train_loop};

use super::shim::Shim;
use crate::train::fixtures::{
    End, Heard, batches, config, message, model, row, rows, train_in, training,
};

/// Heads as wide as an accelerator has kernels for.
pub fn wide() -> ModelConfig {
    ModelConfig { dim: 64, heads: 4, kv_heads: 2, ..config() }
}

/// All weights, those of an adapter too.
pub fn bits(model: &Transformer) -> String {
    let mut hasher = blake3::Hasher::new();
    let base = model.weights.in_order().into_iter().map(|tensor| tensor.elements().to_floats());
    let beside = model.adapter.iter().flat_map(Adapter::tensors).map(<[f32]>::to_vec);
    for x in base.chain(beside).flatten() {
        hasher.update(&x.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// What of a run must not depend on where it is made.
fn ran(model: Transformer, settings: &Training, shim: Option<u64>) -> Ran {
    ran_on(model, settings, shim.map(Shim::new).into_iter().collect())
}

/// The weights, the metrics, and the loss of each step.
pub type Ran = (String, String, Vec<f64>);

/// The same on accelerators that share the steps, or on the CPU where there are none.
pub fn ran_on(mut model: Transformer, settings: &Training, on: Vec<Arc<dyn Accelerator>>) -> Ran {
    let mut heard = Heard::default();
    let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
    let mut on = on.into_iter();
    context.accelerator = on.next();
    context.others = on.collect();
    let metrics = train_in(&mut model, rows(6, 50), 8, settings, &mut context).unwrap();
    (bits(&model), format!("{metrics:?}"), heard.losses)
}

#[test]
fn a_run_on_an_accelerator_has_the_bits_of_one_on_the_cpu() {
    let shapes = [
        (wide(), 8, Keep::Activations),
        (ModelConfig { tied: true, ..wide() }, 3, Keep::Residuals),
        (ModelConfig { dim: 32, heads: 1, kv_heads: 1, ..wide() }, 1, Keep::Activations),
    ];
    for (seed, (config, micro_batch, keep)) in (1..).zip(shapes) {
        let settings = Training { keep, ..training(3, micro_batch) };
        let here = ran(model(&config, 4), &settings, None);
        assert_eq!(here.2.len(), 3);
        assert_eq!(ran(model(&config, 4), &settings, Some(seed)), here, "{config:?}");
    }
}

/// Of these tensors those of blocks are large enough for 8 bits, and the others are not.
#[test]
fn moments_of_8_bits_have_the_bits_of_the_cpu() {
    let mut settings = training(3, 8);
    settings.optimizer.bits = Bits::Eight;
    let here = ran(model(&wide(), 4), &settings, None);
    assert_ne!(here.0, ran(model(&wide(), 4), &training(3, 8), None).0);
    assert_eq!(ran(model(&wide(), 4), &settings, Some(7)), here);
}

/// Some moments, all or none lie in pages.
#[test]
fn paged_moments_have_the_bits_of_the_cpu() {
    let here = ran(model(&wide(), 4), &training(3, 8), None);
    for budget in [0, 100_000] {
        let mut settings = training(3, 8);
        settings.optimizer.page_budget = Some(budget);
        assert_eq!(ran(model(&wide(), 4), &settings, Some(6)), here, "{budget}");
    }
}

/// How far a loss may be from that of the CPU, as a share of it: weights drift apart.
const NEAR: f64 = 0.04;

/// As [`ran`] in the class `bf16`.
fn ran_in_halves(model: Transformer, settings: &Training, shim: u64) -> (String, Vec<f64>) {
    let settings = Training { numerics: Numerics::Bf16, ..settings.clone() };
    let (bits, _, losses) = ran(model, &settings, Some(shim));
    (bits, losses)
}

/// The same bits again, in another order of threads and blocks; losses near those of the CPU.
#[test]
fn a_run_of_the_class_bf16_learns_what_one_on_the_cpu_does() {
    let steps = 12;
    let tied = ModelConfig { tied: true, ..wide() };
    for (config, bits) in [(wide(), Bits::Full), (tied, Bits::Eight)] {
        let mut settings = Training { keep: Keep::Residuals, ..training(steps, 3) };
        settings.optimizer.bits = bits;
        let (here, found) = (ran(model(&config, 4), &settings, None).2, |shim| {
            ran_in_halves(model(&config, 4), &settings, shim)
        });
        let (first, again) = (found(1), found(2));
        assert_eq!(first, again);
        assert_ne!(first.1, here, "it computes in 16 bits");
        for (at, (here, found)) in here.iter().zip(&first.1).enumerate() {
            assert!((here - found).abs() < NEAR * here, "step {at}: {here} and {found}");
        }
        assert!(first.1[steps as usize - 1] < 0.9 * first.1[0], "it learns: {:?}", first.1);
    }
}

/// The weights that are kept are f32: what a step adds is smaller than half a unit of bf16.
#[test]
fn small_steps_of_the_class_bf16_are_not_lost() {
    let begun = model(&wide(), 4);
    let settings = Training { lr: 1e-6, ..training(3, 8) };
    let (moved, _) = ran_in_halves(model(&wide(), 4), &settings, 1);
    assert_ne!(moved, bits(&begun));
}

#[test]
fn an_adapter_of_the_class_bf16_learns_what_one_on_the_cpu_does() {
    for (dropout, of_4_bits) in [(0.0, false), (0.2, true)] {
        let begun = || {
            let mut model = adapted(|settings| LoraSettings { dropout, ..settings });
            if of_4_bits {
                let form = Form { encoding: Encoding::F32, double: true };
                let weights = quantised(&Threads::new(1), &wide(), &model.weights, form);
                model.weights = weights.unwrap();
            }
            model
        };
        let settings = Training { lr: 1e-2, ..training(8, 3) };
        let here = ran(begun(), &settings, None).2;
        let (first, again) =
            (ran_in_halves(begun(), &settings, 1), ran_in_halves(begun(), &settings, 2));
        assert_eq!(first, again);
        for (here, found) in here.iter().zip(&first.1) {
            assert!((here - found).abs() < NEAR * here, "{here} and {found}");
        }
        assert!(first.1[7] < first.1[0], "it learns: {:?}", first.1);
    }
}

/// A decoder under an adapter that has learnt nothing.
pub fn adapted(change: impl Fn(LoraSettings) -> LoraSettings) -> Transformer {
    let targets = vec![Which::Query, Which::Value, Which::Down];
    let settings =
        LoraSettings { rank: 3, alpha: 5.0, dropout: 0.0, targets, rslora: false, dora: false };
    let settings = change(settings);
    let mut model = model(&wide(), 4);
    let adapter = Adapter::untrained(&Threads::new(1), &wide(), &model.weights, &settings, 9);
    model.adapter = Some(adapter);
    model
}

#[test]
fn an_adapter_learns_the_same_on_an_accelerator() {
    let settings = training(4, 5);
    for (dropout, dora) in [(0.0, false), (0.2, false), (0.0, true), (0.2, true)] {
        let begun = || adapted(|settings| LoraSettings { dropout, dora, ..settings });
        let here = ran(begun(), &settings, None);
        assert_eq!(ran(begun(), &settings, Some(3)), here, "dropout {dropout}, DoRA {dora}");
    }
}

/// An objective that the accelerator does not know, with a head of its own.
pub fn ranked(on: Vec<Arc<dyn Accelerator>>) -> (String, Vec<f64>) {
    let mut model = model(&wide().scoring(), 4);
    let pairs: Vec<_> = (0..6).map(|at| row(at, 50, &[9 + at as usize, 12])).collect();
    let facts = vec![vec![PairFacts { margin: 0.3, safe: [Some(true), None] }; 6]];
    let mut ranking = Ranking::new(batches(pairs, 3), facts);
    let mut heard = Heard::default();
    let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
    let mut on = on.into_iter();
    context.accelerator = on.next();
    context.others = on.collect();
    train_loop::train(&mut model, &mut ranking, 3, &training(3, 2), &mut context).unwrap();
    (bits(&model), heard.losses)
}

#[test]
fn an_objective_that_reads_hidden_states_here_changes_no_bit() {
    assert_eq!(ranked(vec![Shim::new(4)]), ranked(vec![]));
}

#[test]
fn a_run_goes_on_where_it_did_not_begin() {
    let never = ran(model(&wide(), 4), &training(6, 8), None);
    let folder = tempfile::tempdir().unwrap();
    let attempt = Attempt { folder: folder.path().join("attempts/key"), every: Duration::ZERO };
    let ends = [(Some(End::Kill(3)), Some(5)), (Some(End::Stop(1)), None), (None, Some(6))];
    for (end, shim) in ends {
        let mut model = model(&wide(), 4);
        let mut heard = Heard { end, ..Heard::default() };
        let mut context = Context {
            attempt: Some(attempt.clone()),
            accelerator: shim.map(Shim::new),
            ..Context::new(2, std::env::temp_dir(), &mut heard)
        };
        let done = catch_unwind(AssertUnwindSafe(|| {
            train_in(&mut model, rows(6, 50), 8, &training(6, 8), &mut context)
        }));
        match (end, done) {
            (Some(End::Stop(_)), Ok(Err(Failure::Interrupted))) | (Some(End::Kill(_)), Err(_)) => {}
            (None, Ok(Ok(metrics))) => {
                assert_eq!((&bits(&model), &format!("{metrics:?}")), (&never.0, &never.1));
                assert_eq!(heard.said, ["goes on after step 4 of 6"]);
            }
            (end, done) => panic!("{end:?} gave {done:?}"),
        }
    }
}

/// Weights that move on the way back: on the CPU and there, in both classes, tied and not, with all
/// moments, the bits are those of steps that keep all gradients.
#[test]
fn weights_that_move_on_the_way_back_have_the_same_bits() {
    let tied = ModelConfig { tied: true, ..wide() };
    for (config, bits, keep) in
        [(wide(), Bits::Full, Keep::Activations), (tied, Bits::Eight, Keep::Residuals)]
    {
        let mut settings = Training { clip: None, keep, ..training(4, 8) };
        settings.optimizer.bits = bits;
        let moving = Training { in_backward: true, ..settings.clone() };
        let begun = || model(&config, 4);
        let kept = ran(begun(), &settings, None);
        assert_eq!(ran(begun(), &moving, None), kept);
        assert_eq!(ran(begun(), &moving, Some(1)), kept);
        assert_eq!(ran_in_halves(begun(), &moving, 2), ran_in_halves(begun(), &settings, 1));
    }
}

#[test]
fn a_step_in_parts_cannot_move_weights_on_the_way_back() {
    let settings = Training { clip: None, in_backward: true, ..training(4, 3) };
    for on in [None, Some(Shim::new(1))] {
        let mut heard = Heard::default();
        let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
        context.accelerator = on;
        let done = train_in(&mut model(&wide(), 4), rows(6, 50), 8, &settings, &mut context);
        let told = message(done);
        assert!(
            told.starts_with("`optimizer_in_backward` needs a step at once: it has 8"),
            "{told}"
        );
    }
}

/// Bytes of an accelerator at the peak of a run, and what the ledger says of it.
fn peak(model: Transformer, settings: &Training, learnt: &Learnt) -> [f64; 2] {
    let (mut model, on) = (model, Shim::new(1));
    let mut heard = Heard::default();
    let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
    context.accelerator = Some(Arc::clone(&on));
    let rows: Vec<_> = (0..4).map(|at| row(at, 50, &[9, 23])).collect();
    train_in(&mut model, rows, 4, settings, &mut context).unwrap();
    let kept = Kept { bits: settings.optimizer.bits, budget: settings.optimizer.page_budget };
    let (config, shape) = (model.config.clone(), [4, 32]);
    let mut foreseen = match settings.numerics {
        Numerics::ExactF32 => device_memory(&config, learnt, shape, settings.keep, kept).unwrap(),
        Numerics::Bf16 => halves_memory(&config, learnt, shape, settings.keep, kept),
    };
    if settings.numerics == Numerics::Bf16 {
        // The shim's products need no library.
        foreseen.workspace -= WORKSPACE as u64;
    }
    if settings.in_backward {
        foreseen.gradients = gradients_of_a_block(&config);
    }
    let foreseen = foreseen.total();
    [on.peak_bytes() as f64, foreseen as f64]
}

/// Shapes whose weights, and whose activations, are most of it.
#[test]
fn a_run_takes_the_memory_that_the_ledger_says() {
    let large = ModelConfig { dim: 128, heads: 4, kv_heads: 2, ffn: 256, vocab: 200, ..config() };
    for numerics in [Numerics::ExactF32, Numerics::Bf16] {
        for (keep, budget, in_backward) in [
            (Keep::Activations, None, false),
            (Keep::Residuals, Some(100_000), false),
            (Keep::Residuals, None, true),
        ] {
            let mut settings = Training { keep, numerics, ..training(2, 4) };
            settings.optimizer.page_budget = budget;
            (settings.in_backward, settings.clip) = (in_backward, None);
            let [took, foreseen] = peak(model(&large, 4), &settings, &Learnt::All);
            let share = took / foreseen;
            assert!((0.9..=1.02).contains(&share), "{numerics:?} {keep:?}: {share} of {foreseen}");
        }
    }
}

#[test]
fn what_no_gpu_does_is_refused_with_its_name() {
    let refused = |mut model: Transformer, settings: &Training| {
        let mut heard = Heard::default();
        let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
        context.accelerator = Some(Shim::new(1));
        message(train_in(&mut model, rows(6, 50), 8, settings, &mut context))
    };
    let narrow = refused(model(&config(), 4), &training(1, 8));
    assert_eq!(narrow, "heads are 16, 32, 64 or 128 wide on a GPU, not 4");
    let dora = adapted(|settings| LoraSettings { dora: true, ..settings });
    let in_halves = Training { numerics: Numerics::Bf16, ..training(1, 8) };
    let dora = refused(dora, &in_halves);
    assert_eq!(dora, "DoRA is learnt in the class `exact-f32`, not in `bf16`");
    let mut heard = Heard::default();
    let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
    let here = train_in(&mut model(&wide(), 4), rows(6, 50), 8, &in_halves, &mut context);
    assert_eq!(message(here), "`numerics: \"bf16\"` is learnt on a GPU, and there is none");
}
