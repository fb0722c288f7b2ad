//! Optimizers: moments of 8 bits learn as well as those of 32, and neither threads, instruction
//! sets, stops nor the place where moments lie change a bit.

use std::time::Duration;

use llamake::train::kernels::Isa;
use llamake::train::model::ModelConfig;
use llamake::train::optim::{AdamW, Bits};
use llamake::train::progress::{Attempt, Context, Failure};
use llamake::train::stage::Training;

use super::fixtures::{End, Heard, adamw, config, digest, model, rows, train_in, training};

/// Wide enough for matrices that are kept in 8 bits; embedding and norms are not.
fn wide() -> ModelConfig {
    ModelConfig { dim: 64, heads: 4, kv_heads: 2, ffn: 96, ..config() }
}

fn settings(optimizer: AdamW) -> Training {
    Training { optimizer, ..training(20, 8) }
}

/// The digest of the weights after 20 steps, and all losses.
fn after_20_steps(optimizer: AdamW, threads: usize, isa: Isa) -> (String, Vec<f64>) {
    let (mut model, mut heard) = (model(&wide(), 4), Heard::default());
    let out = tempfile::tempdir().unwrap();
    let mut context = Context { isa, ..Context::new(threads, out.path().into(), &mut heard) };
    train_in(&mut model, rows(6, 50), 8, &settings(optimizer), &mut context).unwrap();
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "a file was left behind");
    (digest(&model.weights), heard.losses)
}

#[test]
fn moments_of_8_bits_learn_and_have_the_same_bits_everywhere() {
    let eight = AdamW { bits: Bits::Eight, ..adamw() };
    let (weights, losses) = after_20_steps(eight, 1, Isa::Portable);
    let (full_weights, full) = after_20_steps(adamw(), 1, Isa::Portable);
    assert_ne!(weights, full_weights);
    let (first, last, full) = (losses[0], losses[19], full[19]);
    assert!(last < first - 0.3 && (last - full).abs() < 0.05 * full, "{first}, {last}, {full}");
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for threads in 1..=3 {
            let got = after_20_steps(eight, threads, isa);
            assert_eq!(got, (weights.clone(), losses.clone()), "{isa:?}, {threads} threads");
        }
    }
}

#[test]
fn moments_in_a_file_have_the_bits_of_moments_in_memory() {
    for bits in [Bits::Full, Bits::Eight] {
        let in_memory = after_20_steps(AdamW { bits, ..adamw() }, 2, Isa::detect());
        for budget in [0, 4095, 40_000, 1 << 40] {
            let paged = AdamW { bits, page_budget: Some(budget), ..adamw() };
            let got = after_20_steps(paged, 2, Isa::detect());
            assert_eq!(got, in_memory, "{bits:?} beyond {budget} bytes");
        }
    }
}

#[test]
fn a_stopped_run_goes_on_with_moments_of_any_kind() {
    for (bits, page_budget) in
        [(Bits::Eight, None), (Bits::Eight, Some(5000)), (Bits::Full, Some(0))]
    {
        let optimizer = AdamW { bits, page_budget, ..adamw() };
        let folder = tempfile::tempdir().unwrap();
        let attempt = Attempt { folder: folder.path().join("key"), every: Duration::ZERO };
        let model_of = |end: Option<End>| {
            let (mut model, mut heard) = (model(&wide(), 4), Heard { end, ..Heard::default() });
            let mut context = Context {
                attempt: Some(attempt.clone()),
                ..Context::new(2, std::env::temp_dir(), &mut heard)
            };
            let settings = settings(optimizer);
            let done = train_in(&mut model, rows(6, 50), 8, &settings, &mut context);
            (digest(&model.weights), done)
        };
        let (_, stopped) = model_of(Some(End::Stop(7)));
        assert!(matches!(stopped, Err(Failure::Interrupted)));
        let (weights, done) = model_of(None);
        done.unwrap();
        assert_eq!(weights, after_20_steps(optimizer, 2, Isa::detect()).0, "{bits:?}");
    }
}

#[test]
fn a_file_that_cannot_be_made_is_told() {
    let optimizer = AdamW { page_budget: Some(0), ..adamw() };
    let (mut model, mut heard) = (model(&wide(), 4), Heard::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut context = Context::new(1, file.path().join("below"), &mut heard);
    let failed = train_in(&mut model, rows(6, 50), 8, &settings(optimizer), &mut context);
    assert!(matches!(failed, Err(Failure::Io { .. })), "{failed:?}");
}
