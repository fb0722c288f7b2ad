//! The project's conformance cases: numbers that the reference Python stack gave. One test a kind,
//! each over every folder of its kind under `LLAMAKE_GOLDEN` (default `../shared/golden`),
//! whatever its shapes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use llamake::train::data::pack::{IGNORE, Row};
use llamake::train::kernels::adamw::{AdamW as Step, Moments};
use llamake::train::kernels::gemm::linear;
use llamake::train::kernels::rope::inverse_frequencies;
use llamake::train::kernels::sample::{Sampling, distribution};
use llamake::train::kernels::{Threads, adamw::clip_factor};
use llamake::train::model::activations::{Activations, Keep};
use llamake::train::model::parameters::table;
use llamake::train::model::sample::{GenerateOptions, generate};
use llamake::train::model::{
    Batch, ModelConfig, Parameters, SpecialTokens, Transformer, folder, weights,
};
use llamake::train::optim::moments::Moment;
use llamake::train::optim::{AdamW, AdamWState, Bits, Schedule, WarmUp};
use llamake::train::stage::train_loop::TrainState;
use serde_json::Value;

use crate::train::fixtures::{Heard, assert_close, gradients_of, moments};

/// Kinds with a test here or in `golden_align`, `golden_export`, `golden_lora`, `golden_metrics` or
/// `golden_nf4`.
const COVERED: [&str; 14] = [
    "tokenizer",
    "llama",
    "llama_rope3_tied",
    "train_step",
    "sft_mask",
    "generate",
    "export",
    "reward",
    "ppo",
    "dpo",
    "grpo",
    "lora",
    "nf4",
    "metrics",
];

/// One folder of the fixtures.
pub struct Case {
    pub folder: PathBuf,
    pub json: Value,
}

impl Case {
    pub fn name(&self) -> &str {
        self.json["name"].as_str().unwrap()
    }

    pub fn tensors(&self, file: &str) -> Tensors {
        let path = self.folder.join(file);
        Tensors(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    /// A tolerance of the case: absolute, relative.
    pub fn tolerance(&self, path: &str) -> (f64, f64) {
        let tolerance = self.json.pointer(&format!("/tolerance/{path}")).unwrap();
        let part = |name: &str| tolerance[name].as_f64().unwrap_or(0.0);
        (part("atol"), part("rtol"))
    }

    pub fn number(&self, path: &str) -> f64 {
        let number = self.json.pointer(path).and_then(Value::as_f64);
        number.unwrap_or_else(|| panic!("{}: no number at {path}", self.name()))
    }
}

pub struct Tensors(pub HashMap<String, Tensor>);

impl Tensors {
    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.0[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The last dimension is a row; leading dimensions are flattened.
    pub fn ids(&self, name: &str) -> Vec<Vec<i64>> {
        let tensor = &self.0[name];
        let width = *tensor.dims().last().unwrap();
        let flat: Vec<i64> =
            tensor.to_dtype(DType::I64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        flat.chunks(width).map(<[i64]>::to_vec).collect()
    }

    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        names.sort();
        names
    }
}

/// The folders of one kind, of every folder of fixtures: `LLAMAKE_GOLDEN` may list several, parted
/// by colons. Without fixtures a test passes and says so; under CI it fails.
pub fn cases(kind: &str) -> Vec<Case> {
    let roots = std::env::var_os("LLAMAKE_GOLDEN").unwrap_or("../shared/golden".into());
    let mut found = Vec::new();
    for root in std::env::split_paths(&roots) {
        if !root.is_dir() {
            assert!(std::env::var_os("CI").is_none(), "no fixtures at {}", root.display());
            println!("not checked: there are no fixtures at {}", root.display());
            continue;
        }
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        let files = folders.into_iter().filter(|folder| folder.join("case.json").is_file());
        let read = |folder: PathBuf| {
            let text = std::fs::read_to_string(folder.join("case.json")).unwrap();
            Case { folder, json: serde_json::from_str(&text).unwrap() }
        };
        let before = found.len();
        found.extend(files.map(read).filter(|case| kind_of(case.name()) == kind));
        let nothing = found.len() == before;
        assert!(!nothing, "no case of {kind} in {}", root.display());
    }
    found
}

/// The longest known kind that a case's name is, or begins with before a `_`.
fn kind_of(name: &str) -> &'static str {
    let fits = |kind: &&str| {
        name.strip_prefix(*kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    let kind = COVERED.into_iter().filter(fits).max_by_key(|kind| kind.len());
    kind.unwrap_or_else(|| panic!("`{name}` is of no known kind"))
}

fn model_at(folder: &Path, config_file: &str) -> Transformer {
    let path = folder.join(config_file);
    let text = std::fs::read_to_string(&path).unwrap();
    let (config, _) = ModelConfig::from_json(&text, &path).unwrap();
    let weights = weights::load(folder, &config).unwrap();
    let positions = config.context;
    Transformer::new(config, weights, positions)
}

/// The model that most cases start from.
pub fn base(case: &Case) -> Transformer {
    model_at(&case.folder.join("../llama/model"), "config.json")
}

/// Rows that predict every next token.
pub fn rows_of(ids: &[Vec<i64>]) -> Vec<Row> {
    ids.iter().map(|ids| labelled(ids, ids)).collect()
}

/// Hugging Face's labels name the token itself; a target is the next one. -100 is not learnt.
pub fn labelled(ids: &[i64], labels: &[i64]) -> Row {
    let target = |label: &i64| u32::try_from(*label).unwrap_or(IGNORE);
    let mut targets: Vec<u32> = labels[1..].iter().map(target).collect();
    targets.push(IGNORE);
    let segment = 0..ids.len();
    Row { tokens: ids.iter().map(|id| *id as u32).collect(), targets, segments: vec![segment] }
}

#[test]
fn golden_llama() {
    for case in cases("llama") {
        check_model(&case);
    }
}

/// Both forms of the configuration, the number of parameters, and what is computed; what is written
/// is read back alike.
fn check_model(case: &Case) {
    let folder = case.folder.join("model");
    for config_file in ["config.json", "config_legacy.json"] {
        let model = model_at(&folder, config_file);
        check_llama(case, &model);
        check_against_candle(case, &folder, &model);
        let (text, path) = (model.config.to_json(SpecialTokens { bos: 1, eos: 2 }), &folder);
        assert_eq!(ModelConfig::from_json(&text, path).unwrap().0, model.config);
    }
    let read = folder::read(&folder).unwrap();
    let parameters: usize = table(&read.config).iter().map(|spec| spec.len()).sum();
    assert_eq!(parameters as f64, case.number("/expected/params"));
}

/// The logits of the last position, beside candle-transformers' Llama on the same file.
fn check_against_candle(case: &Case, folder: &Path, model: &Transformer) {
    let t = Threads::new(1);
    let text = std::fs::read_to_string(folder.join("config_legacy.json")).unwrap();
    let config: LlamaConfig = serde_json::from_str(&text).unwrap();
    let config = config.into_config(false);
    let tensors =
        candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let builder = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let theirs = Llama::load(builder, &config).unwrap();
    let (atol, rtol) = case.tolerance("f32/logits");
    for ids in case.tensors("inputs.safetensors").ids("input_ids") {
        let batch = Batch::of(&[&labelled(&ids, &ids)]);
        let mut a = Activations::for_inference(&model.config, batch.len());
        model.forward(&t, &batch, &mut a);
        let (d, v) = (model.config.dim, model.config.vocab);
        let mut logits_v = vec![0.0; v];
        let last_d = &a.hidden_td[(batch.len() - 1) * d..];
        linear(&t, last_d, model.weights.head(), &mut logits_v, [1, d, v]);
        let ids = Tensor::new(batch.tokens.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
        let want = theirs.forward(&ids, 0, &mut cache).unwrap();
        let want: Vec<f32> = want.flatten_all().unwrap().to_vec1().unwrap();
        assert_close("logits beside candle's", &logits_v, &want, atol, rtol);
    }
}

fn check_llama(case: &Case, model: &Transformer) {
    let (t, expected) = (Threads::new(2), case.tensors("expected.safetensors"));
    let rows = rows_of(&case.tensors("inputs.safetensors").ids("input_ids"));
    let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
    let mut a = Activations::for_training(&model.config, batch.len(), Keep::Activations);
    model.forward(&t, &batch, &mut a);
    let (atol, rtol) = case.tolerance("f32/logits");
    let layers = model.config.layers;
    for (layer, residual_td) in a.residual_td[..layers].iter().enumerate() {
        let name = format!("hidden_{layer}");
        assert_close(&name, residual_td, &expected.floats(&name), atol, rtol);
    }
    let last = format!("hidden_{layers}");
    assert_close(&last, &a.hidden_td, &expected.floats(&last), atol, rtol);
    let (d, v) = (model.config.dim, model.config.vocab);
    let mut logits_tv = vec![0.0; batch.len() * v];
    linear(&t, &a.hidden_td, model.weights.head(), &mut logits_tv, [batch.len(), d, v]);
    assert_close("logits", &logits_tv, &expected.floats("logits"), atol, rtol);

    model.losses(&t, &batch, &mut a);
    let scored = a.nll_t.iter().zip(&batch.targets).filter(|(_, target)| **target != IGNORE);
    let nll: Vec<f32> = scored.map(|(nll, _)| *nll).collect();
    assert_close("nll", &nll, &expected.floats("nll"), case.tolerance("f32/nll").0, 0.0);
    let loss = nll.iter().map(|nll| f64::from(*nll)).sum::<f64>() / nll.len() as f64;
    let wrong = (loss - case.number("/expected/loss")).abs();
    assert!(wrong <= case.tolerance("f32/loss").0, "loss {loss}");
    let perplexity = loss.exp() / case.number("/expected/perplexity");
    assert!((perplexity - 1.0).abs() <= case.tolerance("f32/perplexity").1);
}

/// Scaled rotary positions and a head that is the embedding.
#[test]
fn golden_llama_rope3_tied() {
    for case in cases("llama_rope3_tied") {
        check_model(&case);
        let model = model_at(&case.folder.join("model"), "config.json");
        assert!(model.config.tied && model.config.rope_scaling.is_some());
        let (atol, rtol) = case.tolerance("f32/cos_sin");
        let want = case.tensors("expected.safetensors").floats("inv_freq");
        let ModelConfig { rope, rope_scaling, .. } = model.config;
        let got = inverse_frequencies(model.config.head_dim(), rope, rope_scaling);
        assert_close("inv_freq", &got, &want, atol, rtol);
    }
}

const SETTINGS: [&str; 5] = ["betas/0", "betas/1", "eps", "weight_decay", "clip"];

#[test]
fn golden_train_step() {
    for case in cases("train_step") {
        check_schedule(&case);
        check_first_gradients(&case);
        check_run(&case, true);
        check_run(&case, false);
        check_accumulation(&case);
    }
}

/// Hugging Face's step s has our rate of step s − 1: its warm-up starts at zero.
fn check_schedule(case: &Case) {
    for (name, last) in [("lr_cosine_min10", 0.1), ("lr_cosine_to_zero", 0.0)] {
        let rates = case.json["expected"][name].as_array().unwrap();
        let schedule = Schedule::Cosine { warmup: WarmUp::Steps(2), last };
        for (step, want) in rates.iter().take(11).enumerate() {
            let (got, want) = (schedule.rate(1.0, step as u64, 10), want.as_f64().unwrap());
            assert!((got - want).abs() <= 1e-6 * want + 1e-12, "{name} {step}: {got}, {want}");
        }
    }
}

fn settings(case: &Case) -> (AdamW, f64) {
    let [beta1, beta2, eps, weight_decay, clip] =
        SETTINGS.map(|name| case.number(&format!("/config/optimizer/{name}")));
    (AdamW { beta1, beta2, eps, weight_decay, bits: Bits::Full, page_budget: None }, clip)
}

/// The rows of one step of the case.
fn rows_at(case: &Case, step: usize) -> Vec<Row> {
    let inputs = case.tensors("inputs.safetensors");
    let batch = case.number("/config/batch/0") as usize;
    let (ids, labels) = (inputs.ids("input_ids"), inputs.ids("labels"));
    let rows = step * batch..(step + 1) * batch;
    ids[rows.clone()].iter().zip(&labels[rows]).map(|(ids, labels)| labelled(ids, labels)).collect()
}

pub fn gradients_close(
    case: &Case,
    config: &ModelConfig,
    got: &Parameters,
    want: &Tensors,
    of: &str,
) {
    let (atol, rtol) = case.tolerance("grads");
    let mut compared = 0;
    for (spec, got) in table(config).iter().zip(got.tensors()) {
        let name = format!("{of}{}", spec.name);
        if want.0.contains_key(&name) {
            assert_close(&name, got, &want.floats(&name), atol, rtol);
            compared += 1;
        }
    }
    assert_eq!(compared, want.names().iter().filter(|name| name.starts_with(of)).count());
}

fn check_first_gradients(case: &Case) {
    let (t, model) = (Threads::new(2), base(case));
    let optimizer = moments(&model, settings(case).0);
    let mut state = TrainState::new(&model, optimizer, 64, Keep::Activations);
    let rows = rows_at(case, 0);
    let report = gradients_of(&mut state, &t, &model, &rows, 3);
    gradients_close(
        case,
        &model.config,
        &state.gradients.weights,
        &case.tensors("grads_step1.safetensors"),
        "",
    );
    let factor = clip_factor(report.norm, settings(case).1);
    assert!((factor / case.number("/expected/clip_coef_step1") - 1.0).abs() < 1e-4);
}

/// Six steps, with norm weights decayed (`all`) or not, as our optimizer does.
fn check_run(case: &Case, all: bool) {
    let (t, mut model) = (Threads::new(2), base(case));
    let (optimizer, clip) = settings(case);
    let kept = moments(&model, optimizer);
    let mut state = TrainState::new(&model, kept, 256, Keep::Activations);
    let log = if all { "log_decay_all" } else { "log_hf_decay_groups" };
    for (step, want) in case.json["expected"][log].as_array().unwrap().iter().enumerate() {
        let rows = rows_at(case, step);
        let report = gradients_of(&mut state, &t, &model, &rows, 2);
        let early = step < 3;
        let loss_atol = if early { case.tolerance("loss").0 } else { 1e-4 };
        let wrong = (report.loss - want["loss"].as_f64().unwrap()).abs();
        assert!(wrong <= loss_atol, "{log} step {}: loss {}", step + 1, report.loss);
        let norm = report.norm / want["grad_norm"].as_f64().unwrap();
        assert!((norm - 1.0).abs() <= if early { 1e-4 } else { 1e-3 }, "{log}: norm {norm}");
        let (lr, scale) = (want["lr"].as_f64().unwrap(), clip_factor(report.norm, clip) as f32);
        match all {
            true => step_decaying_all(&t, &mut state, &mut model, optimizer, lr, scale, step),
            false => state.optimizer.step(&t, &mut model, &state.gradients, lr, scale),
        }
        if step == 2 {
            check_after_three(case, &model, &mut state, all);
        }
    }
}

fn step_decaying_all(
    t: &Threads,
    state: &mut TrainState,
    model: &mut Transformer,
    AdamW { beta1, beta2, eps, weight_decay, .. }: AdamW,
    lr: f64,
    gradient_scale: f32,
    step: usize,
) {
    let power = |beta: f64| beta.powi(step as i32 + 1);
    let (beta1_power, beta2_power) = (power(beta1), power(beta2));
    let step =
        Step { lr, beta1, beta2, eps, weight_decay, beta1_power, beta2_power, gradient_scale };
    let AdamWState { first, second, .. } = &mut state.optimizer;
    let moments = first.iter_mut().map(Moment::words_mut);
    let moments = moments.zip(second.iter_mut().map(Moment::words_mut));
    let pairs = model.weights.tensors_mut().into_iter().zip(state.gradients.tensors());
    for ((weight, gradient), (first, second)) in pairs.zip(moments) {
        step.step(t, weight, gradient, Moments { first, second });
    }
}

fn check_after_three(case: &Case, model: &Transformer, state: &mut TrainState, all: bool) {
    let file = match all {
        true => "params_after3.safetensors",
        false => "params_after3_hf_decay_groups.safetensors",
    };
    let compare = |want: &Tensors, of: &str, got: Vec<&[f32]>, tolerance: &str| {
        let (atol, rtol) = case.tolerance(tolerance);
        for (spec, got) in table(&model.config).iter().zip(got) {
            let name = format!("{of}{}", spec.name);
            if want.0.contains_key(&name) {
                assert_close(&name, got, &want.floats(&name), atol, rtol);
            }
        }
    };
    compare(&case.tensors(file), "", model.weights.tensors(), "params_after3");
    if all {
        let moments = case.tensors("moments_after3.safetensors");
        for (name, kept) in
            [("exp_avg.", &mut state.optimizer.first), ("exp_avg_sq.", &mut state.optimizer.second)]
        {
            let kept = kept.iter_mut().map(|moment| &*moment.words_mut()).collect();
            compare(&moments, name, kept, "moments_after3");
        }
    }
}

/// Parts with unequal numbers of targets give the loss and gradients of the whole.
fn check_accumulation(case: &Case) {
    let (t, model) = (Threads::new(2), base(case));
    let want = case.tensors("accumulation.safetensors");
    let labels = want.ids("labels");
    let ids = case.tensors("inputs.safetensors").ids("input_ids");
    let rows: Vec<Row> =
        ids.iter().zip(&labels).map(|(ids, labels)| labelled(ids, labels)).collect();
    let optimizer = moments(&model, settings(case).0);
    let mut state = TrainState::new(&model, optimizer, 256, Keep::Activations);
    let report = gradients_of(&mut state, &t, &model, &rows, 1);
    let (loss, norm) = ("/expected/accumulation/loss", "/expected/accumulation/grad_norm");
    assert!((report.loss - case.number(loss)).abs() <= case.tolerance("loss").0);
    assert!((report.norm / case.number(norm) - 1.0).abs() <= case.tolerance("grad_norm").1);
    gradients_close(case, &model.config, &state.gradients.weights, &want, "grad.");
}

/// Losses of packed rows: each dialogue sees itself alone.
#[test]
fn golden_sft_mask() {
    for case in cases("sft_mask") {
        let (t, model) = (Threads::new(2), base(&case));
        let mut rows = Vec::new();
        let mut want = Vec::new();
        for bin in 0..case.json["expected"]["packed_bins"].as_array().unwrap().len() {
            let packed = case.tensors(&format!("packed_{bin}.safetensors"));
            let mut row = labelled(&packed.ids("input_ids")[0], &packed.ids("labels")[0]);
            let ends = &packed.ids("cu_seq_lens")[0];
            row.segments = ends.windows(2).map(|at| at[0] as usize..at[1] as usize).collect();
            rows.push(row);
            want.push(packed.floats("nll"));
        }
        let batch = Batch::of(&rows.iter().collect::<Vec<_>>());
        let mut a = Activations::for_inference(&model.config, batch.len());
        model.forward(&t, &batch, &mut a);
        model.losses(&t, &batch, &mut a);
        let atol = case.tolerance("nll").0;
        for ((row, want), of) in batch.rows.iter().zip(&want).zip(&rows) {
            let learnt: Vec<bool> = of.targets.iter().map(|target| *target != IGNORE).collect();
            let keep = |nll: &[f32]| -> Vec<f32> {
                nll.iter().zip(&learnt).filter(|(_, learnt)| **learnt).map(|(x, _)| *x).collect()
            };
            assert_close("nll", &keep(&a.nll_t[row.clone()]), &keep(want), atol, 0.0);
        }
    }
}

/// Greedy continuations of a batch of unequal prompts, with and without an ending token.
#[test]
fn golden_generate() {
    for case in cases("generate") {
        let (t, model) = (Threads::new(2), base(&case));
        let inputs = case.tensors("inputs.safetensors");
        let prompts: Vec<Vec<u32>> = inputs
            .ids("input_ids")
            .iter()
            .zip(inputs.ids("attention_mask"))
            .map(|(ids, mask)| {
                let real = ids.iter().zip(mask).filter(|(_, seen)| *seen == 1);
                real.map(|(id, _)| *id as u32).collect()
            })
            .collect();
        let expected = case.tensors("expected.safetensors");
        let eos = case.number("/expected/eos_id_used") as u32;
        for (name, eos) in [("tokens_no_eos", u32::MAX), ("tokens_with_eos", eos)] {
            let options = GenerateOptions {
                samples: 1,
                max_answer: case.number("/config/max_new_tokens") as usize,
                sampling: Sampling { temperature: 0.0, top_k: None, top_p: 1.0 },
                seed: 0,
                eos,
            };
            let made = generate(&t, &model, &prompts, &options, &mut Heard::default()).unwrap();
            for (made, want) in made.iter().zip(expected.ids(name)) {
                let want = want.iter().map(|id| *id as u32);
                let want: Vec<u32> = want.take_while(|id| *id != eos).collect();
                assert_eq!(made.tokens, want, "{name}");
            }
        }
        check_processors(&case);
    }
}

/// Temperature, top-k and top-p, alone and together, as transformers processes scores.
fn check_processors(case: &Case) {
    let tensors = case.tensors("processors.safetensors");
    let (scores, vocab) = (tensors.floats("scores"), *tensors.0["scores"].dims().last().unwrap());
    for name in tensors.names() {
        let Some(name) = name.strip_prefix("probs.") else { continue };
        let Some(sampling) = sampling_of(name) else {
            println!("not covered: {name}");
            continue;
        };
        let want = tensors.floats(&format!("probs.{name}"));
        let kept = case.json["expected"]["kept_tokens"][name].as_array().unwrap();
        for ((scores, want), kept) in scores.chunks(vocab).zip(want.chunks(vocab)).zip(kept) {
            let drawn = distribution(scores, sampling);
            assert_eq!(drawn.len() as u64, kept.as_u64().unwrap(), "{name}");
            let mut got = vec![0.0; vocab];
            drawn.iter().for_each(|&(token, p)| got[token as usize] = p);
            assert_close(name, &got, want, case.tolerance("probs").0, 0.0);
        }
    }
}

/// `t0_6_k40_p0_9` and its like; none where something else is asked for.
fn sampling_of(name: &str) -> Option<Sampling> {
    let short = name.replace("temperature_", "t").replace("top_k_", "k").replace("top_p_", "p");
    let mut sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0 };
    let mut parts = short.split('_').peekable();
    while let Some(part) = parts.next() {
        let (letter, digits) = part.split_at(1);
        let fraction = parts.next_if(|next| next.bytes().all(|byte| byte.is_ascii_digit()));
        let number = format!("{digits}.{}", fraction.unwrap_or("0")).parse().ok()?;
        match letter {
            "t" => sampling.temperature = number,
            "k" => sampling.top_k = Some(number as usize),
            "p" => sampling.top_p = number,
            _ => return None,
        }
    }
    Some(sampling)
}
