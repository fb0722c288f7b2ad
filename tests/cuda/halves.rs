//! The class `bf16`: operations whose numbers are widened where they are read and rounded once
//! where they are written, so that their bits are those of the CPU's operation on f32, rounded.

use std::sync::Arc;

use half::bf16;
use llamake::train::kernels::attention::launch::Segments;
use llamake::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};
use llamake::train::kernels::dropout::Dropout;
use llamake::train::kernels::dropout::launch::Places;
use llamake::train::kernels::embedding::launch::Tokens;
use llamake::train::kernels::gemm::halves::{Shape, Stored, multiply};
use llamake::train::kernels::gemm::launch::TokenBlocks;
use llamake::train::kernels::launch::{Accelerator, Array};
use llamake::train::kernels::nf4::{self, Nf4};
use llamake::train::kernels::rms_norm::launch::Read;
use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::rope::launch::DeviceTable;
use llamake::train::kernels::rope::{RopeTable, inverse_frequencies};
use llamake::train::kernels::{Elements, Sink, adamw, elements, embedding, rms_norm, swiglu};

use super::{assert_same_bits, batch_rows, cpu, numbers, on_shims, room, to, wholes};

/// Rounded numbers between -1 and 1, and the same as f32.
fn halves(name: &str, len: usize) -> (Vec<bf16>, Vec<f32>) {
    let halves: Vec<bf16> = numbers(name, len).into_iter().map(bf16::from_f32).collect();
    let wide = halves.iter().map(|x| x.to_f32()).collect();
    (halves, wide)
}

fn assert_rounded(what: &str, expected: &[f32], found: &Array<bf16>) {
    let found = found.read().unwrap();
    assert_eq!(expected.len(), found.len(), "{what}: lengths");
    for (at, (a, b)) in expected.iter().zip(found).enumerate() {
        assert_eq!(bf16::from_f32(*a).to_bits(), b.to_bits(), "{what}: element {at}: {a}, {b}");
    }
}

#[test]
fn numbers_are_rounded_to_nearest_and_widened_exactly() {
    // Every exponent, both signs, and the neighbours of every tie.
    let bits = (0..=u16::MAX).flat_map(|high| [0, 0x7FFF, 0x8000, 0x8001].map(|low| (high, low)));
    let wide: Vec<f32> =
        bits.map(|(high, low)| f32::from_bits(u32::from(high) << 16 | low)).collect();
    let expected: Vec<bf16> = wide.iter().map(|x| bf16::from_f32(*x)).collect();
    on_shims(|on| {
        let (from, mut found, mut back) =
            (to(on, &wide), room(on, wide.len()), room(on, wide.len()));
        elements::launch::narrow(&**on, from.all(), found.all_mut()).unwrap();
        elements::launch::widen(&**on, found.all(), back.all_mut()).unwrap();
        let (found, back): (Vec<bf16>, Vec<f32>) = (found.read().unwrap(), back.read().unwrap());
        for ((expected, found), back) in expected.iter().zip(&found).zip(back) {
            assert_eq!(expected.to_bits(), found.to_bits());
            assert_eq!(u32::from(found.to_bits()) << 16, back.to_bits());
        }
    });
}

#[test]
fn norms_have_the_rounded_bits() {
    for [m, d] in [[3, 7], [17, 64], [5, 130]] {
        let ((x, wide_x), (dy, wide_dy)) = (halves("x", m * d), halves("dy", m * d));
        let (before, wide_before) = halves("dx", m * d);
        let (w, dw_before, rows) = (numbers("w", d), numbers("dw", d), batch_rows(&[m]));
        let (mut y, mut inv) = (vec![0.0; m * d], vec![0.0; m]);
        rms_norm::forward(&cpu(), &wide_x, &w, 1e-5, &mut y, &mut inv);
        let (mut dx, mut dw) = (wide_before.clone(), dw_before.clone());
        rms_norm::grad_input(&cpu(), &wide_dy, &wide_x, &w, &inv, &mut dx, Sink::Add);
        rms_norm::grad_weight(&cpu(), &wide_dy, &wide_x, &inv, &rows, &mut dw);
        let mut sum = wide_before.clone();
        rms_norm::add(&cpu(), &wide_x, &mut sum);
        on_shims(|on| {
            let ([x, dy, mut found_dx], w) = ([&x, &dy, &before].map(|x| to(on, x)), to(on, &w));
            let (mut found, mut found_inv) = (room(on, m * d), room(on, m));
            let written = (found.all_mut(), found_inv.all_mut());
            rms_norm::launch::forward(&**on, x.all(), w.all(), 1e-5, written.0, written.1).unwrap();
            assert_rounded("y", &y, &found);
            assert_same_bits("factors", &inv, &found_inv);
            let read = Read { dy: dy.all(), x: x.all(), inv_rms: found_inv.all() };
            let into = found_dx.all_mut();
            rms_norm::launch::grad_input(&**on, read, w.all(), into, Sink::Add).unwrap();
            assert_rounded("dx", &dx, &found_dx);
            let (blocks, mut found_dw) =
                (TokenBlocks::new(on, &rows, m).unwrap(), to(on, &dw_before));
            rms_norm::launch::grad_weight(&**on, read, &blocks, found_dw.all_mut()).unwrap();
            assert_same_bits("dw", &dw, &found_dw);
            let mut found_sum = to(on, &before);
            rms_norm::launch::add(&**on, x.all(), found_sum.all_mut()).unwrap();
            assert_rounded("sum", &sum, &found_sum);
        });
    }
}

#[test]
fn gates_have_the_rounded_bits() {
    for len in [1, 7, 1024, 3001] {
        let (gate, wide_gate) = halves("gate", len);
        let ((up, wide_up), (dhidden, wide_dhidden)) = (halves("up", len), halves("dh", len));
        let [mut hidden, mut dgate, mut dup] = [(); 3].map(|()| vec![0.0; len]);
        swiglu::forward(&cpu(), &wide_gate, &wide_up, &mut hidden);
        swiglu::backward(&cpu(), &wide_gate, &wide_up, &wide_dhidden, &mut dgate, &mut dup);
        on_shims(|on| {
            let [gate, up, dhidden] = [&gate, &up, &dhidden].map(|x| to(on, x));
            let [mut found, mut found_dgate, mut found_dup] = [(); 3].map(|()| room(on, len));
            swiglu::launch::forward(&**on, gate.all(), up.all(), found.all_mut()).unwrap();
            let read = [gate.all(), up.all(), dhidden.all()];
            let written = [found_dgate.all_mut(), found_dup.all_mut()];
            swiglu::launch::backward(&**on, read, written).unwrap();
            assert_rounded("hidden", &hidden, &found);
            assert_rounded("dgate", &dgate, &found_dgate);
            assert_rounded("dup", &dup, &found_dup);
        });
    }
}

#[test]
fn positions_and_embeddings_have_the_rounded_bits() {
    let (heads, width, m, v) = (3, 16, 9, 5);
    let d = heads * width;
    let table = RopeTable::new(&inverse_frequencies(width, 10_000.0, None), 40);
    let ((x, wide_x), positions) = (halves("x", m * d), wholes("at", m, 40));
    let mut turned = wide_x.clone();
    table.apply(&cpu(), &mut turned, &positions);
    let ((rows, wide_rows), ids) = (halves("table", v as usize * d), wholes("ids", m, v));
    let mut out = vec![0.0; m * d];
    embedding::gather(&wide_rows, &ids, &mut out);
    let mut drows = numbers("drows", v as usize * d);
    let before = drows.clone();
    embedding::backward(&cpu(), &ids, &wide_x, &mut drows);
    on_shims(|on| {
        let (on_device, mut found_x) = (DeviceTable::new(on, &table).unwrap(), to(on, &x));
        on_device.apply(&**on, found_x.all_mut(), to(on, &positions).all()).unwrap();
        assert_rounded("turned", &turned, &found_x);
        let (tokens, rows, mut found) =
            (Tokens::new(on, &ids).unwrap(), to(on, &rows), room(on, m * d));
        embedding::launch::gather(&**on, rows.all(), &tokens, found.all_mut()).unwrap();
        assert_rounded("rows", &out, &found);
        let (x, mut found) = (to(on, &x), to(on, &before));
        embedding::launch::backward(&**on, &tokens, x.all(), found.all_mut()).unwrap();
        assert_same_bits("gradient of the table", &drows, &found);
    });
}

/// What an adapter needs besides products, and the codes of a frozen base.
#[test]
fn dropout_scaling_and_codes_have_the_rounded_bits() {
    let (rows, d) = (batch_rows(&[3, 8]), 70);
    let len = 11 * d;
    let (x, wide_x) = halves("x", len);
    let stream = Stream::new(3, "dropout/test");
    let dropout = Dropout { stream, step: 5, first_row: 1, rate: 0.3 };
    let mut left = wide_x.clone();
    dropout.apply(&cpu(), &rows, &mut left);
    let mut scaled = wide_x.clone();
    adamw::scale(&cpu(), &mut scaled, 0.7);
    let (packed, scales) = nf4::quantise(&cpu(), &wide_x, true);
    let codes = Elements::Nf4(Nf4::new(&packed, &scales, len)).to_floats();
    on_shims(|on| {
        let (x, places) = (to(on, &x), Places::new(on, &rows).unwrap());
        let mut found = room(on, len);
        dropout.launch(&**on, &places, x.all(), found.all_mut()).unwrap();
        assert_rounded("what is left", &left, &found);
        let mut found = to(on, &x.read().unwrap());
        adamw::launch::scale(&**on, found.all_mut(), 0.7).unwrap();
        assert_rounded("scaled", &scaled, &found);
        let matrix = nf4::launch::Matrix::new(on, &packed, &scales, len).unwrap();
        let mut found = room(on, len);
        matrix.widen(&**on, found.all_mut()).unwrap();
        assert_rounded("codes", &codes, &found);
    });
}

/// Fails where a number is further from the truth than a share of the largest.
fn assert_near(what: &str, truth: &[f32], found: &[f32], tolerance: f32) {
    assert_eq!(truth.len(), found.len(), "{what}: lengths");
    let largest = truth.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (at, (a, b)) in truth.iter().zip(found).enumerate() {
        let is_near = (a - b).abs() <= tolerance * largest;
        assert!(is_near, "{what}: element {at}: {a}, found {b}, largest {largest}");
    }
}

fn wide(found: &Array<bf16>) -> Vec<f32> {
    found.read().unwrap().into_iter().map(bf16::to_f32).collect()
}

/// Weights and sums are rounded to 8 bits on the way.
const NEAR: f32 = 0.012;

#[test]
fn attention_on_tensor_cores_is_near_that_of_f32() {
    for (query, kv, width, lengths) in [
        (1, 1, 16, vec![1]),
        (4, 2, 16, vec![5, 1, 64, 130]),
        (2, 1, 32, vec![70, 33]),
        (2, 2, 64, vec![65, 9]),
        (2, 1, 128, vec![100, 2]),
    ] {
        let heads = Heads { query, kv, width };
        let (rows, tokens) = (batch_rows(&lengths), lengths.iter().sum::<usize>());
        let segments: Vec<Segment> = rows.into_iter().map(Segment::whole).collect();
        let (row, kv_row) = (tokens * query * width, tokens * kv * width);
        let ((q, wide_q), (k, wide_k)) = (halves("q", row), halves("k", kv_row));
        let ((v, wide_v), (dout, wide_dout)) = (halves("v", kv_row), halves("dout", row));
        let [mut out, mut dq] = [(); 2].map(|()| vec![0.0; row]);
        let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; kv_row]);
        let [mut max, mut sum] = [(); 2].map(|()| vec![0.0; tokens * query]);
        let stats: [&mut [f32]; 2] = [&mut max, &mut sum];
        let read: [&[f32]; 3] = [&wide_q, &wide_k, &wide_v];
        attention::forward(&cpu(), heads, read, &segments, &mut out, stats);
        let softmax = Softmax { max: &max, sum: &sum };
        let saved = Saved { q: &wide_q, k: &wide_k, v: &wide_v, out: &out, softmax };
        let into: [&mut [f32]; 3] = [&mut dq, &mut dk, &mut dv];
        attention::backward(&cpu(), heads, &saved, &segments, &wide_dout, into);
        on_shims(|on| {
            let on_device = Segments::new(on, &segments).unwrap();
            let [q, k, v, dout] = [&q, &k, &v, &dout].map(|x| to(on, x));
            let (read, mut found) = ([q.all(), k.all(), v.all()], room(on, row));
            let [mut found_max, mut found_sum, mut dots] =
                [(); 3].map(|()| room(on, tokens * query));
            let stats = [found_max.all_mut(), found_sum.all_mut()];
            let into = found.all_mut();
            attention::launch::forward(&**on, heads, read, &on_device, into, stats).unwrap();
            assert_near(&format!("maxima of {heads:?}"), &max, &found_max.read().unwrap(), 1e-5);
            assert_near(&format!("sums of {heads:?}"), &sum, &found_sum.read().unwrap(), 1e-5);
            assert_near(&format!("out of {heads:?}"), &out, &wide(&found), NEAR);
            let [q, k, v] = read;
            let (max, sum, out) = (found_max.all(), found_sum.all(), found.all());
            let saved = attention::launch::Saved { q, k, v, out, max, sum };
            let mut gradients = [row, kv_row, kv_row].map(|len| room(on, len));
            let into = gradients.each_mut().map(|array| array.all_mut());
            let (dout, dots) = (dout.all(), dots.all_mut());
            attention::launch::backward(&**on, heads, saved, &on_device, dout, dots, into).unwrap();
            for (name, truth, found) in
                [("dq", &dq, &gradients[0]), ("dk", &dk, &gradients[1]), ("dv", &dv, &gradients[2])]
            {
                assert_near(&format!("{name} of {heads:?}"), truth, &wide(found), NEAR);
            }
        });
    }
}

/// Whole numbers, whose products and sums are exact in f32 in any order.
fn whole_halves(name: &str, len: usize) -> Vec<bf16> {
    wholes(name, len, 17).into_iter().map(|x| bf16::from_f32(x as f32 - 8.0)).collect()
}

fn exact(shape: Shape, left: &[bf16], right: &[bf16]) -> Vec<f32> {
    let Shape { rows, inner, columns, .. } = shape;
    let at = |numbers: &[bf16], stored, [row, column]: [usize; 2], [rows, columns]: [usize; 2]| {
        f32::from(match stored {
            Stored::AsUsed => numbers[row * columns + column],
            Stored::Transposed => numbers[column * rows + row],
        })
    };
    let sum = |row: usize, column: usize| {
        let product = |k| {
            at(left, shape.left, [row, k], [rows, inner])
                * at(right, shape.right, [k, column], [inner, columns])
        };
        (0..inner).map(product).sum()
    };
    (0..rows * columns).map(|place| sum(place / columns, place % columns)).collect()
}

/// Also where matrices begin at odd places.
#[test]
fn products_in_16_bits_are_those_of_a_linear_layer() {
    on_shims(|on| {
        for ([tokens, inputs, outputs], skipped) in
            [([3, 8, 5], 0), ([17, 64, 40], 8), ([1, 7, 9], 1)]
        {
            for shape in [Shape::forward, Shape::grad_input, Shape::grad_weight] {
                check_product(on, shape([tokens, inputs, outputs]), skipped);
            }
        }
    });
}

fn check_product(on: &Arc<dyn Accelerator>, shape: Shape, skipped: usize) {
    let [left, right] = [("left", shape.rows), ("right", shape.columns)]
        .map(|(name, side)| whole_halves(name, skipped + side * shape.inner));
    let expected = exact(shape, &left[skipped..], &right[skipped..]);
    let [left, right] = [to(on, &left), to(on, &right)];
    let [left, right] = [&left, &right].map(|factor| factor.all().part(skipped..factor.len()));

    let mut found = to(on, &vec![0.5_f32; expected.len()]);
    multiply(&**on, shape, left, right, found.all_mut(), Sink::Write).unwrap();
    assert_eq!(found.read().unwrap(), expected, "{shape:?}");
    multiply(&**on, shape, left, right, found.all_mut(), Sink::Add).unwrap();
    let twice = expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>();
    assert_eq!(found.read().unwrap(), twice, "{shape:?}, added");

    let mut rounded = room::<bf16>(on, expected.len());
    multiply(&**on, shape, left, right, rounded.all_mut(), Sink::Write).unwrap();
    let expected: Vec<bf16> = expected.into_iter().map(bf16::from_f32).collect();
    assert_eq!(rounded.read().unwrap(), expected, "{shape:?}, rounded");
}
