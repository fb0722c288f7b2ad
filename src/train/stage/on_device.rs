//! The steps of a run on an accelerator: passes, norm and optimizer there, rows and bookkeeping
//! here. An objective that the accelerator does not know reads the last hidden state here and hands
//! its gradient back, which costs copies. In the class `exact-f32` no bit differs from a run on the
//! host. Knows no schedule.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use half::bf16;

use super::train_loop::{Numerics, Training};
use crate::train::kernels::Threads;
use crate::train::kernels::cross_entropy::launch::{Gradients, Losses, Targets, cross_entropy};
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::kernels::rms_norm::launch::add;
use crate::train::model::accelerated::{Accelerated, Class, LowRanks, Room, told};
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::machine::Machine;
use crate::train::model::projection::Dropping;
use crate::train::model::{Batch, Trainable, Transformer};
use crate::train::objective::Objective;
use crate::train::objective::next_token::NextToken;
use crate::train::optim::{AdamWState, DeviceMoments, device};
use crate::train::progress::Failure;

/// What makes the steps of a run in place of the host.
pub trait Steps: Debug {
    /// Sets every gradient to zero.
    fn clear(&mut self) -> Result<(), Fault>;

    /// Says what adapters leave out of the next part.
    fn drop_by(&mut self, dropping: Option<Dropping>);

    /// Adds to the gradients what a part of a step's rows asks for.
    fn learn(
        &mut self,
        t: &Threads,
        part: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        objective: &mut dyn Objective,
        here: (&mut Activations, &mut Trainable),
    ) -> Result<(), Fault>;

    /// The norm of all gradients of a step; those of heads that were found here join the others.
    fn norm(&mut self, model: &Transformer, here: &Trainable) -> Result<f64, Fault>;

    /// Moves every weight by one step.
    fn step(&mut self, optimizer: &mut AdamWState, rate: f64, scale: f32) -> Result<(), Fault>;

    /// Writes the gradients of the last step into the host's.
    fn fetch_gradients(&mut self, here: &mut Trainable) -> Result<(), Fault>;

    /// Writes the weights that are learnt into the host's.
    fn fetch_weights(&mut self, model: &mut Transformer) -> Result<(), Fault>;

    /// Writes the moments into the host's.
    fn fetch_moments(&self, optimizer: &mut AdamWState) -> Result<(), Fault>;
}

/// Copies of a decoder and its moments, which learn there in the class that is asked for.
pub fn steps(
    on: &Arc<dyn Accelerator>,
    model: &Transformer,
    optimizer: &mut AdamWState,
    training: &Training,
) -> Result<Box<dyn Steps>, Failure> {
    let made: Result<Box<dyn Steps>, Fault> = match training.numerics {
        Numerics::ExactF32 => OnDevice::<f32>::new(on, model, optimizer, training.keep)
            .map(|steps| Box::new(steps) as Box<dyn Steps>),
        Numerics::Bf16 => OnDevice::<bf16>::new(on, model, optimizer, training.keep)
            .map(|steps| Box::new(steps) as Box<dyn Steps>),
    };
    made.map_err(told)
}

/// A decoder that learns on an accelerator, with all that its steps need there.
#[derive(Debug)]
struct OnDevice<T: Class> {
    machine: Accelerated<T>,
    model: Transformer<Accelerated<T>>,
    gradients: Trainable<Room, LowRanks>,
    moments: DeviceMoments,
    arena: Activations<Accelerated<T>>,
    /// Whether the gradients of the heads of this step were found on the host.
    heads_here: bool,
}

impl<T: Class> OnDevice<T> {
    fn new(
        on: &Arc<dyn Accelerator>,
        model: &Transformer,
        optimizer: &mut AdamWState,
        keep: Keep,
    ) -> Result<OnDevice<T>, Fault> {
        let machine = Accelerated::new(Arc::clone(on));
        Ok(OnDevice {
            model: model.onto(&machine)?,
            gradients: Trainable::gradients(model).onto(&machine)?,
            moments: DeviceMoments::of(on, optimizer)?,
            arena: Activations::training(&model.config, keep),
            heads_here: false,
            machine,
        })
    }

    /// The loss of the next token and its gradient, all of it there.
    fn next_token(&mut self, batch: &Batch, objective: &mut NextToken) -> Result<(), Fault> {
        let OnDevice { machine, model, gradients, arena, .. } = self;
        let on = machine.on();
        let head = &mut gradients.weights.head_vd;
        let towards = Gradients {
            weight: objective.weight(),
            dhidden: arena.dhidden_td.all_mut(),
            dhead: (!head.is_empty()).then(|| head.all_mut()),
        };
        let targets = Targets::new(on, batch.targets_at(1.0), model.config.outputs())?;
        let losses = Losses { nll: arena.nll_t.all_mut(), entropy: None };
        let hidden_td = arena.hidden_td.all();
        cross_entropy(on, hidden_td, model.head(), &targets, losses, Some(towards))?;
        let mut nll_t = vec![0.0; batch.len()];
        arena.nll_t.read(&mut nll_t)?;
        objective.hear(&nll_t);
        Ok(())
    }
}

impl<T: Class> Steps for OnDevice<T> {
    fn clear(&mut self) -> Result<(), Fault> {
        self.gradients.clear()
    }

    fn drop_by(&mut self, dropping: Option<Dropping>) {
        self.arena.workspace.beside.beside.dropping = dropping;
    }

    fn learn(
        &mut self,
        t: &Threads,
        part: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        objective: &mut dyn Objective,
        (here, gradients): (&mut Activations, &mut Trainable),
    ) -> Result<(), Fault> {
        let OnDevice { machine, arena, .. } = self;
        self.model.forward(machine, batch, arena);
        machine.fit(&mut arena.dhidden_td, batch.len() * model.config.dim);
        machine.check()?;
        self.heads_here = objective.as_next_token().is_none();
        match objective.as_next_token() {
            Some(objective) => self.next_token(batch, objective)?,
            None => {
                here.fit_heads(batch.len());
                arena.hidden_td.read(&mut here.hidden_td)?;
                objective.learn(t, part, batch, model, here, &mut gradients.weights);
                arena.dhidden_td.write(&here.dhidden_td)?;
            }
        }
        self.model.backward(&self.machine, batch, &mut self.arena, &mut self.gradients);
        self.machine.check()
    }

    fn norm(&mut self, model: &Transformer, here: &Trainable) -> Result<f64, Fault> {
        let on = self.machine.on();
        let weights = &mut self.gradients.weights;
        if self.heads_here {
            weights.head_vd.write(&here.weights.head_vd)?;
            weights.value_d.write(&here.weights.value_d)?;
        }
        if !model.config.has_own_head() && !weights.head_vd.is_empty() {
            add(&**on, weights.head_vd.all(), weights.embedding_vd.all_mut())?;
        }
        device::norm(on, model, &mut self.gradients)
    }

    fn step(&mut self, optimizer: &mut AdamWState, rate: f64, scale: f32) -> Result<(), Fault> {
        let learnt = (&mut self.model, &mut self.gradients);
        self.moments.step(self.machine.on(), optimizer, learnt, rate, scale)?;
        self.model.settle(&self.machine);
        self.machine.check()
    }

    fn fetch_gradients(&mut self, here: &mut Trainable) -> Result<(), Fault> {
        let pairs = self.gradients.rooms_mut().into_iter().zip(here.tensors_mut());
        pairs.into_iter().try_for_each(|(there, here)| there.read(here))
    }

    fn fetch_weights(&mut self, model: &mut Transformer) -> Result<(), Fault> {
        let pairs = self.model.learning().into_iter().zip(model.trainable_mut());
        pairs
            .into_iter()
            .try_for_each(|(there, here)| there.map_or(Ok(()), |there| there.weight.read(here)))
    }

    fn fetch_moments(&self, optimizer: &mut AdamWState) -> Result<(), Fault> {
        self.moments.fetch(optimizer)
    }
}
