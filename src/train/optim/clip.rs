//! The norm of all gradients together, and what it is clipped to (Pascanu et al., "On the
//! difficulty of training recurrent neural networks", 2013). Knows no optimizer.

use crate::train::kernels::Threads;
use crate::train::kernels::adamw::{clip_factor, squared_norm};
use crate::train::model::{Trainable, Transformer};

/// The Euclidean norm over every gradient, in f64, tensors in the order of their names.
pub fn norm(t: &Threads, model: &Transformer, gradients: &Trainable) -> f64 {
    squared_norm(t, by_name(model, gradients.tensors())).sqrt()
}

/// Something of each row of the table in the order of their names.
pub fn by_name<T>(model: &Transformer, rows: Vec<T>) -> impl Iterator<Item = T> {
    let names = model.table().into_iter().map(|spec| spec.name);
    let mut named: Vec<(String, T)> = names.zip(rows).collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    named.into_iter().map(|(_, row)| row)
}

/// What gradients of this norm are multiplied by; `None` never clips.
pub fn factor(norm: f64, clip: Option<f64>) -> f32 {
    clip.map_or(1.0, |limit| clip_factor(norm, limit) as f32)
}
