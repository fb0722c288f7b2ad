//! What is learnt beside the projections of a decoder on an accelerator; formulas and orders are
//! those of `model::projection`. Knows one projection at a time.

use std::ops::Range;
use std::sync::Arc;

use super::room::{Dora, Numbers};
use super::{Accelerated, Class, Learning, Parameter, Ready, Room};
use crate::train::kernels::Sink;
use crate::train::kernels::adamw::launch::scale;
use crate::train::kernels::dropout::Dropout;
use crate::train::kernels::gemm::launch::{Added, Weights};
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::kernels::rms_norm::launch::add;
use crate::train::model::Parameters;
use crate::train::model::lora::{Adapter, LoraSettings};
use crate::train::model::projection::{Dropping, Which};

/// The matrices beside one projection, or places for their gradients.
#[derive(Debug)]
pub struct LowRank<T: Class = f32> {
    a_ri: Numbers<T>,
    b_or: Numbers<T>,
    /// Empty but under DoRA.
    magnitude_o: Room,
    /// What follows from the others under DoRA; none of gradients.
    gains: Option<T::Gains>,
}

/// An adapter in an accelerator's memory.
#[derive(Debug)]
pub struct LowRanks<T: Class = f32> {
    pub settings: LoraSettings,
    /// By block, and in it by [`Which`].
    blocks: Vec<[Option<LowRank<T>>; Which::ALL.len()]>,
}

impl<T: Class> LowRanks<T> {
    /// A copy of the host's; one that is not of gradients is still to be settled.
    pub fn of<N: Class>(m: &Accelerated<N>, adapter: &Adapter, layers: usize) -> LowRanks<T> {
        let one = |layer: usize, which: Which| {
            let of = adapter.of(layer, which)?;
            let [a_ri, b_or] = [&of.a_ri, &of.b_or].map(|matrix| {
                let mut sent = Numbers::default();
                m.run(|on| {
                    sent = Numbers::of(on, matrix, true)?;
                    Ok(())
                });
                sent
            });
            Some(LowRank { a_ri, b_or, magnitude_o: m.send(&of.magnitude_o), gains: None })
        };
        let blocks = (0..layers).map(|layer| Which::ALL.map(|which| one(layer, which)));
        LowRanks { settings: adapter.settings.clone(), blocks: blocks.collect() }
    }

    /// The matrices in the order of the adapter's table.
    pub fn learning(&mut self) -> impl Iterator<Item = Learning<'_>> {
        self.learning_in(0..self.blocks.len())
    }

    /// Those of some blocks.
    pub fn learning_in(&mut self, blocks: Range<usize>) -> impl Iterator<Item = Learning<'_>> {
        let each = self.blocks[blocks].iter_mut().flatten().flatten();
        let all = each.flat_map(|LowRank { a_ri, b_or, magnitude_o, .. }| {
            let magnitude = Learning { weight: magnitude_o, copy: None };
            [T::learning(a_ri), T::learning(b_or), magnitude]
        });
        let dora = self.settings.dora;
        all.enumerate().filter(move |(at, _)| dora || at % 3 < 2).map(|(_, of)| of)
    }

    /// Finds the gains of DoRA anew, after a change of what they follow from.
    pub fn settle(&mut self, m: &Accelerated<T>, base: &Parameters<Parameter<T>>) {
        if !self.settings.dora {
            return;
        }
        let (rank, scale) = (self.settings.rank, self.settings.scale());
        for (block, weights) in self.blocks.iter_mut().zip(&base.blocks) {
            for (which, of) in Which::ALL.into_iter().zip(block) {
                let Some(of) = of else { continue };
                m.run(|on| of.settle(on, weights.of(which).weights(), rank, scale));
            }
        }
    }

    /// What is beside a projection, to be changed.
    pub fn of_mut(&mut self, layer: usize, which: Which) -> Option<&mut LowRank<T>> {
        self.blocks[layer][which as usize].as_mut()
    }

    /// The part that it has in a projection.
    pub fn at(&self, layer: usize, which: Which) -> Option<Adapted<'_, T>> {
        let low_rank = self.blocks[layer][which as usize].as_ref()?;
        let (rank, scale) = (self.settings.rank, self.settings.scale());
        Some(Adapted { low_rank, rank, scale, place: (layer, which) })
    }
}

impl<T: Class> LowRank<T> {
    fn settle(
        &mut self,
        on: &Arc<dyn Accelerator>,
        weights: Weights<'_, T>,
        rank: usize,
        scale: f32,
    ) -> Result<(), Fault> {
        let LowRank { a_ri, b_or, magnitude_o, gains } = self;
        let gains = match gains {
            Some(gains) => gains,
            None => {
                let shape = [a_ri.used.len() / rank, b_or.used.len() / rank, rank];
                gains.insert(T::Gains::new(on, weights, shape)?)
            }
        };
        let of = [a_ri.used.all(), b_or.used.all()];
        gains.settle(&**on, weights, of, magnitude_o.all(), scale)
    }
}

/// An adapter's part in a projection.
#[derive(Clone, Copy, Debug)]
pub struct Adapted<'m, T: Class = f32> {
    low_rank: &'m LowRank<T>,
    rank: usize,
    scale: f32,
    place: (usize, Which),
}

/// Buffers of the adapters' path.
#[derive(Debug)]
pub struct Beside<T: Class = f32> {
    pub dropping: Option<Dropping>,
    input_ti: Room<T>,
    low_tr: Room<T>,
    dlow_tr: Room<T>,
    output_to: Room<T>,
}

impl<T: Class> Default for Beside<T> {
    fn default() -> Beside<T> {
        let [input_ti, low_tr, dlow_tr, output_to] = [(); 4].map(|()| Room::default());
        Beside { dropping: None, input_ti, low_tr, dlow_tr, output_to }
    }
}

impl<T: Class> Adapted<'_, T> {
    /// y = z, or m / n ∘ z under DoRA.
    pub fn forward(
        &self,
        m: &Accelerated<T>,
        through: (&Ready, Weights<'_, T>),
        x: &Room<T>,
        y: &mut Room<T>,
        beside: &mut Beside<T>,
    ) {
        self.before_gains(m, through, x, y, beside);
        if let Some(gains) = &self.low_rank.gains {
            m.run(|on| gains.apply(&**on, y.all_mut()));
        }
    }

    /// z = x · Wᵀ + u · Bᵀ, with u = s · drop(x) · Aᵀ.
    fn before_gains(
        &self,
        m: &Accelerated<T>,
        (batch, weights): (&Ready, Weights<'_, T>),
        x: &Room<T>,
        z: &mut Room<T>,
        beside: &mut Beside<T>,
    ) {
        let ([i, o], tokens, rank) = (self.sizes(), batch.len(), self.rank);
        self.narrow(m, batch, x, beside);
        m.run(|on| {
            let (low, matrix) = (beside.low_tr.all(), self.low_rank.b_or.used.all());
            let added = Added { low, matrix, rank };
            T::linear_adapted(on, x.all(), weights, added, z.all_mut(), [tokens, i, o])
        });
    }

    fn sizes(&self) -> [usize; 2] {
        [self.low_rank.a_ri.used.len() / self.rank, self.low_rank.b_or.used.len() / self.rank]
    }

    /// Fills `low_tr` with u, and `input_ti` with what dropout leaves of x.
    fn narrow(&self, m: &Accelerated<T>, batch: &Ready, x: &Room<T>, beside: &mut Beside<T>) {
        let ([i, _], tokens) = (self.sizes(), batch.len());
        m.resize(&mut beside.low_tr, tokens * self.rank);
        let dropout = self.dropout(beside);
        if dropout.is_some() {
            m.resize(&mut beside.input_ti, x.len());
        }
        let Beside { input_ti, low_tr, .. } = beside;
        m.run(|on| {
            let x = match dropout {
                None => x.all(),
                Some(dropout) => {
                    dropout.launch(&**on, &batch.places, x.all(), input_ti.all_mut())?;
                    input_ti.all()
                }
            };
            let shape = [tokens, i, self.rank];
            let matrix = self.low_rank.a_ri.used.all().into();
            T::linear(on, x, matrix, low_tr.all_mut(), shape, Sink::Write)?;
            scale(&**on, low_tr.all_mut(), self.scale)
        });
    }

    fn dropout(&self, beside: &Beside<T>) -> Option<Dropout> {
        beside.dropping.map(|dropping| dropping.at(self.place))
    }

    /// The gradients of what is learnt, and where it is asked for that of x.
    pub fn backward(
        &self,
        m: &Accelerated<T>,
        through: (&Ready, Weights<'_, T>),
        [x, dy]: [&Room<T>; 2],
        towards: &mut LowRank,
        into: Option<(&mut Room<T>, Sink)>,
        beside: &mut Beside<T>,
    ) {
        let mut output_to = std::mem::take(&mut beside.output_to);
        let dz = match &self.low_rank.gains {
            None => {
                self.narrow(m, through.0, x, beside);
                dy
            }
            Some(gains) => {
                m.resize(&mut output_to, dy.len());
                self.before_gains(m, through, x, &mut output_to, beside);
                m.run(|on| {
                    let (z, dmagnitude_o) = (output_to.all_mut(), towards.magnitude_o.all_mut());
                    gains.backward(&**on, dy.all(), z, dmagnitude_o)
                });
                &output_to
            }
        };
        self.backward_of(m, through, [x, dz], towards, into, beside);
        beside.output_to = output_to;
    }

    /// After `narrow`: the gradients of B and A, and where it is asked for that of x: what comes
    /// down through W, and then what comes down their path.
    fn backward_of(
        &self,
        m: &Accelerated<T>,
        (batch, weights): (&Ready, Weights<'_, T>),
        [x, dz]: [&Room<T>; 2],
        towards: &mut LowRank,
        into: Option<(&mut Room<T>, Sink)>,
        beside: &mut Beside<T>,
    ) {
        let ([i, o], tokens, r) = (self.sizes(), batch.len(), self.rank);
        m.resize(&mut beside.dlow_tr, tokens * r);
        let dropout = self.dropout(beside);
        let Beside { input_ti, low_tr, dlow_tr, .. } = beside;
        m.run(|on| {
            let (blocks, wide) = (&batch.blocks, [tokens, r, o]);
            let (dz, db_or) = (dz.all(), towards.b_or.used.all_mut());
            T::grad_weight(on, dz, low_tr.all(), blocks, db_or, wide)?;
            let b_or = self.low_rank.b_or.used.all();
            T::grad_input(on, dz, b_or.into(), dlow_tr.all_mut(), wide, Sink::Write)?;
            scale(&**on, dlow_tr.all_mut(), self.scale)?;
            let (da_ri, narrow) = (towards.a_ri.used.all_mut(), [tokens, i, r]);
            let of = if dropout.is_some() { input_ti.all() } else { x.all() };
            T::grad_weight(on, dlow_tr.all(), of, blocks, da_ri, narrow)?;
            let Some((dx, sink)) = into else { return Ok(()) };
            let (matrix, low, shape) =
                (self.low_rank.a_ri.used.all(), dlow_tr.all(), [tokens, i, o]);
            let dx = dx.all_mut();
            let Some(dropout) = dropout else {
                let added = Added { low, matrix, rank: r };
                return T::grad_input_adapted(on, dz, weights, added, dx, shape, sink);
            };
            let mut dx = dx;
            T::grad_input(on, dz, weights, dx.part(0..tokens * i), shape, sink)?;
            T::grad_input(on, low, matrix.into(), input_ti.all_mut(), narrow, Sink::Write)?;
            dropout.launch_in_place(&**on, &batch.places, input_ti.all_mut())?;
            add(&**on, input_ti.all(), dx)
        });
    }
}
