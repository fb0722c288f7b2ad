//! The training loop, the only one. It reads top to bottom: draw a batch, go forward and backward
//! through its parts, clip, step; now and then save how far it is. Knows batches and a next-token
//! loss; does not know which stage it serves or where rows came from.

use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoint, Found, Trained};
use super::length::{Course, Length};
use crate::train::data::batch::Batches;
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::parameters::table;
use crate::train::model::{Batch, ModelConfig, Parameters, Transformer};
use crate::train::objective::next_token;
use crate::train::optim::{AdamW, AdamWState, Schedule, clip};
use crate::train::progress::{Attempt, Context, Failure, Metrics};

/// The class of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// The same bits on every CPU, with any number of threads and any `micro_batch`.
    ExactF32,
}

/// What all training stages share, named as `training` in `std/train` names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    pub lr: f64,
    pub length: Length,
    pub schedule: Schedule,
    pub optimizer: AdamW,
    /// The largest norm of the gradients; `None` never clips.
    pub clip: Option<f64>,
    pub numerics: Numerics,
    /// Rows that go through the model at once; it never changes the result.
    pub micro_batch: usize,
    /// What the forward pass keeps; it never changes the result.
    pub keep: Keep,
    pub seed: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// Steps done, and of how many.
    pub step: u64,
    pub steps: u64,
    /// Tokens seen, and positions learnt from.
    pub tokens: u64,
    pub supervised: u64,
    /// Of the last step.
    pub loss: f64,
}

/// Everything besides the weights that changes from step to step, allocated once.
#[derive(Debug)]
pub struct TrainState {
    pub gradients: Parameters,
    pub optimizer: AdamWState,
    activations: Activations,
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The mean over all learnt positions.
    pub loss: f64,
    /// The norm of all gradients together, before clipping.
    pub norm: f64,
    pub tokens: u64,
    pub supervised: u64,
}

/// Trains `model` in place for the whole course.
pub fn train(
    model: &mut Transformer,
    batches: &mut Batches,
    course: Course,
    training: &Training,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    let Numerics::ExactF32 = training.numerics;
    let t = context.kernels();
    let micro_batch = training.micro_batch.min(course.sequences as usize);
    let most_tokens = micro_batch * batches.longest();
    let mut state = TrainState::new(&model.config, training.optimizer, most_tokens, training.keep);
    let mut saver = context.attempt.clone().map(Saver::new);
    let mut at = Position { steps: course.steps, ..Position::default() };
    if let Some(saver) = &saver {
        at = saver.restored(at, model, &mut state, context)?;
    }
    while at.step < at.steps {
        if context.progress.cancelled() {
            if let Some(saver) = &mut saver {
                saver.save(&at, model, &mut state, context);
            }
            return Err(Failure::Interrupted);
        }
        let step = at.step + 1;
        let rows = batches.at(step - 1);
        let rows: Vec<&Row> = rows.iter().collect();
        let report = state.gradients_of(&t, model, &rows, micro_batch);
        if step == 1 {
            check_alive(model, &state.gradients)?;
        }
        check_finite(step, &report)?;
        let rate = training.schedule.rate(training.lr, step, at.steps);
        let scale = clip::factor(report.norm, training.clip);
        state.optimizer.step(&t, &mut model.weights, &state.gradients, rate, scale);
        at = at.after(&report);
        if let Some(saver) = saver.as_mut().filter(|saver| saver.is_time()) {
            saver.save(&at, model, &mut state, context);
        }
        let figures = [
            ("loss", at.loss),
            ("lr", rate),
            ("gradient norm", report.norm),
            ("tokens", at.tokens as f64),
        ];
        context.progress.at(step, at.steps, "steps", &figures);
    }
    let parameters: usize = table(&model.config).iter().map(|spec| spec.len()).sum();
    let metric = |name: &str, value: f64| (name.to_string(), value);
    Ok(vec![
        metric("loss", at.loss),
        metric("steps", at.steps as f64),
        metric("tokens", at.tokens as f64),
        metric("supervised tokens", at.supervised as f64),
        metric("parameters", parameters as f64),
    ])
}

impl Position {
    fn after(self, report: &StepReport) -> Position {
        Position {
            step: self.step + 1,
            steps: self.steps,
            tokens: self.tokens + report.tokens,
            supervised: self.supervised + report.supervised,
            loss: report.loss,
        }
    }
}

/// Decides when a checkpoint is due.
struct Saver {
    checkpoint: Checkpoint,
    every: Duration,
    saved: Instant,
    /// How long the last saving took.
    took: Duration,
    /// Whether the last saving failed, which is told once.
    fails: bool,
}

/// Time between savings is at least so many times what one takes.
const SHARE: u32 = 20;

impl Saver {
    fn new(attempt: Attempt) -> Saver {
        let Attempt { folder, every } = attempt;
        let checkpoint = Checkpoint::in_folder(&folder);
        Saver { checkpoint, every, saved: Instant::now(), took: Duration::ZERO, fails: false }
    }

    fn is_time(&self) -> bool {
        self.saved.elapsed() >= self.every.max(self.took * SHARE)
    }

    /// Saves; where that is not possible, says so, and training goes on: the checkpoint before, if
    /// there is one, is still whole, and this one may be possible later.
    fn save(
        &mut self,
        at: &Position,
        model: &mut Transformer,
        state: &mut TrainState,
        context: &mut Context<'_>,
    ) {
        let began = Instant::now();
        let optimizer = &mut state.optimizer;
        let mut trained = Trained { weights: &mut model.weights, optimizer };
        let saved = self.checkpoint.save(at, &mut trained);
        if let (Err(why), false) = (&saved, self.fails) {
            let path = self.checkpoint.path().display();
            let told =
                format!("training goes on, but no checkpoint can be written: `{path}`: {why}");
            context.progress.notice(&told);
        }
        self.fails = saved.is_err();
        (self.saved, self.took) = (Instant::now(), began.elapsed());
    }

    /// The position to begin at: `start`, or where a stopped run of the same work was.
    fn restored(
        &self,
        start: Position,
        model: &mut Transformer,
        state: &mut TrainState,
        context: &mut Context<'_>,
    ) -> Result<Position, Failure> {
        let optimizer = &mut state.optimizer;
        let mut trained = Trained { weights: &mut model.weights, optimizer };
        match self.checkpoint.restore(start.steps, &mut trained)? {
            Found::Nothing => Ok(start),
            Found::Position(at) => {
                let (step, steps) = (at.step, at.steps);
                context.progress.notice(&format!("goes on after step {step} of {steps}"));
                Ok(at)
            }
            Found::Unusable(why) => {
                context.progress.notice(&format!("a checkpoint is not used: {why}"));
                Ok(start)
            }
        }
    }
}

impl TrainState {
    /// Room for parts of at most `tokens` tokens.
    pub fn new(config: &ModelConfig, optimizer: AdamW, tokens: usize, keep: Keep) -> TrainState {
        TrainState {
            gradients: Parameters::gradients(config),
            optimizer: AdamWState::new(config, optimizer),
            activations: Activations::for_training(config, tokens, keep),
        }
    }

    /// The gradient of the mean loss over all learnt positions of a batch, added up part by part.
    pub fn gradients_of(
        &mut self,
        t: &Threads,
        model: &Transformer,
        rows: &[&Row],
        micro_batch: usize,
    ) -> StepReport {
        let supervised = rows.iter().map(|row| row.supervised() as u64).sum();
        let mut loss = 0.0;
        self.gradients.clear();
        for part in rows.chunks(micro_batch) {
            let batch = Batch::of(part);
            let a = &mut self.activations;
            let (head_vd, dhead_vd) = (model.weights.head(), &mut self.gradients.head_vd);
            model.forward(t, &batch, a);
            next_token::losses_and_gradient(t, &batch, supervised, head_vd, a, dhead_vd);
            model.backward(t, &batch, a, &mut self.gradients);
            // One by one, so that no division into parts changes the sum.
            a.nll_t.iter().for_each(|nll| loss += f64::from(*nll));
        }
        self.gradients.tie();
        StepReport {
            loss: loss / supervised as f64,
            norm: clip::norm(t, &model.config, &self.gradients),
            tokens: rows.iter().map(|row| row.tokens.len() as u64).sum(),
            supervised,
        }
    }
}

/// After the first step every parameter has a gradient, finite and somewhere not zero. Where one
/// has none the loss would fall all the same, and nobody would see that it never learns.
fn check_alive(model: &Transformer, gradients: &Parameters) -> Result<(), Failure> {
    let table = table(&model.config);
    let dead: Vec<String> = table
        .iter()
        .zip(gradients.tensors())
        .filter(|(_, gradient)| !is_alive(gradient))
        .map(|(spec, _)| format!("`{}`", spec.name))
        .collect();
    if dead.is_empty() {
        return Ok(());
    }
    let names = dead.join(", ");
    Err(Failure::input(format!("no finite, non-zero gradient reaches {names} in the first step"))
        .remedy("give rows of more than one token, and an `init` whose weights are not all zero"))
}

fn is_alive(gradient: &[f32]) -> bool {
    gradient.iter().all(|x| x.is_finite()) && gradient.iter().any(|x| *x != 0.0)
}

/// A run whose loss is no number has nothing left to learn.
fn check_finite(step: u64, report: &StepReport) -> Result<(), Failure> {
    if report.loss.is_finite() && report.norm.is_finite() {
        return Ok(());
    }
    let StepReport { loss, norm, .. } = report;
    Err(Failure::input(format!(
        "training diverged: in step {step} the loss is {loss} and the gradient norm {norm}"
    ))
    .remedy("lower `lr`, or set `clip`"))
}
