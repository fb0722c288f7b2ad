//! NF4 in matrix products: the bits of the product over the widened copy, on every instruction set,
//! on shapes whose rows begin inside blocks and bytes.

use llamake::train::kernels::gemm::{linear, linear_grad_input};
use llamake::train::kernels::nf4::{Nf4, Scales, quantise};
use llamake::train::kernels::{Elements, Isa, Sink, Threads};

use super::{assert_same_bits, everywhere, numbers};

/// Tokens, inputs, outputs.
const SHAPES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [1, 128, 352],
    [5, 3, 7],
    [3, 65, 33],
    [17, 64, 64],
    [9, 257, 130],
    [2, 1030, 61],
    [40, 320, 513],
];

#[test]
fn products_over_nf4_have_the_bits_of_products_over_its_widened_copy() {
    for [m, k, n] in SHAPES {
        for double in [false, true] {
            let (x, dy) = (numbers("x", m * k), numbers("dy", m * n));
            let weight = numbers("weight", n * k);
            let (packed, scales) = quantise(&Threads::with_isa(1, Isa::Portable), &weight, double);
            let blocks = Elements::Nf4(Nf4::new(&packed, &scales, n * k));
            let copy = blocks.to_floats();
            for t in everywhere() {
                let what = format!("{m} x {k} x {n} on {:?}", t.isa());
                assert_eq!(quantise(&t, &weight, double), (packed.clone(), scales.clone()));
                let (mut found, mut expected) = (vec![0.0; m * n], vec![0.0; m * n]);
                linear(&t, &x, blocks, &mut found, [m, k, n]);
                linear(&t, &x, &copy, &mut expected, [m, k, n]);
                assert_same_bits(&what, &expected, &found);
                let (mut found, mut expected) = (vec![0.5; m * k], vec![0.5; m * k]);
                linear_grad_input(&t, &dy, blocks, &mut found, [m, k, n], Sink::Add);
                linear_grad_input(&t, &dy, &copy, &mut expected, [m, k, n], Sink::Add);
                assert_same_bits(&what, &expected, &found);
            }
        }
    }
}

#[test]
fn nf4_widens_from_any_start_to_the_same_bits() {
    let weight = numbers("weight", 331);
    let (packed, scales) = quantise(&Threads::new(1), &weight, true);
    let blocks = Nf4::new(&packed, &scales, weight.len());
    let mut whole = vec![0.0; weight.len()];
    blocks.widen(Isa::Portable, &mut whole);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for start in 0..weight.len() {
            for count in [1, 2, 15, 64, 200] {
                let count = count.min(weight.len() - start);
                let mut part = vec![0.0; count];
                blocks.skip(start).widen(isa, &mut part);
                assert_same_bits("a part", &whole[start..start + count], &part);
            }
        }
    }
    assert!(blocks.skip(400).is_empty());
}

#[test]
fn blocks_of_zeros_and_of_one_number_come_back() {
    let t = Threads::new(1);
    let mut weight = vec![0.0; 130];
    weight[129] = -3.5;
    let (packed, scales) = quantise(&t, &weight, false);
    assert_eq!(scales, Scales::Plain(vec![0.0, 0.0, 3.5]));
    let blocks = Elements::Nf4(Nf4::new(&packed, &scales, weight.len()));
    assert_eq!(blocks.to_floats(), weight);
    let (packed, scales) = quantise(&t, &[0.0; 3], false);
    assert_eq!((packed, scales), (vec![0x77, 0x77], Scales::Plain(vec![1e-38])));
    assert!(quantise(&t, &[], true).1.is_empty());
}
