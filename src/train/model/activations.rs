//! The arena of a decoder's activations: allocated once, filled by every forward pass, read by the
//! backward pass. Knows sizes; does not know what is computed.
//!
//! Normalised inputs and the hidden layer of the feed-forward block are not kept: the backward pass
//! makes them again, with the same bits.

use super::config::ModelConfig;
use super::projection::{Beside, fit};

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
pub struct BlockActivations {
    pub attention_inv_rms_t: Vec<f32>,
    pub query_td: Vec<f32>,
    pub key_tk: Vec<f32>,
    pub value_tk: Vec<f32>,
    pub softmax_max_th: Vec<f32>,
    pub softmax_sum_th: Vec<f32>,
    pub attended_td: Vec<f32>,
    pub middle_td: Vec<f32>,
    pub mlp_inv_rms_t: Vec<f32>,
    pub gate_tf: Vec<f32>,
    pub up_tf: Vec<f32>,
}

/// Buffers that every block uses anew.
#[derive(Debug, Default)]
pub struct Workspace {
    pub normed_td: Vec<f32>,
    pub hidden_tf: Vec<f32>,
    pub beside: Beside,
}

/// Gradients on their way down, used anew by every block.
#[derive(Debug, Default)]
pub struct ActivationGradients {
    pub residual_td: Vec<f32>,
    pub normed_td: Vec<f32>,
    pub attended_td: Vec<f32>,
    pub query_td: Vec<f32>,
    pub key_tk: Vec<f32>,
    pub value_tk: Vec<f32>,
    pub hidden_tf: Vec<f32>,
    pub gate_tf: Vec<f32>,
    pub up_tf: Vec<f32>,
}

/// All activations of one forward pass and, while training, of the backward pass.
#[derive(Debug)]
pub struct Activations {
    config: ModelConfig,
    trains: bool,
    /// The residual stream before each block, and after the last.
    pub residual_td: Vec<Vec<f32>>,
    pub blocks: Vec<BlockActivations>,
    pub workspace: Workspace,
    pub inv_rms_t: Vec<f32>,
    /// What the head reads: the residual stream after the last norm.
    pub hidden_td: Vec<f32>,
    /// The loss of each position.
    pub nll_t: Vec<f32>,
    /// The gradient that an objective hands in.
    pub dhidden_td: Vec<f32>,
    pub gradients: ActivationGradients,
}

impl Activations {
    /// For training.
    pub fn for_training(config: &ModelConfig, tokens: usize, keep: Keep) -> Activations {
        let blocks = if keep == Keep::Activations { config.layers } else { 1 };
        Activations::new(config, tokens, [config.layers + 1, blocks], true)
    }

    /// For a forward pass alone: all blocks share the same buffers.
    pub fn for_inference(config: &ModelConfig, tokens: usize) -> Activations {
        Activations::new(config, tokens, [2, 1], false)
    }

    fn new(
        config: &ModelConfig,
        tokens: usize,
        [streams, blocks]: [usize; 2],
        trains: bool,
    ) -> Activations {
        let mut activations = Activations {
            config: config.clone(),
            trains,
            residual_td: vec![Vec::new(); streams],
            blocks: std::iter::repeat_with(BlockActivations::default).take(blocks).collect(),
            workspace: Workspace::default(),
            inv_rms_t: Vec::new(),
            hidden_td: Vec::new(),
            nll_t: Vec::new(),
            dhidden_td: Vec::new(),
            gradients: ActivationGradients::default(),
        };
        activations.fit(tokens);
        activations
    }

    /// Makes every buffer as long as `tokens` ask for. Only a number of tokens never seen before
    /// can allocate.
    pub fn fit(&mut self, tokens: usize) {
        for (buffer, width) in self.buffers() {
            fit(buffer, tokens * width);
        }
    }

    /// The bytes that all buffers hold, those of an adapter included.
    pub fn bytes(&mut self) -> u64 {
        let beside = self.workspace.beside.bytes();
        let buffers = self.buffers();
        buffers.iter().map(|(buffer, _)| 4 * buffer.capacity() as u64).sum::<u64>() + beside
    }

    /// The bytes that all buffers hold for so many tokens, while training.
    pub fn training_bytes(config: &ModelConfig, tokens: u64, keep: Keep) -> u64 {
        let mut empty = Activations::for_training(config, 0, keep);
        let widths: u64 = empty.buffers().iter().map(|(_, width)| *width as u64).sum();
        tokens.saturating_mul(4 * widths)
    }

    /// The same for a forward pass alone.
    pub fn inference_bytes(config: &ModelConfig, tokens: u64) -> u64 {
        let mut empty = Activations::for_inference(config, 0);
        let widths: u64 = empty.buffers().iter().map(|(_, width)| *width as u64).sum();
        tokens.saturating_mul(4 * widths)
    }

    /// Every buffer with its numbers a token.
    fn buffers(&mut self) -> Vec<(&mut Vec<f32>, usize)> {
        let ModelConfig { dim: d, heads: h, ffn: f, .. } = self.config;
        let k = self.config.kv_dim();
        let mut buffers: Vec<(&mut Vec<f32>, usize)> = Vec::new();
        buffers.extend(self.residual_td.iter_mut().map(|buffer| (buffer, d)));
        for block in &mut self.blocks {
            buffers.extend(block.buffers([d, h, k, f]));
        }
        buffers.push((&mut self.workspace.normed_td, d));
        buffers.push((&mut self.workspace.hidden_tf, f));
        buffers.push((&mut self.inv_rms_t, 1));
        buffers.push((&mut self.hidden_td, d));
        buffers.push((&mut self.nll_t, 1));
        if self.trains {
            buffers.push((&mut self.dhidden_td, d));
            buffers.extend(self.gradients.buffers([d, k, f]));
        }
        buffers
    }
}

impl BlockActivations {
    fn buffers(&mut self, [d, h, k, f]: [usize; 4]) -> [(&mut Vec<f32>, usize); 11] {
        [
            (&mut self.attention_inv_rms_t, 1),
            (&mut self.query_td, d),
            (&mut self.key_tk, k),
            (&mut self.value_tk, k),
            (&mut self.softmax_max_th, h),
            (&mut self.softmax_sum_th, h),
            (&mut self.attended_td, d),
            (&mut self.middle_td, d),
            (&mut self.mlp_inv_rms_t, 1),
            (&mut self.gate_tf, f),
            (&mut self.up_tf, f),
        ]
    }
}

impl ActivationGradients {
    fn buffers(&mut self, [d, k, f]: [usize; 3]) -> [(&mut Vec<f32>, usize); 9] {
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
