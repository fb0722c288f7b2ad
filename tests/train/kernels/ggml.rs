//! ggml's blocks: the bytes and the numbers of its own package, an error no worse than its search
//! has, and products with the bits of the product over the widened copy.

use std::collections::HashMap;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use llamake::train::kernels::gemm::{linear, linear_grad_input};
use llamake::train::kernels::ggml::{Format, Ggml};
use llamake::train::kernels::{Elements, Isa, Sink, Threads};
use llamake::train::model::encoding::Encoding;

use super::{assert_same_bits, everywhere, numbers};

const FORMATS: [(&str, Format); 3] =
    [("q8_0", Format::Q8_0), ("q4_0", Format::Q4_0), ("q4_K", Format::Q4K)];

/// What `tests/train/fixtures/ggml_blocks.py` wrote.
struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    fn read() -> Fixture {
        let bytes = include_bytes!("../fixtures/ggml_blocks.safetensors");
        Fixture(candle_core::safetensors::load_buffer(bytes, &Device::Cpu).unwrap())
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.0[name].to_vec1().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.0[name].to_vec1().unwrap()
    }
}

fn decoded(format: Format, bytes: &[u8], isa: Isa) -> Vec<f32> {
    let mut numbers = vec![0.0; bytes.len() / format.bytes() * format.numbers()];
    format.decode(isa, bytes, &mut numbers);
    numbers
}

#[test]
fn bytes_mean_what_they_mean_to_ggml() {
    let fixture = Fixture::read();
    let strange = [("strange", Format::Q4K)];
    for (name, format) in FORMATS.into_iter().chain(strange) {
        let want = fixture.numbers(&format!("{name}.numbers"));
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            assert_same_bits(name, &want, &decoded(format, &fixture.bytes(name), isa));
        }
    }
}

#[test]
fn numbers_become_the_bytes_of_ggml() {
    let (fixture, t) = (Fixture::read(), Threads::new(2));
    for (name, format) in FORMATS.into_iter().take(2) {
        let bytes = format.quantise(&t, &fixture.numbers("numbers"));
        assert!(bytes == fixture.bytes(name), "{name}");
    }
}

/// The root of the mean square of what numbers lose, as a share of theirs.
fn loss(before: &[f32], after: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let pairs = before.iter().zip(after);
    let lost: f64 = pairs.map(|(a, b)| square(f64::from(a - b))).sum();
    let all: f64 = before.iter().map(|x| square(f64::from(*x))).sum();
    (lost / all).sqrt()
}

/// The fixture's own bytes are those of the search of llama.cpp's reference, candle's of an older
/// one.
#[test]
fn q4_k_loses_no_more_than_elsewhere() {
    let (fixture, t) = (Fixture::read(), Threads::new(2));
    let (all, theirs) = (fixture.numbers("numbers"), fixture.numbers("q4_K.numbers"));
    let ours = decoded(Format::Q4K, &Format::Q4K.quantise(&t, &all), Isa::Portable);
    for block in (0..all.len()).step_by(256).map(|start| start..start + 256) {
        let (ours, theirs) =
            [&ours, &theirs].map(|x| loss(&all[block.clone()], &x[block.clone()])).into();
        assert!(ours <= 1.05 * theirs, "{block:?}: {ours} and {theirs}");
    }
    let normal = &all[..2048];
    assert!(loss(normal, &ours[..2048]) <= 1.005 * loss(normal, &theirs[..2048]));

    let row = Tensor::from_slice(normal, 2048, &Device::Cpu).unwrap();
    let candle = QTensor::quantize(&row, GgmlDType::Q4K).unwrap().dequantize(&Device::Cpu).unwrap();
    let candle: Vec<f32> = candle.to_vec1().unwrap();
    assert!(loss(normal, &ours[..2048]) < loss(normal, &candle));
}

#[test]
fn a_block_of_any_finite_numbers_stays_finite_and_within_its_unit() {
    let t = Threads::new(1);
    let largest = |x: &[f32]| x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for scale in [1e-40, 1e-20, 1e-6, 1.0, 1e3, 1e6] {
        for shift in [-1.0, -0.5, 0.0, 0.4] {
            let mut block = numbers("block", 256);
            block.iter_mut().for_each(|x| *x = (*x + shift) * scale);
            block[32..64].fill(shift * scale);
            assert!(block.iter().all(|x| Encoding::Q4_K.holds(*x)));
            let after = decoded(Format::Q4K, &Format::Q4K.quantise(&t, &block), Isa::Portable);
            // Below what f16 can say of a unit, all is zero.
            let allowed = Encoding::Q4_K.unit() as f32 * largest(&block) + 1e-5;
            for (x, y) in block.iter().zip(&after) {
                assert!(y.is_finite() && (x - y).abs() <= allowed, "{x} became {y}");
            }
        }
    }
    assert!(!Encoding::Q4_K.holds(1e7) && !Encoding::Q4_K.holds(f32::NAN));
}

#[test]
fn any_number_of_threads_and_any_instructions_make_the_same_bytes() {
    let x = numbers("weights", 256 * 300);
    for (name, format) in FORMATS {
        let want = format.quantise(&Threads::with_isa(1, Isa::Portable), &x);
        for t in everywhere() {
            assert!(format.quantise(&t, &x) == want, "{name} on {:?}", t.isa());
        }
    }
}

#[test]
fn products_over_blocks_have_the_bits_of_products_over_their_widened_copy() {
    for (m, k, n) in [(1, 256, 70), (5, 512, 33), (40, 768, 130)] {
        let (x, dy) = (numbers("x", m * k), numbers("dy", m * n));
        for (name, format) in FORMATS {
            let bytes = format.quantise(&Threads::new(1), &numbers("weight", n * k));
            let blocks = Elements::Ggml(Ggml::new(format, &bytes));
            let copy = blocks.to_floats();
            for t in everywhere() {
                let what = format!("{m} x {k} x {n} in {name} on {:?}", t.isa());
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
fn blocks_widen_from_any_start_to_the_same_bits() {
    let weight = numbers("weight", 768);
    for (name, format) in FORMATS {
        let bytes = format.quantise(&Threads::new(1), &weight);
        let whole = decoded(format, &bytes, Isa::Portable);
        let blocks = Ggml::new(format, &bytes);
        for start in (0..weight.len()).step_by(7) {
            for count in [1, 31, 32, 256, 300, 700] {
                let count = count.min(weight.len() - start);
                let mut part = vec![0.0; count];
                blocks.skip(start).widen(Isa::detect(), &mut part);
                assert_same_bits(name, &whole[start..start + count], &part);
            }
        }
        assert!(blocks.skip(800).is_empty());
    }
}
