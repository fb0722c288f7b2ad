//! The gated unit of the feed-forward block (Shazeer, "GLU variants improve transformer", 2020):
//! hidden = silu(gate) · up. It does not know the projections around it. No sums, so no order.

pub mod launch;

use super::device::{Parts, Threads};
use super::math::sigmoid;

/// Elements that are worth a thread.
const ELEMENTS_PER_PART: usize = 1 << 13;

/// hidden = (gate · σ(gate)) · up.
pub fn forward(t: &Threads, gate: &[f32], up: &[f32], hidden: &mut [f32]) {
    assert_eq!((gate.len(), up.len()), (hidden.len(), hidden.len()));
    let (len, hidden) = (hidden.len(), Parts::new(hidden));
    t.split(len, ELEMENTS_PER_PART, |range| {
        // SAFETY: each range is one thread's.
        let hidden = unsafe { hidden.part(range.clone()) };
        let (gate, up) = (&gate[range.clone()], &up[range]);
        t.isa().run(
            #[inline(always)]
            || {
                for ((hidden, &gate), &up) in hidden.iter_mut().zip(gate).zip(up) {
                    *hidden = (gate * sigmoid(gate)) * up;
                }
            },
        );
    });
}

/// dup = dhidden · silu(gate); dgate = (dhidden · up) · (σ + silu · (1 − σ)), the last by FMA.
pub fn backward(
    t: &Threads,
    gate: &[f32],
    up: &[f32],
    dhidden: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let len = gate.len();
    assert_eq!([up.len(), dhidden.len(), dgate.len(), dup.len()], [len; 4]);
    let (dgate, dup) = (Parts::new(dgate), Parts::new(dup));
    t.split(len, ELEMENTS_PER_PART, |range| {
        // SAFETY: each range is one thread's.
        let (dgate, dup) = unsafe { (dgate.part(range.clone()), dup.part(range.clone())) };
        let (gate, up, dhidden) = (&gate[range.clone()], &up[range.clone()], &dhidden[range]);
        t.isa().run(
            #[inline(always)]
            || {
                for i in 0..dgate.len() {
                    let sigma = sigmoid(gate[i]);
                    let silu = gate[i] * sigma;
                    dup[i] = dhidden[i] * silu;
                    dgate[i] = (dhidden[i] * up[i]) * silu.mul_add(1.0 - sigma, sigma);
                }
            },
        );
    });
}
