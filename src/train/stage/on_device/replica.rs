//! A decoder that learns on one accelerator, with all that its steps need there. Knows one part of
//! a step at a time.

use std::sync::Arc;

use super::chain::Chain;
use crate::train::kernels::cross_entropy::launch::{Gradients, Losses, Targets, cross_entropy};
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::model::accelerated::{Accelerated, Class, LowRanks, Room};
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::machine::Machine;
use crate::train::model::projection::Dropping;
use crate::train::model::trainable::Group;
use crate::train::model::transformer::Along;
use crate::train::model::{Batch, Trainable, Transformer};
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
        keep: Keep,
    ) -> Result<Replica<T>, Fault> {
        let machine = Accelerated::new(Arc::clone(on));
        Ok(Replica {
            model: model.onto(&machine)?,
            gradients: Trainable::gradients(model).onto(&machine)?,
            moments: DeviceMoments::of(on, optimizer)?,
            arena: Activations::training(&model.config, keep),
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
        let on = &**machine.on();
        let mut chained = Ok(());
        model.backward_by(machine, batch, arena, gradients, |along, group, gradients| {
            if chained.is_ok() {
                let rooms = gradients.rooms_of(group, heads);
                chained = match along {
                    Along::Before => chain.take(on, part, group, rooms),
                    Along::After => chain.pass_on(on, group, rooms),
                };
            }
        });
        machine.check().and(chained)
    }

    /// Takes over what parts before this one summed up of the heads.
    pub fn take_heads(&mut self, part: usize, chain: &mut Chain, heads: bool) -> Result<(), Fault> {
        let on = &**self.machine.on();
        chain.take(on, part, Group::Top, self.gradients.rooms_of(Group::Top, heads))
    }
}
