//! What a training run costs, before it runs: parameters, arithmetic, memory. Pure functions of a
//! shape and a batch. Knows no machine, so no seconds.

use crate::train::kernels::attention::launch::WIDTHS;
use crate::train::kernels::cross_entropy;
use crate::train::kernels::gemm::halves::WORKSPACE as HALVES_WORKSPACE;
use crate::train::model::activations::{Activations, Keep};
use crate::train::model::encoding::Encoding;
use crate::train::model::loaded::TOKENS_AT_ONCE;
use crate::train::model::lora::{Adapter, LoraSettings};
use crate::train::model::parameters::{Role, TensorSpec, table};
use crate::train::model::projection::Which;
use crate::train::model::quantized::is_quantised;
use crate::train::model::sample::MOST_SLOTS;
use crate::train::model::{Head, ModelConfig};
use crate::train::optim::Bits;
use crate::train::optim::moments::places;

/// Bytes at the peak of a training run, by what holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLedger {
    /// Weights that are kept as numbers.
    pub weights: u64,
    /// Codes and scales of quantised weights.
    pub blocks: u64,
    /// Matrices that are learnt beside frozen weights.
    pub adapter: u64,
    pub gradients: u64,
    /// Two moments of each number that is learnt, as far as they are in memory.
    pub optimizer: u64,
    /// The arena, at `micro_batch` rows of `context` tokens.
    pub activations: u64,
    /// Logits of one block of tokens, and rotary tables.
    pub workspace: u64,
    /// Weights of the models that are asked and do not learn, and a copy of the best so far.
    pub beside: u64,
    /// Keys, values and activations while answers are sampled and scored, as far as they are more
    /// than what training needs at another time.
    pub sampling: u64,
    /// Moments that lie in a file: bytes of the disk, no part of the total.
    pub pages: u64,
}

impl MemoryLedger {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.parts().iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Every part with its name.
    pub fn parts(&self) -> [(&'static str, u64); 9] {
        [
            ("weights", self.weights),
            ("quantised blocks", self.blocks),
            ("adapter", self.adapter),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("models beside", self.beside),
            ("sampling", self.sampling),
        ]
    }
}

/// How weights that are not learnt are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// Of all but norms, which are always read as f32.
    pub encoding: Encoding,
    /// The matrices of the blocks are in NF4 instead, with scales in 8 bits where it is true.
    pub nf4: Option<bool>,
}

impl Width {
    pub const F32: Width = Width { encoding: Encoding::F32, nf4: None };
}

/// What is learnt.
#[derive(Clone, Debug, PartialEq)]
pub enum Learnt {
    /// Every weight; they are then kept in f32.
    All,
    /// An adapter, and the head of a reward model; all else is frozen.
    Adapter { settings: LoraSettings, base: Width },
}

/// How moments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub bits: Bits,
    /// Bytes that stay in memory; all without it.
    pub budget: Option<u64>,
}

/// Bytes of the gradients of all weights where those of one block at a time are kept.
pub fn gradients_of_a_block(config: &ModelConfig) -> u64 {
    let one = ModelConfig { layers: 1, ..config.clone() };
    4 * (parameters(&one) + shared_head(config, &Learnt::All))
}

/// Bytes of a model's weights: those that are kept as numbers, and those in blocks.
pub fn weight_bytes(config: &ModelConfig, width: Width) -> [u64; 2] {
    let mut bytes = [0, 0];
    for spec in table(config) {
        let numbers = spec.len() as u64;
        let group = width.encoding.group() as u64;
        let encoded = numbers.div_ceil(group) * width.encoding.group_bytes() as u64;
        match width.nf4.filter(|_| is_quantised(&spec)) {
            Some(double) => bytes[1] += nf4_bytes(numbers, double),
            None if spec.role == Role::Norm => bytes[0] += 4 * numbers,
            None => bytes[usize::from(group > 1)] += encoded,
        }
    }
    bytes
}

/// Codes, and the scales of blocks of 64, or theirs of blocks of 256.
fn nf4_bytes(numbers: u64, double: bool) -> u64 {
    let blocks = numbers.div_ceil(64);
    let scales = if double { blocks + 4 * blocks.div_ceil(256) } else { 4 * blocks };
    numbers.div_ceil(2) + scales
}

impl Learnt {
    /// The sizes of the tensors that are learnt.
    fn sizes(&self, config: &ModelConfig) -> Vec<usize> {
        let Learnt::Adapter { settings, .. } = self else {
            return table(config).iter().map(TensorSpec::len).collect();
        };
        let adapter = Adapter::table_of(config, settings);
        let mut sizes: Vec<usize> = adapter.iter().map(TensorSpec::len).collect();
        sizes.extend((config.head == Head::Score).then_some(config.dim));
        sizes
    }

    /// How many numbers are learnt.
    pub fn count(&self, config: &ModelConfig) -> u64 {
        self.sizes(config).iter().map(|size| *size as u64).sum()
    }
}

/// The numbers a model has.
pub fn parameters(config: &ModelConfig) -> u64 {
    table(config).iter().map(|spec| spec.len() as u64).sum()
}

/// Floating-point operations that training takes a token: 6N + 12·L·d·T (Kaplan et al., 2020;
/// Chowdhery et al., "PaLM", 2022, appendix B). N leaves out the embedding, which multiplies
/// nothing unless it is the head; the second term is attention over rows of T tokens, counted
/// without the causal half. A frozen weight has no gradient of its own and takes 4, and each number
/// of its adapter 6. What is computed twice to save memory is counted once.
pub fn training_flops_per_token(config: &ModelConfig, learnt: &Learnt, context: u64) -> u64 {
    let embedding = if config.has_own_head() { config.vocab * config.dim } else { 0 };
    let multiplied = parameters(config) - embedding as u64;
    let attention = 12 * (config.layers * config.dim) as u64 * context;
    let products = match learnt {
        Learnt::All => 6 * multiplied,
        Learnt::Adapter { .. } => 4 * multiplied + 6 * learnt.count(config),
    };
    products + attention
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
    memory(config, &Learnt::All, [micro_batch, context], keep, kept)
}

/// The memory of a training run with `micro_batch` rows of `context` tokens at once.
pub fn memory(
    config: &ModelConfig,
    learnt: &Learnt,
    [micro_batch, context]: [u64; 2],
    keep: Keep,
    kept: Kept,
) -> MemoryLedger {
    let tokens = micro_batch.saturating_mul(context);
    let sizes = learnt.sizes(config);
    let numbers: u64 = sizes.iter().map(|size| *size as u64).sum();
    let moments = places(&sizes, kept.bits, kept.budget.unwrap_or(u64::MAX));
    let moments_in = |memory: bool| {
        let of = moments.iter().filter(|(_, in_memory)| *in_memory == memory);
        of.map(|(bytes, _)| bytes).sum()
    };
    let width = match learnt {
        Learnt::All => Width::F32,
        Learnt::Adapter { base, .. } => *base,
    };
    let [weights, blocks] = weight_bytes(config, width);
    MemoryLedger {
        weights,
        blocks,
        adapter: adapter_bytes(config, learnt),
        gradients: 4 * (numbers + shared_head(config, learnt)),
        optimizer: moments_in(true),
        activations: Activations::training_bytes(config, tokens, keep, 4)
            .saturating_add(beside(config, learnt, tokens)),
        workspace: logits(config, tokens) + 4 * context * config.head_dim() as u64,
        beside: 0,
        sampling: 0,
        pages: moments_in(false),
    }
}

/// The memory of the same run on an accelerator, where weights in 16 bits are widened, or what is
/// not done there.
pub fn device_memory(
    config: &ModelConfig,
    learnt: &Learnt,
    [micro_batch, context]: [u64; 2],
    keep: Keep,
    kept: Kept,
) -> Result<MemoryLedger, &'static str> {
    device_weights(config, Width::F32)?;
    let learnt = match learnt {
        Learnt::All => Learnt::All,
        Learnt::Adapter { settings, base } => {
            let base = Width { encoding: Encoding::F32, ..*base };
            Learnt::Adapter { settings: settings.clone(), base }
        }
    };
    let here = memory(config, &learnt, [micro_batch, context], keep, kept);
    let tokens = micro_batch.saturating_mul(context);
    let dots = 4 * tokens.saturating_mul(config.heads as u64);
    // All of a chunk, where the processor has those of one block.
    let chunk = cross_entropy::launch::room(tokens, config.outputs() as u64);
    let more = [dots, chunk - logits(config, tokens), gains_bytes(config, &learnt)];
    let workspace = more.into_iter().fold(here.workspace, u64::saturating_add);
    Ok(MemoryLedger { workspace, ..here })
}

/// The memory of a run of the class `bf16`, all of it on an accelerator: weights that multiply are
/// in 16 bits, those that are learnt in f32 too, and the activations are in 16 bits.
pub fn halves_memory(
    config: &ModelConfig,
    learnt: &Learnt,
    [micro_batch, context]: [u64; 2],
    keep: Keep,
    kept: Kept,
) -> MemoryLedger {
    let halved = match learnt {
        Learnt::All => Learnt::All,
        Learnt::Adapter { settings, base } => {
            let base = Width { encoding: Encoding::Bf16, ..*base };
            Learnt::Adapter { settings: settings.clone(), base }
        }
    };
    let wide = memory(config, &halved, [micro_batch, context], keep, kept);
    let tokens = micro_batch.saturating_mul(context);
    let used = Width { encoding: Encoding::Bf16, nf4: None };
    let copies = match learnt {
        Learnt::All => weight_bytes(config, used).iter().sum(),
        Learnt::Adapter { .. } => 0,
    };
    let dots = 4 * tokens.saturating_mul(config.heads as u64);
    let logits = cross_entropy::launch::room_of_halves(tokens, config.outputs() as u64);
    let rotations = 4 * context * config.head_dim() as u64;
    MemoryLedger {
        weights: wide.weights + copies,
        adapter: wide.adapter / 2 * 3,
        activations: Activations::training_bytes(config, tokens, keep, 2)
            .saturating_add(beside(config, learnt, tokens) / 2),
        workspace: rotations
            + logits.saturating_add(dots)
            + widened(config, &halved)
            + HALVES_WORKSPACE as u64,
        ..wide
    }
}

/// The largest matrix in 4 bits, widened to 16 where it multiplies.
fn widened(config: &ModelConfig, learnt: &Learnt) -> u64 {
    let in_blocks = matches!(learnt, Learnt::Adapter { base, .. } if base.nf4.is_some());
    let of = |spec: &TensorSpec| if is_quantised(spec) { 2 * spec.len() as u64 } else { 0 };
    if in_blocks { table(config).iter().map(of).max().unwrap_or(0) } else { 0 }
}

/// The widest that a decoder's weights are on an accelerator, where all but NF4 are f32, or what
/// is not done there.
pub fn device_weights(config: &ModelConfig, width: Width) -> Result<u64, &'static str> {
    if !WIDTHS.contains(&config.head_dim()) {
        return Err("heads that are not 16, 32, 64 or 128 wide");
    }
    Ok(weight_bytes(config, Width { encoding: Encoding::F32, ..width }).iter().sum())
}

/// The least that sampling answers, and scoring them, takes of an accelerator: one at a time, which
/// may fill the context. It samples as many at once as there is room for.
pub fn device_sampling_memory(config: &ModelConfig, context: u64) -> u64 {
    // Weights of the keys that a new token sees, and sums over 256 of them at a time.
    let heads = 4 * config.heads as u64;
    let seen = heads * context.next_multiple_of(256);
    let sums = heads * context.div_ceil(256) * config.head_dim() as u64;
    let logits =
        cross_entropy::launch::room(context.max(TOKENS_AT_ONCE as u64), config.vocab as u64);
    sampling_memory(config, 1, context) + seen + sums + logits
}

/// Logits of one block of tokens.
fn logits(config: &ModelConfig, tokens: u64) -> u64 {
    const AT_ONCE: u64 = crate::train::kernels::gemm::BLOCK as u64;
    4 * AT_ONCE.min(tokens) * config.outputs() as u64
}

/// What is learnt beside the weights, and the norms that follow from it under DoRA.
fn adapter_bytes(config: &ModelConfig, learnt: &Learnt) -> u64 {
    let Learnt::Adapter { settings, .. } = learnt else { return 0 };
    let table = Adapter::table_of(config, settings);
    let numbers = |spec: &TensorSpec| match spec.role {
        Role::Magnitude => 2 * spec.len() as u64,
        _ => spec.len() as u64,
    };
    4 * table.iter().map(numbers).sum::<u64>()
}

/// What the gains of DoRA are found from on an accelerator: squares of W's rows, A Wᵀ and A Aᵀ.
fn gains_bytes(config: &ModelConfig, learnt: &Learnt) -> u64 {
    let Learnt::Adapter { settings, .. } = learnt else { return 0 };
    let rank = settings.rank;
    let of = |which: &Which| {
        let [_, outputs] = which.shape(config);
        8 * outputs + 4 * rank * (outputs + rank)
    };
    let all = config.layers * settings.targets.iter().map(of).sum::<usize>();
    if settings.dora { all as u64 } else { 0 }
}

/// Numbers of the head's gradient where the head is the embedding: it has room of its own.
fn shared_head(config: &ModelConfig, learnt: &Learnt) -> u64 {
    match learnt {
        Learnt::All if !config.has_own_head() => (config.vocab * config.dim) as u64,
        _ => 0,
    }
}

/// What an adapter adds to the arena: buffers that every adapted projection uses anew.
fn beside(config: &ModelConfig, learnt: &Learnt, tokens: u64) -> u64 {
    let Learnt::Adapter { settings, .. } = learnt else { return 0 };
    let shapes = settings.targets.iter().map(|which| which.shape(config));
    let widest = |side: usize| shapes.clone().map(|shape| shape[side]).max().unwrap_or(0);
    let dropped = if settings.dropout > 0.0 { widest(0) } else { 0 };
    let scaled = if settings.dora { widest(1) } else { 0 };
    tokens.saturating_mul(4 * (2 * settings.rank + dropped + scaled) as u64)
}

/// The most that sampling so many answers, and scoring them, takes: all texts that are continued at
/// once fill the context.
pub fn sampling_memory(config: &ModelConfig, answers: u64, context: u64) -> u64 {
    let slots = answers.min(MOST_SLOTS as u64);
    // One place more is for what all prompts begin with.
    let cache = 2 * 4 * (config.layers * config.kv_dim()) as u64 * (slots + 1) * context;
    let logits = 4 * slots * config.vocab as u64;
    cache + scoring_memory(config, context + slots) + logits
}

/// The most that scoring texts of at most `context` tokens takes.
pub fn scoring_memory(config: &ModelConfig, context: u64) -> u64 {
    let tokens = context.max(TOKENS_AT_ONCE as u64);
    Activations::inference_bytes(config, tokens) + logits(config, tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::model::projection::Which;

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
        let flops = training_flops_per_token(&small, &Learnt::All, 4096);
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
        let near = |found: u64, expected: f64| {
            let found = found as f64 / f64::from(1 << 30);
            assert!((found / expected - 1.0).abs() < 0.01, "{found} and {expected}");
        };
        for (config, [double, plain, rest, all]) in sizes().iter().zip(expected) {
            for (nf4, blocks) in [(true, double), (false, plain)] {
                let found = weight_bytes(config, Width { nf4: Some(nf4), ..BITS_16 });
                near(found[0], rest);
                near(found[1], blocks);
            }
            near(weight_bytes(config, BITS_16)[0], all);
            assert_eq!(weight_bytes(config, Width::F32), [4 * parameters(config), 0]);
        }
    }

    const BITS_16: Width = Width { encoding: Encoding::Bf16, nf4: None };

    fn adapter(rank: usize, targets: &[Which], base: Width) -> Learnt {
        let (alpha, dropout, targets) = (16.0, 0.0, targets.to_vec());
        let settings = LoraSettings { rank, alpha, dropout, targets, rslora: false, dora: false };
        Learnt::Adapter { settings, base }
    }

    const FULL: Kept = Kept { bits: Bits::Full, budget: None };

    /// The numbers of PEFT's `print_trainable_parameters` for Llama 2: 7B with its defaults (rank 8
    /// beside q and v), and each size with rank 64 beside all projections.
    #[test]
    fn adapters_learn_what_peft_says_they_learn() {
        let [small, middle, large] = sizes();
        let few = adapter(8, &[Which::Query, Which::Value], BITS_16);
        assert_eq!(few.count(&small), 4_194_304);
        let all = adapter(64, &Which::ALL, BITS_16);
        let counts = [&small, &middle, &large].map(|config| all.count(config));
        assert_eq!(counts, [159_907_840, 250_347_520, 828_375_040]);
    }

    /// Frozen weights have neither gradients nor moments; what is learnt beside them has both.
    #[test]
    fn an_adapter_takes_what_it_learns_four_times() {
        for config in sizes() {
            let learnt = adapter(64, &Which::ALL, Width { nf4: Some(true), ..BITS_16 });
            let ledger = memory(&config, &learnt, [1, 512], Keep::Residuals, FULL);
            let numbers = 4 * learnt.count(&config);
            assert_eq!(ledger.adapter, numbers);
            assert_eq!([ledger.gradients, ledger.optimizer], [numbers, 2 * numbers]);
            assert_eq!([ledger.weights, ledger.blocks], {
                weight_bytes(&config, Width { nf4: Some(true), ..BITS_16 })
            });
            let whole = memory(&config, &Learnt::All, [1, 512], Keep::Residuals, FULL);
            assert!(whole.total() > 10 * ledger.total());
        }
    }

    #[test]
    fn moments_are_narrow_or_in_a_file() {
        let [small, ..] = sizes();
        let learnt = adapter(64, &Which::ALL, BITS_16);
        let of = |kept| memory(&small, &learnt, [1, 512], Keep::Residuals, kept);
        let full = of(FULL);
        let eight = of(Kept { bits: Bits::Eight, budget: None });
        assert!(eight.optimizer * 100 < full.optimizer * 26, "{}", eight.optimizer);
        let budget = 100 << 20;
        let paged = of(Kept { bits: Bits::Full, budget: Some(budget) });
        assert!(paged.optimizer <= budget && paged.optimizer > budget / 2);
        assert_eq!(paged.optimizer + paged.pages, full.optimizer);
        assert_eq!(paged.total() + paged.pages, full.total());
    }

    /// What is not learnt saves a third of the products, and what is learnt adds little.
    #[test]
    fn an_adapter_takes_two_thirds_of_the_arithmetic() {
        let [small, ..] = sizes();
        let few = adapter(8, &[Which::Query, Which::Value], BITS_16);
        let flops = training_flops_per_token(&small, &few, 2048);
        let products = 4 * (6_738_415_616 - 131_072_000) + 6 * 4_194_304;
        assert_eq!(flops, products + 12 * 32 * 4096 * 2048);
        // A head that is the embedding multiplies all the same.
        let tied = ModelConfig { tied: true, ..small.clone() };
        let all = |config| training_flops_per_token(config, &Learnt::All, 2048);
        assert_eq!(all(&tied), all(&small));
    }
}
