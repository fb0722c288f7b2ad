//! What a finished decoder needs of a machine beside its forward pass: keys and values that stay,
//! and heads that are asked about some tokens. The processor's answers are here, an accelerator's
//! in `accelerated`; both have the same bits. Knows neither prompts nor how tokens are chosen.

use std::ops::Range;

use super::activations::{Activations, BlockActivations};
use super::batch::Batch;
use super::config::ModelConfig;
use super::machine::{Block, Machine};
use super::projection::fit;
use super::tensor::{Stored, Tensor};
use super::transformer::Transformer;
use crate::train::kernels::Threads;
use crate::train::kernels::attention::{self, Heads, Segment};
use crate::train::kernels::cross_entropy::{self, Losses};
use crate::train::kernels::gemm::linear;
use crate::train::kernels::rope::RopeTable;
use crate::train::kernels::sample::{Draw, Sampling, draw_rows};
use crate::train::progress::Failure;

/// A machine on which finished decoders are asked. What fails in between is told by the next
/// answer.
pub trait Inference: Machine {
    /// The keys and values of a layer, for all texts that are continued.
    type Layer: std::fmt::Debug;

    /// Which of them the queries of a batch see.
    type Seen: std::fmt::Debug;

    /// How many texts of so many tokens can be continued side by side, at most `most`.
    fn texts_at_once(&self, config: &ModelConfig, tokens: usize, most: usize) -> usize;

    /// Room for so many numbers of keys and of values.
    fn layer(&self, numbers: usize) -> Self::Layer;

    /// Copies some of them to where others stand, which are none of them.
    fn repeat(&self, layer: &mut Self::Layer, from: Range<usize>, to: usize);

    /// Readies segments whose queries are the last of their keys.
    fn seen(&self, heads: Heads, segments: Vec<Segment>) -> Self::Seen;

    /// Stores a batch's keys and values with the others, and attends to all that are visible.
    fn attend_cached(
        &self,
        heads: Heads,
        seen: &mut Self::Seen,
        layer: &mut Self::Layer,
        block: &mut Block<Self>,
    );

    /// How many positions there are rotations of.
    fn positions(rope: &Self::Rope) -> usize;

    /// Writes the numbers of some tokens, `d` each, one behind another.
    fn pick(&self, tokens: &[usize], d: usize, from_td: &Self::Floats, to_nd: &mut Self::Floats);

    /// A token for each hidden state, by numbers in [0, 1).
    fn draw(
        &self,
        model: &Transformer<Self>,
        hidden_nd: &Self::Floats,
        sampling: Sampling,
        uniforms: &[f32],
    ) -> Result<Vec<Draw>, Failure>;

    /// −log p of a token after each hidden state, and whether it is the likeliest.
    fn likelihoods(
        &self,
        model: &Transformer<Self>,
        hidden_nd: &Self::Floats,
        ids: &[u32],
    ) -> Result<Vec<(f32, bool)>, Failure>;

    /// What a head of one output says of hidden states, in number and width.
    fn outputs(
        &self,
        head_d: &Self::Tensor,
        hidden_nd: &Self::Floats,
        shape: [usize; 2],
    ) -> Result<Vec<f32>, Failure>;

    /// After a forward pass −log p of each target with logits divided by a temperature, 0 where
    /// nothing is predicted.
    fn losses(
        &self,
        model: &Transformer<Self>,
        batch: &Batch,
        temperature: f32,
        a: &mut Activations<Self>,
    ) -> Result<Vec<f32>, Failure>;
}

/// The keys and values of a layer in the processor's memory.
#[derive(Debug)]
pub struct HostLayer {
    key: Vec<f32>,
    value: Vec<f32>,
}

impl Inference for Threads {
    type Layer = HostLayer;
    type Seen = Vec<Segment>;

    /// More than there is memory for is found by the ledger, before.
    fn texts_at_once(&self, _: &ModelConfig, _: usize, most: usize) -> usize {
        most
    }

    fn layer(&self, numbers: usize) -> HostLayer {
        HostLayer { key: vec![0.0; numbers], value: vec![0.0; numbers] }
    }

    fn repeat(&self, HostLayer { key, value }: &mut HostLayer, from: Range<usize>, to: usize) {
        key.copy_within(from.clone(), to);
        value.copy_within(from, to);
    }

    fn seen(&self, _: Heads, segments: Vec<Segment>) -> Vec<Segment> {
        segments
    }

    fn attend_cached(
        &self,
        heads: Heads,
        segments: &mut Vec<Segment>,
        HostLayer { key, value }: &mut HostLayer,
        a: &mut BlockActivations,
    ) {
        let width = heads.kv_row();
        let wide = |tokens: Range<usize>| tokens.start * width..tokens.end * width;
        for Segment { queries, keys } in segments.iter() {
            let (from, to) = (wide(queries.clone()), wide(keys.end - queries.len()..keys.end));
            key[to.clone()].copy_from_slice(&a.key_tk[from.clone()]);
            value[to].copy_from_slice(&a.value_tk[from]);
        }
        let softmax: [&mut [f32]; 2] = [&mut a.softmax_max_th, &mut a.softmax_sum_th];
        let read: [&[f32]; 3] = [&a.query_td, key, value];
        attention::forward(self, heads, read, segments, &mut a.attended_td, softmax);
    }

    fn positions(rope: &RopeTable) -> usize {
        rope.positions()
    }

    fn pick(&self, tokens: &[usize], d: usize, from_td: &Vec<f32>, to_nd: &mut Vec<f32>) {
        fit(to_nd, tokens.len() * d);
        for (token, to_d) in tokens.iter().zip(to_nd.chunks_exact_mut(d)) {
            to_d.copy_from_slice(&from_td[token * d..(token + 1) * d]);
        }
    }

    fn draw(
        &self,
        model: &Transformer,
        hidden_nd: &Vec<f32>,
        sampling: Sampling,
        uniforms: &[f32],
    ) -> Result<Vec<Draw>, Failure> {
        let (n, d, v) = (uniforms.len(), model.config.dim, model.config.vocab);
        let mut logits_nv = vec![0.0; n * v];
        linear(self, hidden_nd, model.weights.head(), &mut logits_nv, [n, d, v]);
        Ok(draw_rows(self, &logits_nv, sampling, uniforms))
    }

    fn likelihoods(
        &self,
        model: &Transformer,
        hidden_nd: &Vec<f32>,
        ids: &[u32],
    ) -> Result<Vec<(f32, bool)>, Failure> {
        let (mut nll, mut likeliest) = (vec![0.0; ids.len()], vec![false; ids.len()]);
        let head = model.weights.head();
        cross_entropy::likelihoods(self, hidden_nd, head, ids, &mut nll, &mut likeliest);
        Ok(nll.into_iter().zip(likeliest).collect())
    }

    fn outputs(
        &self,
        head_d: &Stored,
        hidden_nd: &Vec<f32>,
        [n, d]: [usize; 2],
    ) -> Result<Vec<f32>, Failure> {
        let mut outputs = vec![0.0; n];
        linear(self, hidden_nd, head_d.elements(), &mut outputs, [n, d, 1]);
        Ok(outputs)
    }

    fn losses(
        &self,
        model: &Transformer,
        batch: &Batch,
        temperature: f32,
        a: &mut Activations,
    ) -> Result<Vec<f32>, Failure> {
        let (targets, head) = (batch.targets_at(temperature), model.weights.head());
        let mut nll_t = vec![0.0; batch.len()];
        let losses = Losses { nll: &mut nll_t, entropy: None };
        cross_entropy::cross_entropy(self, &a.hidden_td, head, targets, losses, None);
        Ok(nll_t)
    }
}

/// Whether a model gave numbers at all: where its weights are none, or overflow, nothing that is
/// asked of it has an answer.
pub(super) fn check_finite(given: impl IntoIterator<Item = f32>) -> Result<(), Failure> {
    if given.into_iter().all(f32::is_finite) {
        return Ok(());
    }
    let message = "the model gives numbers that are not finite: its weights are not, or too large";
    Err(Failure::input(message).remedy("look at how it was trained, or where it was read from"))
}
