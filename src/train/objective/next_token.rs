//! The next token: −log p(target | what comes before), summed over the positions that are learnt
//! from and divided by their number in the *whole* batch, not in a part of it. So a batch gives the
//! same gradient however it is split (transformers PR 34191 is what happens otherwise). Knows no
//! optimizer. Left out: label smoothing, z-loss.

use crate::train::kernels::cross_entropy::{Gradients, cross_entropy};
use crate::train::kernels::{Elements, Threads};
use crate::train::model::Batch;
use crate::train::model::activations::Activations;

/// The losses of a part of a batch, written to `nll_t`, and their gradient at the head, written to
/// `dhidden_td` and added to `dhead_vd`; of the whole batch `supervised` positions are learnt from.
pub fn losses_and_gradient(
    t: &Threads,
    batch: &Batch,
    supervised: u64,
    head_vd: Elements<'_>,
    a: &mut Activations,
    dhead_vd: &mut [f32],
) {
    assert!(supervised > 0, "nothing to learn from");
    let gradients = Gradients {
        scale: (1.0 / supervised as f64) as f32,
        dhidden: &mut a.dhidden_td,
        dhead: Some(dhead_vd),
    };
    let (hidden_td, targets) = (&a.hidden_td, &batch.targets);
    cross_entropy(t, hidden_td, head_vd, targets, &batch.rows, &mut a.nll_t, Some(gradients));
}
