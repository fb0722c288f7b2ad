//! One adapter that says what several say together, each by its weight. Over a projection W:
//!
//! ```text
//! W + Σ w · s · B · A = W + [B₁ B₂ …] · [w₁ s₁ A₁; w₂ s₂ A₂; …]
//! ```
//!
//! Ranks add up, so nothing is lost; a projection that an adapter leaves alone gets zeros from it.
//! Knows numbers; does not know files. Left out: combinations of lower rank, and DoRA, whose norms
//! are not linear in what is learnt.

use super::config::ModelConfig;
use super::lora::{Adapter, LoraSettings};
use super::projection::Which;

impl Adapter {
    /// The weighted sum of adapters over one base, none of which is DoRA.
    pub fn combined(config: &ModelConfig, parts: &[(Adapter, f64)]) -> Adapter {
        assert!(parts.iter().all(|(part, _)| !part.settings.dora), "no sum of DoRA is one");
        let rank: usize = parts.iter().map(|(part, _)| part.settings.rank).sum();
        let targeted =
            |which: &Which| parts.iter().any(|(part, _)| part.settings.targets.contains(which));
        let settings = LoraSettings {
            rank,
            alpha: rank as f64,
            dropout: 0.0,
            targets: Which::ALL.into_iter().filter(targeted).collect(),
            rslora: false,
            dora: false,
        };
        let mut whole = Adapter::zeros(config, &settings);
        for layer in 0..config.layers {
            for which in settings.targets.iter().copied() {
                add(&mut whole, parts, (layer, which), which.shape(config)[0]);
            }
        }
        whole
    }
}

/// Writes the parts of one projection side by side.
fn add(whole: &mut Adapter, parts: &[(Adapter, f64)], (layer, which): (usize, Which), i: usize) {
    let rank = whole.settings.rank;
    let into = whole.of_mut(layer, which).expect("it is a target");
    let mut first = 0;
    for (part, weight) in parts {
        let r = part.settings.rank;
        if let Some(from) = part.of(layer, which) {
            let scale = (weight * f64::from(part.settings.scale())) as f32;
            let rows = into.a_ri[first * i..].iter_mut().zip(&from.a_ri);
            rows.for_each(|(a, from)| *a = scale * from);
            for (b_r, from) in into.b_or.chunks_exact_mut(rank).zip(from.b_or.chunks_exact(r)) {
                b_r[first..first + r].copy_from_slice(from);
            }
        }
        first += r;
    }
}
