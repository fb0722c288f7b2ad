//! Small models, rows and runs that the tests of the trainer share.

use std::path::Path;

use llamake::train::data::batch::Batches;
use llamake::train::data::mixture::Source;
use llamake::train::data::pack::{IGNORE, Row};
use llamake::train::kernels::Threads;
use llamake::train::kernels::rng::Stream;
use llamake::train::model::activations::Keep;
use llamake::train::model::tensor::Tensor;
use llamake::train::model::{Head, ModelConfig, Parameters, Transformer, init};
use llamake::train::objective::next_token::NextToken;
use llamake::train::optim::{AdamW, AdamWState, Bits, Schedule, WarmUp};
use llamake::train::progress::{Context, Failure, Metrics, Progress};
use llamake::train::stage::train_loop::{StepReport, TrainState};
use llamake::train::stage::{BatchSize, Length, Numerics, Training, train_loop};

/// Every size differs, groups of queries included, so that no two can be mistaken.
pub fn config() -> ModelConfig {
    ModelConfig {
        dim: 24,
        layers: 2,
        heads: 6,
        kv_heads: 2,
        ffn: 40,
        vocab: 50,
        context: 32,
        norm_eps: 1e-5,
        rope: 10_000.0,
        rope_scaling: None,
        tied: false,
        head: Head::Language,
    }
}

/// Weights larger than a start's, so that every gradient is far from zero.
pub fn lively(config: &ModelConfig, seed: u64) -> Parameters {
    let mut weights = init::untrained(config, seed);
    for tensor in weights.tensors_mut() {
        tensor.iter_mut().for_each(|x| {
            if *x != 1.0 {
                *x *= 8.0
            }
        });
    }
    let mut walk = Stream::new(seed, "norms").walk();
    let mut shake = |norm: &mut Vec<f32>| {
        norm.iter_mut().for_each(|x| *x = 0.5 + walk.below(100) as f32 / 100.0);
    };
    for block in &mut weights.blocks {
        shake(&mut block.attention_norm_d);
        shake(&mut block.mlp_norm_d);
    }
    shake(&mut weights.norm_d);
    weights
}

pub fn model(config: &ModelConfig, seed: u64) -> Transformer {
    Transformer::new(config.clone(), lively(config, seed), config.context)
}

/// A row of segments of these lengths; every third position is not learnt from.
pub fn row(seed: u64, vocab: usize, segments: &[usize]) -> Row {
    let mut walk = Stream::new(seed, "row").walk();
    let mut row = Row { tokens: Vec::new(), targets: Vec::new(), segments: Vec::new() };
    for length in segments {
        let start = row.tokens.len();
        let text: Vec<u32> = (0..=*length).map(|_| walk.below(vocab) as u32).collect();
        row.tokens.extend(&text[..*length]);
        let learnt =
            |at: usize| if at % 3 == 2 || at + 1 == *length { IGNORE } else { text[at + 1] };
        row.targets.extend((0..*length).map(learnt));
        row.segments.push(start..row.tokens.len());
    }
    row
}

/// Rows of several shapes, ragged and packed.
pub fn rows(seed: u64, vocab: usize) -> Vec<Row> {
    let shapes: [&[usize]; 8] =
        [&[9, 20], &[31], &[2, 3, 4], &[32], &[17, 5], &[8, 8, 8, 8], &[12], &[30, 2]];
    (0..).zip(shapes).map(|(at, shape)| row(seed + 100 * at, vocab, shape)).collect()
}

pub fn batches(rows: Vec<Row>, sequences: usize) -> Batches {
    Batches::new(vec![Source { percent: 100.0, of: Box::new(rows) }], sequences, 7).unwrap()
}

pub fn adamw() -> AdamW {
    AdamW {
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-5,
        weight_decay: 0.1,
        bits: Bits::Full,
        page_budget: None,
    }
}

/// Moments in memory.
pub fn moments(model: &Transformer, settings: AdamW) -> AdamWState {
    AdamWState::new(model, settings, Path::new("")).unwrap()
}

pub fn training(steps: u64, micro_batch: usize) -> Training {
    Training {
        lr: 1e-2,
        length: Length::Steps(steps),
        schedule: Schedule::Cosine { warmup: WarmUp::Steps(2), last: 0.1 },
        optimizer: adamw(),
        clip: Some(1.0),
        numerics: Numerics::ExactF32,
        micro_batch,
        keep: Keep::Activations,
        in_backward: false,
        seed: 1,
    }
}

/// How a run is ended before its end, after so many reports of its own.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// It is asked to stop.
    Stop(u64),
    /// It ends at once.
    Kill(u64),
}

/// Keeps what a run said; ends it.
#[derive(Default)]
pub struct Heard {
    pub losses: Vec<f64>,
    pub said: Vec<String>,
    pub reports: u64,
    pub end: Option<End>,
}

impl Progress for Heard {
    fn at(&mut self, _done: u64, _total: u64, _unit: &'static str, metrics: &[(&str, f64)]) {
        self.reports += 1;
        self.losses.extend(metrics.iter().filter(|(name, _)| *name == "loss").map(|(_, x)| *x));
        if let Some(End::Kill(after)) = self.end {
            assert!(self.reports < after, "killed");
        }
    }

    fn log(&mut self, line: &str) {
        self.said.push(line.to_string());
    }

    fn notice(&mut self, line: &str) {
        self.log(line);
    }

    fn cancelled(&self) -> bool {
        matches!(self.end, Some(End::Stop(after)) if self.reports >= after)
    }
}

/// Trains in place.
pub fn train(
    model: &mut Transformer,
    rows: Vec<Row>,
    sequences: usize,
    training: &Training,
    threads: usize,
    heard: &mut Heard,
) -> Result<Metrics, Failure> {
    let mut context = Context::new(threads, std::env::temp_dir(), heard);
    train_in(model, rows, sequences, training, &mut context)
}

/// Trains in place, with the threads, the instruction set and the attempt of a context.
pub fn train_in(
    model: &mut Transformer,
    rows: Vec<Row>,
    sequences: usize,
    training: &Training,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let batches = batches(rows, sequences);
    let size = BatchSize::Sequences(sequences as u64);
    let course = training.length.course(size, 32, Some(batches.rows() as u64));
    let steps = course.unwrap().unwrap().steps;
    train_loop::train(model, &mut NextToken::new(batches), steps, training, context)
}

/// The gradients of the next token over these rows, `at_once` of them at once.
pub fn gradients_of(
    state: &mut TrainState,
    t: &Threads,
    model: &Transformer,
    rows: &[Row],
    at_once: usize,
) -> StepReport {
    let mut objective = NextToken::new(batches(rows.to_vec(), rows.len()));
    let rows: Vec<&Row> = rows.iter().collect();
    state.gradients_of(t, model, &mut objective, &rows, at_once).unwrap().0
}

/// The bits of all weights.
pub fn digest<T: Tensor + Default>(weights: &Parameters<T>) -> String {
    let mut hasher = blake3::Hasher::new();
    for tensor in weights.tensors() {
        tensor.iter().for_each(|x| _ = hasher.update(&x.to_le_bytes()));
    }
    hasher.finalize().to_hex().to_string()
}

/// Fails where an element is further than `atol + rtol · |want|`.
pub fn assert_close(name: &str, got: &[f32], want: &[f32], atol: f64, rtol: f64) {
    assert_eq!(got.len(), want.len(), "{name}: lengths");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - f64::from(*want)).abs();
        let allowed = atol + rtol * f64::from(*want).abs();
        assert!(error <= allowed, "{name}[{at}]: got {got}, want {want}");
    }
}

/// The message of an input failure.
pub fn message<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    match result {
        Err(Failure::Input { message, .. }) => message,
        other => panic!("expected an input failure, got {other:?}"),
    }
}
