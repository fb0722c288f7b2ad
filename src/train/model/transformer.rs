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
//! Knows neither losses nor optimizers: an objective reads `hidden_td` and hands in `dhidden_td`;
//! nor on which machine it computes.

use super::activations::{Activations, Workspace};
use super::batch::Batch;
use super::config::ModelConfig;
use super::inference::Inference;
use super::kv_cache::KvCache;
use super::machine::{Block, Gradients, Machine, Normed, Place};
use super::parameters::Parameters;
use super::projection::{Adapted, Projection, Which};
use super::tensor::{Stored, Tensor};
use super::trainable::Group;
use crate::train::kernels::Threads;
use crate::train::kernels::attention::Heads;
use crate::train::kernels::cross_entropy::{Losses, cross_entropy};
use crate::train::kernels::gemm::Sink;
use crate::train::kernels::rope::{RopeTable, inverse_frequencies};

/// A decoder with its weights, which are in memory where they are trained, or with an adapter over
/// weights that stay as they are.
#[derive(Debug)]
pub struct Transformer<M: Machine = Threads> {
    pub config: ModelConfig,
    pub weights: Parameters<M::Tensor>,
    /// What is learnt instead of the weights, if anything is.
    pub adapter: Option<M::Adapter>,
    pub(super) rope: M::Rope,
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
    pub(super) fn at(&self, layer: usize, which: Which) -> Projection<'_> {
        let adapted = self.adapter.as_ref().and_then(|adapter| {
            let low_rank = adapter.of(layer, which)?;
            let (rank, scale) = (adapter.settings.rank, adapter.settings.scale());
            Some(Adapted { low_rank, rank, scale, place: (layer, which) })
        });
        let weight_oi = self.weights.blocks[layer].of(which).elements();
        Projection { weight_oi, shape: which.shape(&self.config), adapted }
    }

    /// Fills `nll_t` after a forward pass: −log p of each target, 0 where nothing is predicted.
    pub fn losses(&self, t: &Threads, batch: &Batch, a: &mut Activations) {
        let losses = Losses { nll: &mut a.nll_t, entropy: None };
        let targets = batch.targets_at(1.0);
        cross_entropy(t, &a.hidden_td, self.weights.head(), targets, losses, None);
    }
}

impl<M: Inference> Transformer<M> {
    /// The longest text it can read.
    pub fn positions(&self) -> usize {
        M::positions(&self.rope)
    }

    /// Fills the arena for tokens that continue the texts of some slots of `cache`, in the order of
    /// the batch; their keys and values join it.
    pub fn forward_cached(
        &self,
        m: &M,
        (batch, slots): (&Batch, &[usize]),
        a: &mut Activations<M>,
        cache: &mut KvCache<M>,
    ) {
        let (heads, ready) = (self.heads(), m.batch(batch));
        let news = slots.iter().zip(&batch.rows).map(|(slot, row)| (*slot, row.len()));
        cache.extend(m, heads, &news.collect::<Vec<_>>());
        a.fit(m, batch.len());
        self.walk(m, &ready, a, |layer, kept| cache.attend(m, heads, layer, kept));
    }
}

impl<M: Machine> Transformer<M> {
    fn heads(&self) -> Heads {
        let ModelConfig { heads, kv_heads, .. } = self.config;
        Heads { query: heads, kv: kv_heads, width: self.config.head_dim() }
    }

    /// Whether any of these projections of a block learns.
    fn learns(&self, any_of: &[Which]) -> bool {
        let Some(adapter) = &self.adapter else { return true };
        M::targets(adapter).iter().any(|target| any_of.contains(target))
    }

    /// Whether anything learns of what a token meets before these projections of a block: nothing
    /// lower asks for the gradient of their input otherwise. An adapter has its part in every
    /// block.
    fn learns_below(&self, layer: usize, first: Which) -> bool {
        let Some(adapter) = &self.adapter else { return true };
        layer > 0 || M::targets(adapter).iter().any(|target| *target < first)
    }

    fn eps(&self) -> f32 {
        self.config.norm_eps as f32
    }

    fn place(&self, layer: usize, which: Which) -> Place<'_, M> {
        Place { model: self, layer, which }
    }

    /// Fills the arena, up to `hidden_td`, which a head reads.
    pub fn forward(&self, m: &M, batch: &Batch, a: &mut Activations<M>) {
        let (heads, ready) = (self.heads(), m.batch(batch));
        a.fit(m, batch.len());
        self.walk(m, &ready, a, |_, kept| m.attend(heads, &ready, kept));
    }

    fn walk(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        a: &mut Activations<M>,
        mut attend: impl FnMut(usize, &mut Block<M>),
    ) {
        let (streams, kept) = (a.residual_td.len(), a.blocks.len());
        m.gather(&self.weights.embedding_vd, batch, &mut a.residual_td[0]);
        for layer in 0..self.config.layers {
            // Without a backward pass there is one block's arena and two streams that alternate.
            let kept = &mut a.blocks[layer % kept];
            let [below, above] = two(&mut a.residual_td, layer % streams, (layer + 1) % streams);
            self.project(m, batch, layer, below, kept, &mut a.workspace);
            attend(layer, kept);
            self.gate(m, batch, layer, below, kept, &mut a.workspace);
            self.finish(m, batch, layer, kept, &mut a.workspace, above);
        }
        let above = &a.residual_td[self.config.layers % streams];
        m.norm(above, &self.weights.norm_d, self.eps(), &mut a.hidden_td, &mut a.inv_rms_t);
    }

    /// Queries, keys and values of a block.
    fn project(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        layer: usize,
        below_td: &M::Floats,
        a: &mut Block<M>,
        w: &mut Workspace<M::Floats, M::Beside>,
    ) {
        let norm_d = &self.weights.blocks[layer].attention_norm_d;
        m.norm(below_td, norm_d, self.eps(), &mut w.normed_td, &mut a.attention_inv_rms_t);
        let (x, beside) = (&w.normed_td, &mut w.beside);
        m.project(self.place(layer, Which::Query), batch, x, &mut a.query_td, beside);
        m.project(self.place(layer, Which::Key), batch, x, &mut a.key_tk, beside);
        m.project(self.place(layer, Which::Value), batch, x, &mut a.value_tk, beside);
        m.turn(&self.rope, batch, &mut a.query_td);
        m.turn(&self.rope, batch, &mut a.key_tk);
    }

    /// From what was attended to up to the two halves of the feed-forward layer.
    fn gate(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        layer: usize,
        below_td: &M::Floats,
        a: &mut Block<M>,
        w: &mut Workspace<M::Floats, M::Beside>,
    ) {
        let (output, beside) = (self.place(layer, Which::Output), &mut w.beside);
        m.project(output, batch, &a.attended_td, &mut a.middle_td, beside);
        m.add(below_td, &mut a.middle_td);
        let norm_d = &self.weights.blocks[layer].mlp_norm_d;
        m.norm(&a.middle_td, norm_d, self.eps(), &mut w.normed_td, &mut a.mlp_inv_rms_t);
        m.project(self.place(layer, Which::Gate), batch, &w.normed_td, &mut a.gate_tf, beside);
        m.project(self.place(layer, Which::Up), batch, &w.normed_td, &mut a.up_tf, beside);
    }

    /// From the halves of the feed-forward layer to the stream above the block.
    fn finish(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        layer: usize,
        a: &Block<M>,
        w: &mut Workspace<M::Floats, M::Beside>,
        above_td: &mut M::Floats,
    ) {
        m.gate(&a.gate_tf, &a.up_tf, &mut w.hidden_tf);
        let down = self.place(layer, Which::Down);
        m.project(down, batch, &w.hidden_tf, above_td, &mut w.beside);
        m.add(&a.middle_td, above_td);
    }

    /// Adds to `gradients` what `dhidden_td` asks of every parameter below the head.
    pub fn backward(
        &self,
        m: &M,
        batch: &Batch,
        a: &mut Activations<M>,
        gradients: &mut Gradients<M>,
    ) {
        let batch = &m.batch(batch);
        for group in Group::all(self.config.layers) {
            self.backward_of(m, batch, group, a, gradients);
        }
    }

    /// The same of one group; all are asked in their order. Afterwards nothing reads the group's
    /// parameters.
    pub fn backward_of(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        group: Group,
        a: &mut Activations<M>,
        gradients: &mut Gradients<M>,
    ) {
        assert_eq!(a.residual_td.len(), self.config.layers + 1, "the arena is for training");
        match group {
            Group::Top => self.backward_norm(m, batch, a, gradients),
            Group::Block(layer) => {
                if a.blocks.len() < self.config.layers {
                    self.compute_again(m, batch, layer, a);
                }
                self.backward_mlp(m, batch, layer, a, gradients);
                self.backward_attention(m, batch, layer, a, gradients);
            }
            Group::Table => {
                let dx_td = &a.gradients.residual_td;
                m.scatter(batch, dx_td, &mut gradients.weights.embedding_vd);
            }
        }
    }

    /// The last norm.
    fn backward_norm(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        a: &mut Activations<M>,
        gradients: &mut Gradients<M>,
    ) {
        let x_td = &a.residual_td[self.config.layers];
        let of = || Normed { dy_td: &a.dhidden_td, x_td, inv_rms_t: &a.inv_rms_t };
        let dx_td = &mut a.gradients.residual_td;
        m.norm_grad_input(of(), &self.weights.norm_d, dx_td, Sink::Write);
        m.norm_grad_weight(of(), batch, &mut gradients.weights.norm_d);
    }

    /// What a block kept, from the residual stream below it, with the same bits.
    fn compute_again(&self, m: &M, batch: &M::Batch<'_>, layer: usize, a: &mut Activations<M>) {
        let below_td = &a.residual_td[layer];
        let (kept, w) = (&mut a.blocks[0], &mut a.workspace);
        self.project(m, batch, layer, below_td, kept, w);
        m.attend(self.heads(), batch, kept);
        self.gate(m, batch, layer, below_td, kept, w);
    }

    /// The second half of a block: `finish` and `gate`, from the norm on, in reverse.
    fn backward_mlp(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        layer: usize,
        a: &mut Activations<M>,
        gradients: &mut Gradients<M>,
    ) {
        let kept = layer % a.blocks.len();
        let (kept, w, g) = (&mut a.blocks[kept], &mut a.workspace, &mut a.gradients);
        let norm_d = &self.weights.blocks[layer].mlp_norm_d;
        if self.learns(&[Which::Gate, Which::Up]) {
            m.norm(&kept.middle_td, norm_d, self.eps(), &mut w.normed_td, &mut kept.mlp_inv_rms_t);
        }
        if self.learns(&[Which::Down]) {
            m.gate(&kept.gate_tf, &kept.up_tf, &mut w.hidden_tf);
        }

        let mut go = |which, of: [&M::Floats; 2], into: Option<(&mut M::Floats, Sink)>| {
            m.project_back(self.place(layer, which), batch, of, gradients, into, &mut w.beside);
        };
        let goes_on = self.learns_below(layer, Which::Down);
        let dhidden = goes_on.then_some((&mut g.hidden_tf, Sink::Write));
        go(Which::Down, [&w.hidden_tf, &g.residual_td], dhidden);
        if !goes_on {
            return;
        }
        let dgate_up = [&mut g.gate_tf, &mut g.up_tf];
        m.gate_back([&kept.gate_tf, &kept.up_tf, &g.hidden_tf], dgate_up);
        let goes_on = self.learns_below(layer, Which::Gate);
        for (which, dy, sink) in
            [(Which::Gate, &g.gate_tf, Sink::Write), (Which::Up, &g.up_tf, Sink::Add)]
        {
            go(which, [&w.normed_td, dy], goes_on.then_some((&mut g.normed_td, sink)));
        }
        if !goes_on {
            return;
        }
        let (x_td, inv_rms_t) = (&kept.middle_td, &kept.mlp_inv_rms_t);
        let of = || Normed { dy_td: &g.normed_td, x_td, inv_rms_t };
        m.norm_grad_weight(of(), batch, &mut gradients.weights.block_mut(layer).mlp_norm_d);
        m.norm_grad_input(of(), norm_d, &mut g.residual_td, Sink::Add);
    }

    /// The first half of a block: `project`, `attend` and the output projection in reverse.
    fn backward_attention(
        &self,
        m: &M,
        batch: &M::Batch<'_>,
        layer: usize,
        a: &mut Activations<M>,
        gradients: &mut Gradients<M>,
    ) {
        if !self.learns_below(layer, Which::Gate) {
            return;
        }
        let kept = layer % a.blocks.len();
        let (kept, w, g) = (&mut a.blocks[kept], &mut a.workspace, &mut a.gradients);
        let (output, beside) = (self.place(layer, Which::Output), &mut w.beside);
        let goes_on = self.learns_below(layer, Which::Output);
        let dattended = goes_on.then_some((&mut g.attended_td, Sink::Write));
        let of = [&kept.attended_td, &g.residual_td];
        m.project_back(output, batch, of, gradients, dattended, beside);
        if !goes_on {
            return;
        }
        let dinputs = [&mut g.query_td, &mut g.key_tk, &mut g.value_tk];
        m.attend_back(self.heads(), batch, kept, &g.attended_td, dinputs, beside);
        m.turn_back(&self.rope, batch, &mut g.query_td);
        m.turn_back(&self.rope, batch, &mut g.key_tk);

        let x_td = &a.residual_td[layer];
        let norm_d = &self.weights.blocks[layer].attention_norm_d;
        let inv_rms_t = &mut kept.attention_inv_rms_t;
        if self.learns(&[Which::Query, Which::Key, Which::Value]) {
            m.norm(x_td, norm_d, self.eps(), &mut w.normed_td, inv_rms_t);
        }
        let goes_on = self.learns_below(layer, Which::Query);
        for (which, dy, sink) in [
            (Which::Query, &g.query_td, Sink::Write),
            (Which::Key, &g.key_tk, Sink::Add),
            (Which::Value, &g.value_tk, Sink::Add),
        ] {
            let (place, of) = (self.place(layer, which), [&w.normed_td, dy]);
            let dnormed = goes_on.then_some((&mut g.normed_td, sink));
            m.project_back(place, batch, of, gradients, dnormed, &mut w.beside);
        }
        if !goes_on {
            return;
        }
        let of = || Normed { dy_td: &g.normed_td, x_td, inv_rms_t: &*inv_rms_t };
        m.norm_grad_weight(of(), batch, &mut gradients.weights.block_mut(layer).attention_norm_d);
        m.norm_grad_input(of(), norm_d, &mut g.residual_td, Sink::Add);
    }
}

/// Two buffers of a list at once.
fn two<F>(buffers: &mut [F], first: usize, second: usize) -> [&mut F; 2] {
    buffers.get_disjoint_mut([first, second]).expect("two different streams")
}
