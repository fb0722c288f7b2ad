//! Adapters: gradients against differences, bits against how a run is cut, merged against worn, and
//! folders against what they must be.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::{Isa, Threads};
use llamake::train::model::activations::{Activations, Keep};
use llamake::train::model::encoding::Encoding;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::quantized::{Form, quantised};
use llamake::train::model::sample::{GenerateOptions, generate};
use llamake::train::model::tensor::Stored;
use llamake::train::model::{Batch, Transformer, peft};
use llamake::train::progress::{Attempt, Context, Failure};
use llamake::train::stage::train_loop::{Draws, TrainState};
use serde_json::{Value, json};

use super::fixtures::{
    End, Heard, adamw, config, digest, gradients_of, message, model, moments, rows, train_in,
    training,
};

fn settings(dora: bool, dropout: f64) -> LoraSettings {
    let targets = Which::ALL.to_vec();
    LoraSettings { rank: 3, alpha: 5.0, dropout, targets, rslora: false, dora }
}

/// A decoder under an adapter that has learnt nothing.
fn begun(settings: &LoraSettings) -> Transformer {
    let mut model = model(&config(), 4);
    let adapter = Adapter::untrained(&Threads::new(1), &config(), &model.weights, settings, 9);
    model.adapter = Some(adapter);
    model
}

/// The same, where every number is far from where it began.
fn lively(settings: &LoraSettings) -> Transformer {
    let mut model = begun(settings);
    let mut walk = Stream::new(5, "adapter").walk();
    for tensor in model.trainable_mut() {
        tensor.iter_mut().for_each(|x| *x += 0.004 * (walk.below(100) as f32 - 50.0));
    }
    model.settle(&Threads::new(1));
    model
}

fn adapter_digest(model: &Transformer) -> String {
    let mut hasher = blake3::Hasher::new();
    for tensor in model.adapter.as_ref().unwrap().tensors() {
        tensor.iter().for_each(|x| _ = hasher.update(&x.to_le_bytes()));
    }
    hasher.finalize().to_hex().to_string()
}

/// Along its own gradient the loss rises as the gradient says; the norms of DoRA are held, as on
/// the way back.
#[test]
fn gradients_are_those_of_differences() {
    for (dora, dropout) in [(false, 0.0), (false, 0.3), (true, 0.0), (true, 0.3)] {
        let (t, rows) = (Threads::new(2), rows(3, 50));
        let mut model = lively(&settings(dora, dropout));
        let mut state = TrainState::new(&model, moments(&model, adamw()), 64, Keep::Activations);
        state.draws = Draws { seed: 2, step: 7 };
        gradients_of(&mut state, &t, &model, &rows, 3);
        let gradients: Vec<Vec<f32>> =
            state.gradients.tensors().iter().map(|x| x.to_vec()).collect();
        let table = model.table();
        let mut compared = 0;
        for (at, gradient) in gradients.iter().enumerate().filter(|(_, of)| !of.is_empty()) {
            let norm = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let mut loss_at = |along: f64| {
                let before = model.trainable_mut()[at].to_vec();
                for (x, slope) in model.trainable_mut()[at].iter_mut().zip(gradient) {
                    *x += (along * f64::from(*slope) / norm) as f32;
                }
                let loss = gradients_of(&mut state, &t, &model, &rows, 8).loss;
                model.trainable_mut()[at].copy_from_slice(&before);
                loss
            };
            let h = 5e-3;
            let slope = (loss_at(h) - loss_at(-h)) / (2.0 * h);
            let name = &table[at].name;
            assert!((slope / norm - 1.0).abs() < 0.02, "{name}: {slope}, gradient {norm}");
            compared += 1;
        }
        assert_eq!(compared, 2 * 7 * if dora { 3 } else { 2 });
    }
}

fn after_12_steps(
    settings: &LoraSettings,
    [micro_batch, threads]: [usize; 2],
    keep: Keep,
    isa: Isa,
) -> String {
    let (mut model, mut heard) = (begun(settings), Heard::default());
    let base = digest(&model.weights);
    let mut training = training(12, micro_batch);
    training.keep = keep;
    let mut context = Context { isa, ..Context::new(threads, std::env::temp_dir(), &mut heard) };
    train_in(&mut model, rows(6, 50), 8, &training, &mut context).unwrap();
    assert_eq!(digest(&model.weights), base, "the base is not trained");
    assert!(heard.losses[11] < heard.losses[0], "{:?}", heard.losses);
    adapter_digest(&model)
}

#[test]
fn nothing_but_rows_and_settings_changes_a_bit() {
    for settings in [settings(false, 0.2), settings(true, 0.2)] {
        let whole = after_12_steps(&settings, [8, 1], Keep::Activations, Isa::Portable);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for (cut, keep) in [
                ([8, 2], Keep::Residuals),
                ([3, 3], Keep::Activations),
                ([1, 1], Keep::Residuals),
                ([100, 2], Keep::Activations),
            ] {
                let got = after_12_steps(&settings, cut, keep, isa);
                assert_eq!(got, whole, "{isa:?} {cut:?} {keep:?}, dora {}", settings.dora);
            }
        }
    }
}

#[test]
fn a_stopped_or_killed_run_ends_with_the_bits_of_one_never_stopped() {
    let settings = settings(true, 0.2);
    let never = after_12_steps(&settings, [8, 1], Keep::Activations, Isa::Portable);
    let folder = tempfile::tempdir().unwrap();
    let attempt = Attempt { folder: folder.path().into(), every: Duration::ZERO };
    for end in [Some(End::Stop(5)), Some(End::Kill(3)), None] {
        let mut model = begun(&settings);
        let mut heard = Heard { end, ..Heard::default() };
        let attempt = Some(attempt.clone());
        let mut context = Context { attempt, ..Context::new(2, std::env::temp_dir(), &mut heard) };
        let done = catch_unwind(AssertUnwindSafe(|| {
            train_in(&mut model, rows(6, 50), 8, &training(12, 8), &mut context)
        }));
        match (end, done) {
            (Some(End::Stop(_)), Ok(Err(Failure::Interrupted))) | (Some(End::Kill(_)), Err(_)) => {}
            (None, Ok(Ok(_))) => assert_eq!(adapter_digest(&model), never),
            (end, done) => panic!("{end:?} gave {done:?}"),
        }
    }
}

#[test]
fn a_matrix_that_learns_nothing_is_named() {
    let (mut model, mut heard) = (begun(&settings(false, 0.0)), Heard::default());
    let mut context = Context::new(1, std::env::temp_dir(), &mut heard);
    let training = llamake::train::stage::Training { lr: 0.0, ..training(2, 8) };
    let told = message(train_in(&mut model, rows(6, 50), 8, &training, &mut context));
    let named = "`base_model.model.model.layers.1.mlp.down_proj.lora_B.weight` are still zero";
    assert!(told.starts_with("after the last step `base_model") && told.ends_with(named), "{told}");
}

#[test]
fn what_is_merged_says_what_was_worn() {
    let t = Threads::new(2);
    for settings in [
        settings(false, 0.5),
        settings(true, 0.0),
        LoraSettings {
            rslora: true,
            targets: vec![Which::Key, Which::Down],
            ..settings(true, 0.0)
        },
    ] {
        for base in [None, Some(false), Some(true)] {
            let worn = match base {
                None => lively(&settings),
                Some(double) => over_nf4(lively(&settings), double),
            };
            let mut weights = worn.weights.clone().map(Stored::into_floats);
            worn.adapter.as_ref().unwrap().merge(&t, &config(), &mut weights);
            assert_says_the_same(&t, &worn, &Transformer::new(config(), weights, 32));
        }
    }
}

/// The same adapter over the same base in NF4.
fn over_nf4(mut model: Transformer, double: bool) -> Transformer {
    let t = Threads::new(2);
    let form = Form { encoding: Encoding::F32, double };
    model.weights = quantised(&t, &config(), &model.weights, form).unwrap();
    model.settle(&t);
    model
}

/// Log-probs within 1e-4, and every greedy answer the same.
fn assert_says_the_same(t: &Threads, worn: &Transformer, merged: &Transformer) {
    let log_probs = |model: &Transformer| {
        let rows = rows(3, 50);
        let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
        let mut a = Activations::for_inference(&config(), 0);
        model.forward(t, &batch, &mut a);
        model.losses(t, &batch, &mut a);
        a.nll_t
    };
    for (worn, merged) in log_probs(worn).iter().zip(log_probs(merged)) {
        assert!((worn - merged).abs() < 1e-4, "{worn} {merged}");
    }
    let prompts: Vec<Vec<u32>> = (0..20).map(|at| vec![at, 49 - at]).collect();
    let sampling = llamake::eval::examinee::tempered(0.0);
    let options = GenerateOptions { samples: 1, max_answer: 20, sampling, seed: 1, eos: 2 };
    let answers = |model: &Transformer| -> Vec<Vec<u32>> {
        let mut heard = Heard::default();
        let made = generate(t, model, &prompts, &options, &mut heard).unwrap();
        made.into_iter().map(|made| made.tokens).collect()
    };
    assert_eq!(answers(worn), answers(merged));
}

#[test]
fn a_folder_holds_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    for settings in [settings(false, 0.1), settings(true, 0.0)] {
        let model = lively(&settings);
        let adapter = model.adapter.as_ref().unwrap();
        peft::write(folder.path(), &config(), adapter).unwrap();
        let mut read = peft::read(folder.path(), &config()).unwrap();
        read.settle(&Threads::new(1), &config(), &model.weights);
        assert_eq!(&read, adapter);
    }
}

/// What is said of a folder whose configuration was changed.
fn changed(folder: &Path, name: &str, value: Value) -> String {
    let path = folder.join(peft::CONFIG);
    let whole = std::fs::read_to_string(&path).unwrap();
    let mut config_file: Value = serde_json::from_str(&whole).unwrap();
    config_file[name] = value;
    std::fs::write(&path, config_file.to_string()).unwrap();
    let told = message(peft::read(folder, &config()));
    std::fs::write(&path, whole).unwrap();
    told.replace(&folder.display().to_string(), "")
}

#[test]
fn a_folder_that_asks_for_more_or_lies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = lively(&settings(false, 0.0));
    peft::write(folder.path(), &config(), model.adapter.as_ref().unwrap()).unwrap();
    let told = |name: &str, value: Value| changed(folder.path(), name, value);
    for (name, value, fact) in [
        ("peft_type", json!("IA3"), "`peft_type` is \"IA3\", and only LORA is read"),
        ("bias", json!("all"), "`bias` is \"all\", which is not supported"),
        ("rank_pattern", json!({"q_proj": 2}), "`rank_pattern` is {\"q_proj\":2}, which is not"),
        ("modules_to_save", json!(["lm_head"]), "`modules_to_save` is [\"lm_head\"], which"),
        (
            "init_lora_weights",
            json!("pissa_niter_4"),
            "is \"pissa_niter_4\", which changed the base",
        ),
        ("init_lora_weights", json!("olora"), "is \"olora\", which changed the base as well"),
        ("use_qalora", json!(true), "`use_qalora` is true, which is not supported"),
        ("target_modules", json!(["lm_head"]), "names `lm_head`, which no block has"),
        ("target_modules", json!([]), "`target_modules` is empty"),
        ("target_modules", json!(".*proj"), "`target_modules` is no list of names"),
        ("target_modules", json!(["q_proj"]), "belongs to no part of this adapter"),
        ("use_dora", json!(true), "lora_magnitude_vector` is missing"),
        ("r", json!(0), "rank 0 with alpha 5 is no adapter"),
        ("r", json!(usize::MAX), "has shape [3, 24], expected [18446744073709551615, 24]"),
        ("lora_alpha", json!(-1.0), "rank 3 with alpha -1 is no adapter"),
        ("lora_dropout", json!(1.0), "`lora_dropout` is 1, outside 0..1"),
    ] {
        let told = told(name, value);
        assert!(told.contains(fact), "{name}: {told}");
    }
    for plain in [json!(true), json!(null), json!("gaussian"), json!("orthogonal")] {
        let path = folder.path().join(peft::CONFIG);
        let mut config_file: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config_file["init_lora_weights"] = plain;
        std::fs::write(&path, config_file.to_string()).unwrap();
        assert_eq!(peft::read(folder.path(), &config()).unwrap(), *model.adapter.as_ref().unwrap());
    }
    let path = folder.path().join(peft::WEIGHTS);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 8, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let told = message(peft::read(folder.path(), &config()));
        assert!(told.contains("no whole safetensors file"), "{length}: {told}");
    }
}
