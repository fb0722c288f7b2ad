//! What a training run costs, before it runs: parameters, arithmetic, memory. Pure functions of a
//! shape and a batch. Knows no machine, so no seconds.

use crate::train::model::ModelConfig;
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::loaded::TOKENS_AT_ONCE;
use crate::train::model::parameters::table;
use crate::train::model::sample::MOST_SLOTS;

/// Bytes at the peak of a training run, by what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLedger {
    pub weights: u64,
    pub gradients: u64,
    /// Two moments a parameter.
    pub optimizer: u64,
    /// The arena, at `micro_batch` rows of `context` tokens.
    pub activations: u64,
    /// Logits of one block of tokens, and rotary tables.
    pub workspace: u64,
    /// Weights of the models that are asked and do not learn, and a copy of the best so far.
    pub beside: u64,
    /// Keys, values and activations while answers are sampled and scored.
    pub sampling: u64,
}

impl MemoryLedger {
    /// All of it.
    pub fn total(&self) -> u64 {
        let learns = self.weights + self.gradients + self.optimizer;
        learns + self.activations + self.workspace + self.beside + self.sampling
    }
}

/// The numbers a model learns.
pub fn parameters(config: &ModelConfig) -> u64 {
    table(config).iter().map(|spec| spec.len() as u64).sum()
}

/// Floating-point operations that training takes a token: 6N + 12·L·d·T (Kaplan et al., 2020;
/// Chowdhery et al., "PaLM", 2022, appendix B). N leaves out the embedding, which multiplies
/// nothing; the second term is attention over rows of T tokens, counted without the causal half.
pub fn training_flops_per_token(config: &ModelConfig, context: u64) -> u64 {
    let embedding = (config.vocab * config.dim) as u64;
    let attention = 12 * (config.layers * config.dim) as u64 * context;
    6 * (parameters(config) - embedding) + attention
}

/// The memory of a training run with rows of `context` tokens, `micro_batch` of them at once.
pub fn training_memory(
    config: &ModelConfig,
    micro_batch: u64,
    context: u64,
    keep: Keep,
) -> MemoryLedger {
    const LOGIT_TOKENS: u64 = crate::train::kernels::gemm::BLOCK as u64;
    let weights = 4 * parameters(config);
    let tokens = micro_batch * context;
    let logits = 4 * LOGIT_TOKENS.min(tokens) * config.outputs() as u64;
    let rotary = 4 * context * config.head_dim() as u64;
    MemoryLedger {
        weights,
        gradients: weights,
        optimizer: 2 * weights,
        activations: Activations::training_bytes(config, tokens, keep),
        workspace: logits + rotary,
        beside: 0,
        sampling: 0,
    }
}

/// The most that sampling an answer to each of so many prompts, and scoring it, takes: all texts
/// that are continued at once fill the context.
pub fn sampling_memory(config: &ModelConfig, prompts: u64, context: u64) -> u64 {
    let tokens = prompts.min(MOST_SLOTS as u64) * context;
    let cache = 2 * 4 * (config.layers * config.kv_dim()) as u64 * tokens;
    cache + Activations::inference_bytes(config, tokens.max(TOKENS_AT_ONCE as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 1 of the paper, computed in METHODS.
    #[test]
    fn llama_2_7b_has_its_parameters() {
        let config = ModelConfig {
            dim: 4096,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            ffn: 11008,
            vocab: 32000,
            context: 4096,
            norm_eps: 1e-5,
            rope: 10_000.0,
            rope_scaling: None,
            tied: false,
            head: crate::train::model::Head::Language,
        };
        assert_eq!(parameters(&config), 6_738_415_616);
        let big = ModelConfig {
            dim: 8192,
            layers: 80,
            heads: 64,
            kv_heads: 8,
            ffn: 28672,
            ..config.clone()
        };
        assert_eq!(parameters(&big), 68_976_648_192);
        let flops = training_flops_per_token(&config, 4096);
        assert_eq!(flops, 6 * (6_738_415_616 - 131_072_000) + 12 * 32 * 4096 * 4096);
        let memory = training_memory(&config, 1, 4096, Keep::Activations);
        assert_eq!(memory.weights + memory.gradients + memory.optimizer, 16 * 6_738_415_616);
    }
}
