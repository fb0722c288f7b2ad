//! Steps whose weights move on the way back, as soon as their gradients are there, so that those of
//! one block at a time need room (Lv et al., "Full parameter fine-tuning for large language models
//! with limited resources", 2023, with AdamW in place of SGD). A step has one part, and its norm is
//! known too late to clip by. No bit differs from a step that keeps all gradients. Knows one step.

use super::train_loop::TrainState;
use crate::train::data::pack::Row;
use crate::train::kernels::Threads;
use crate::train::kernels::adamw::{AdamW, squared_norm};
use crate::train::model::machine::Machine;
use crate::train::model::trainable::Group;
use crate::train::model::{Batch, Transformer};
use crate::train::objective::Objective;
use crate::train::optim::clip::by_name;

/// How weights move.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'a> {
    /// The constants of the step for each row of the table.
    pub by: &'a [AdamW],
    /// Whether gradients are looked at one by one.
    pub is_watched: bool,
}

/// What was seen of gradients that are gone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moved {
    pub norm: f64,
    /// Rows of the table whose gradient was not finite, or nowhere other than zero, where they were
    /// watched.
    pub dead: Vec<usize>,
}

impl Moved {
    /// From the sums of squares of all rows of the table.
    pub fn of(model: &Transformer, squares: Vec<f64>, dead: Vec<usize>) -> Moved {
        Moved { norm: by_name(model, squares).sum::<f64>().sqrt(), dead }
    }
}

/// Whether a gradient is finite, and somewhere not zero.
pub fn is_alive(gradient: &[f32]) -> bool {
    gradient.iter().all(|x| x.is_finite()) && gradient.iter().any(|x| *x != 0.0)
}

/// A step on the host.
pub fn step(
    t: &Threads,
    state: &mut TrainState,
    model: &mut Transformer,
    objective: &mut dyn Objective,
    rows: &[&Row],
    moving: Moving<'_>,
) -> Moved {
    let TrainState { activations: a, gradients, optimizer, .. } = state;
    gradients.clear();
    let batch = Batch::of(rows);
    model.forward(t, &batch, a);
    objective.learn(t, 0..rows.len(), &batch, model, a, &mut gradients.weights);
    let batch = t.batch(&batch);
    let (mut squares, mut dead) = (vec![0.0; moving.by.len()], Vec::new());
    for group in Group::all(model.config.layers) {
        match group {
            Group::Block(_) => gradients.tensors_of(group).into_iter().for_each(|x| x.fill(0.0)),
            // Those of the heads are there already.
            Group::Top | Group::Table => {}
        }
        model.backward_of(t, &batch, group, a, gradients);
        if group == Group::Table {
            gradients.weights.tie();
        }
        let found = gradients.tensors_of(group);
        for (row, gradient) in model.rows_of(group).zip(&found) {
            squares[row] = squared_norm(t, [&gradient[..]]);
            if moving.is_watched && !is_alive(gradient) {
                dead.push(row);
            }
        }
        let range = model.rows_of(group);
        let weights = model.trainable_mut().into_iter().skip(range.start);
        let pairs = weights.zip(found.iter().map(|gradient| &gradient[..]));
        optimizer.move_rows(t, moving.by, range, pairs);
    }
    Moved::of(model, squares, dead)
}
