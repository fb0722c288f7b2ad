//! The conformance cases of adapters: folders that PEFT wrote, the logits and gradients it finds
//! with them, one step of AdamW, and what it merges.

use llamake::train::data::pack::{IGNORE, Row};
use llamake::train::kernels::Threads;
use llamake::train::kernels::gemm::linear;
use llamake::train::model::activations::{Activations, Keep};
use llamake::train::model::parameters::{Role, table};
use llamake::train::model::tensor::Stored;
use llamake::train::model::{Batch, Transformer, peft};
use llamake::train::optim::{AdamW, Bits};
use llamake::train::stage::train_loop::TrainState;

use crate::golden::{Case, Tensors, base, cases};
use crate::train::fixtures::{assert_close, gradients_of, moments};

/// The base of a case under one of its adapters.
fn adapted(case: &Case, t: &Threads, folder: &str) -> Transformer {
    let mut model = base(case);
    model.adapter = Some(peft::read(&case.folder.join(folder), &model.config).unwrap());
    model.settle(t);
    model
}

/// Every position predicts the next.
fn rows(case: &Case) -> Vec<Row> {
    let ids = case.tensors("inputs.safetensors").ids("input_ids");
    let row = |ids: &Vec<i64>| {
        let tokens: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let mut targets = tokens[1..].to_vec();
        targets.push(IGNORE);
        let segments = std::iter::once(0..tokens.len()).collect();
        Row { tokens, targets, segments }
    };
    ids.iter().map(row).collect()
}

fn logits(t: &Threads, model: &Transformer, rows: &[Row]) -> Vec<f32> {
    let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
    let mut a = Activations::for_inference(&model.config, batch.len());
    model.forward(t, &batch, &mut a);
    let (d, v) = (model.config.dim, model.config.vocab);
    let mut logits_tv = vec![0.0; batch.len() * v];
    linear(t, &a.hidden_td, model.weights.head(), &mut logits_tv, [batch.len(), d, v]);
    logits_tv
}

/// Gradients, or weights, of the adapter alone.
fn check_tensors(case: &Case, model: &Transformer, got: Vec<&[f32]>, want: &Tensors, kind: &str) {
    let (atol, rtol) = case.tolerance(kind);
    let mut compared = 0;
    for (spec, got) in model.table().iter().zip(got).filter(|(_, got)| !got.is_empty()) {
        assert_close(&spec.name, got, &want.floats(&spec.name), atol, rtol);
        compared += 1;
    }
    assert_eq!(compared, want.names().len());
}

/// Loss, gradients and their norm at the weights as they are.
fn check_gradients(case: &Case, model: &Transformer, state: &mut TrainState, of: [&str; 3]) -> f64 {
    let [file, loss, norm] = of;
    let report = gradients_of(state, &Threads::new(2), model, &rows(case), 1);
    let (want_loss, want_norm) =
        (case.number(&format!("/expected/{loss}")), case.number(&format!("/expected/{norm}")));
    assert!((report.loss - want_loss).abs() <= case.tolerance("loss").0, "{loss}");
    assert!((report.norm / want_norm - 1.0).abs() < 1e-3, "{norm}");
    check_tensors(case, model, state.gradients.tensors(), &case.tensors(file), "grads");
    report.norm
}

#[test]
fn golden_lora() {
    for case in cases("lora") {
        check_logits(&case);
        check_first_step(&case);
        check_merged(&case);
    }
}

fn check_logits(case: &Case) {
    let (t, rows, expected) = (Threads::new(2), rows(case), case.tensors("expected.safetensors"));
    let (atol, rtol) = case.tolerance("logits");
    let plain = logits(&t, &base(case), &rows);
    assert_close("base", &plain, &expected.floats("logits_base"), atol, rtol);
    for (folder, name, scale) in [
        ("adapter", "logits_adapter", "/expected/scale"),
        ("adapter_rslora", "logits_rslora", "/expected/rslora_scale"),
    ] {
        let model = adapted(case, &t, folder);
        let found = f64::from(model.adapter.as_ref().unwrap().settings.scale());
        assert!((found / case.number(scale) - 1.0).abs() < 1e-6, "{scale}");
        assert_close(name, &logits(&t, &model, &rows), &expected.floats(name), atol, rtol);
    }
    let begins = adapted(case, &t, "adapter_init");
    assert_eq!(logits(&t, &begins, &rows), plain, "B = 0 changes no bit");
}

fn check_first_step(case: &Case) {
    let (t, mut model) = (Threads::new(2), adapted(case, &Threads::new(1), "adapter_init"));
    let adamw = |path: &str| case.number(&format!("/config/adamw/{path}"));
    let settings = AdamW {
        beta1: adamw("betas/0"),
        beta2: adamw("betas/1"),
        eps: adamw("eps"),
        weight_decay: adamw("weight_decay"),
        bits: Bits::Full,
        page_budget: None,
    };
    let mut state = TrainState::new(&model, moments(&model, settings), 64, Keep::Activations);
    assert_eq!(state.gradients.count() as f64, case.number("/expected/trainable"));
    let of = ["grads_step1.safetensors", "loss_init", "grad_norm_init"];
    check_gradients(case, &model, &mut state, of);
    for (spec, gradient) in model.table().iter().zip(state.gradients.tensors()) {
        assert!(spec.role != Role::Narrowing || gradient.iter().all(|x| *x == 0.0));
    }
    state.optimizer.step(&t, &mut model, &state.gradients, adamw("lr"), 1.0);
    let after = case.tensors("params_after_step1.safetensors");
    let got: Vec<Vec<f32>> = model.trainable_mut().into_iter().map(|x| x.to_vec()).collect();
    let got = got.iter().map(Vec::as_slice).collect();
    check_tensors(case, &model, got, &after, "params_after_step1");
    let of = ["grads_step2.safetensors", "loss_after_step1", "grad_norm_step2"];
    check_gradients(case, &model, &mut state, of);
    let model = adapted(case, &t, "adapter");
    let of = ["grads_adapter.safetensors", "loss_adapter", "grad_norm_adapter"];
    check_gradients(case, &model, &mut state, of);
}

fn check_merged(case: &Case) {
    let (t, want) = (Threads::new(2), case.tensors("merged.safetensors"));
    let Transformer { config, weights, adapter, .. } = adapted(case, &t, "adapter");
    let mut weights = weights.map(Stored::into_floats);
    adapter.unwrap().merge(&t, &config, &mut weights);
    let (atol, rtol) = case.tolerance("merged");
    let mut compared = 0;
    for (spec, got) in table(&config).iter().zip(weights.tensors()) {
        if want.0.contains_key(&spec.name) {
            assert_close(&spec.name, got, &want.floats(&spec.name), atol, rtol);
            compared += 1;
        }
    }
    assert_eq!(compared, want.names().len());
}
