//! The norm of all gradients together, and what it is clipped to (Pascanu et al., "On the
//! difficulty of training recurrent neural networks", 2013). Knows no optimizer.

use crate::train::kernels::Threads;
use crate::train::kernels::adamw::{clip_factor, squared_norm};
use crate::train::model::{Trainable, Transformer};

/// The Euclidean norm over every gradient, in f64, tensors in the order of their names.
pub fn norm(t: &Threads, model: &Transformer, gradients: &Trainable) -> f64 {
    let table = model.table();
    let mut named: Vec<(&str, &[f32])> =
        table.iter().map(|spec| spec.name.as_str()).zip(gradients.tensors()).collect();
    named.sort_by_key(|(name, _)| *name);
    squared_norm(t, named.into_iter().map(|(_, tensor)| tensor)).sqrt()
}

/// What gradients of this norm are multiplied by; `None` never clips.
pub fn factor(norm: f64, clip: Option<f64>) -> f32 {
    clip.map_or(1.0, |limit| clip_factor(norm, limit) as f32)
}
