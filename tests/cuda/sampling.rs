//! Draws from rows of logits.

use llamake::train::kernels::sample::launch::draw;
use llamake::train::kernels::sample::{Draw, Sampling, draw_rows};

use super::{cpu, numbers, on_shims, to};

fn check(logits: &[f32], v: usize, sampling: Sampling, uniforms: &[f32]) {
    let expected = draw_rows(&cpu(), logits, sampling, uniforms);
    let bits = |of: &Draw| (of.token, of.processed_log_prob.to_bits(), of.log_prob.to_bits());
    on_shims(|on| {
        let found = draw(on, to(on, logits).all(), sampling, uniforms).unwrap();
        for (row, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let what = format!("row {row} of {v} logits, {sampling:?}");
            assert_eq!(bits(expected), bits(found), "{what}: {expected:?}, {found:?}");
        }
    });
}

fn of(temperature: f32, top_k: Option<usize>, top_p: f32) -> Sampling {
    Sampling { temperature, top_k, top_p }
}

/// Every way to draw.
const WAYS: [(f32, Option<usize>, f32); 8] = [
    (0.0, None, 1.0),
    (1.0, None, 1.0),
    (0.3, None, 1.0),
    (0.7, Some(30), 1.0),
    (1.3, None, 0.8),
    (1.0, Some(5), 0.5),
    (1.0, Some(0), 1.0),
    (1.0, Some(1 << 20), 0.0),
];

#[test]
fn draws_have_the_bits_of_the_cpu() {
    for (n, v) in [(1, 1), (5, 33), (6, 1000), (4, 5000)] {
        let logits: Vec<f32> = numbers("logits", n * v).iter().map(|x| 8.0 * x).collect();
        let mut uniforms: Vec<f32> = numbers("uniform", n).iter().map(|x| x.abs()).collect();
        // Where sums of blocks are larger than those of their tokens, this is beyond the last.
        uniforms[n / 2..].fill(0.999_999_94);
        for (temperature, top_k, top_p) in WAYS {
            check(&logits, v, of(temperature, top_k, top_p), &uniforms);
        }
    }
}

#[test]
fn draws_at_the_ends_have_the_bits_of_the_cpu() {
    // Equal logits, tokens without weight at the end, and marks at and beyond the last of them.
    let equal = vec![1.5f32; 700];
    let mut lopsided = vec![-200.0f32; 700];
    lopsided[300..310].fill(2.0);
    for row in [equal, lopsided] {
        for (temperature, top_k, top_p) in WAYS {
            let uniforms = [0.0, 0.5, 0.999_999_94];
            check(&row.repeat(3), 700, of(temperature, top_k, top_p), &uniforms);
        }
    }
}
