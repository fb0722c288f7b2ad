//! Low-rank adapters: what is learnt beside a base that stays as it is. For a projection W of
//! `outputs` × `inputs`:
//!
//! ```text
//! LoRA     W + s · B · A                              Hu et al. 2021; s = alpha / rank
//! rsLoRA   the same with s = alpha / √rank            Kalajdzievski 2023
//! DoRA     m ∘ (W + s · B · A) / ‖W + s · B · A‖      Liu et al. 2024; norms by output
//! ```
//!
//! All begin as PEFT begins them: A uniform within ±1/√inputs, B zero, m = ‖W‖, so that an adapter
//! begins as its base. Each A draws from its own stream `lora/<name>`. Knows numbers; does not
//! know files. Left out: biases, adapters of the embedding or the head.

use super::config::ModelConfig;
use super::parameters::{Parameters, Role, TensorSpec};
use super::projection::Which;
use super::tensor::{Stored, Tensor};
use crate::train::kernels::gemm::{linear, linear_grad_input};
use crate::train::kernels::rng::Stream;
use crate::train::kernels::{Elements, Sink, Threads};

/// What an adapter is, before it has learnt anything.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings {
    pub rank: usize,
    pub alpha: f64,
    /// The share of an adapter's input that a step of training leaves out, below 1.
    pub dropout: f64,
    /// Projections that are adapted, in every block; ascending, at least one.
    pub targets: Vec<Which>,
    pub rslora: bool,
    pub dora: bool,
}

/// What is learnt beside one projection. The same places hold weights, gradients or moments.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    pub a_ri: Vec<f32>,
    pub b_or: Vec<f32>,
    /// Of DoRA; else empty.
    pub magnitude_o: Vec<f32>,
    /// ‖W + s · B · A‖ by output, of DoRA; follows from the rest, see [`Adapter::settle`].
    norm_o: Vec<f32>,
}

/// An adapter of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    pub settings: LoraSettings,
    /// By block, and in it by [`Which`].
    blocks: Vec<[Option<LowRank>; Which::ALL.len()]>,
}

impl LoraSettings {
    /// What B · A is multiplied by.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.rslora { rank.sqrt() } else { rank }) as f32
    }
}

impl LowRank {
    /// What an output is multiplied by under DoRA.
    pub fn gains(&self) -> Option<impl Iterator<Item = f32>> {
        let pairs = self.magnitude_o.iter().zip(&self.norm_o);
        (!self.magnitude_o.is_empty()).then(|| pairs.map(|(magnitude, norm)| magnitude / norm))
    }

    /// The norms as they were last settled; empty but under DoRA.
    pub fn norms(&self) -> &[f32] {
        &self.norm_o
    }

    /// ‖W + s · B · A‖² = ‖W‖² + 2 s B (A Wᵀ) + s² B (A Aᵀ) Bᵀ by output, in f64: the sum itself
    /// is never made.
    fn settle(&mut self, t: &Threads, w_oi: Elements<'_>, [i, o, r]: [usize; 3], scale: f32) {
        let (mut cross_ro, mut square_rr) = (vec![0.0; r * o], vec![0.0; r * r]);
        linear(t, &self.a_ri, w_oi, &mut cross_ro, [r, i, o]);
        linear(t, &self.a_ri, &self.a_ri, &mut square_rr, [r, i, r]);
        let (s, mut row_i) = (f64::from(scale), vec![0.0; i]);
        self.norm_o.resize(o, 0.0);
        for (at, (norm, b_r)) in self.norm_o.iter_mut().zip(self.b_or.chunks_exact(r)).enumerate() {
            w_oi.skip(at * i).widen(&mut row_i);
            let mut sum: f64 = row_i.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            for (k, b) in b_r.iter().enumerate() {
                let square_r = b_r.iter().zip(&square_rr[k * r..]);
                let inner: f64 = square_r.map(|(b, x)| f64::from(*b) * f64::from(*x)).sum();
                sum += s * f64::from(*b) * (2.0 * f64::from(cross_ro[k * o + at]) + s * inner);
            }
            *norm = sum.max(0.0).sqrt() as f32;
        }
    }
}

impl Adapter {
    /// One that changes nothing yet, over this base.
    pub fn untrained(
        t: &Threads,
        config: &ModelConfig,
        base: &Parameters<Stored>,
        settings: &LoraSettings,
        seed: u64,
    ) -> Adapter {
        let mut adapter = Adapter::zeros(config, settings);
        let specs = adapter.table(config);
        for (spec, tensor) in specs.iter().zip(adapter.tensors_mut()) {
            if spec.role == Role::Narrowing {
                uniform(&Stream::new(seed, &format!("lora/{}", spec.name)), spec.shape[1], tensor);
            }
        }
        adapter.settle(t, config, base);
        for low_rank in adapter.blocks.iter_mut().flatten().flatten() {
            low_rank.magnitude_o.clone_from(&low_rank.norm_o);
        }
        adapter
    }

    /// All zero.
    pub fn zeros(config: &ModelConfig, settings: &LoraSettings) -> Adapter {
        let table = Adapter::table_of(config, settings);
        let tensors = table.iter().map(|spec| vec![0.0; spec.len()]).collect();
        Adapter::from_tensors(config, settings, tensors)
    }

    /// From one buffer a row of the table, in its order; still to be settled.
    pub fn from_tensors(
        config: &ModelConfig,
        settings: &LoraSettings,
        tensors: Vec<Vec<f32>>,
    ) -> Adapter {
        let table = Adapter::table_of(config, settings);
        assert!(tensors.len() == table.len(), "one buffer a parameter");
        assert!(tensors.iter().zip(&table).all(|(tensor, spec)| tensor.len() == spec.len()));
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next().expect("as many as rows");
        let mut low_rank = |which: Which| {
            settings.targets.contains(&which).then(|| LowRank {
                a_ri: next(),
                b_or: next(),
                magnitude_o: if settings.dora { next() } else { Vec::new() },
                norm_o: Vec::new(),
            })
        };
        let blocks = (0..config.layers).map(|_| Which::ALL.map(&mut low_rank)).collect();
        Adapter { settings: settings.clone(), blocks }
    }

    /// What is learnt beside a projection, if it is adapted.
    pub fn of(&self, layer: usize, which: Which) -> Option<&LowRank> {
        self.blocks[layer][which as usize].as_ref()
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, layer: usize, which: Which) -> Option<&mut LowRank> {
        self.blocks[layer][which as usize].as_mut()
    }

    /// The table of its parameters, under the names that PEFT gives them.
    pub fn table(&self, config: &ModelConfig) -> Vec<TensorSpec> {
        Adapter::table_of(config, &self.settings)
    }

    /// The table of an adapter with these settings.
    pub fn table_of(config: &ModelConfig, settings: &LoraSettings) -> Vec<TensorSpec> {
        let LoraSettings { rank, dora, targets, .. } = settings;
        let mut table = Vec::new();
        for (layer, which) in
            (0..config.layers).flat_map(|layer| targets.iter().map(move |which| (layer, which)))
        {
            let [inputs, outputs] = which.shape(config);
            let named = |end: &str, shape: &[usize], role| {
                let module = which.module();
                let name = format!("base_model.model.model.layers.{layer}.{module}.{end}");
                TensorSpec::new(name, shape, role)
            };
            table.push(named("lora_A.weight", &[*rank, inputs], Role::Narrowing));
            table.push(named("lora_B.weight", &[outputs, *rank], Role::Widening));
            let magnitude = || named("lora_magnitude_vector", &[outputs], Role::Magnitude);
            table.extend(dora.then(magnitude));
        }
        table
    }

    /// The buffers in the order of the table.
    pub fn tensors(&self) -> Vec<&[f32]> {
        let all = self.blocks.iter().flatten().flatten();
        let buffers =
            all.flat_map(|of| [&of.a_ri, &of.b_or].into_iter().chain(some(&of.magnitude_o)));
        buffers.map(Vec::as_slice).collect()
    }

    /// The same, to be changed; after that the adapter is to be settled.
    pub fn tensors_mut(&mut self) -> Vec<&mut [f32]> {
        let dora = self.settings.dora;
        let mut tensors: Vec<&mut [f32]> = Vec::new();
        for of in self.blocks.iter_mut().flatten().flatten() {
            tensors.extend([&mut of.a_ri[..], &mut of.b_or]);
            tensors.extend(dora.then_some(&mut of.magnitude_o[..]));
        }
        tensors
    }

    /// Finds the norms of DoRA anew, after a change of what they follow from.
    pub fn settle(&mut self, t: &Threads, config: &ModelConfig, base: &Parameters<Stored>) {
        if !self.settings.dora {
            return;
        }
        let (scale, rank) = (self.settings.scale(), self.settings.rank);
        for (block, weights) in self.blocks.iter_mut().zip(&base.blocks) {
            for (which, low_rank) in Which::ALL.into_iter().zip(block) {
                let [inputs, outputs] = which.shape(config);
                if let Some(low_rank) = low_rank {
                    let w_oi = weights.of(which).elements();
                    low_rank.settle(t, w_oi, [inputs, outputs, rank], scale);
                }
            }
        }
    }

    /// Makes it part of its base; it must be settled.
    pub fn merge(&self, t: &Threads, config: &ModelConfig, base: &mut Parameters) {
        let (scale, r) = (self.settings.scale(), self.settings.rank);
        for (block, weights) in self.blocks.iter().zip(&mut base.blocks) {
            for (which, low_rank) in Which::ALL.into_iter().zip(block) {
                let ([i, o], Some(low_rank)) = (which.shape(config), low_rank) else { continue };
                let w_oi = weights.of_mut(which);
                let b_or: Vec<f32> = low_rank.b_or.iter().map(|b| b * scale).collect();
                linear_grad_input(t, &b_or, &low_rank.a_ri, w_oi, [o, i, r], Sink::Add);
                for (gain, row) in low_rank.gains().into_iter().flatten().zip(w_oi.chunks_mut(i)) {
                    row.iter_mut().for_each(|x| *x *= gain);
                }
            }
        }
    }

    /// The names of matrices that have learnt nothing: B is as it began.
    pub fn dead(&self, config: &ModelConfig) -> Vec<String> {
        let table = self.table(config);
        let pairs = table.iter().zip(self.tensors());
        pairs
            .filter(|(spec, of)| spec.role == Role::Widening && of.iter().all(|x| *x == 0.0))
            .map(|(spec, _)| spec.name.clone())
            .collect()
    }
}

fn some(buffer: &Vec<f32>) -> Option<&Vec<f32>> {
    (!buffer.is_empty()).then_some(buffer)
}

/// Kaiming's uniform start with a = √5, which is ±1/√inputs.
fn uniform(stream: &Stream, inputs: usize, out: &mut [f32]) {
    let bound = 1.0 / (inputs as f64).sqrt();
    for (element, x) in (0..).zip(out) {
        *x = ((2.0 * f64::from(stream.uniform(0, element)) - 1.0) * bound) as f32;
    }
}
