//! What is learnt beside the projections of a decoder on an accelerator; formulas and orders are
//! those of `model::projection`. Knows one projection at a time.

use std::sync::Arc;

use super::{Accelerated, Parameter, Ready, Room};
use crate::train::kernels::Sink;
use crate::train::kernels::adamw::launch::scale;
use crate::train::kernels::dora::launch::{self as dora, Gains};
use crate::train::kernels::dropout::Dropout;
use crate::train::kernels::gemm::launch::{
    Added, Weights, linear, linear_adapted, linear_grad_input, linear_grad_input_adapted,
    linear_grad_weight,
};
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::kernels::rms_norm::launch::add;
use crate::train::model::Parameters;
use crate::train::model::lora::{Adapter, LoraSettings};
use crate::train::model::projection::{Dropping, Which};

/// The matrices beside one projection, or places for their gradients.
#[derive(Debug)]
pub struct LowRank {
    pub a_ri: Room,
    pub b_or: Room,
    /// Empty but under DoRA.
    pub magnitude_o: Room,
    /// What follows from the others under DoRA; none of gradients.
    gains: Option<Gains>,
}

/// An adapter in an accelerator's memory.
#[derive(Debug)]
pub struct LowRanks {
    pub settings: LoraSettings,
    /// By block, and in it by [`Which`].
    blocks: Vec<[Option<LowRank>; Which::ALL.len()]>,
}

impl LowRanks {
    /// A copy of the host's; one that is not of gradients is still to be settled.
    pub fn of(m: &Accelerated, adapter: &Adapter, layers: usize) -> LowRanks {
        let one = |layer: usize, which: Which| {
            let of = adapter.of(layer, which)?;
            let [a_ri, b_or, magnitude_o] =
                [&of.a_ri, &of.b_or, &of.magnitude_o].map(|matrix| m.send(matrix));
            Some(LowRank { a_ri, b_or, magnitude_o, gains: None })
        };
        let blocks = (0..layers).map(|layer| Which::ALL.map(|which| one(layer, which)));
        LowRanks { settings: adapter.settings.clone(), blocks: blocks.collect() }
    }

    /// The matrices in the order of the adapter's table.
    pub fn rooms_mut(&mut self) -> impl Iterator<Item = &mut Room> {
        let each = self.blocks.iter_mut().flatten().flatten();
        let all = each.flat_map(|of| [&mut of.a_ri, &mut of.b_or, &mut of.magnitude_o]);
        let dora = self.settings.dora;
        all.enumerate().filter(move |(at, _)| dora || at % 3 < 2).map(|(_, room)| room)
    }

    /// Finds the gains of DoRA anew, after a change of what they follow from.
    pub fn settle(&mut self, m: &Accelerated, base: &Parameters<Parameter>) {
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
    pub fn of_mut(&mut self, layer: usize, which: Which) -> Option<&mut LowRank> {
        self.blocks[layer][which as usize].as_mut()
    }

    /// The part that it has in a projection.
    pub fn at(&self, layer: usize, which: Which) -> Option<Adapted<'_>> {
        let low_rank = self.blocks[layer][which as usize].as_ref()?;
        let (rank, scale) = (self.settings.rank, self.settings.scale());
        Some(Adapted { low_rank, rank, scale, place: (layer, which) })
    }
}

impl LowRank {
    fn settle(
        &mut self,
        on: &Arc<dyn Accelerator>,
        weights: Weights<'_>,
        rank: usize,
        scale: f32,
    ) -> Result<(), Fault> {
        let LowRank { a_ri, b_or, magnitude_o, gains } = self;
        let gains = match gains {
            Some(gains) => gains,
            None => {
                let shape = [a_ri.len() / rank, b_or.len() / rank, rank];
                gains.insert(Gains::new(on, weights, shape)?)
            }
        };
        let [a, b, magnitudes] = [&*a_ri, b_or, magnitude_o].map(Room::all);
        gains.settle(&**on, weights, dora::Adapter { a, b, magnitudes, scale })
    }
}

/// An adapter's part in a projection.
#[derive(Clone, Copy, Debug)]
pub struct Adapted<'m> {
    low_rank: &'m LowRank,
    rank: usize,
    scale: f32,
    place: (usize, Which),
}

/// Buffers of the adapters' path.
#[derive(Debug, Default)]
pub struct Beside {
    pub dropping: Option<Dropping>,
    input_ti: Room,
    low_tr: Room,
    dlow_tr: Room,
    output_to: Room,
}

impl Adapted<'_> {
    /// y = z, or m / n ∘ z under DoRA.
    pub fn forward(
        &self,
        m: &Accelerated,
        through: (&Ready, Weights<'_>),
        x: &Room,
        y: &mut Room,
        beside: &mut Beside,
    ) {
        self.before_gains(m, through, x, y, beside);
        if let Some(gains) = &self.low_rank.gains {
            m.run(|on| gains.apply(&**on, y.all_mut()));
        }
    }

    /// z = x · Wᵀ + u · Bᵀ, with u = s · drop(x) · Aᵀ.
    fn before_gains(
        &self,
        m: &Accelerated,
        (batch, weights): (&Ready, Weights<'_>),
        x: &Room,
        z: &mut Room,
        beside: &mut Beside,
    ) {
        let ([i, o], tokens, rank) = (self.sizes(), batch.len(), self.rank);
        self.narrow(m, batch, x, beside);
        m.run(|on| {
            let (low, matrix) = (beside.low_tr.all(), self.low_rank.b_or.all());
            let added = Added { low, matrix, rank };
            linear_adapted(&**on, x.all(), weights, added, z.all_mut(), [tokens, i, o])
        });
    }

    fn sizes(&self) -> [usize; 2] {
        [self.low_rank.a_ri.len() / self.rank, self.low_rank.b_or.len() / self.rank]
    }

    /// Fills `low_tr` with u, and `input_ti` with what dropout leaves of x.
    fn narrow(&self, m: &Accelerated, batch: &Ready, x: &Room, beside: &mut Beside) {
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
            linear(&**on, x, self.low_rank.a_ri.all(), low_tr.all_mut(), shape, Sink::Write)?;
            scale(&**on, low_tr.all_mut(), self.scale)
        });
    }

    fn dropout(&self, beside: &Beside) -> Option<Dropout> {
        beside.dropping.map(|dropping| dropping.at(self.place))
    }

    /// The gradients of what is learnt, and where it is asked for that of x.
    pub fn backward(
        &self,
        m: &Accelerated,
        through: (&Ready, Weights<'_>),
        [x, dy]: [&Room; 2],
        towards: &mut LowRank,
        into: Option<(&mut Room, Sink)>,
        beside: &mut Beside,
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
        m: &Accelerated,
        (batch, weights): (&Ready, Weights<'_>),
        [x, dz]: [&Room; 2],
        towards: &mut LowRank,
        into: Option<(&mut Room, Sink)>,
        beside: &mut Beside,
    ) {
        let ([i, o], tokens, r) = (self.sizes(), batch.len(), self.rank);
        m.resize(&mut beside.dlow_tr, tokens * r);
        let dropout = self.dropout(beside);
        let Beside { input_ti, low_tr, dlow_tr, .. } = beside;
        m.run(|on| {
            let (on, blocks, wide) = (&**on, &batch.blocks, [tokens, r, o]);
            let (dz, db_or) = (dz.all(), towards.b_or.all_mut());
            linear_grad_weight(on, dz, low_tr.all(), blocks, db_or, wide)?;
            let b_or = self.low_rank.b_or.all();
            linear_grad_input(on, dz, b_or, dlow_tr.all_mut(), wide, Sink::Write)?;
            scale(on, dlow_tr.all_mut(), self.scale)?;
            let (da_ri, narrow) = (towards.a_ri.all_mut(), [tokens, i, r]);
            let of = if dropout.is_some() { input_ti.all() } else { x.all() };
            linear_grad_weight(on, dlow_tr.all(), of, blocks, da_ri, narrow)?;
            let Some((dx, sink)) = into else { return Ok(()) };
            let (matrix, low, shape) = (self.low_rank.a_ri.all(), dlow_tr.all(), [tokens, i, o]);
            let dx = dx.all_mut();
            let Some(dropout) = dropout else {
                let added = Added { low, matrix, rank: r };
                return linear_grad_input_adapted(on, dz, weights, added, dx, shape, sink);
            };
            let mut dx = dx;
            linear_grad_input(on, dz, weights, dx.part(0..tokens * i), shape, sink)?;
            linear_grad_input(on, low, matrix, input_ti.all_mut(), narrow, Sink::Write)?;
            dropout.launch_in_place(on, &batch.places, input_ti.all_mut())?;
            add(on, input_ti.all(), dx)
        });
    }
}
