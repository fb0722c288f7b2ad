//! Operations on rows and numbers: norm, gated unit, rotary positions, embedding, dropout.

use llamake::train::kernels::dropout::Dropout;
use llamake::train::kernels::dropout::launch::Places;
use llamake::train::kernels::embedding::launch::Tokens;
use llamake::train::kernels::gemm::launch::TokenBlocks;
use llamake::train::kernels::rms_norm::launch::Read;
use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::rope::launch::DeviceTable;
use llamake::train::kernels::rope::{RopeTable, inverse_frequencies};
use llamake::train::kernels::{Sink, embedding, rms_norm, swiglu};

use super::{assert_same_bits, batch_rows, cpu, numbers, on_shims, room, to, wholes};

/// Tokens and widths: single, ragged, aligned, longer than a block of threads.
const SHAPES: [[usize; 2]; 6] = [[1, 1], [3, 7], [17, 64], [5, 130], [33, 96], [2, 1029]];

#[test]
fn rms_norm_has_the_bits_of_the_cpu() {
    for [m, d] in SHAPES {
        let (x, w) = (numbers("x", m * d), numbers("w", d));
        let (mut y, mut inv) = (vec![0.0; m * d], vec![0.0; m]);
        rms_norm::forward(&cpu(), &x, &w, 1e-5, &mut y, &mut inv);
        on_shims(|on| {
            let (mut found, mut found_inv) = (room(on, m * d), room(on, m));
            let written = (found.all_mut(), found_inv.all_mut());
            let (x, w) = (to(on, &x), to(on, &w));
            rms_norm::launch::forward(&**on, x.all(), w.all(), 1e-5, written.0, written.1).unwrap();
            assert_same_bits(&format!("y of {m} {d}"), &y, &found);
            assert_same_bits(&format!("factors of {m} {d}"), &inv, &found_inv);
        });
    }
}

#[test]
fn gradients_of_rms_norm_have_the_bits_of_the_cpu() {
    for [m, d] in SHAPES {
        let (x, w, dy) = (numbers("x", m * d), numbers("w", d), numbers("dy", m * d));
        let (inv, before) = (numbers("inv", m), numbers("dx", m * d));
        for sink in [Sink::Write, Sink::Add] {
            let mut dx = before.clone();
            rms_norm::grad_input(&cpu(), &dy, &x, &w, &inv, &mut dx, sink);
            on_shims(|on| {
                let (dy, x, inv) = (to(on, &dy), to(on, &x), to(on, &inv));
                let (w, mut found) = (to(on, &w), to(on, &before));
                let read = Read { dy: dy.all(), x: x.all(), inv_rms: inv.all() };
                rms_norm::launch::grad_input(&**on, read, w.all(), found.all_mut(), sink).unwrap();
                assert_same_bits(&format!("dx of {m} {d}, {sink:?}"), &dx, &found);
            });
        }
    }
}

#[test]
fn the_gradient_of_a_norm_s_weight_has_the_bits_of_the_cpu() {
    for (lengths, d) in [(vec![1], 1), (vec![3, 0, 270], 33), (vec![600, 1, 1, 300, 2600], 40)] {
        let rows = batch_rows(&lengths);
        let m = lengths.iter().sum();
        let (x, dy, inv) = (numbers("x", m * d), numbers("dy", m * d), numbers("inv", m));
        let before = numbers("dw", d);
        let mut dw = before.clone();
        rms_norm::grad_weight(&cpu(), &dy, &x, &inv, &rows, &mut dw);
        on_shims(|on| {
            let (dy, x, inv) = (to(on, &dy), to(on, &x), to(on, &inv));
            let blocks = TokenBlocks::new(on, &rows, m).unwrap();
            let mut found = to(on, &before);
            let read = Read { dy: dy.all(), x: x.all(), inv_rms: inv.all() };
            rms_norm::launch::grad_weight(&**on, read, &blocks, found.all_mut()).unwrap();
            assert_same_bits(&format!("dw of {m} {d}"), &dw, &found);
        });
    }
}

#[test]
fn sums_and_gates_have_the_bits_of_the_cpu() {
    for len in [1, 3, 4, 1023, 5000] {
        // Reaches both ends of `exp`.
        let gate: Vec<f32> = numbers("gate", len).iter().map(|x| 120.0 * x).collect();
        let (up, dhidden) = (numbers("up", len), numbers("dhidden", len));
        let mut hidden = vec![0.0; len];
        swiglu::forward(&cpu(), &gate, &up, &mut hidden);
        let (mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len]);
        swiglu::backward(&cpu(), &gate, &up, &dhidden, &mut dgate, &mut dup);
        let mut sum = up.clone();
        rms_norm::add(&cpu(), &gate, &mut sum);
        on_shims(|on| {
            let (gate, mut up, dhidden) = (to(on, &gate), to(on, &up), to(on, &dhidden));
            let [mut found, mut found_dgate, mut found_dup] = [(); 3].map(|()| room(on, len));
            swiglu::launch::forward(&**on, gate.all(), up.all(), found.all_mut()).unwrap();
            let read = [gate.all(), up.all(), dhidden.all()];
            let written = [found_dgate.all_mut(), found_dup.all_mut()];
            swiglu::launch::backward(&**on, read, written).unwrap();
            rms_norm::launch::add(&**on, gate.all(), up.all_mut()).unwrap();
            assert_same_bits("hidden", &hidden, &found);
            assert_same_bits("dgate", &dgate, &found_dgate);
            assert_same_bits("dup", &dup, &found_dup);
            assert_same_bits("sum", &sum, &up);
        });
    }
}

#[test]
fn numbers_that_are_not_aligned_have_the_same_bits() {
    let (gate, up) = (numbers("gate", 1001), numbers("up", 1001));
    let mut hidden = vec![0.0; 1000];
    swiglu::forward(&cpu(), &gate[1..], &up[..1000], &mut hidden);
    on_shims(|on| {
        let (gate, up, mut found) = (to(on, &gate), to(on, &up), room(on, 1000));
        let (gate, up) = (gate.all().part(1..1001), up.all().part(0..1000));
        swiglu::launch::forward(&**on, gate, up, found.all_mut()).unwrap();
        assert_same_bits("hidden", &hidden, &found);
    });
}

#[test]
fn rope_has_the_bits_of_the_cpu() {
    for (heads, width, m) in [(1, 2, 1), (3, 16, 7), (2, 64, 5), (5, 128, 3)] {
        let table = RopeTable::new(&inverse_frequencies(width, 10_000.0, None), 40);
        let (x, positions) = (numbers("x", m * heads * width), wholes("at", m, 40));
        let mut turned = x.clone();
        table.apply(&cpu(), &mut turned, &positions);
        let mut back = turned.clone();
        table.apply_inverse(&cpu(), &mut back, &positions);
        on_shims(|on| {
            let on_device = DeviceTable::new(on, &table).unwrap();
            let (mut x, positions) = (to(on, &x), to(on, &positions));
            on_device.apply(&**on, x.all_mut(), positions.all()).unwrap();
            assert_same_bits("turned", &turned, &x);
            on_device.apply_inverse(&**on, x.all_mut(), positions.all()).unwrap();
            assert_same_bits("turned back", &back, &x);
        });
    }
}

#[test]
fn the_embedding_has_the_bits_of_the_cpu() {
    for (m, d, v) in [(1, 1, 1), (40, 7, 5), (9, 600, 30), (64, 32, 3)] {
        let (ids, table) = (wholes("ids", m, v), numbers("table", v as usize * d));
        let (dout, mut out) = (numbers("dout", m * d), vec![0.0; m * d]);
        embedding::gather(&table, &ids, &mut out);
        let mut dtable = table.clone();
        embedding::backward(&cpu(), &ids, &dout, &mut dtable);
        on_shims(|on| {
            let (tokens, mut table) = (Tokens::new(on, &ids).unwrap(), to(on, &table));
            let (dout, mut found) = (to(on, &dout), room(on, m * d));
            embedding::launch::gather(&**on, table.all(), &tokens, found.all_mut()).unwrap();
            embedding::launch::backward(&**on, &tokens, dout.all(), table.all_mut()).unwrap();
            assert_same_bits("rows", &out, &found);
            assert_same_bits("gradient of the table", &dtable, &table);
        });
    }
}

#[test]
fn dropout_leaves_out_what_the_cpu_does() {
    for (lengths, width) in [(vec![1], 1), (vec![3, 0, 5], 37), (vec![2, 1], 700)] {
        let (rows, tokens) = (batch_rows(&lengths), lengths.iter().sum::<usize>());
        let x = numbers("x", tokens * width);
        let stream = Stream::new(3, "dropout/test");
        let dropout = Dropout { stream, step: 1 << 33, first_row: 70_000, rate: 0.3 };
        let mut left = x.clone();
        dropout.apply(&cpu(), &rows, &mut left);
        on_shims(|on| {
            let (places, mut x, mut found) =
                (Places::new(on, &rows).unwrap(), to(on, &x), room(on, tokens * width));
            dropout.launch(&**on, &places, x.all(), found.all_mut()).unwrap();
            dropout.launch_in_place(&**on, &places, x.all_mut()).unwrap();
            assert_same_bits("what is left in place", &left, &x);
            assert_same_bits(&format!("what is left of {tokens} {width}"), &left, &found);
        });
    }
}
