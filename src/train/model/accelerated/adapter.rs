//! What is learnt beside the projections of a decoder on an accelerator; formulas and orders are
//! those of `model::projection`. Knows one projection at a time. Left out: DoRA.

use super::{Accelerated, Ready, Room};
use crate::train::kernels::Sink;
use crate::train::kernels::adamw::launch::scale;
use crate::train::kernels::dropout::Dropout;
use crate::train::kernels::gemm::launch::{
    Added, Weights, linear, linear_adapted, linear_grad_input, linear_grad_input_adapted,
    linear_grad_weight,
};
use crate::train::kernels::rms_norm::launch::add;
use crate::train::model::lora::{Adapter, LoraSettings};
use crate::train::model::projection::{Dropping, Which};

/// The matrices beside one projection, or places for their gradients.
#[derive(Debug)]
pub struct LowRank {
    pub a_ri: Room,
    pub b_or: Room,
}

/// An adapter in an accelerator's memory.
#[derive(Debug)]
pub struct LowRanks {
    pub settings: LoraSettings,
    /// By block, and in it by [`Which`].
    blocks: Vec<[Option<LowRank>; Which::ALL.len()]>,
}

impl LowRanks {
    /// A copy of the host's.
    pub fn of(m: &Accelerated, adapter: &Adapter, layers: usize) -> LowRanks {
        let one = |layer: usize, which: Which| {
            let of = adapter.of(layer, which)?;
            Some(LowRank { a_ri: m.send(&of.a_ri), b_or: m.send(&of.b_or) })
        };
        let blocks = (0..layers).map(|layer| Which::ALL.map(|which| one(layer, which)));
        LowRanks { settings: adapter.settings.clone(), blocks: blocks.collect() }
    }

    /// The matrices in the order of the adapter's table.
    pub fn rooms_mut(&mut self) -> impl Iterator<Item = &mut Room> {
        let each = self.blocks.iter_mut().flatten().flatten();
        each.flat_map(|of| [&mut of.a_ri, &mut of.b_or])
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
}

impl Adapted<'_> {
    /// y = x · Wᵀ + u · Bᵀ, with u = s · drop(x) · Aᵀ.
    pub fn forward(
        &self,
        m: &Accelerated,
        (batch, weights): (&Ready, Weights<'_>),
        x: &Room,
        y: &mut Room,
        beside: &mut Beside,
    ) {
        let ([i, o], tokens, rank) = (self.sizes(), batch.len(), self.rank);
        self.narrow(m, batch, x, beside);
        m.run(|on| {
            let (low, matrix) = (beside.low_tr.all(), self.low_rank.b_or.all());
            let added = Added { low, matrix, rank };
            linear_adapted(&**on, x.all(), weights, added, y.all_mut(), [tokens, i, o])
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

    /// The gradients of B and A, and where it is asked for that of x: what comes down through W,
    /// and then what comes down their path.
    pub fn backward(
        &self,
        m: &Accelerated,
        (batch, weights): (&Ready, Weights<'_>),
        [x, dy]: [&Room; 2],
        towards: &mut LowRank,
        into: Option<(&mut Room, Sink)>,
        beside: &mut Beside,
    ) {
        let ([i, o], tokens, r) = (self.sizes(), batch.len(), self.rank);
        self.narrow(m, batch, x, beside);
        m.resize(&mut beside.dlow_tr, tokens * r);
        let dropout = self.dropout(beside);
        let Beside { input_ti, low_tr, dlow_tr, .. } = beside;
        m.run(|on| {
            let (on, blocks, wide) = (&**on, &batch.blocks, [tokens, r, o]);
            let (dy, db_or) = (dy.all(), towards.b_or.all_mut());
            linear_grad_weight(on, dy, low_tr.all(), blocks, db_or, wide)?;
            let b_or = self.low_rank.b_or.all();
            linear_grad_input(on, dy, b_or, dlow_tr.all_mut(), wide, Sink::Write)?;
            scale(on, dlow_tr.all_mut(), self.scale)?;
            let (da_ri, narrow) = (towards.a_ri.all_mut(), [tokens, i, r]);
            let of = if dropout.is_some() { input_ti.all() } else { x.all() };
            linear_grad_weight(on, dlow_tr.all(), of, blocks, da_ri, narrow)?;
            let Some((dx, sink)) = into else { return Ok(()) };
            let (a_ri, dlow_tr, shape) = (self.low_rank.a_ri.all(), dlow_tr.all(), [tokens, i, o]);
            let Some(dropout) = dropout else {
                let added = Added { low: dlow_tr, matrix: a_ri, rank: r };
                return linear_grad_input_adapted(
                    on,
                    dy,
                    weights,
                    added,
                    dx.all_mut(),
                    shape,
                    sink,
                );
            };
            linear_grad_input(on, dy, weights, dx.all_mut(), shape, sink)?;
            linear_grad_input(on, dlow_tr, a_ri, input_ti.all_mut(), narrow, Sink::Write)?;
            dropout.launch_in_place(on, &batch.places, input_ti.all_mut())?;
            add(on, input_ti.all(), dx.all_mut())
        });
    }
}
