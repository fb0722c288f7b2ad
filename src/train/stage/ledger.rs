//! What a training run costs, before it runs: parameters, arithmetic, memory. Pure functions of a
//! shape and a batch. Knows no machine, so no seconds.

use crate::train::model::ModelConfig;
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::loaded::TOKENS_AT_ONCE;
use crate::train::model::parameters::{TensorSpec, table};
use crate::train::model::quantized::is_quantised;
use crate::train::model::sample::MOST_SLOTS;
use crate::train::optim::Bits;

/// Bytes at the peak of a training run, by what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLedger {
    pub weights: u64,
    /// Matrices that are learnt beside frozen weights.
    pub adapters: u64,
    pub gradients: u64,
    /// Two moments of each number that is learnt, as far as they are in memory.
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
        let learnt = self.adapters + self.gradients + self.optimizer;
        let run = self.activations + self.workspace;
        self.weights + learnt + run + self.beside + self.sampling
    }
}

/// How wide the weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    F32,
    Bf16,
    /// The matrices of the blocks in NF4, their scales in 8 bits where `double`; all else in 16
    /// bits.
    Nf4 {
        double: bool,
    },
}

/// What is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// Every weight; they are then kept in f32.
    All,
    /// Two matrices of this rank beside each matrix of the blocks; the weights are frozen.
    Adapters { rank: u64, base: Width },
}

/// How moments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub bits: Bits,
    /// Bytes that stay in memory; all without it.
    pub budget: Option<u64>,
}

/// Bytes of a model's weights.
pub fn weight_bytes(config: &ModelConfig, width: Width) -> u64 {
    let bytes = |spec: &TensorSpec| {
        let numbers = spec.len() as u64;
        match width {
            Width::F32 => 4 * numbers,
            Width::Nf4 { double } if is_quantised(spec) => nf4_bytes(numbers, double),
            Width::Bf16 | Width::Nf4 { .. } => 2 * numbers,
        }
    };
    table(config).iter().map(bytes).sum()
}

/// Codes, and the scales of blocks of 64, or theirs of blocks of 256.
fn nf4_bytes(numbers: u64, double: bool) -> u64 {
    let blocks = numbers.div_ceil(64);
    let scales = if double { blocks + 4 * blocks.div_ceil(256) } else { 4 * blocks };
    numbers.div_ceil(2) + scales
}

/// The sizes of the tensors that are learnt.
fn learnt_sizes(config: &ModelConfig, learnt: Learnt) -> Vec<usize> {
    let table = table(config);
    match learnt {
        Learnt::All => table.iter().map(TensorSpec::len).collect(),
        Learnt::Adapters { rank, .. } => {
            let matrices = table.iter().filter(|spec| is_quantised(spec));
            matrices.flat_map(|spec| [0, 1].map(|side| rank as usize * spec.shape[side])).collect()
        }
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

/// The memory of a training run of all weights with rows of `context` tokens, `micro_batch` of them
/// at once, and moments of 32 bits.
pub fn training_memory(
    config: &ModelConfig,
    micro_batch: u64,
    context: u64,
    keep: Keep,
) -> MemoryLedger {
    let kept = Kept { bits: Bits::Full, budget: None };
    memory(config, Learnt::All, [micro_batch, context], keep, kept)
}

/// The memory of a training run with `micro_batch` rows of `context` tokens at once. What adapters
/// add to the activations is a rank's worth for each of their matrices.
pub fn memory(
    config: &ModelConfig,
    learnt: Learnt,
    [micro_batch, context]: [u64; 2],
    keep: Keep,
    kept: Kept,
) -> MemoryLedger {
    const LOGIT_TOKENS: u64 = crate::train::kernels::gemm::BLOCK as u64;
    let tokens = micro_batch * context;
    let sizes = learnt_sizes(config, learnt);
    let numbers: u64 = sizes.iter().map(|size| *size as u64).sum();
    let moments: u64 = sizes.iter().map(|size| 8 * kept.bits.words(*size) as u64).sum();
    let (weights, adapters, ranks) = match learnt {
        Learnt::All => (weight_bytes(config, Width::F32), 0, 0),
        Learnt::Adapters { rank, base } => {
            (weight_bytes(config, base), 4 * numbers, rank * sizes.len() as u64 / 2)
        }
    };
    let logits = 4 * LOGIT_TOKENS.min(tokens) * config.outputs() as u64;
    let rotary = 4 * context * config.head_dim() as u64;
    MemoryLedger {
        weights,
        adapters,
        gradients: 4 * numbers,
        optimizer: moments.min(kept.budget.unwrap_or(u64::MAX)),
        activations: Activations::training_bytes(config, tokens, keep) + 4 * ranks * tokens,
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

    fn shape(dim: usize, layers: usize, heads: [usize; 2], ffn: usize) -> ModelConfig {
        let [heads, kv_heads] = heads;
        let context = 4096;
        let (norm_eps, rope, rope_scaling) = (1e-5, 10_000.0, None);
        let head = crate::train::model::Head::Language;
        let (vocab, tied) = (32000, false);
        ModelConfig {
            dim,
            layers,
            heads,
            kv_heads,
            ffn,
            vocab,
            context,
            norm_eps,
            rope,
            rope_scaling,
            tied,
            head,
        }
    }

    /// Llama 2 of 7, 13 and 70 billion parameters.
    fn sizes() -> [ModelConfig; 3] {
        [
            shape(4096, 32, [32, 32], 11008),
            shape(5120, 40, [40, 40], 13824),
            shape(8192, 80, [64, 8], 28672),
        ]
    }

    /// Table 1 of the paper.
    #[test]
    fn llama_2_has_its_parameters() {
        let [small, middle, large] = sizes();
        assert_eq!(parameters(&small), 6_738_415_616);
        assert_eq!(parameters(&middle), 13_015_864_320);
        assert_eq!(parameters(&large), 68_976_648_192);
        let flops = training_flops_per_token(&small, 4096);
        assert_eq!(flops, 6 * (6_738_415_616 - 131_072_000) + 12 * 32 * 4096 * 4096);
        let memory = training_memory(&small, 1, 4096, Keep::Activations);
        assert_eq!(memory.weights + memory.gradients + memory.optimizer, 16 * 6_738_415_616);
    }

    /// GiB of the matrices in NF4 with and without double quantisation, of the rest in 16 bits, and
    /// of all in 16 bits, worked out by hand from the bits a number takes.
    #[test]
    fn frozen_weights_weigh_what_their_bits_say() {
        let expected =
            [[3.11, 3.39, 0.49, 12.55], [6.10, 6.65, 0.61, 24.2], [32.9, 35.9, 0.98, 128.5]];
        for (config, [double, plain, rest, all]) in sizes().iter().zip(expected) {
            let weigh = |width| weight_bytes(config, width) as f64 / f64::from(1 << 30);
            let near = |found: f64, expected: f64| (found / expected - 1.0).abs() < 0.01;
            let (with, without) = (Width::Nf4 { double: true }, Width::Nf4 { double: false });
            assert!(near(weigh(with), double + rest), "{}", weigh(with));
            assert!(near(weigh(without), plain + rest), "{}", weigh(without));
            assert!(near(weigh(Width::Bf16), all), "{}", weigh(Width::Bf16));
        }
    }

    #[test]
    fn adapters_of_every_matrix_are_counted() {
        let [small, ..] = sizes();
        let kept = Kept { bits: Bits::Full, budget: None };
        let learnt = Learnt::Adapters { rank: 64, base: Width::Nf4 { double: true } };
        let ledger = memory(&small, learnt, [1, 512], Keep::Residuals, kept);
        assert_eq!(ledger.adapters, 4 * 159_907_840);
        assert_eq!((ledger.gradients, ledger.optimizer), (ledger.adapters, 2 * ledger.adapters));
        let eight = Kept { bits: Bits::Eight, budget: None };
        let small_state = memory(&small, learnt, [1, 512], Keep::Residuals, eight).optimizer;
        assert!(small_state * 100 < ledger.optimizer * 26, "{small_state}");
        let paged = Kept { bits: Bits::Full, budget: Some(1 << 20) };
        assert_eq!(memory(&small, learnt, [1, 512], Keep::Residuals, paged).optimizer, 1 << 20);
        let whole = memory(&small, Learnt::All, [1, 512], Keep::Residuals, kept);
        assert!(whole.total() > 10 * ledger.total());
    }
}
