//! A training step on the first GPUs, of the shapes and tasks of the usual comparisons:
//!
//! `cargo bench --features cuda --bench device_step -- TASK SIZE SEQ BATCH STEPS [exact]
//! [checkpointing] [gpus=N]` prints one line; BATCH is of each GPU. TASK is `full`, `lora` or `qlora`, rank 16 on all projections;
//! SIZE is `tiny`, `1b` or `7b`. Random weights and tokens, rows that are full: what is measured
//! does not depend on them. Operations a token: 6N + 6LTd, or 4N + 6LTd where the base is frozen,
//! with N the numbers that multiply, the head among them.

use std::path::Path;
use std::time::Instant;

use llamake::train::data::batch::{Batches, Rows};
use llamake::train::data::mixture::Source;
use llamake::train::data::pack::Row;
use llamake::train::kernels::Threads;
use llamake::train::kernels::cuda::open;
use llamake::train::kernels::rng::{Stream, Walk};
use llamake::train::model::activations::Keep;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::quantized::{Form, quantised};
use llamake::train::model::{Head, ModelConfig, Transformer, init};
use llamake::train::objective::next_token::NextToken;
use llamake::train::optim::{AdamW, AdamWState, Bits, Schedule, WarmUp, clip};
use llamake::train::stage::train_loop::TrainState;
use llamake::train::stage::{Length, Numerics, Training, ledger, on_device};

/// Dense TFLOP/s of an H100 or H200 in bf16, by its data sheet.
const PEAK: f64 = 989.0;
/// Steps before any is measured.
const WARM: usize = 5;

struct Asked {
    task: String,
    size: String,
    seq: usize,
    batch: usize,
    steps: usize,
    numerics: Numerics,
    keep: Keep,
    gpus: usize,
}

fn asked() -> Asked {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let word = |at: usize, default: &str| words.get(at).map_or(default, String::as_str).to_string();
    let number =
        |at: usize, default: &str| word(at, default).parse::<usize>().expect("a whole number");
    let has = |name: &str| words.iter().any(|word| word == name);
    let gpus = words.iter().find_map(|word| word.strip_prefix("gpus=")).unwrap_or("1");
    Asked {
        task: word(0, "full"),
        size: word(1, "tiny"),
        seq: number(2, "128"),
        batch: number(3, "4"),
        steps: number(4, "20"),
        numerics: if has("exact") { Numerics::ExactF32 } else { Numerics::Bf16 },
        keep: if has("checkpointing") { Keep::Residuals } else { Keep::Activations },
        gpus: gpus.parse().expect("a number of GPUs"),
    }
}

fn shape(size: &str, seq: usize) -> ModelConfig {
    let [dim, ffn, layers, heads, kv_heads, vocab] = match size {
        "tiny" => [128, 344, 2, 4, 2, 1024],
        "1b" => [2048, 5632, 22, 32, 4, 32000],
        "7b" => [4096, 11008, 32, 32, 32, 32000],
        other => panic!("no size is called {other}"),
    };
    ModelConfig {
        dim,
        layers,
        heads,
        kv_heads,
        ffn,
        vocab,
        context: seq,
        norm_eps: 1e-5,
        rope: 10_000.0,
        rope_scaling: None,
        tied: false,
        head: Head::Language,
    }
}

fn model(asked: &Asked, t: &Threads) -> Transformer {
    let config = shape(&asked.size, asked.seq);
    let mut model = Transformer::new(config.clone(), init::untrained(&config, 0), asked.seq);
    if asked.task == "qlora" {
        let form = Form { encoding: Encoding::Bf16, double: true };
        model.weights = quantised(t, &config, &model.weights, form).expect("weights are numbers");
    }
    if asked.task != "full" {
        let settings = LoraSettings {
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            targets: Which::ALL.to_vec(),
            rslora: false,
            dora: false,
        };
        model.adapter = Some(Adapter::untrained(t, &config, &model.weights, &settings, 0));
    }
    model
}

fn training(asked: &Asked) -> Training {
    let optimizer = AdamW {
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        bits: Bits::Full,
        page_budget: None,
    };
    Training {
        lr: 1e-4,
        length: Length::Steps(0),
        schedule: Schedule::Constant { warmup: WarmUp::Steps(0) },
        optimizer,
        clip: Some(1.0),
        numerics: asked.numerics,
        micro_batch: asked.batch,
        keep: asked.keep,
        in_backward: false,
        seed: 0,
    }
}

fn row(walk: &mut Walk, seq: usize, vocab: usize) -> Row {
    let text: Vec<u32> = (0..=seq).map(|_| walk.below(vocab) as u32).collect();
    let (tokens, targets) = (text[..seq].to_vec(), text[1..].to_vec());
    Row { tokens, targets, segments: std::iter::once(0..seq).collect() }
}

fn main() {
    let asked = asked();
    let indices: Vec<usize> = (0..asked.gpus).collect();
    let on = open(&indices).unwrap_or_else(|fault| panic!("no GPU to measure on: {fault}"));
    let t = Threads::new(std::thread::available_parallelism().map_or(1, usize::from));
    let (mut model, training) = (model(&asked, &t), training(&asked));
    let config = model.config.clone();
    let optimizer = AdamWState::new(&model, training.optimizer, Path::new(""));
    let mut state = TrainState::new(&model, optimizer.expect("it is in memory"), 0, asked.keep);
    let steps = on_device::steps(&on, &model, &mut state.optimizer, &training);
    state.device = Some(steps.unwrap_or_else(|fault| panic!("{fault:?}")));
    let all = asked.batch * asked.gpus;
    let mut walk = Stream::new(0, "tokens").walk();
    let (mut times, mut loss) = (Vec::new(), 0.0);
    for _ in 0..WARM + asked.steps {
        let rows: Vec<Row> = (0..all).map(|_| row(&mut walk, asked.seq, config.vocab)).collect();
        let source: Vec<Source<Box<dyn Rows>>> =
            vec![Source { percent: 100.0, of: Box::new(rows.clone()) }];
        let batches = Batches::new(source, all, 0).expect("there are rows");
        let (mut objective, rows) = (NextToken::new(batches), rows.iter().collect::<Vec<_>>());
        let began = Instant::now();
        let learnt = state.gradients_of(&t, &model, &mut objective, &rows, asked.batch);
        let (report, _) = learnt.unwrap_or_else(|fault| panic!("{fault:?}"));
        let scale = clip::factor(report.norm, training.clip);
        let moved = state.step(&t, &mut model, training.lr, scale);
        moved.unwrap_or_else(|fault| panic!("{fault:?}"));
        // The next step's norm waits for this one's end.
        times.push(began.elapsed().as_secs_f64());
        loss = report.loss;
    }
    let mut times = times.split_off(WARM);
    times.sort_by(f64::total_cmp);
    let rate = (all * asked.seq) as f64 / times[times.len() / 2];
    let multiplied = ledger::parameters(&config) - (config.vocab * config.dim) as u64;
    let per_number = if asked.task == "full" { 6.0 } else { 4.0 };
    let attention = 6.0 * (config.layers * asked.seq * config.dim) as f64;
    let utilisation =
        rate * (per_number * multiplied as f64 + attention) / 1e12 / PEAK / asked.gpus as f64;
    println!(
        "RESULT llamake {} {} {:?} on={on:?} loss={loss:.4} tokens_per_s={rate:.0} \
         mfu={utilisation:.3} peak_bytes={}",
        asked.task,
        asked.size,
        asked.numerics,
        on.iter().map(|one| one.peak_bytes()).max().unwrap_or(0)
    );
}
