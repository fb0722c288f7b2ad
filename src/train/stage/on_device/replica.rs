//! A decoder that learns on one accelerator, with all that its steps need there. Knows one part of
//! a step at a time.

use std::ops::Range;
use std::sync::Arc;

use super::super::moving::{Moved, Moving, is_alive};
use super::super::train_loop::Training;
use super::chain::Chain;
use crate::train::kernels::Threads;
use crate::train::kernels::adamw::launch as adamw;
use crate::train::kernels::cross_entropy::launch::{Gradients, Losses, Targets, cross_entropy};
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::kernels::rms_norm::launch::add;
use crate::train::model::accelerated::{Accelerated, Class, LowRanks, Room};
use crate::train::model::activations::Activations;
use crate::train::model::machine::Machine;
use crate::train::model::projection::Dropping;
use crate::train::model::trainable::Group;
use crate::train::model::{Batch, Parameters, Trainable, Transformer};
use crate::train::objective::Objective;
use crate::train::optim::{AdamWState, DeviceMoments};

/// One of the decoders that make a step together, each on an accelerator of its own.
#[derive(Debug)]
pub struct Replica<T: Class> {
    pub machine: Accelerated<T>,
    pub model: Transformer<Accelerated<T>>,
    pub gradients: Trainable<Room, LowRanks>,
    pub moments: DeviceMoments,
    pub arena: Activations<Accelerated<T>>,
    /// The losses of the tokens of its parts of a step, which are read once the step is launched.
    losses: Vec<Room>,
}

impl<T: Class> Replica<T> {
    /// A copy of a decoder and its moments.
    pub fn new(
        on: &Arc<dyn Accelerator>,
        model: &Transformer,
        optimizer: &mut AdamWState,
        training: &Training,
    ) -> Result<Replica<T>, Fault> {
        let machine = Accelerated::new(Arc::clone(on));
        Ok(Replica {
            model: model.onto(&machine)?,
            gradients: training.gradients(model).onto(&machine)?,
            moments: DeviceMoments::of(on, optimizer)?,
            arena: Activations::training(&model.config, training.keep),
            losses: Vec::new(),
            machine,
        })
    }

    /// The accelerator.
    pub fn on(&self) -> &dyn Accelerator {
        &**self.machine.on()
    }

    /// The same, and what it has of gradients.
    pub fn shared(&mut self) -> (&dyn Accelerator, &mut Trainable<Room, LowRanks>) {
        (&**self.machine.on(), &mut self.gradients)
    }

    /// A forward pass, of which adapters leave something out.
    pub fn forward(&mut self, batch: &Batch, dropping: Option<Dropping>) -> Result<(), Fault> {
        let Replica { machine, model, arena, .. } = self;
        arena.workspace.beside.beside.dropping = dropping;
        model.forward(machine, batch, arena);
        machine.fit(&mut arena.dhidden_td, batch.len() * model.config.dim);
        machine.check()
    }

    /// The losses of the next tokens, each of them counted `weight` times, and their gradients:
    /// of the `at`th part that is computed here.
    pub fn next_token(&mut self, at: usize, batch: &Batch, weight: f32) -> Result<(), Fault> {
        let Replica { machine, model, gradients, arena, losses, .. } = self;
        let on = machine.on();
        if losses.len() == at {
            losses.push(Room::default());
        }
        machine.fit_sums(&mut losses[at], batch.len());
        machine.check()?;
        let head = &mut gradients.weights.head_vd;
        let towards = Gradients {
            weight,
            dhidden: arena.dhidden_td.all_mut(),
            dhead: (!head.is_empty()).then(|| head.all_mut()),
        };
        let targets = Targets::new(on, batch.targets_at(1.0), model.config.outputs())?;
        let losses = Losses { nll: losses[at].all_mut(), entropy: None };
        cross_entropy(on, arena.hidden_td.all(), model.head(), &targets, losses, Some(towards))
    }

    /// The same of an objective that is computed on the host, from the last hidden state.
    pub fn learn_here(
        &mut self,
        t: &Threads,
        rows: Range<usize>,
        batch: &Batch,
        model: &Transformer,
        objective: &mut dyn Objective,
        (here, gradients): (&mut Activations, &mut Trainable),
    ) -> Result<(), Fault> {
        here.fit_heads(batch.len());
        self.arena.hidden_td.read(&mut here.hidden_td)?;
        objective.learn(t, rows, batch, model, here, &mut gradients.weights);
        self.arena.dhidden_td.write(&here.dhidden_td)
    }

    /// The gradients of heads that were found on the host.
    pub fn take_heads(&mut self, here: &Parameters) -> Result<(), Fault> {
        let weights = &mut self.gradients.weights;
        weights.head_vd.write(&here.head_vd)?;
        weights.value_d.write(&here.value_d)
    }

    /// Where the head is the embedding, adds its gradient to that.
    pub fn tie(&mut self) -> Result<(), Fault> {
        let (on, weights) = (&**self.machine.on(), &mut self.gradients.weights);
        if self.model.config.has_own_head() || weights.head_vd.is_empty() {
            return Ok(());
        }
        add(on, weights.head_vd.all(), weights.embedding_vd.all_mut())
    }

    /// A backward pass on which weights move as soon as their gradients are there.
    pub fn move_back(
        &mut self,
        here: &Transformer,
        batch: &Batch,
        moving: Moving<'_>,
    ) -> Result<Moved, Fault> {
        let batch = self.machine.batch(batch);
        let (mut squares, mut dead) = (Vec::new(), Vec::new());
        for group in Group::all(here.config.layers) {
            if let Group::Block(_) = group {
                let rooms = self.gradients.weights.of_group(group);
                rooms.into_iter().try_for_each(Room::clear)?;
            }
            let Replica { machine, model, gradients, arena, .. } = self;
            model.backward_of(machine, &batch, group, arena, gradients);
            machine.check()?;
            if group == Group::Table {
                self.tie()?;
            }
            let Replica { machine, model, gradients, moments, .. } = self;
            let (on, range) = (machine.on(), here.rows_of(group));
            let found = gradients.weights.of_group(group);
            for (row, gradient) in range.clone().zip(&found) {
                squares.push((row, adamw::squares(on, [gradient.all()])?));
                if moving.is_watched && !is_alive(&machine.fetch(gradient)) {
                    dead.push(row);
                }
            }
            let weights = model.learning().into_iter().skip(range.start);
            let pairs = weights.zip(found.into_iter().map(|gradient| &*gradient));
            moments.move_rows(on, moving.by, range, pairs)?;
        }
        let mut sums = vec![0.0; moving.by.len()];
        for (row, of) in squares {
            sums[row] = of.map_or(Ok(0.0), |of| of.total())?;
        }
        Ok(Moved::of(here, sums, dead))
    }

    /// Those losses, once they are there.
    pub fn losses(&self, at: usize) -> Result<Vec<f32>, Fault> {
        let mut nll_t = vec![0.0; self.losses[at].len()];
        self.losses[at].read(&mut nll_t)?;
        Ok(nll_t)
    }

    /// A backward pass of a step's part, from the gradient of the last hidden state. `heads` says
    /// whether those of heads are found here.
    pub fn backward(
        &mut self,
        part: usize,
        batch: &Batch,
        chain: &mut Chain,
        heads: bool,
    ) -> Result<(), Fault> {
        let Replica { machine, model, gradients, arena, .. } = self;
        let (on, batch) = (&**machine.on(), machine.batch(batch));
        for group in Group::all(model.config.layers) {
            // That of the top began with the heads.
            if group != Group::Top {
                chain.take(on, part, group, gradients.rooms_of(group, heads))?;
            }
            model.backward_of(machine, &batch, group, arena, gradients);
            machine.check()?;
            chain.pass_on(on, group, gradients.rooms_of(group, heads))?;
        }
        Ok(())
    }

    /// Takes over what parts before this one summed up of the heads and the norm below.
    pub fn take_top(&mut self, part: usize, chain: &mut Chain, heads: bool) -> Result<(), Fault> {
        let on = &**self.machine.on();
        chain.take(on, part, Group::Top, self.gradients.rooms_of(Group::Top, heads))
    }
}
