//! The class `bf16`: operations whose numbers are widened where they are read and rounded once where
//! they are written, so that their bits are those of the CPU's operation on f32, rounded.

use half::bf16;
use llamake::train::kernels::embedding::launch::Tokens;
use llamake::train::kernels::gemm::launch::TokenBlocks;
use llamake::train::kernels::launch::Array;
use llamake::train::kernels::rms_norm::launch::Read;
use llamake::train::kernels::rope::launch::DeviceTable;
use llamake::train::kernels::rope::{RopeTable, inverse_frequencies};
use llamake::train::kernels::{Sink, elements, embedding, rms_norm, swiglu};

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
