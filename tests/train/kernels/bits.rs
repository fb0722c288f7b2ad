//! The same bits on every instruction set and number of threads, on ragged shapes; and the rule for
//! the sums of matrix products, transcribed from its words.

use std::ops::Range;

use llamake::train::kernels::adamw::{AdamW, Moments, squared_norm};
use llamake::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};
use llamake::train::kernels::cross_entropy::{
    Gradients, IGNORE, Losses, Targets, cross_entropy, log_probs,
};
use llamake::train::kernels::gemm::{linear, linear_grad_input, linear_grad_weight};
use llamake::train::kernels::rope::{RopeTable, inverse_frequencies};
use llamake::train::kernels::sample::log_prob;
use llamake::train::kernels::{Isa, Sink, Threads, embedding, rms_norm, swiglu};

use super::{assert_same_bits, numbers};

/// Every instruction set of this processor with one to three threads.
fn everywhere() -> impl Iterator<Item = Threads> {
    let available = Isa::ALL.into_iter().filter(|isa| isa.available());
    available.flat_map(|isa| (1..=3).map(move |threads| Threads::with_isa(threads, isa)))
}

/// Runs `results` everywhere and compares with one portable thread, and that with the digest of the
/// bits which the first machine gave (x86-64, 2026).
fn same_everywhere(what: &str, digest: &str, results: impl Fn(&Threads) -> Vec<Vec<f32>>) {
    let expected = results(&Threads::with_isa(1, Isa::Portable));
    let mut hasher = blake3::Hasher::new();
    for x in expected.iter().flatten() {
        hasher.update(&x.to_le_bytes());
    }
    assert_eq!(&hasher.finalize().to_hex()[..16], digest, "{what}: bits of another machine");
    for t in everywhere() {
        for (at, (expected, found)) in expected.iter().zip(&results(&t)).enumerate() {
            let what = format!("{what}[{at}] with {} threads of {:?}", t.count(), t.isa());
            assert_same_bits(&what, expected, found);
        }
    }
}

/// Token ranges of batch rows of the given lengths.
fn batch_rows(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut at = 0;
    let mut row = |&len: &usize| {
        at += len;
        at - len..at
    };
    lengths.iter().map(&mut row).collect()
}

/// The sum of products that the specification asks for.
fn specified_sum(pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
    let pairs: Vec<_> = pairs.collect();
    let block = |block: &[(f32, f32)]| block.iter().fold(0.0f32, |acc, (a, b)| a.mul_add(*b, acc));
    pairs.chunks(256).map(block).reduce(|total, block| total + block).unwrap_or(0.0)
}

const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [1, 128, 352],
    [2, 7, 33],
    [3, 256, 31],
    [15, 257, 17],
    [29, 600, 47],
    [300, 40, 530],
    [230, 9, 8],
    [65, 513, 1],
];

#[test]
fn linear_follows_its_words_everywhere() {
    for [m, k, n] in SHAPES {
        let (x, w) = (numbers("x", m * k), numbers("w", n * k));
        let at = |i: usize, j: usize| specified_sum((0..k).map(|s| (x[i * k + s], w[j * k + s])));
        let expected: Vec<f32> = (0..m * n).map(|e| at(e / n, e % n)).collect();
        for t in everywhere() {
            let mut y = vec![f32::NAN; m * n];
            linear(&t, &x, &w, &mut y, [m, k, n]);
            assert_same_bits(&format!("linear {m} {k} {n}"), &expected, &y);
        }
    }
}

#[test]
fn gradient_of_the_input_follows_its_words_everywhere() {
    for [m, k, n] in SHAPES {
        let (dy, w, before) = (numbers("dy", m * n), numbers("w", n * k), numbers("dx", m * k));
        let at = |i: usize, j: usize| specified_sum((0..n).map(|s| (dy[i * n + s], w[s * k + j])));
        let expected: Vec<f32> = (0..m * k).map(|e| at(e / k, e % k)).collect();
        let blocks = |e: usize| (0..n).step_by(256).map(move |start| (e, start));
        let term = |(e, start): (usize, usize)| {
            let steps = start..(start + 256).min(n);
            specified_sum(steps.map(|s| (dy[e / k * n + s], w[s * k + e % k])))
        };
        let added: Vec<f32> =
            (0..m * k).map(|e| blocks(e).map(term).fold(before[e], |a, b| a + b)).collect();
        for t in everywhere() {
            let (mut dx, mut sum) = (vec![f32::NAN; m * k], before.clone());
            linear_grad_input(&t, &dy, &w, &mut dx, [m, k, n], Sink::Write);
            linear_grad_input(&t, &dy, &w, &mut sum, [m, k, n], Sink::Add);
            assert_same_bits(&format!("dx {m} {k} {n}"), &expected, &dx);
            assert_same_bits(&format!("dx added {m} {k} {n}"), &added, &sum);
        }
    }
}

#[test]
fn gradient_of_the_weight_follows_its_words_everywhere() {
    let rows = batch_rows(&[1, 300, 0, 256, 17, 513]);
    for [m, k, n] in [[1087, 35, 21], [1087, 5, 21]] {
        let (dy, x) = (numbers("dy", m * n), numbers("x", m * k));
        let mut expected = numbers("dw", n * k);
        for row in &rows {
            for start in row.clone().step_by(256) {
                for (e, dw) in expected.iter_mut().enumerate() {
                    let steps = start..(start + 256).min(row.end);
                    *dw += specified_sum(steps.map(|s| (dy[s * n + e / k], x[s * k + e % k])));
                }
            }
        }
        for t in everywhere() {
            let mut dw = numbers("dw", n * k);
            linear_grad_weight(&t, &dy, &x, &rows, &mut dw, [m, k, n]);
            assert_same_bits("dw", &expected, &dw);
        }
    }
}

#[test]
fn a_batch_split_into_whole_rows_adds_up_to_the_same_bits() {
    let t = Threads::new(2);
    let rows = batch_rows(&[100, 300, 57]);
    let (m, k, n) = (457, 40, 24);
    let (dy, x) = (numbers("dy", m * n), numbers("x", m * k));
    let (mut whole, mut parts) = (vec![0.0; n * k], vec![0.0; n * k]);
    linear_grad_weight(&t, &dy, &x, &rows, &mut whole, [m, k, n]);
    let (mut norm_whole, mut norm_parts) = (vec![0.0; k], vec![0.0; k]);
    let inv_rms = numbers("inv", m);
    rms_norm::grad_weight(&t, &x, &x, &inv_rms, &rows, &mut norm_whole);
    for row in rows {
        let (dy, x) = (&dy[row.start * n..row.end * n], &x[row.start * k..row.end * k]);
        let len = row.len();
        let own = [Range { start: 0, end: len }];
        linear_grad_weight(&t, dy, x, &own, &mut parts, [len, k, n]);
        rms_norm::grad_weight(&t, x, x, &inv_rms[row], &own, &mut norm_parts);
    }
    assert_same_bits("dw", &whole, &parts);
    assert_same_bits("norm dw", &norm_whole, &norm_parts);
}

#[test]
fn one_row_has_the_bits_it_has_in_a_batch() {
    let (m, k, n) = (61, 300, 77);
    let (x, w) = (numbers("x", m * k), numbers("w", n * k));
    for t in everywhere() {
        let mut batch = vec![0.0; m * n];
        linear(&t, &x, &w, &mut batch, [m, k, n]);
        for i in 0..m {
            let mut row = vec![0.0; n];
            linear(&t, &x[i * k..(i + 1) * k], &w, &mut row, [1, k, n]);
            assert_same_bits("row", &batch[i * n..(i + 1) * n], &row);
        }
    }
}

#[test]
fn attention_is_the_same_everywhere() {
    let heads = Heads { query: 6, kv: 2, width: 20 };
    let segments: Vec<_> = batch_rows(&[1, 70, 300, 2]).into_iter().map(Segment::whole).collect();
    let m = 373;
    let [q, dout] = ["q", "dout"].map(|name| numbers(name, m * 120));
    let [k, v] = ["k", "v"].map(|name| numbers(name, m * 40));
    same_everywhere("attention", "110d91cc69ab1752", |t| {
        let mut out = vec![f32::NAN; m * 120];
        let (mut max, mut sum) = (vec![0.0; m * 6], vec![0.0; m * 6]);
        attention::forward(t, heads, [&q, &k, &v], &segments, &mut out, [&mut max, &mut sum]);
        let mut dq = vec![f32::NAN; m * 120];
        let (mut dk, mut dv) = (vec![f32::NAN; m * 40], vec![f32::NAN; m * 40]);
        let softmax = Softmax { max: &max, sum: &sum };
        let saved = Saved { q: &q, k: &k, v: &v, out: &out, softmax };
        let gradients = [&mut dq[..], &mut dk, &mut dv];
        attention::backward(t, heads, &saved, &segments, &dout, gradients);
        vec![out, max, sum, dq, dk, dv]
    });
}

#[test]
fn cross_entropy_is_the_same_everywhere() {
    let (m, d, v) = (301, 24, 95);
    let (hidden, head) = (numbers("hidden", m * d), numbers("head", v * d));
    let target = |i: usize| if i % 3 == 1 { IGNORE } else { (i * 7 % v) as u32 };
    let targets: Vec<u32> = (0..m).map(target).collect();
    let rows = batch_rows(&[20, 280, 1]);
    same_everywhere("cross-entropy", "d4ef3b71ea49c290", |t| {
        let (mut nll, mut dhidden) = (vec![0.0; m], vec![0.0; m * d]);
        let mut dhead = numbers("dhead", v * d);
        let (dhidden_to, dhead_to) = (&mut dhidden[..], Some(&mut dhead[..]));
        let gradients = Gradients { weight: &|_, _| 0.37, dhidden: dhidden_to, dhead: dhead_to };
        let losses = Losses { nll: &mut nll, entropy: None };
        let asked = Targets { ids: &targets, rows: &rows, temperature: 1.0 };
        cross_entropy(t, &hidden, &head, asked, losses, Some(gradients));
        let mut scored = vec![0.0; m];
        let row = 0..m;
        log_probs(t, &hidden, &head, Targets { rows: &[row], ..asked }, &mut scored);
        let negated: Vec<f32> = nll.iter().map(|x| 0.0 - x).collect();
        assert_same_bits("log_probs", &negated, &scored);
        let mut logits = vec![0.0; m * v];
        linear(t, &hidden, &head, &mut logits, [m, d, v]);
        for (i, &target) in targets.iter().enumerate().filter(|(_, target)| **target != IGNORE) {
            let sampled = log_prob(&logits[i * v..(i + 1) * v], target);
            assert_same_bits("log_prob of the sampler", &scored[i..i + 1], &[sampled]);
        }
        vec![nll, dhidden, dhead]
    });
}

/// Weights that depend on the token and its loss, a temperature, and entropies.
#[test]
fn weighed_cross_entropy_is_the_same_everywhere() {
    let (m, d, v) = (301, 24, 95);
    let (hidden, head) = (numbers("hidden", m * d), numbers("head", v * d));
    let target = |i: usize| if i % 3 == 1 { IGNORE } else { (i * 7 % v) as u32 };
    let ids: Vec<u32> = (0..m).map(target).collect();
    let rows = batch_rows(&[20, 280, 1]);
    let asked = Targets { ids: &ids, rows: &rows, temperature: 0.7 };
    same_everywhere("weighed cross-entropy", "55cbd2f79013b655", |t| {
        let (mut nll, mut entropy, mut dhidden) = (vec![0.0; m], vec![9.0; m], vec![0.0; m * d]);
        let mut dhead = numbers("dhead", v * d);
        let (dhidden_to, dhead_to) = (&mut dhidden[..], Some(&mut dhead[..]));
        let weight = |token: usize, nll: f32| nll * (token % 7) as f32 - 1.0;
        let gradients = Gradients { weight: &weight, dhidden: dhidden_to, dhead: dhead_to };
        let losses = Losses { nll: &mut nll, entropy: Some(&mut entropy) };
        cross_entropy(t, &hidden, &head, asked, losses, Some(gradients));
        let mut scored = vec![0.0; m];
        let blocks = batch_rows(&[301]);
        log_probs(t, &hidden, &head, Targets { rows: &blocks, ..asked }, &mut scored);
        let negated: Vec<f32> = nll.iter().map(|x| 0.0 - x).collect();
        assert_same_bits("log_probs in other blocks, no gradients", &negated, &scored);
        vec![nll, entropy, dhidden, dhead]
    });
}

#[test]
fn operations_on_rows_are_the_same_everywhere() {
    let (m, d) = (101, 52);
    let (x, dy, w) = (numbers("x", m * d), numbers("dy", m * d), numbers("w", d));
    let rows = batch_rows(&[40, 61]);
    let positions: Vec<u32> = (0..m as u32).map(|i| i * 5).collect();
    let table = RopeTable::new(&inverse_frequencies(26, 10_000.0, None), 512);
    let ids: Vec<u32> = (0..m as u32).map(|i| i * i % 11).collect();
    same_everywhere("rows", "b4258fbc61da3f8f", |t| {
        let (mut y, mut inv_rms) = (vec![0.0; m * d], vec![0.0; m]);
        rms_norm::forward(t, &x, &w, 1e-5, &mut y, &mut inv_rms);
        let (mut dx, mut dw) = (x.clone(), w.clone());
        rms_norm::grad_input(t, &dy, &x, &w, &inv_rms, &mut dx, Sink::Add);
        rms_norm::grad_weight(t, &dy, &x, &inv_rms, &rows, &mut dw);
        rms_norm::add(t, &y, &mut dx);
        let mut turned = x.clone();
        table.apply(t, &mut turned, &positions);
        let mut hidden = vec![0.0; m * d];
        swiglu::forward(t, &x, &dy, &mut hidden);
        let (mut dgate, mut dup) = (vec![0.0; m * d], vec![0.0; m * d]);
        swiglu::backward(t, &x, &dy, &hidden, &mut dgate, &mut dup);
        let mut dtable = numbers("table", 11 * d);
        embedding::backward(t, &ids, &dy, &mut dtable);
        vec![y, inv_rms, dx, dw, turned, hidden, dgate, dup, dtable]
    });
}

#[test]
fn the_optimizer_is_the_same_everywhere() {
    let len = 200_003;
    let gradient = numbers("gradient", len);
    let adamw = AdamW {
        lr: 3e-4,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-5,
        weight_decay: 0.1,
        beta1_power: 0.81,
        beta2_power: 0.9025,
        gradient_scale: 0.3,
    };
    same_everywhere("adamw", "2d1c378349ab4603", |t| {
        let mut param = numbers("param", len);
        let (mut first, mut second) = (numbers("first", len), vec![0.01; len]);
        let moments = Moments { first: &mut first, second: &mut second };
        adamw.step(t, &mut param, &gradient, moments);
        let norm = squared_norm(t, [&gradient[..], &param[..5]]).to_bits();
        let halves = [f32::from_bits(norm as u32), f32::from_bits((norm >> 32) as u32)];
        vec![param, first, second, halves.to_vec()]
    });
}
