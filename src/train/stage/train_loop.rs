//! The training loop, the only one. It reads top to bottom: draw a batch, go forward and backward
//! through its parts, clip, step. Knows batches and a next-token loss; does not know which stage
//! it serves or where rows came from.

use super::length::{Course, Length};
use crate::train::data::batch::Batches;
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::model::activations::Activations;
use crate::train::model::parameters::table;
use crate::train::model::{Batch, ModelConfig, Parameters, Transformer};
use crate::train::objective::next_token;
use crate::train::optim::{AdamW, AdamWState, Schedule, clip};
use crate::train::progress::{Context, Failure, Metrics};

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
    pub seed: u64,
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
    let t = Threads::new(context.threads);
    let micro_batch = training.micro_batch.min(course.sequences as usize);
    let most_tokens = micro_batch * batches.longest();
    let mut state = TrainState::new(&model.config, training.optimizer, most_tokens);
    let (mut tokens, mut supervised, mut loss) = (0, 0, 0.0);
    for step in 1..=course.steps {
        if context.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let rows = batches.at(step - 1);
        let report = state.gradients_of(&t, model, &rows, micro_batch);
        if step == 1 {
            check_alive(model, &state.gradients)?;
        }
        check_finite(step, &report)?;
        let rate = training.schedule.rate(training.lr, step, course.steps);
        let scale = clip::factor(report.norm, training.clip);
        state.optimizer.step(&t, &mut model.weights, &state.gradients, rate, scale);
        (tokens, supervised, loss) =
            (tokens + report.tokens, supervised + report.supervised, report.loss);
        let figures = [
            ("loss", loss),
            ("lr", rate),
            ("gradient norm", report.norm),
            ("tokens", tokens as f64),
        ];
        context.progress.at(step, course.steps, "steps", &figures);
    }
    let parameters: usize = table(&model.config).iter().map(|spec| spec.len()).sum();
    let metric = |name: &str, value: f64| (name.to_string(), value);
    Ok(vec![
        metric("loss", loss),
        metric("steps", course.steps as f64),
        metric("tokens", tokens as f64),
        metric("supervised tokens", supervised as f64),
        metric("parameters", parameters as f64),
    ])
}

impl TrainState {
    /// Room for parts of at most `tokens` tokens.
    pub fn new(config: &ModelConfig, optimizer: AdamW, tokens: usize) -> TrainState {
        TrainState {
            gradients: Parameters::zeros(config),
            optimizer: AdamWState::new(config, optimizer),
            activations: Activations::for_training(config, tokens),
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
            let (head_vd, dhead_vd) = (&model.weights.head_vd, &mut self.gradients.head_vd);
            model.forward(t, &batch, a);
            next_token::losses_and_gradient(t, &batch, supervised, head_vd, a, dhead_vd);
            model.backward(t, &batch, a, &mut self.gradients);
            // One by one, so that no division into parts changes the sum.
            a.nll_t.iter().for_each(|nll| loss += f64::from(*nll));
        }
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
