//! The products of linear layers.

use llamake::train::kernels::Sink;
use llamake::train::kernels::gemm::launch::{self, TokenBlocks};
use llamake::train::kernels::gemm::{linear, linear_add, linear_grad_input, linear_grad_weight};

use super::{assert_same_bits, batch_rows, cpu, numbers, on_shims, to};

/// Rows, inner and outer widths: few rows, ragged in every direction, and enough for large tiles.
const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [1, 4100, 20],
    [3, 300, 33],
    [4, 64, 17],
    [7, 257, 70],
    [65, 513, 1],
    [130, 40, 66],
    [64, 256, 64],
    [1281, 21, 1290],
];

#[test]
fn forward_has_the_bits_of_the_cpu() {
    for [m, k, n] in SHAPES {
        let (x, w, before) = (numbers("x", m * k), numbers("w", n * k), numbers("y", m * n));
        for sink in [Sink::Write, Sink::Add] {
            let mut y = before.clone();
            match sink {
                Sink::Write => linear(&cpu(), &x, &w, &mut y, [m, k, n]),
                Sink::Add => linear_add(&cpu(), &x, &w, &mut y, [m, k, n]),
            }
            on_shims(|on| {
                let (x, w, mut found) = (to(on, &x), to(on, &w), to(on, &before));
                launch::linear(&**on, x.all(), w.all(), found.all_mut(), [m, k, n], sink).unwrap();
                assert_same_bits(&format!("y of {m} {k} {n}, {sink:?}"), &y, &found);
            });
        }
    }
}

#[test]
fn gradients_of_the_input_have_the_bits_of_the_cpu() {
    for [m, k, n] in SHAPES {
        let (dy, w, before) = (numbers("dy", m * n), numbers("w", n * k), numbers("dx", m * k));
        for sink in [Sink::Write, Sink::Add] {
            let mut dx = before.clone();
            linear_grad_input(&cpu(), &dy, &w, &mut dx, [m, k, n], sink);
            on_shims(|on| {
                let (dy, w, mut found) = (to(on, &dy), to(on, &w), to(on, &before));
                let (read, into) = ((dy.all(), w.all()), found.all_mut());
                launch::linear_grad_input(&**on, read.0, read.1, into, [m, k, n], sink).unwrap();
                assert_same_bits(&format!("dx of {m} {k} {n}, {sink:?}"), &dx, &found);
            });
        }
    }
}

#[test]
fn gradients_of_the_weight_have_the_bits_of_the_cpu() {
    for (lengths, k, n) in
        [(vec![1], 1, 1), (vec![3, 300, 0, 17], 35, 70), (vec![20, 13], 1290, 1281)]
    {
        let rows = batch_rows(&lengths);
        let m = lengths.iter().sum();
        let (dy, x, before) = (numbers("dy", m * n), numbers("x", m * k), numbers("dw", n * k));
        let mut dw = before.clone();
        linear_grad_weight(&cpu(), &dy, &x, &rows, &mut dw, [m, k, n]);
        on_shims(|on| {
            let (dy, x, mut found) = (to(on, &dy), to(on, &x), to(on, &before));
            let blocks = TokenBlocks::new(on, &rows, m).unwrap();
            let (read, into) = ((dy.all(), x.all()), found.all_mut());
            launch::linear_grad_weight(&**on, read.0, read.1, &blocks, into, [m, k, n]).unwrap();
            assert_same_bits(&format!("dw of {m} {k} {n}"), &dw, &found);
        });
    }
}
