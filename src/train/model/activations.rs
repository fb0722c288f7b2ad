//! The arena of a decoder's activations: allocated once, filled by every forward pass, read by the
//! backward pass. Knows sizes; does not know what is computed.
//!
//! Normalised inputs and the hidden layer of the feed-forward block are not kept: the backward pass
//! makes them again, with the same bits.

use super::config::ModelConfig;
use super::machine::{Block, Machine};
use super::projection::{Beside, fit};
use crate::train::kernels::Threads;

/// What a forward pass leaves for the backward pass. It changes memory and time, never a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every block's activations.
    Activations,
    /// The residual stream before each block; the rest is computed again on the way back (Chen et
    /// al., "Training deep nets with sublinear memory cost", 2016).
    Residuals,
}

/// What one block keeps for its backward pass.
#[derive(Debug, Default)]
pub struct BlockActivations<F = Vec<f32>, S = Vec<f32>> {
    pub attention_inv_rms_t: S,
    pub query_td: F,
    pub key_tk: F,
    pub value_tk: F,
    pub softmax_max_th: S,
    pub softmax_sum_th: S,
    pub attended_td: F,
    pub middle_td: F,
    pub mlp_inv_rms_t: S,
    pub gate_tf: F,
    pub up_tf: F,
}

/// Buffers that every block uses anew.
#[derive(Debug, Default)]
pub struct Workspace<F = Vec<f32>, B = Beside> {
    pub normed_td: F,
    pub hidden_tf: F,
    pub beside: B,
}

/// Gradients on their way down, used anew by every block.
#[derive(Debug, Default)]
pub struct ActivationGradients<F = Vec<f32>> {
    pub residual_td: F,
    pub normed_td: F,
    pub attended_td: F,
    pub query_td: F,
    pub key_tk: F,
    pub value_tk: F,
    pub hidden_tf: F,
    pub gate_tf: F,
    pub up_tf: F,
}

/// All activations of one forward pass and, while training, of the backward pass.
#[derive(Debug)]
pub struct Activations<M: Machine = Threads> {
    config: ModelConfig,
    trains: bool,
    /// The residual stream before each block, and after the last.
    pub residual_td: Vec<M::Floats>,
    pub blocks: Vec<Block<M>>,
    pub workspace: Workspace<M::Floats, M::Beside>,
    pub inv_rms_t: M::Sums,
    /// What the head reads: the residual stream after the last norm.
    pub hidden_td: M::Floats,
    /// The loss of each position.
    pub nll_t: M::Sums,
    /// The gradient that an objective hands in.
    pub dhidden_td: M::Floats,
    pub gradients: ActivationGradients<M::Floats>,
}

impl Activations {
    /// For training.
    pub fn for_training(config: &ModelConfig, tokens: usize, keep: Keep) -> Activations {
        Activations::training(config, keep).fitted(tokens)
    }

    /// For a forward pass alone: all blocks share the same buffers.
    pub fn for_inference(config: &ModelConfig, tokens: usize) -> Activations {
        Activations::inference(config).fitted(tokens)
    }

    fn fitted(mut self, tokens: usize) -> Activations {
        let Buffers { floats, sums } = self.buffers();
        let all = floats.into_iter().chain(sums);
        all.for_each(|(buffer, width)| fit(buffer, tokens * width));
        self
    }

    /// Makes what a head reads and writes so long, and nothing else.
    pub fn fit_heads(&mut self, tokens: usize) {
        let d = self.config.dim;
        fit(&mut self.hidden_td, tokens * d);
        fit(&mut self.dhidden_td, tokens * d);
        fit(&mut self.nll_t, tokens);
    }

    /// The bytes that all buffers hold, those of an adapter included.
    pub fn bytes(&mut self) -> u64 {
        let beside = self.workspace.beside.bytes();
        let Buffers { floats, sums } = self.buffers();
        let all = floats.iter().chain(&sums);
        all.map(|(buffer, _)| 4 * buffer.capacity() as u64).sum::<u64>() + beside
    }

    /// The bytes that all buffers hold for so many tokens, while training, with activations of so
    /// many bytes each.
    pub fn training_bytes(config: &ModelConfig, tokens: u64, keep: Keep, each: u64) -> u64 {
        let mut empty = Activations::for_training(config, 0, keep);
        tokens.saturating_mul(empty.buffers().bytes(each))
    }

    /// The same for a forward pass alone, of the class `exact-f32`.
    pub fn inference_bytes(config: &ModelConfig, tokens: u64) -> u64 {
        let mut empty = Activations::for_inference(config, 0);
        tokens.saturating_mul(empty.buffers().bytes(4))
    }
}

/// Every buffer with its numbers a token.
struct Buffers<'a, F, S> {
    floats: Vec<(&'a mut F, usize)>,
    sums: Vec<(&'a mut S, usize)>,
}

impl<F, S> Buffers<'_, F, S> {
    /// Bytes a token, where a float has so many.
    fn bytes(&self, each: u64) -> u64 {
        let floats: usize = self.floats.iter().map(|(_, width)| width).sum();
        let sums: usize = self.sums.iter().map(|(_, width)| width).sum();
        each * floats as u64 + 4 * sums as u64
    }
}

impl<M: Machine> Activations<M> {
    /// For training, without room yet: a forward pass makes it.
    pub fn training(config: &ModelConfig, keep: Keep) -> Activations<M> {
        let blocks = if keep == Keep::Activations { config.layers } else { 1 };
        Activations::empty(config, [config.layers + 1, blocks], true)
    }

    /// For a forward pass alone, without room yet: all blocks share the same buffers.
    pub fn inference(config: &ModelConfig) -> Activations<M> {
        Activations::empty(config, [2, 1], false)
    }

    fn empty(config: &ModelConfig, [streams, blocks]: [usize; 2], trains: bool) -> Activations<M> {
        Activations {
            config: config.clone(),
            trains,
            residual_td: std::iter::repeat_with(M::Floats::default).take(streams).collect(),
            blocks: std::iter::repeat_with(BlockActivations::default).take(blocks).collect(),
            workspace: Workspace::default(),
            inv_rms_t: M::Sums::default(),
            hidden_td: M::Floats::default(),
            nll_t: M::Sums::default(),
            dhidden_td: M::Floats::default(),
            gradients: ActivationGradients::default(),
        }
    }

    /// Makes every buffer as long as `tokens` ask for. Only a number of tokens never seen before
    /// can allocate.
    pub fn fit(&mut self, on: &M, tokens: usize) {
        let Buffers { floats, sums } = self.buffers();
        floats.into_iter().for_each(|(buffer, width)| on.fit(buffer, tokens * width));
        sums.into_iter().for_each(|(buffer, width)| on.fit_sums(buffer, tokens * width));
    }

    fn buffers(&mut self) -> Buffers<'_, M::Floats, M::Sums> {
        let ModelConfig { dim: d, heads: h, ffn: f, .. } = self.config;
        let k = self.config.kv_dim();
        let (mut floats, mut sums) = (Vec::new(), Vec::new());
        floats.extend(self.residual_td.iter_mut().map(|buffer| (buffer, d)));
        for block in &mut self.blocks {
            let of_block = block.buffers([d, h, k, f]);
            floats.extend(of_block.floats);
            sums.extend(of_block.sums);
        }
        floats.push((&mut self.workspace.normed_td, d));
        floats.push((&mut self.workspace.hidden_tf, f));
        floats.push((&mut self.hidden_td, d));
        sums.extend([(&mut self.inv_rms_t, 1), (&mut self.nll_t, 1)]);
        if self.trains {
            floats.push((&mut self.dhidden_td, d));
            floats.extend(self.gradients.buffers([d, k, f]));
        }
        Buffers { floats, sums }
    }
}

impl<F, S> BlockActivations<F, S> {
    fn buffers(&mut self, [d, h, k, f]: [usize; 4]) -> Buffers<'_, F, S> {
        Buffers {
            floats: vec![
                (&mut self.query_td, d),
                (&mut self.key_tk, k),
                (&mut self.value_tk, k),
                (&mut self.attended_td, d),
                (&mut self.middle_td, d),
                (&mut self.gate_tf, f),
                (&mut self.up_tf, f),
            ],
            sums: vec![
                (&mut self.attention_inv_rms_t, 1),
                (&mut self.softmax_max_th, h),
                (&mut self.softmax_sum_th, h),
                (&mut self.mlp_inv_rms_t, 1),
            ],
        }
    }
}

impl<F> ActivationGradients<F> {
    fn buffers(&mut self, [d, k, f]: [usize; 3]) -> [(&mut F, usize); 9] {
        [
            (&mut self.residual_td, d),
            (&mut self.normed_td, d),
            (&mut self.attended_td, d),
            (&mut self.query_td, d),
            (&mut self.key_tk, k),
            (&mut self.value_tk, k),
            (&mut self.hidden_tf, f),
            (&mut self.gate_tf, f),
            (&mut self.up_tf, f),
        ]
    }
}
