//! The training loop, the only one. It reads top to bottom: draw a batch, go forward and backward
//! through its parts, clip, step; now and then save how far it is. Knows steps; does not know
//! what is learnt, which stage it serves or where rows came from.

use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoint, Found, Trained};
use super::length::Length;
use super::moving::{self, Moved, Moving, is_alive};
use super::on_device::{self, Parts, Steps};
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::model::accelerated::told;
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::parameters::Role;
use crate::train::model::projection::Dropping;
use crate::train::model::{Batch, Trainable, Transformer};
use crate::train::objective::{Figures, Objective};
use crate::train::optim::{AdamW, AdamWState, Schedule, clip};
use crate::train::progress::{Attempt, Context, Failure, Metrics};

/// The class of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// The same bits on every CPU and GPU, with any number of threads and any `micro_batch`.
    ExactF32,
    /// Activations and products in 16 bits, sums and what is learnt in f32, on a GPU alone: the
    /// same bits run to run on the same GPU with the same `micro_batch`.
    Bf16,
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
    /// Whether weights move as soon as their gradients are there, of which those of one block are
    /// kept at a time; it never changes the result.
    pub in_backward: bool,
    pub seed: u64,
}

impl Training {
    /// Room for the gradients of a step, or of a block of it.
    pub fn gradients(&self, model: &Transformer) -> Trainable {
        match self.in_backward {
            true => Trainable::gradients_of_a_block(model),
            false => Trainable::gradients(model),
        }
    }
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
    pub gradients: Trainable,
    pub optimizer: AdamWState,
    /// What dropout depends on besides the rows.
    pub draws: Draws,
    pub activations: Activations,
    /// Where an accelerator makes the steps: all of it as it is there. Then what is here is older,
    /// until it is fetched.
    pub device: Option<Box<dyn Steps>>,
}

/// Where random numbers of a step come from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Draws {
    pub seed: u64,
    pub step: u64,
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

/// Trains `model` in place for so many steps, or until the objective has enough.
pub fn train(
    model: &mut Transformer,
    objective: &mut dyn Objective,
    steps: u64,
    training: &Training,
    context: &mut Context<'_>,
) -> Result<Metrics, Failure> {
    check_class(training.numerics, context)?;
    let t = context.kernels();
    let at_once = rows_at_once(training, objective.sequences(), context.others.len() + 1);
    let tokens = at_once * objective.longest();
    let folder = context.attempt.as_ref().map_or(&context.out, |attempt| &attempt.folder);
    let optimizer = AdamWState::new(model, training.optimizer, folder)?;
    let here = if context.accelerator.is_some() { 0 } else { tokens };
    let state = TrainState::new(model, optimizer, here, training.keep);
    let mut state = TrainState { gradients: training.gradients(model), ..state };
    let mut saver = context.attempt.clone().map(Saver::new);
    let mut at = Position { steps, ..Position::default() };
    if let Some(saver) = &saver {
        at = saver.restored(at, model, &mut state, objective, context)?;
        model.settle(&t);
    }
    if let Some(on) = &context.accelerator {
        let on = [std::slice::from_ref(on), &context.others].concat();
        state.device = Some(on_device::steps(&on, model, &mut state.optimizer, training)?);
    }
    let (unit, unit_steps) = objective.unit();
    let mut alive = at.step > 0;
    while at.step < at.steps && !objective.is_over() {
        let settled = at.step.is_multiple_of(unit_steps);
        let drawn = match context.progress.cancelled() && settled {
            true => Err(Failure::Interrupted),
            false => objective.rows(at.step, model, context),
        };
        if let (Err(_), Some(saver), true) = (&drawn, &mut saver, settled) {
            state.fetch(model)?;
            saver.save(&at, model, &mut state, objective, context);
        }
        let rows = drawn?;
        let rows: Vec<&Row> = rows.iter().collect();
        state.draws = Draws { seed: training.seed, step: at.step };
        let rate = training.schedule.rate(training.lr, at.step + 1, at.steps);
        let step = OneStep { rows: &rows, at_once, number: at.step + 1, rate, alive };
        let (report, figures) = match training.in_backward {
            true => step.move_along(&t, &mut state, model, objective)?,
            false => step.make(&t, &mut state, model, objective, training.clip)?,
        };
        alive |= objective.teaches();
        if objective.as_next_token().is_none() {
            state.fetch_weights(model)?;
        }
        at = at.after(&report);
        objective.after(at.step, model, context)?;
        let settled = at.step.is_multiple_of(unit_steps);
        if let Some(saver) = saver.as_mut().filter(|saver| settled && saver.is_time(unit_steps)) {
            state.fetch(model)?;
            saver.save(&at, model, &mut state, objective, context);
        }
        let mut told = vec![("loss", at.loss), ("lr", rate), ("gradient norm", report.norm)];
        told.push(("tokens", at.tokens as f64));
        told.extend(&figures[1..]);
        context.progress.at(at.step / unit_steps, at.steps / unit_steps, unit, &told);
    }
    state.fetch_weights(model)?;
    check_learnt(model)?;
    Ok(metrics(&at, model.learnt_sizes().iter().sum(), objective))
}

/// Rows of a part of a step. Where several accelerators share it, each gets one, unless what is
/// computed at once decides on bits.
fn rows_at_once(training: &Training, rows: usize, sharers: usize) -> usize {
    let at_once = training.micro_batch.min(rows);
    match training.numerics {
        Numerics::ExactF32 => at_once.min(rows.div_ceil(sharers)),
        Numerics::Bf16 => at_once,
    }
}

/// One step as the loop asks for it.
struct OneStep<'a> {
    rows: &'a [&'a Row],
    at_once: usize,
    /// Counted from 1.
    number: u64,
    rate: f64,
    /// Whether gradients were found alive before.
    alive: bool,
}

impl OneStep<'_> {
    /// Finds all gradients, and moves all weights.
    fn make(
        &self,
        t: &Threads,
        state: &mut TrainState,
        model: &mut Transformer,
        objective: &mut dyn Objective,
        clip: Option<f64>,
    ) -> Result<(StepReport, Figures), Failure> {
        let made = state.gradients_of(t, model, objective, self.rows, self.at_once)?;
        if !self.alive && objective.teaches() {
            check_alive(model, &dead(model, state.gradients()?))?;
        }
        check_finite(self.number, &made.0, clip.is_some())?;
        state.step(t, model, self.rate, clip::factor(made.0.norm, clip))?;
        Ok(made)
    }

    /// Moves weights on the way back. What was wrong with gradients shows when they are gone, and
    /// ends the run all the same.
    fn move_along(
        &self,
        t: &Threads,
        state: &mut TrainState,
        model: &mut Transformer,
        objective: &mut dyn Objective,
    ) -> Result<(StepReport, Figures), Failure> {
        if self.rows.len() > self.at_once {
            let (rows, at_once) = (self.rows.len(), self.at_once);
            let message = format!(
                "`optimizer_in_backward` needs a step at once: it has {rows} rows, and \
                 `micro_batch` is {at_once}"
            );
            let remedy = format!("set `micro_batch` to {rows} sequences, or lower `batch`");
            return Err(Failure::input(message).remedy(remedy));
        }
        let how = (self.rate, !self.alive);
        let moved = state.move_along(t, model, objective, self.rows, how)?;
        check_alive(model, &moved.dead)?;
        let made = StepReport::of(self.rows, moved.norm, objective);
        check_finite(self.number, &made.0, false)?;
        Ok(made)
    }
}

impl StepReport {
    /// Of a step whose parts were all learnt from, with its figures.
    fn of(rows: &[&Row], norm: f64, objective: &mut dyn Objective) -> (StepReport, Figures) {
        let figures = objective.figures();
        let report = StepReport {
            loss: figures[0].1,
            norm,
            tokens: rows.iter().map(|row| row.tokens.len() as u64).sum(),
            supervised: rows.iter().map(|row| row.supervised() as u64).sum(),
        };
        (report, figures)
    }
}

/// A class that no processor has.
fn check_class(numerics: Numerics, context: &Context<'_>) -> Result<(), Failure> {
    match numerics {
        Numerics::Bf16 if context.accelerator.is_none() => {
            Err(Failure::input("`numerics: \"bf16\"` is learnt on a GPU, and there is none")
                .remedy("build where there is one, or leave out `numerics`"))
        }
        _ => Ok(()),
    }
}

fn metrics(at: &Position, parameters: usize, objective: &dyn Objective) -> Metrics {
    let metric = |name: &str, value: f64| (name.to_string(), value);
    let mut metrics = vec![
        metric("loss", at.loss),
        metric("steps", at.step as f64),
        metric("tokens", at.tokens as f64),
    ];
    metrics.extend((at.supervised > 0).then(|| metric("supervised tokens", at.supervised as f64)));
    metrics.push(metric("parameters", parameters as f64));
    metrics.extend(objective.results());
    metrics
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

    /// Where many steps are one unit of work, each is worth keeping.
    fn is_time(&self, unit_steps: u64) -> bool {
        let every = if unit_steps > 1 { Duration::ZERO } else { self.every };
        self.saved.elapsed() >= every.max(self.took * SHARE)
    }

    /// Saves; where that is not possible, says so, and training goes on: the checkpoint before, if
    /// there is one, is still whole, and this one may be possible later.
    fn save(
        &mut self,
        at: &Position,
        model: &mut Transformer,
        state: &mut TrainState,
        objective: &mut dyn Objective,
        context: &mut Context<'_>,
    ) {
        let began = Instant::now();
        let optimizer = &mut state.optimizer;
        let mut trained = Trained { model, optimizer, objective };
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
        objective: &mut dyn Objective,
        context: &mut Context<'_>,
    ) -> Result<Position, Failure> {
        let optimizer = &mut state.optimizer;
        let mut trained = Trained { model, optimizer, objective };
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
    pub fn new(
        model: &Transformer,
        optimizer: AdamWState,
        tokens: usize,
        keep: Keep,
    ) -> TrainState {
        TrainState {
            gradients: Trainable::gradients(model),
            optimizer,
            activations: Activations::for_training(&model.config, tokens, keep),
            draws: Draws::default(),
            device: None,
        }
    }

    /// The gradient of a step's loss, added up part by part, and the step's figures.
    pub fn gradients_of(
        &mut self,
        t: &Threads,
        model: &Transformer,
        objective: &mut dyn Objective,
        rows: &[&Row],
        at_once: usize,
    ) -> Result<(StepReport, Figures), Failure> {
        objective.begin(rows);
        let norm = match &mut self.device {
            None => self.norm_of(t, model, objective, rows, at_once),
            Some(device) => {
                let TrainState { activations: a, gradients, draws, .. } = self;
                // Those of heads, which other objectives find here.
                if objective.as_next_token().is_none() {
                    gradients.weights.head_vd.fill(0.0);
                    gradients.weights.value_d.fill(0.0);
                }
                let parts = Parts { rows, at_once, draws: *draws };
                let learnt = device.learn(t, parts, model, objective, (a, &mut *gradients));
                learnt.and_then(|()| device.norm(model, gradients)).map_err(told)?
            }
        };
        Ok(StepReport::of(rows, norm, objective))
    }

    /// A step of one part whose weights move as soon as their gradients are there.
    fn move_along(
        &mut self,
        t: &Threads,
        model: &mut Transformer,
        objective: &mut dyn Objective,
        rows: &[&Row],
        (rate, is_watched): (f64, bool),
    ) -> Result<Moved, Failure> {
        objective.begin(rows);
        let by = self.optimizer.begin(rate, 1.0);
        let moving = Moving { by: &by, is_watched };
        let Some(device) = &mut self.device else {
            return Ok(moving::step(t, self, model, objective, rows, moving));
        };
        let here = (&mut self.activations, &mut self.gradients);
        device.move_along(t, rows, model, objective, here, moving).map_err(told)
    }

    /// The gradients of a step, found here, and their norm.
    fn norm_of(
        &mut self,
        t: &Threads,
        model: &Transformer,
        objective: &mut dyn Objective,
        rows: &[&Row],
        at_once: usize,
    ) -> f64 {
        let TrainState { activations: a, gradients, draws, .. } = self;
        gradients.clear();
        for (first, part) in (0..).step_by(at_once).zip(rows.chunks(at_once)) {
            let batch = Batch::of(part);
            a.workspace.beside.dropping = draws.dropping(model, first);
            model.forward(t, &batch, a);
            let part = first..first + part.len();
            objective.learn(t, part, &batch, model, a, &mut gradients.weights);
            model.backward(t, &batch, a, gradients);
        }
        gradients.weights.tie();
        clip::norm(t, model, gradients)
    }

    /// The gradients of the last step.
    fn gradients(&mut self) -> Result<&Trainable, Failure> {
        if let Some(device) = &mut self.device {
            device.fetch_gradients(&mut self.gradients).map_err(told)?;
        }
        Ok(&self.gradients)
    }

    /// Moves every weight by one step.
    pub fn step(
        &mut self,
        t: &Threads,
        model: &mut Transformer,
        rate: f64,
        scale: f32,
    ) -> Result<(), Failure> {
        match &mut self.device {
            Some(device) => {
                let moved = device.step(&mut self.optimizer, rate, scale);
                moved.map_err(told)?;
            }
            None => self.optimizer.step(t, model, &self.gradients, rate, scale),
        }
        Ok(())
    }

    /// Makes the weights here what they are where steps are made.
    fn fetch_weights(&mut self, model: &mut Transformer) -> Result<(), Failure> {
        match &mut self.device {
            Some(device) => device.fetch_weights(model).map_err(told),
            None => Ok(()),
        }
    }

    /// The same for all that a checkpoint keeps.
    fn fetch(&mut self, model: &mut Transformer) -> Result<(), Failure> {
        self.fetch_weights(model)?;
        match &mut self.device {
            Some(device) => device.fetch_moments(&mut self.optimizer).map_err(told),
            None => Ok(()),
        }
    }
}

impl Draws {
    pub(super) fn dropping(self, model: &Transformer, first: usize) -> Option<Dropping> {
        let rate = model.adapter.as_ref()?.settings.dropout as f32;
        let Draws { seed, step } = self;
        (rate > 0.0).then_some(Dropping { seed, step, first_row: first as u64, rate })
    }
}

/// After the first step that teaches anything every parameter has a gradient, finite and somewhere
/// not zero. Where one has none the loss would fall all the same, and nobody would see that it
/// never learns.
fn check_alive(model: &Transformer, dead: &[usize]) -> Result<(), Failure> {
    if dead.is_empty() {
        return Ok(());
    }
    let table = model.table();
    let names: Vec<String> = dead.iter().map(|row| format!("`{}`", table[*row].name)).collect();
    let names = names.join(", ");
    Err(Failure::input(format!("no finite, non-zero gradient reaches {names} in the first step"))
        .remedy("give rows of more than one token, and an `init` whose weights are not all zero"))
}

/// Every matrix of an adapter has learnt something: B, which begins at zero, is zero no more.
fn check_learnt(model: &Transformer) -> Result<(), Failure> {
    let dead = model.adapter.as_ref().map_or_else(Vec::new, |adapter| adapter.dead(&model.config));
    if dead.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = dead.iter().map(|name| format!("`{name}`")).collect();
    Err(Failure::input(format!("after the last step {} are still zero", names.join(", ")))
        .remedy("train for more steps, or with a higher `lr`"))
}

/// Rows of the table whose gradient is not finite, or zero; a matrix A of LoRA waits for its B.
fn dead(model: &Transformer, gradients: &Trainable) -> Vec<usize> {
    let table = model.table();
    let rows = table.iter().zip(gradients.tensors()).enumerate();
    let asked =
        rows.filter(|(_, (spec, gradient))| !gradient.is_empty() && spec.role != Role::Narrowing);
    let dead = asked.filter(|(_, (_, gradient))| !is_alive(gradient));
    dead.map(|(row, _)| row).collect()
}

/// A run whose loss is no number has nothing left to learn.
fn check_finite(step: u64, report: &StepReport, clips: bool) -> Result<(), Failure> {
    if report.loss.is_finite() && report.norm.is_finite() {
        return Ok(());
    }
    let StepReport { loss, norm, .. } = report;
    Err(Failure::input(format!(
        "training diverged: in step {step} the loss is {loss} and the gradient norm {norm}"
    ))
    .remedy(match clips {
        true => "lower `lr`, or warm up for longer",
        false => "lower `lr`, or set `clip`",
    }))
}
