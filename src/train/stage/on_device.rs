//! The steps of a run on accelerators: passes, norm and optimizer there, rows and bookkeeping here.
//! Where there are several, each has a copy of the decoder and computes every so many-th part of a
//! step; no bit depends on how many they are. An objective that accelerators do not know reads the
//! last hidden state here and hands its gradient back, which costs copies. In the class `exact-f32`
//! no bit differs from a run on the host. Knows no schedule.

// The sum of gradients over accelerators.
mod chain;
// One of them.
mod replica;

use std::fmt::Debug;
use std::sync::Arc;

use half::bf16;

use self::chain::Chain;
use self::replica::Replica;
use super::moving::{Moved, Moving};
use super::train_loop::{Draws, Numerics, Training};
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::model::accelerated::{Class, told};
use crate::train::model::activations::Activations;
use crate::train::model::trainable::Group;
use crate::train::model::{Batch, Trainable, Transformer};
use crate::train::objective::Objective;
use crate::train::optim::{AdamWState, device};
use crate::train::progress::Failure;

/// The rows of a step, and how many of them go through a decoder at once.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub rows: &'a [&'a Row],
    pub at_once: usize,
    pub draws: Draws,
}

/// What makes the steps of a run in place of the host.
pub trait Steps: Debug {
    /// Finds the gradients of a step. Those of heads whose objective is not known there are added
    /// to those that are handed in.
    fn learn(
        &mut self,
        t: &Threads,
        parts: Parts<'_>,
        model: &Transformer,
        objective: &mut dyn Objective,
        here: (&mut Activations, &mut Trainable),
    ) -> Result<(), Fault>;

    /// A step of one part whose weights move as soon as their gradients are there. Those of heads
    /// whose objective is not known there are found in what is handed in.
    fn move_along(
        &mut self,
        t: &Threads,
        rows: &[&Row],
        model: &Transformer,
        objective: &mut dyn Objective,
        here: (&mut Activations, &mut Trainable),
        moving: Moving<'_>,
    ) -> Result<Moved, Fault>;

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
    on: &[Arc<dyn Accelerator>],
    model: &Transformer,
    optimizer: &mut AdamWState,
    training: &Training,
) -> Result<Box<dyn Steps>, Failure> {
    let made: Result<Box<dyn Steps>, Fault> = match training.numerics {
        Numerics::ExactF32 => Together::<f32>::new(on, model, optimizer, training)
            .map(|steps| Box::new(steps) as Box<dyn Steps>),
        Numerics::Bf16 => Together::<bf16>::new(on, model, optimizer, training)
            .map(|steps| Box::new(steps) as Box<dyn Steps>),
    };
    made.map_err(told)
}

/// Decoders that make each step together. After it all of them are the same.
#[derive(Debug)]
struct Together<T: Class> {
    /// At least one; part p of a step is that of `p % replicas.len()`.
    replicas: Vec<Replica<T>>,
    /// Whether the gradients of the heads of this step were found on the host.
    heads_here: bool,
}

impl<T: Class> Together<T> {
    fn new(
        on: &[Arc<dyn Accelerator>],
        model: &Transformer,
        optimizer: &mut AdamWState,
        training: &Training,
    ) -> Result<Together<T>, Fault> {
        assert!(!on.is_empty(), "somebody makes the steps");
        let replicas = on.iter().map(|on| Replica::new(on, model, optimizer, training));
        Ok(Together { replicas: replicas.collect::<Result<_, _>>()?, heads_here: false })
    }

    /// After the last part: every replica gets all of it.
    fn share(&mut self, parts: usize, chain: Chain) -> Result<(), Fault> {
        let groups: Vec<Group> = Group::all(self.replicas[0].model.config.layers).collect();
        let all = self.replicas.iter_mut().map(Replica::shared);
        let mut all: Vec<_> = all.collect();
        chain.end(parts, &groups, &mut all, !self.heads_here)
    }
}

impl<T: Class> Steps for Together<T> {
    fn learn(
        &mut self,
        t: &Threads,
        Parts { rows, at_once, draws }: Parts<'_>,
        model: &Transformer,
        objective: &mut dyn Objective,
        (here, gradients): (&mut Activations, &mut Trainable),
    ) -> Result<(), Fault> {
        // The others take over what is summed up there.
        self.replicas[0].gradients.clear()?;
        let mut chain = Chain::begin(self.replicas.iter().map(Replica::on))?;
        self.heads_here = objective.as_next_token().is_none();
        let heads = !self.heads_here;
        let count = self.replicas.len();
        let parts: Vec<Batch> = rows.chunks(at_once).map(Batch::of).collect();
        // Nothing of this waits for an accelerator but what an objective of the host asks for.
        for (turn, batches) in parts.chunks(count).enumerate() {
            let first = turn * count;
            let places = || (first..).zip(batches);
            for ((part, batch), replica) in places().zip(&mut self.replicas) {
                replica.forward(batch, draws.dropping(model, part * at_once))?;
            }
            for ((part, batch), replica) in places().zip(&mut self.replicas) {
                replica.take_top(part, &mut chain, heads)?;
                if let Some(objective) = objective.as_next_token() {
                    replica.next_token(turn, batch, objective.weight())?;
                } else {
                    let rows = part * at_once..part * at_once + batch.rows.len();
                    let into = (&mut *here, &mut *gradients);
                    replica.learn_here(t, rows, batch, model, objective, into)?;
                }
                replica.backward(part, batch, &mut chain, heads)?;
            }
        }
        self.share(parts.len(), chain)?;
        if let Some(objective) = objective.as_next_token() {
            for part in 0..parts.len() {
                objective.hear(&self.replicas[part % count].losses(part / count)?);
            }
        }
        Ok(())
    }

    fn move_along(
        &mut self,
        t: &Threads,
        rows: &[&Row],
        model: &Transformer,
        objective: &mut dyn Objective,
        (here, gradients): (&mut Activations, &mut Trainable),
        moving: Moving<'_>,
    ) -> Result<Moved, Fault> {
        let [replica] = &mut self.replicas[..] else { panic!("a step of one part is not shared") };
        let batch = Batch::of(rows);
        replica.gradients.clear()?;
        replica.forward(&batch, None)?;
        match objective.as_next_token() {
            Some(objective) => replica.next_token(0, &batch, objective.weight())?,
            None => {
                replica.learn_here(
                    t,
                    0..rows.len(),
                    &batch,
                    model,
                    objective,
                    (here, gradients),
                )?;
                replica.take_heads(&gradients.weights)?;
            }
        }
        let moved = replica.move_back(model, &batch, moving)?;
        if let Some(objective) = objective.as_next_token() {
            objective.hear(&replica.losses(0)?);
        }
        Ok(moved)
    }

    fn norm(&mut self, model: &Transformer, here: &Trainable) -> Result<f64, Fault> {
        for replica in &mut self.replicas {
            if self.heads_here {
                replica.take_heads(&here.weights)?;
            }
            replica.tie()?;
        }
        let Replica { machine, gradients, .. } = &mut self.replicas[0];
        device::norm(machine.on(), model, gradients)
    }

    fn step(&mut self, optimizer: &mut AdamWState, rate: f64, scale: f32) -> Result<(), Fault> {
        let by = optimizer.begin(rate, scale);
        for Replica { machine, model, gradients, moments, .. } in &mut self.replicas {
            moments.step(machine.on(), &by, (model, gradients))?;
            model.settle(machine);
            machine.check()?;
        }
        Ok(())
    }

    fn fetch_gradients(&mut self, here: &mut Trainable) -> Result<(), Fault> {
        let pairs = self.replicas[0].gradients.rooms_mut().into_iter().zip(here.tensors_mut());
        pairs.into_iter().try_for_each(|(there, here)| there.read(here))
    }

    fn fetch_weights(&mut self, model: &mut Transformer) -> Result<(), Fault> {
        let pairs = self.replicas[0].model.learning().into_iter().zip(model.trainable_mut());
        pairs
            .into_iter()
            .try_for_each(|(there, here)| there.map_or(Ok(()), |there| there.weight.read(here)))
    }

    fn fetch_moments(&self, optimizer: &mut AdamWState) -> Result<(), Fault> {
        self.replicas[0].moments.fetch(optimizer)
    }
}
