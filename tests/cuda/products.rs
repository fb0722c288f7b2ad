//! The products of linear layers.

use llamake::train::kernels::gemm::launch::{self, Added, TokenBlocks, Weights};
use llamake::train::kernels::gemm::{linear, linear_add, linear_grad_input, linear_grad_weight};
use llamake::train::kernels::nf4::{self, Nf4};
use llamake::train::kernels::{Elements, Sink};

use super::{assert_same_bits, batch_rows, cpu, numbers, on_shims, room, to};

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

#[test]
fn products_with_numbers_of_4_bits_have_the_bits_of_the_cpu() {
    for ([m, k, n], double) in [([3, 300, 33], true), ([7, 257, 70], false), ([70, 64, 129], true)]
    {
        let (packed, scales) = nf4::quantise(&cpu(), &numbers("w", n * k), double);
        let elements = Elements::Nf4(Nf4::new(&packed, &scales, n * k));
        let (x, dy, before) = (numbers("x", m * k), numbers("dy", m * n), numbers("y", m * n));
        let (mut y, mut dx) = (before.clone(), vec![0.0; m * k]);
        linear_add(&cpu(), &x, elements, &mut y, [m, k, n]);
        linear_grad_input(&cpu(), &dy, elements, &mut dx, [m, k, n], Sink::Write);
        on_shims(|on| {
            let matrix = nf4::launch::Matrix::new(on, &packed, &scales, n * k).unwrap();
            let (x, dy, mut found) = (to(on, &x), to(on, &dy), to(on, &before));
            let (mut found_dx, mut widened) = (room(on, m * k), room(on, n * k));
            let (into, shape) = (found.all_mut(), [m, k, n]);
            launch::linear(&**on, x.all(), &matrix, into, shape, Sink::Add).unwrap();
            let into = found_dx.all_mut();
            launch::linear_grad_input(&**on, dy.all(), &matrix, into, shape, Sink::Write).unwrap();
            matrix.widen(&**on, widened.all_mut()).unwrap();
            assert_same_bits(&format!("numbers of {m} {k} {n}"), &elements.to_floats(), &widened);
            assert_same_bits(&format!("y of {m} {k} {n}"), &y, &found);
            assert_same_bits(&format!("dx of {m} {k} {n}"), &dx, &found_dx);
        });
    }
}

#[test]
fn products_in_parts_have_the_bits_of_the_cpu() {
    for ([m, k, n], quantised) in [([7, 1030, 33], false), ([70, 513, 20], true)] {
        let w = numbers("w", n * k);
        let (packed, scales) = nf4::quantise(&cpu(), &w, true);
        let elements = match quantised {
            true => Elements::Nf4(Nf4::new(&packed, &scales, n * k)),
            false => Elements::F32(&w),
        };
        let (x, before) = (numbers("x", m * k), numbers("y", m * n));
        let (mut y, mut sum) = (vec![0.0; m * n], before.clone());
        linear(&cpu(), &x, elements, &mut y, [m, k, n]);
        linear_add(&cpu(), &x, elements, &mut sum, [m, k, n]);
        on_shims(|on| {
            let matrix = nf4::launch::Matrix::new(on, &packed, &scales, n * k).unwrap();
            let (w, x) = (to(on, &w), to(on, &x));
            let weights = match quantised {
                true => Weights::from(&matrix),
                false => Weights::from(w.all()),
            };
            let mut parts = room(on, launch::parts([m, k, n]));
            for (sink, expected) in [(Sink::Write, &y), (Sink::Add, &sum)] {
                let (mut found, shape) = (to(on, &before), [m, k, n]);
                let (parts, into) = (parts.all_mut(), found.all_mut());
                launch::linear_in_parts(&**on, x.all(), weights, parts, into, shape, sink).unwrap();
                assert_same_bits(&format!("y of {m} {k} {n}, {sink:?}"), expected, &found);
            }
        });
    }
}

#[test]
fn large_products_with_numbers_of_4_bits_have_the_bits_of_the_cpu() {
    let [m, k, n] = [1281, 21, 1290];
    let (packed, scales) = nf4::quantise(&cpu(), &numbers("w", n * k), true);
    let elements = Elements::Nf4(Nf4::new(&packed, &scales, n * k));
    let (x, mut y) = (numbers("x", m * k), vec![0.0; m * n]);
    linear(&cpu(), &x, elements, &mut y, [m, k, n]);
    let [m2, k2, n2] = [1290, 1281, 21];
    let (dy, mut dx) = (numbers("dy", m2 * n2), vec![0.0; m2 * k2]);
    let (packed_2, scales_2) = nf4::quantise(&cpu(), &numbers("w", n2 * k2), true);
    let elements_2 = Elements::Nf4(Nf4::new(&packed_2, &scales_2, n2 * k2));
    linear_grad_input(&cpu(), &dy, elements_2, &mut dx, [m2, k2, n2], Sink::Write);
    on_shims(|on| {
        let matrix = nf4::launch::Matrix::new(on, &packed, &scales, n * k).unwrap();
        let (x, mut found) = (to(on, &x), room(on, m * n));
        let into = found.all_mut();
        launch::linear(&**on, x.all(), &matrix, into, [m, k, n], Sink::Write).unwrap();
        assert_same_bits("y", &y, &found);
        let matrix = nf4::launch::Matrix::new(on, &packed_2, &scales_2, n2 * k2).unwrap();
        let (dy, mut found, shape) = (to(on, &dy), room(on, m2 * k2), [m2, k2, n2]);
        let into = found.all_mut();
        launch::linear_grad_input(&**on, dy.all(), &matrix, into, shape, Sink::Write).unwrap();
        assert_same_bits("dx", &dx, &found);
    });
}

#[test]
fn products_with_an_adapter_have_the_bits_of_two() {
    for ([m, k, n], rank, quantised) in [
        ([3, 70, 20], 8, false),
        ([70, 300, 33], 16, true),
        ([65, 33, 130], 260, false),
        ([1281, 16, 1290], 4, true),
        ([1281, 1290, 16], 4, false),
    ] {
        let w = numbers("w", n * k);
        let (packed, scales) = nf4::quantise(&cpu(), &w, true);
        let elements = match quantised {
            true => Elements::Nf4(Nf4::new(&packed, &scales, n * k)),
            false => Elements::F32(&w),
        };
        let (x, low, b) = (numbers("x", m * k), numbers("low", m * rank), numbers("b", n * rank));
        let (dz, a, before) = (numbers("dz", m * n), numbers("a", rank * k), numbers("dx", m * k));
        let (mut y, mut dx) = (vec![0.0; m * n], before.clone());
        linear(&cpu(), &x, elements, &mut y, [m, k, n]);
        linear_add(&cpu(), &low, &b, &mut y, [m, rank, n]);
        linear_grad_input(&cpu(), &dz, elements, &mut dx, [m, k, n], Sink::Add);
        linear_grad_input(&cpu(), &low, &a, &mut dx, [m, k, rank], Sink::Add);
        on_shims(|on| {
            let matrix = nf4::launch::Matrix::new(on, &packed, &scales, n * k).unwrap();
            let w = to(on, &w);
            let weights = match quantised {
                true => Weights::from(&matrix),
                false => Weights::from(w.all()),
            };
            let [x, low, b, dz, a] = [&x, &low, &b, &dz, &a].map(|x| to(on, x));
            let (mut found, mut found_dx) = (room(on, m * n), to(on, &before));
            let of = |matrix| Added { low: low.all(), matrix, rank };
            let (shape, into) = ([m, k, n], found.all_mut());
            launch::linear_adapted(&**on, x.all(), weights, of(b.all()), into, shape).unwrap();
            let (added, into) = (of(a.all()), found_dx.all_mut());
            let dz = dz.all();
            launch::linear_grad_input_adapted(&**on, dz, weights, added, into, shape, Sink::Add)
                .unwrap();
            assert_same_bits(&format!("y of {m} {k} {n}, rank {rank}"), &y, &found);
            assert_same_bits(&format!("dx of {m} {k} {n}, rank {rank}"), &dx, &found_dx);
        });
    }
}
