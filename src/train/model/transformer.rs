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
use super::parameters::{BlockParameters, Parameters};
use super::tensor::{Stored, Tensor};
use crate::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};
use crate::train::kernels::cross_entropy::{Losses, cross_entropy};
use crate::train::kernels::gemm::{Sink, linear, linear_grad_input, linear_grad_weight};
use crate::train::kernels::rope::{RopeTable, inverse_frequencies};
use crate::train::kernels::{Threads, embedding, rms_norm, swiglu};

/// A decoder with its weights, which are in memory where they are trained.
#[derive(Debug)]
pub struct Transformer {
    pub config: ModelConfig,
    pub weights: Parameters<Stored>,
    rope: RopeTable,
}

impl Transformer {
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
        Transformer { config, weights, rope }
    }

    /// Shape and weights, all in memory.
    pub fn into_parts(self) -> (ModelConfig, Parameters) {
        (self.config, self.weights.map(Stored::into_floats))
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
        for (layer, weights) in self.weights.blocks.iter().enumerate() {
            // Without a backward pass there is one block's arena and two streams that alternate.
            let kept = &mut a.blocks[layer % kept];
            let [below, above] = two(&mut a.residual_td, layer % streams, (layer + 1) % streams);
            self.project(t, batch, weights, below, kept, &mut a.workspace);
            match &mut cache {
                Some(cache) => cache.attend(t, self.heads(), layer, kept),
                None => self.attend(t, &segments, kept),
            }
            self.gate(t, weights, below, kept, &mut a.workspace);
            self.finish(t, weights, kept, &mut a.workspace, above);
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
        weights: &BlockParameters<Stored>,
        below_td: &[f32],
        a: &mut BlockActivations,
        w: &mut Workspace,
    ) {
        let (tokens, d, k) = (batch.len(), self.config.dim, self.config.kv_dim());
        let (norm_d, inv_rms_t) = (weights.attention_norm_d.floats(), &mut a.attention_inv_rms_t);
        rms_norm::forward(t, below_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        linear(t, &w.normed_td, weights.query_dd.elements(), &mut a.query_td, [tokens, d, d]);
        linear(t, &w.normed_td, weights.key_kd.elements(), &mut a.key_tk, [tokens, d, k]);
        linear(t, &w.normed_td, weights.value_kd.elements(), &mut a.value_tk, [tokens, d, k]);
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
        weights: &BlockParameters<Stored>,
        below_td: &[f32],
        a: &mut BlockActivations,
        w: &mut Workspace,
    ) {
        let (d, f) = (self.config.dim, self.config.ffn);
        let tokens = below_td.len() / d;
        linear(t, &a.attended_td, weights.output_dd.elements(), &mut a.middle_td, [tokens, d, d]);
        rms_norm::add(t, below_td, &mut a.middle_td);
        let (norm_d, inv_rms_t) = (weights.mlp_norm_d.floats(), &mut a.mlp_inv_rms_t);
        rms_norm::forward(t, &a.middle_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        linear(t, &w.normed_td, weights.gate_fd.elements(), &mut a.gate_tf, [tokens, d, f]);
        linear(t, &w.normed_td, weights.up_fd.elements(), &mut a.up_tf, [tokens, d, f]);
    }

    /// From the halves of the feed-forward layer to the stream above the block.
    fn finish(
        &self,
        t: &Threads,
        weights: &BlockParameters<Stored>,
        a: &BlockActivations,
        w: &mut Workspace,
        above_td: &mut [f32],
    ) {
        let (d, f) = (self.config.dim, self.config.ffn);
        let tokens = above_td.len() / d;
        swiglu::forward(t, &a.gate_tf, &a.up_tf, &mut w.hidden_tf);
        linear(t, &w.hidden_tf, weights.down_df.elements(), above_td, [tokens, f, d]);
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
        gradients: &mut Parameters,
    ) {
        assert_eq!(a.residual_td.len(), self.config.layers + 1, "the arena is for training");
        let above_td = &a.residual_td[self.config.layers];
        let (inv_rms_t, dhidden_td) = (&a.inv_rms_t, &a.dhidden_td);
        let (norm_d, dx_td) = (self.weights.norm_d.floats(), &mut a.gradients.residual_td);
        rms_norm::grad_input(t, dhidden_td, above_td, norm_d, inv_rms_t, dx_td, Sink::Write);
        let dnorm_d = &mut gradients.norm_d;
        rms_norm::grad_weight(t, dhidden_td, above_td, inv_rms_t, &batch.rows, dnorm_d);
        let segments: Vec<Segment> = batch.segments.iter().cloned().map(Segment::whole).collect();
        for layer in (0..self.config.layers).rev() {
            if a.blocks.len() < self.config.layers {
                self.compute_again(t, batch, &segments, layer, a);
            }
            self.backward_mlp(t, batch, layer, a, gradients);
            self.backward_attention(t, batch, &segments, layer, a, gradients);
        }
        let dembedding_vd = &mut gradients.embedding_vd;
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
        let (weights, below_td) = (&self.weights.blocks[layer], &a.residual_td[layer]);
        let (kept, w) = (&mut a.blocks[0], &mut a.workspace);
        self.project(t, batch, weights, below_td, kept, w);
        self.attend(t, segments, kept);
        self.gate(t, weights, below_td, kept, w);
    }

    /// The second half of a block: `finish` and `gate`, from the norm on, in reverse.
    fn backward_mlp(
        &self,
        t: &Threads,
        batch: &Batch,
        layer: usize,
        a: &mut Activations,
        gradients: &mut Parameters,
    ) {
        let (weights, dw) = (&self.weights.blocks[layer], &mut gradients.blocks[layer]);
        let kept = layer % a.blocks.len();
        let (kept, w, g) = (&mut a.blocks[kept], &mut a.workspace, &mut a.gradients);
        let (tokens, d, f, rows) = (batch.len(), self.config.dim, self.config.ffn, &batch.rows);
        let (norm_d, inv_rms_t) = (weights.mlp_norm_d.floats(), &mut kept.mlp_inv_rms_t);
        rms_norm::forward(t, &kept.middle_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        swiglu::forward(t, &kept.gate_tf, &kept.up_tf, &mut w.hidden_tf);

        let down = [tokens, f, d];
        linear_grad_weight(t, &g.residual_td, &w.hidden_tf, rows, &mut dw.down_df, down);
        let dhidden_tf = &mut g.hidden_tf;
        linear_grad_input(
            t,
            &g.residual_td,
            weights.down_df.elements(),
            dhidden_tf,
            down,
            Sink::Write,
        );
        let dgate_up = (&mut g.gate_tf, &mut g.up_tf);
        swiglu::backward(t, &kept.gate_tf, &kept.up_tf, dhidden_tf, dgate_up.0, dgate_up.1);
        let up = [tokens, d, f];
        linear_grad_weight(t, &g.gate_tf, &w.normed_td, rows, &mut dw.gate_fd, up);
        linear_grad_weight(t, &g.up_tf, &w.normed_td, rows, &mut dw.up_fd, up);
        let dnormed_td = &mut g.normed_td;
        linear_grad_input(t, &g.gate_tf, weights.gate_fd.elements(), dnormed_td, up, Sink::Write);
        linear_grad_input(t, &g.up_tf, weights.up_fd.elements(), dnormed_td, up, Sink::Add);

        let (middle_td, dx_td) = (&kept.middle_td, &mut g.residual_td);
        rms_norm::grad_weight(t, dnormed_td, middle_td, inv_rms_t, rows, &mut dw.mlp_norm_d);
        rms_norm::grad_input(t, dnormed_td, middle_td, norm_d, inv_rms_t, dx_td, Sink::Add);
    }

    /// The first half of a block: `project`, `attend` and the output projection in reverse.
    fn backward_attention(
        &self,
        t: &Threads,
        batch: &Batch,
        segments: &[Segment],
        layer: usize,
        a: &mut Activations,
        gradients: &mut Parameters,
    ) {
        let (weights, dw) = (&self.weights.blocks[layer], &mut gradients.blocks[layer]);
        let kept = layer % a.blocks.len();
        let (kept, w, g) = (&mut a.blocks[kept], &mut a.workspace, &mut a.gradients);
        let (d, k, rows) = (self.config.dim, self.config.kv_dim(), &batch.rows);
        let (wide, narrow) = ([batch.len(), d, d], [batch.len(), d, k]);
        linear_grad_weight(t, &g.residual_td, &kept.attended_td, rows, &mut dw.output_dd, wide);
        let dattended_td = &mut g.attended_td;
        linear_grad_input(
            t,
            &g.residual_td,
            weights.output_dd.elements(),
            dattended_td,
            wide,
            Sink::Write,
        );
        let into: [&mut [f32]; 3] = [&mut g.query_td, &mut g.key_tk, &mut g.value_tk];
        attention::backward(t, self.heads(), &kept.saved(), segments, dattended_td, into);
        self.rope.apply_inverse(t, &mut g.query_td, &batch.positions);
        self.rope.apply_inverse(t, &mut g.key_tk, &batch.positions);

        let (below_td, norm_d) = (&a.residual_td[layer], weights.attention_norm_d.floats());
        let inv_rms_t = &mut kept.attention_inv_rms_t;
        rms_norm::forward(t, below_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        linear_grad_weight(t, &g.query_td, &w.normed_td, rows, &mut dw.query_dd, wide);
        linear_grad_weight(t, &g.key_tk, &w.normed_td, rows, &mut dw.key_kd, narrow);
        linear_grad_weight(t, &g.value_tk, &w.normed_td, rows, &mut dw.value_kd, narrow);
        let dnormed_td = &mut g.normed_td;
        linear_grad_input(
            t,
            &g.query_td,
            weights.query_dd.elements(),
            dnormed_td,
            wide,
            Sink::Write,
        );
        linear_grad_input(t, &g.key_tk, weights.key_kd.elements(), dnormed_td, narrow, Sink::Add);
        linear_grad_input(
            t,
            &g.value_tk,
            weights.value_kd.elements(),
            dnormed_td,
            narrow,
            Sink::Add,
        );
        let (dnorm_d, dx_td) = (&mut dw.attention_norm_d, &mut g.residual_td);
        rms_norm::grad_weight(t, dnormed_td, below_td, inv_rms_t, rows, dnorm_d);
        rms_norm::grad_input(t, dnormed_td, below_td, norm_d, inv_rms_t, dx_td, Sink::Add);
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
