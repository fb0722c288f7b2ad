//! One projection of a block, forward and backward, with what an adapter adds to it:
//!
//! ```text
//! z = x · Wᵀ + u · Bᵀ        u = s · drop(x) · Aᵀ
//! y = z                      DoRA: y = m / n ∘ z with n = ‖W + s · B · A‖, held constant
//! ```
//!
//! Dropout acts on the adapter's path alone. u is made again on the way back, with the same bits.
//! Knows one product; does not know what it is for.

use std::ops::Range;

use super::config::ModelConfig;
use super::lora::LowRank;
use super::parameters::BlockParameters;
use crate::train::kernels::dropout::Dropout;
use crate::train::kernels::gemm::{linear, linear_add, linear_grad_input, linear_grad_weight};
use crate::train::kernels::rng::Stream;
use crate::train::kernels::{Elements, Sink, Threads, adamw, rms_norm};

/// The projections of a block, in the order in which a token meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Which {
    /// All of them.
    pub const ALL: [Which; 7] = [
        Which::Query,
        Which::Key,
        Which::Value,
        Which::Output,
        Which::Gate,
        Which::Up,
        Which::Down,
    ];

    /// Inputs and outputs.
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let (d, k, f) = (config.dim, config.kv_dim(), config.ffn);
        match self {
            Which::Query | Which::Output => [d, d],
            Which::Key | Which::Value => [d, k],
            Which::Gate | Which::Up => [d, f],
            Which::Down => [f, d],
        }
    }

    /// As recipes name it.
    pub fn short(self) -> &'static str {
        match self {
            Which::Query => "q",
            Which::Key => "k",
            Which::Value => "v",
            Which::Output => "o",
            Which::Gate => "gate",
            Which::Up => "up",
            Which::Down => "down",
        }
    }

    /// Where Hugging Face's Llama has it in a block.
    pub fn module(self) -> &'static str {
        match self {
            Which::Query => "self_attn.q_proj",
            Which::Key => "self_attn.k_proj",
            Which::Value => "self_attn.v_proj",
            Which::Output => "self_attn.o_proj",
            Which::Gate => "mlp.gate_proj",
            Which::Up => "mlp.up_proj",
            Which::Down => "mlp.down_proj",
        }
    }
}

impl<T> BlockParameters<T> {
    /// The matrix of a projection.
    pub fn of(&self, which: Which) -> &T {
        match which {
            Which::Query => &self.query_dd,
            Which::Key => &self.key_kd,
            Which::Value => &self.value_kd,
            Which::Output => &self.output_dd,
            Which::Gate => &self.gate_fd,
            Which::Up => &self.up_fd,
            Which::Down => &self.down_df,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, which: Which) -> &mut T {
        match which {
            Which::Query => &mut self.query_dd,
            Which::Key => &mut self.key_kd,
            Which::Value => &mut self.value_kd,
            Which::Output => &mut self.output_dd,
            Which::Gate => &mut self.gate_fd,
            Which::Up => &mut self.up_fd,
            Which::Down => &mut self.down_df,
        }
    }
}

/// A matrix, and what an adapter adds to it.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'m> {
    pub weight_oi: Elements<'m>,
    /// Inputs and outputs.
    pub shape: [usize; 2],
    pub adapted: Option<Adapted<'m>>,
}

/// An adapter's part in a projection.
#[derive(Clone, Copy, Debug)]
pub struct Adapted<'m> {
    pub low_rank: &'m LowRank,
    pub rank: usize,
    pub scale: f32,
    /// Which of all adapted projections this is.
    pub place: (usize, Which),
}

/// What is left out while training, over all rows at hand.
#[derive(Clone, Copy, Debug)]
pub struct Dropping {
    pub seed: u64,
    pub step: u64,
    pub first_row: u64,
    pub rate: f32,
}

impl Dropping {
    /// What is left out of the input of one projection.
    pub fn at(self, (layer, which): (usize, Which)) -> Dropout {
        let Dropping { seed, step, first_row, rate } = self;
        let name = format!("dropout/{layer}/{}", which.module());
        Dropout { stream: Stream::new(seed, &name), step, first_row, rate }
    }
}

/// Buffers that every adapted projection uses anew.
#[derive(Debug, Default)]
pub struct Beside {
    pub dropping: Option<Dropping>,
    input_ti: Vec<f32>,
    low_tr: Vec<f32>,
    dlow_tr: Vec<f32>,
    output_to: Vec<f32>,
}

impl Beside {
    /// The bytes that all buffers hold.
    pub fn bytes(&self) -> u64 {
        let buffers = [&self.input_ti, &self.low_tr, &self.dlow_tr, &self.output_to];
        buffers.iter().map(|buffer| 4 * buffer.capacity() as u64).sum()
    }
}

/// Makes a buffer so long, and takes no more memory than that, so that what the ledger states is
/// what is taken.
pub(super) fn fit(buffer: &mut Vec<f32>, length: usize) {
    buffer.reserve_exact(length.saturating_sub(buffer.len()));
    buffer.resize(length, 0.0);
}

/// Where the gradients of a projection go; empty or none where it is frozen.
#[derive(Debug)]
pub struct Towards<'g> {
    pub weight_oi: &'g mut Vec<f32>,
    pub low_rank: Option<&'g mut LowRank>,
}

impl Projection<'_> {
    /// Writes y[m, outputs] of x[m, inputs]; `rows` are the token ranges of the batch rows.
    pub fn forward(
        &self,
        t: &Threads,
        rows: &[Range<usize>],
        x: &[f32],
        y: &mut [f32],
        beside: &mut Beside,
    ) {
        self.before_gains(t, rows, x, y, beside);
        if let Some(adapted) = self.adapted {
            adapted.gain(y);
        }
    }

    /// z of the head of this file; `low_tr` holds u.
    fn before_gains(
        &self,
        t: &Threads,
        rows: &[Range<usize>],
        x: &[f32],
        z: &mut [f32],
        beside: &mut Beside,
    ) {
        let [i, o] = self.shape;
        let tokens = z.len() / o;
        linear(t, x, self.weight_oi, z, [tokens, i, o]);
        if let Some(adapted) = self.adapted {
            adapted.narrow(t, rows, x, [tokens, i], beside);
            let b_or = &adapted.low_rank.b_or;
            linear_add(t, &beside.low_tr, b_or, z, [tokens, adapted.rank, o]);
        }
    }

    /// From dy, the gradients of whatever is learnt, added to `towards`, and that of x where it is
    /// asked for.
    pub fn backward(
        &self,
        t: &Threads,
        rows: &[Range<usize>],
        [x, dy]: [&[f32]; 2],
        towards: Towards<'_>,
        mut dx: Option<(&mut [f32], Sink)>,
        beside: &mut Beside,
    ) {
        let [i, o] = self.shape;
        let shape = [dy.len() / o, i, o];
        if !towards.weight_oi.is_empty() {
            linear_grad_weight(t, dy, x, rows, towards.weight_oi, shape);
        }
        let mut through_base = |dz: &[f32]| {
            if let Some((dx, sink)) = &mut dx {
                linear_grad_input(t, dz, self.weight_oi, dx, shape, *sink);
            }
        };
        let (Some(adapted), Some(towards)) = (self.adapted, towards.low_rank) else {
            return through_base(dy);
        };
        let mut output_to = std::mem::take(&mut beside.output_to);
        let dz = match towards.magnitude_o.is_empty() {
            true => {
                adapted.narrow(t, rows, x, [shape[0], i], beside);
                dy
            }
            false => {
                fit(&mut output_to, dy.len());
                self.before_gains(t, rows, x, &mut output_to, beside);
                adapted.grad_magnitude(dy, &mut output_to, &mut towards.magnitude_o);
                &output_to
            }
        };
        through_base(dz);
        adapted.backward(t, rows, [x, dz], towards, dx.map(|(dx, _)| dx), beside);
        beside.output_to = output_to;
    }
}

impl Adapted<'_> {
    /// Fills `low_tr` with u, and `input_ti` with what dropout leaves of x.
    fn narrow(
        &self,
        t: &Threads,
        rows: &[Range<usize>],
        x: &[f32],
        [tokens, i]: [usize; 2],
        beside: &mut Beside,
    ) {
        let dropout = self.dropout(beside);
        let Beside { input_ti, low_tr, .. } = beside;
        let x = match dropout {
            None => x,
            Some(dropout) => {
                fit(input_ti, x.len());
                input_ti.copy_from_slice(x);
                dropout.apply(t, rows, input_ti);
                input_ti
            }
        };
        fit(low_tr, tokens * self.rank);
        linear(t, x, &self.low_rank.a_ri, low_tr, [tokens, i, self.rank]);
        adamw::scale(t, low_tr, self.scale);
    }

    fn dropout(&self, beside: &Beside) -> Option<Dropout> {
        beside.dropping.map(|dropping| dropping.at(self.place))
    }

    /// y = m / n ∘ z.
    fn gain(&self, y: &mut [f32]) {
        let Some(gains) = self.low_rank.gains() else { return };
        let gains: Vec<f32> = gains.collect();
        for y in y.chunks_exact_mut(gains.len()) {
            y.iter_mut().zip(&gains).for_each(|(y, gain)| *y *= gain);
        }
    }

    /// Adds Σ dy ∘ z / n to the gradient of m, token by token, and turns z into dz = m / n ∘ dy.
    fn grad_magnitude(&self, dy: &[f32], z: &mut [f32], dmagnitude_o: &mut [f32]) {
        let o = dmagnitude_o.len();
        for (dy, z) in dy.chunks_exact(o).zip(z.chunks_exact_mut(o)) {
            let norms = self.low_rank.norms();
            for (((dm, dy), z), norm) in
                dmagnitude_o.iter_mut().zip(dy).zip(z.iter_mut()).zip(norms)
            {
                *dm += dy * *z / norm;
                *z = *dy;
            }
        }
        self.gain(z);
    }

    /// After `narrow`: the gradients of B and A, and what goes down their path to x.
    fn backward(
        &self,
        t: &Threads,
        rows: &[Range<usize>],
        [x, dz]: [&[f32]; 2],
        towards: &mut LowRank,
        dx: Option<&mut [f32]>,
        beside: &mut Beside,
    ) {
        let (r, o) = (self.rank, self.low_rank.b_or.len() / self.rank);
        let (tokens, i) = (dz.len() / o, self.low_rank.a_ri.len() / r);
        let dropout = self.dropout(beside);
        let Beside { input_ti, low_tr, dlow_tr, .. } = beside;
        linear_grad_weight(t, dz, low_tr, rows, &mut towards.b_or, [tokens, r, o]);
        fit(dlow_tr, tokens * r);
        linear_grad_input(t, dz, &self.low_rank.b_or, dlow_tr, [tokens, r, o], Sink::Write);
        adamw::scale(t, dlow_tr, self.scale);
        let shape = [tokens, i, r];
        let of = if dropout.is_some() { &input_ti[..] } else { x };
        linear_grad_weight(t, dlow_tr, of, rows, &mut towards.a_ri, shape);
        let a_ri = &self.low_rank.a_ri;
        match (dx, dropout) {
            (None, _) => {}
            (Some(dx), None) => linear_grad_input(t, dlow_tr, a_ri, dx, shape, Sink::Add),
            (Some(dx), Some(dropout)) => {
                linear_grad_input(t, dlow_tr, a_ri, input_ti, shape, Sink::Write);
                dropout.apply(t, rows, input_ti);
                rms_norm::add(t, input_ti, dx);
            }
        }
    }
}
