//! How a decoder's parameters start. Llama 2 does not say; this is GPT-2's manner (Radford et al.,
//! 2019) and what nanoGPT and OLMo do for Llama's shape:
//!
//! | role | starts as |
//! |---|---|
//! | embedding, head, projections that read the residual stream | normal, deviation 0.02 |
//! | projections that write into it (`o_proj`, `down_proj`) | normal, 0.02 / √(2 · layers) |
//! | norms | one |
//!
//! Each tensor draws from its own stream `init/<name>`, so adding one changes no other. Knows no
//! files.

use super::config::{Head, ModelConfig};
use super::parameters::{Parameters, Role, TensorSpec, table};
use crate::train::kernels::init::normal;
use crate::train::kernels::rng::Stream;

const DEVIATION: f64 = 0.02;

/// A model that has learnt nothing, from a seed.
pub fn untrained(config: &ModelConfig, seed: u64) -> Parameters {
    let mut weights = Parameters::zeros(config);
    for (spec, tensor) in table(config).iter().zip(weights.tensors_mut()) {
        begin(spec, config.layers, seed, tensor);
    }
    weights
}

/// A head that scores, above a decoder that has learnt something.
pub fn score_head(config: &ModelConfig, seed: u64) -> Vec<f32> {
    assert_eq!(config.head, Head::Score);
    let table = table(config);
    let spec = table.iter().find(|spec| spec.role == Role::Head).expect("it has a head");
    let mut head_vd = vec![0.0; spec.len()];
    begin(spec, config.layers, seed, &mut head_vd);
    head_vd
}

fn begin(spec: &TensorSpec, layers: usize, seed: u64, tensor: &mut [f32]) {
    match deviation(spec, layers) {
        None => tensor.fill(1.0),
        Some(deviation) => {
            let stream = Stream::new(seed, &format!("init/{}", spec.name));
            normal(&stream, deviation, tensor);
        }
    }
}

/// The deviation of a parameter's normal distribution; none for a norm.
fn deviation(spec: &TensorSpec, layers: usize) -> Option<f64> {
    match spec.role {
        Role::Norm => None,
        Role::Residual => Some(DEVIATION / ((2 * layers) as f64).sqrt()),
        _ => Some(DEVIATION),
    }
}
