//! The whole decoder, top to bottom: Llama's (Touvron et al., "Llama 2", 2023), with RMSNorm before
//! each half of a block, rotary positions, grouped-query attention and a SwiGLU feed-forward layer.
//!
//! Per block, with the residual stream x:
//!
//! ```text
//! x ← x + attention(rope(Wq n), rope(Wk n), Wv n) Wo     n = rms_norm(x)
//! x ← x + (silu(Wg n) · Wu n) Wd                          n = rms_norm(x)
//! ```
//!
//! Forward and backward stand side by side, written out by hand over an arena: there is no tape.
//! Knows neither losses nor optimizers: an objective reads `hidden_td` and hands in `dhidden_td`.

use super::activations::{Activations, BlockActivations, Workspace};
use super::batch::Batch;
use super::config::ModelConfig;
use super::kv_cache::KvCache;
use super::lora::Adapter;
use super::parameters::Parameters;
use super::projection::{Adapted, Projection, Which};
use super::tensor::{Stored, Tensor};
use super::trainable::Trainable;
use crate::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};
use crate::train::kernels::cross_entropy::{Losses, cross_entropy};
use crate::train::kernels::gemm::Sink;
use crate::train::kernels::rope::{RopeTable, inverse_frequencies};
use crate::train::kernels::{Threads, embedding, rms_norm, swiglu};

/// A decoder with its weights, which are in memory where they are trained, or with an adapter over
/// weights that stay as they are.
#[derive(Debug)]
pub struct Transformer {
    pub config: ModelConfig,
    pub weights: Parameters<Stored>,
    /// What is learnt instead of the weights, if anything is.
    pub adapter: Option<Adapter>,
    rope: RopeTable,
}

impl Transformer {
    /// How its matrices are stored.
    pub fn dtype(&self) -> &'static str {
        let matrix = self.weights.blocks.first().map(|block| &block.query_dd);
        matrix.unwrap_or(&self.weights.embedding_vd).elements().dtype()
    }

    /// A decoder of this shape; `positions` is the longest text it will read.
    pub fn new(
        config: ModelConfig,
        weights: impl Into<Parameters<Stored>>,
        positions: usize,
    ) -> Transformer {
        assert!(positions <= config.context, "longer than the model's context");
        let weights = weights.into();
        let frequencies = inverse_frequencies(config.head_dim(), config.rope, config.rope_scaling);
        let rope = RopeTable::new(&frequencies, positions);
        Transformer { config, weights, adapter: None, rope }
    }

    /// Shape and weights, all in memory.
    pub fn into_parts(self) -> (ModelConfig, Parameters) {
        (self.config, self.weights.map(Stored::into_floats))
    }

    /// After a change of the adapter: what follows from it is found anew.
    pub fn settle(&mut self, t: &Threads) {
        if let Some(adapter) = &mut self.adapter {
            adapter.settle(t, &self.config, &self.weights);
        }
    }

    /// A projection of a block.
    fn at(&self, layer: usize, which: Which) -> Projection<'_> {
        let adapted = self.adapter.as_ref().and_then(|adapter| {
            let low_rank = adapter.of(layer, which)?;
            let (rank, scale) = (adapter.settings.rank, adapter.settings.scale());
            Some(Adapted { low_rank, rank, scale, place: (layer, which) })
        });
        let weight_oi = self.weights.blocks[layer].of(which).elements();
        Projection { weight_oi, shape: which.shape(&self.config), adapted }
    }

    /// Whether any of these projections of a block learns.
    fn learns(&self, any_of: &[Which]) -> bool {
        let Some(adapter) = &self.adapter else { return true };
        adapter.settings.targets.iter().any(|target| any_of.contains(target))
    }

    /// Whether anything learns of what a token meets before these projections of a block: nothing
    /// lower asks for the gradient of their input otherwise. An adapter has its part in every
    /// block.
    fn learns_below(&self, layer: usize, first: Which) -> bool {
        let Some(adapter) = &self.adapter else { return true };
        layer > 0 || adapter.settings.targets.iter().any(|target| *target < first)
    }

    /// The longest text it can read.
    pub fn positions(&self) -> usize {
        self.rope.positions()
    }

    fn heads(&self) -> Heads {
        let ModelConfig { heads, kv_heads, .. } = self.config;
        Heads { query: heads, kv: kv_heads, width: self.config.head_dim() }
    }

    fn eps(&self) -> f32 {
        self.config.norm_eps as f32
    }

    /// Fills the arena, up to `hidden_td`, which a head reads.
    pub fn forward(&self, t: &Threads, batch: &Batch, a: &mut Activations) {
        self.walk(t, batch, a, None);
    }

    /// The same for tokens that continue texts whose keys and values are in `cache`; theirs join
    /// it.
    pub fn forward_cached(
        &self,
        t: &Threads,
        batch: &Batch,
        a: &mut Activations,
        cache: &mut KvCache,
    ) {
        self.walk(t, batch, a, Some(cache));
    }

    fn walk(
        &self,
        t: &Threads,
        batch: &Batch,
        a: &mut Activations,
        mut cache: Option<&mut KvCache>,
    ) {
        a.fit(batch.len());
        let segments: Vec<Segment> = batch.segments.iter().cloned().map(Segment::whole).collect();
        let (streams, kept) = (a.residual_td.len(), a.blocks.len());
        embedding::gather(
            self.weights.embedding_vd.elements(),
            &batch.tokens,
            &mut a.residual_td[0],
        );
        for layer in 0..self.config.layers {
            // Without a backward pass there is one block's arena and two streams that alternate.
            let kept = &mut a.blocks[layer % kept];
            let [below, above] = two(&mut a.residual_td, layer % streams, (layer + 1) % streams);
            self.project(t, batch, layer, below, kept, &mut a.workspace);
            match &mut cache {
                Some(cache) => cache.attend(t, self.heads(), layer, kept),
                None => self.attend(t, &segments, kept),
            }
            self.gate(t, batch, layer, below, kept, &mut a.workspace);
            self.finish(t, batch, layer, kept, &mut a.workspace, above);
        }
        let above = &a.residual_td[self.config.layers % streams];
        let norm_d = self.weights.norm_d.floats();
        rms_norm::forward(t, above, norm_d, self.eps(), &mut a.hidden_td, &mut a.inv_rms_t);
    }

    /// Queries, keys and values of a block.
    fn project(
        &self,
        t: &Threads,
        batch: &Batch,
        layer: usize,
        below_td: &[f32],
        a: &mut BlockActivations,
        w: &mut Workspace,
    ) {
        let norm_d = self.weights.blocks[layer].attention_norm_d.floats();
        let inv_rms_t = &mut a.attention_inv_rms_t;
        rms_norm::forward(t, below_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        let (x, rows, beside) = (&w.normed_td, &batch.rows, &mut w.beside);
        self.at(layer, Which::Query).forward(t, rows, x, &mut a.query_td, beside);
        self.at(layer, Which::Key).forward(t, rows, x, &mut a.key_tk, beside);
        self.at(layer, Which::Value).forward(t, rows, x, &mut a.value_tk, beside);
        self.rope.apply(t, &mut a.query_td, &batch.positions);
        self.rope.apply(t, &mut a.key_tk, &batch.positions);
    }

    /// Attention of a batch to itself.
    fn attend(&self, t: &Threads, segments: &[Segment], a: &mut BlockActivations) {
        let read: [&[f32]; 3] = [&a.query_td, &a.key_tk, &a.value_tk];
        let softmax: [&mut [f32]; 2] = [&mut a.softmax_max_th, &mut a.softmax_sum_th];
        attention::forward(t, self.heads(), read, segments, &mut a.attended_td, softmax);
    }

    /// From what was attended to up to the two halves of the feed-forward layer.
    fn gate(
        &self,
        t: &Threads,
        batch: &Batch,
        layer: usize,
        below_td: &[f32],
        a: &mut BlockActivations,
        w: &mut Workspace,
    ) {
        let (rows, beside) = (&batch.rows, &mut w.beside);
        let output = self.at(layer, Which::Output);
        output.forward(t, rows, &a.attended_td, &mut a.middle_td, beside);
        rms_norm::add(t, below_td, &mut a.middle_td);
        let norm_d = self.weights.blocks[layer].mlp_norm_d.floats();
        let inv_rms_t = &mut a.mlp_inv_rms_t;
        rms_norm::forward(t, &a.middle_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        self.at(layer, Which::Gate).forward(t, rows, &w.normed_td, &mut a.gate_tf, beside);
        self.at(layer, Which::Up).forward(t, rows, &w.normed_td, &mut a.up_tf, beside);
    }

    /// From the halves of the feed-forward layer to the stream above the block.
    fn finish(
        &self,
        t: &Threads,
        batch: &Batch,
        layer: usize,
        a: &BlockActivations,
        w: &mut Workspace,
        above_td: &mut [f32],
    ) {
        swiglu::forward(t, &a.gate_tf, &a.up_tf, &mut w.hidden_tf);
        let (rows, beside) = (&batch.rows, &mut w.beside);
        self.at(layer, Which::Down).forward(t, rows, &w.hidden_tf, above_td, beside);
        rms_norm::add(t, &a.middle_td, above_td);
    }

    /// Fills `nll_t` after a forward pass: −log p of each target, 0 where nothing is predicted.
    pub fn losses(&self, t: &Threads, batch: &Batch, a: &mut Activations) {
        let losses = Losses { nll: &mut a.nll_t, entropy: None };
        let targets = batch.targets_at(1.0);
        cross_entropy(t, &a.hidden_td, self.weights.head(), targets, losses, None);
    }

    /// Adds to `gradients` what `dhidden_td` asks of every parameter below the head.
    pub fn backward(
        &self,
        t: &Threads,
        batch: &Batch,
        a: &mut Activations,
        gradients: &mut Trainable,
    ) {
        assert_eq!(a.residual_td.len(), self.config.layers + 1, "the arena is for training");
        let above_td = &a.residual_td[self.config.layers];
        let (inv_rms_t, dhidden_td) = (&a.inv_rms_t, &a.dhidden_td);
        let (norm_d, dx_td) = (self.weights.norm_d.floats(), &mut a.gradients.residual_td);
        rms_norm::grad_input(t, dhidden_td, above_td, norm_d, inv_rms_t, dx_td, Sink::Write);
        let dnorm_d = &mut gradients.weights.norm_d;
        rms_norm::grad_weight(t, dhidden_td, above_td, inv_rms_t, &batch.rows, dnorm_d);
        let segments: Vec<Segment> = batch.segments.iter().cloned().map(Segment::whole).collect();
        for layer in (0..self.config.layers).rev() {
            if a.blocks.len() < self.config.layers {
                self.compute_again(t, batch, &segments, layer, a);
            }
            self.backward_mlp(t, batch, layer, a, gradients);
            self.backward_attention(t, batch, &segments, layer, a, gradients);
        }
        let dembedding_vd = &mut gradients.weights.embedding_vd;
        embedding::backward(t, &batch.tokens, &a.gradients.residual_td, dembedding_vd);
    }

    /// What a block kept, from the residual stream below it, with the same bits.
    fn compute_again(
        &self,
        t: &Threads,
        batch: &Batch,
        segments: &[Segment],
        layer: usize,
        a: &mut Activations,
    ) {
        let below_td = &a.residual_td[layer];
        let (kept, w) = (&mut a.blocks[0], &mut a.workspace);
        self.project(t, batch, layer, below_td, kept, w);
        self.attend(t, segments, kept);
        self.gate(t, batch, layer, below_td, kept, w);
    }

    /// The second half of a block: `finish` and `gate`, from the norm on, in reverse.
    fn backward_mlp(
        &self,
        t: &Threads,
        batch: &Batch,
        layer: usize,
        a: &mut Activations,
        gradients: &mut Trainable,
    ) {
        let kept = layer % a.blocks.len();
        let (kept, w, g) = (&mut a.blocks[kept], &mut a.workspace, &mut a.gradients);
        let (rows, beside) = (&batch.rows, &mut w.beside);
        let norm_d = self.weights.blocks[layer].mlp_norm_d.floats();
        let inv_rms_t = &mut kept.mlp_inv_rms_t;
        if self.learns(&[Which::Gate, Which::Up]) {
            rms_norm::forward(t, &kept.middle_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        }
        if self.learns(&[Which::Down]) {
            swiglu::forward(t, &kept.gate_tf, &kept.up_tf, &mut w.hidden_tf);
        }

        let mut go = |which, of: [&[f32]; 2], into: Option<(&mut [f32], Sink)>| {
            let towards = gradients.towards(layer, which);
            self.at(layer, which).backward(t, rows, of, towards, into, beside);
        };
        let goes_on = self.learns_below(layer, Which::Down);
        let dhidden = goes_on.then_some((&mut g.hidden_tf[..], Sink::Write));
        go(Which::Down, [&w.hidden_tf, &g.residual_td], dhidden);
        if !goes_on {
            return;
        }
        let dgate_up = (&mut g.gate_tf, &mut g.up_tf);
        swiglu::backward(t, &kept.gate_tf, &kept.up_tf, &g.hidden_tf, dgate_up.0, dgate_up.1);
        let goes_on = self.learns_below(layer, Which::Gate);
        for (which, dy, sink) in
            [(Which::Gate, &g.gate_tf, Sink::Write), (Which::Up, &g.up_tf, Sink::Add)]
        {
            let dnormed = goes_on.then_some((&mut g.normed_td[..], sink));
            go(which, [&w.normed_td, dy], dnormed);
        }
        if !goes_on {
            return;
        }
        let (middle_td, dx_td) = (&kept.middle_td, &mut g.residual_td);
        let dnorm_d = &mut gradients.weights.blocks[layer].mlp_norm_d;
        rms_norm::grad_weight(t, &g.normed_td, middle_td, inv_rms_t, rows, dnorm_d);
        rms_norm::grad_input(t, &g.normed_td, middle_td, norm_d, inv_rms_t, dx_td, Sink::Add);
    }

    /// The first half of a block: `project`, `attend` and the output projection in reverse.
    fn backward_attention(
        &self,
        t: &Threads,
        batch: &Batch,
        segments: &[Segment],
        layer: usize,
        a: &mut Activations,
        gradients: &mut Trainable,
    ) {
        if !self.learns_below(layer, Which::Gate) {
            return;
        }
        let kept = layer % a.blocks.len();
        let (kept, w, g) = (&mut a.blocks[kept], &mut a.workspace, &mut a.gradients);
        let (rows, beside) = (&batch.rows, &mut w.beside);
        let mut go = |which, of: [&[f32]; 2], into: Option<(&mut [f32], Sink)>| {
            let towards = gradients.towards(layer, which);
            self.at(layer, which).backward(t, rows, of, towards, into, beside);
        };
        let goes_on = self.learns_below(layer, Which::Output);
        let dattended = goes_on.then_some((&mut g.attended_td[..], Sink::Write));
        go(Which::Output, [&kept.attended_td, &g.residual_td], dattended);
        if !goes_on {
            return;
        }
        let into: [&mut [f32]; 3] = [&mut g.query_td, &mut g.key_tk, &mut g.value_tk];
        attention::backward(t, self.heads(), &kept.saved(), segments, &g.attended_td, into);
        self.rope.apply_inverse(t, &mut g.query_td, &batch.positions);
        self.rope.apply_inverse(t, &mut g.key_tk, &batch.positions);

        let below_td = &a.residual_td[layer];
        let norm_d = self.weights.blocks[layer].attention_norm_d.floats();
        let inv_rms_t = &mut kept.attention_inv_rms_t;
        if self.learns(&[Which::Query, Which::Key, Which::Value]) {
            rms_norm::forward(t, below_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        }
        let goes_on = self.learns_below(layer, Which::Query);
        for (which, dy, sink) in [
            (Which::Query, &g.query_td, Sink::Write),
            (Which::Key, &g.key_tk, Sink::Add),
            (Which::Value, &g.value_tk, Sink::Add),
        ] {
            let dnormed = goes_on.then_some((&mut g.normed_td[..], sink));
            go(which, [&w.normed_td, dy], dnormed);
        }
        if !goes_on {
            return;
        }
        let dnorm_d = &mut gradients.weights.blocks[layer].attention_norm_d;
        rms_norm::grad_weight(t, &g.normed_td, below_td, inv_rms_t, rows, dnorm_d);
        let dx_td = &mut g.residual_td;
        rms_norm::grad_input(t, &g.normed_td, below_td, norm_d, inv_rms_t, dx_td, Sink::Add);
    }
}

impl BlockActivations {
    fn saved(&self) -> Saved<'_> {
        Saved {
            q: &self.query_td,
            k: &self.key_tk,
            v: &self.value_tk,
            out: &self.attended_td,
            softmax: Softmax { max: &self.softmax_max_th, sum: &self.softmax_sum_th },
        }
    }
}

/// Two buffers of a list at once.
fn two(buffers: &mut [Vec<f32>], first: usize, second: usize) -> [&mut Vec<f32>; 2] {
    buffers.get_disjoint_mut([first, second]).expect("two different streams")
}
