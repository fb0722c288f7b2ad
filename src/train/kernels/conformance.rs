//! Whether an accelerator gives the bits of the processor: small products, rows, attention, draws
//! and steps, made on both and compared. A card, a driver or a compiler that does otherwise is
//! found before it has spoilt a run. It knows no card; what follows from an answer is the caller's.

use std::sync::Arc;

use super::adamw::AdamW;
use super::attention::launch::Segments;
use super::attention::{self, Heads, Saved, Segment, Softmax};
use super::cross_entropy::{self, launch as device};
use super::device::Threads;
use super::elements::Elements;
use super::gemm::launch::TokenBlocks;
use super::gemm::{self, Sink};
use super::launch::{Accelerator, Array, Fault};
use super::nf4::{self, Nf4};
use super::rng::Stream;
use super::rope::launch::DeviceTable;
use super::rope::{RopeTable, inverse_frequencies};
use super::sample::launch::draw;
use super::sample::{Sampling, draw_rows};
use super::{adamw8, rms_norm, swiglu};

/// What is compared: a name, and the comparison.
type Check = (&'static str, fn(&Arc<dyn Accelerator>, &Threads) -> Result<bool, Fault>);

const CHECKS: [Check; 9] = [
    ("norms", norms),
    ("gates", gates),
    ("rotary positions", positions),
    ("linear layers", linear_layers),
    ("linear layers of 4 bits", linear_layers_of_4_bits),
    ("attention", attention),
    ("losses", losses),
    ("draws", draws),
    ("optimizer", optimizer),
];

/// The names of the operations whose bits differ from those of the processor; none where the
/// accelerator can be trusted with the class `exact-f32`.
pub fn differing(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<Vec<&'static str>, Fault> {
    let mut names = Vec::new();
    for (name, agrees) in CHECKS {
        if !agrees(on, t)? {
            names.push(name);
        }
    }
    Ok(names)
}

fn numbers(name: &str, len: usize, reach: f32) -> Vec<f32> {
    let stream = Stream::new(2026, name);
    (0..len as u64).map(|at| reach * (2.0 * stream.uniform(0, at) - 1.0)).collect()
}

fn same(expected: &[f32], found: &Array<f32>) -> Result<bool, Fault> {
    let found = found.read()?;
    let pairs = expected.iter().zip(&found);
    Ok(found.len() == expected.len() && pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()))
}

fn norms(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let (m, d) = (9, 1031);
    let (x, w) = (numbers("x", m * d, 3.0), numbers("w", d, 1.0));
    let (mut y, mut inverse) = (vec![0.0; m * d], vec![0.0; m]);
    rms_norm::forward(t, &x, &w, 1e-5, &mut y, &mut inverse);
    let (x, w) = (Array::of(on, &x)?, Array::of(on, &w)?);
    let (mut found, mut found_inverse) = (Array::new(on, m * d)?, Array::new(on, m)?);
    let written = (found.all_mut(), found_inverse.all_mut());
    rms_norm::launch::forward(&**on, x.all(), w.all(), 1e-5, written.0, written.1)?;
    Ok(same(&y, &found)? && same(&inverse, &found_inverse)?)
}

/// Over the whole reach of `exp`.
fn gates(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let len = 1 << 16;
    let (gate, up) = (numbers("gate", len, 100.0), numbers("up", len, 1.0));
    let mut hidden = vec![0.0; len];
    swiglu::forward(t, &gate, &up, &mut hidden);
    let (gate, up, mut found) = (Array::of(on, &gate)?, Array::of(on, &up)?, Array::new(on, len)?);
    swiglu::launch::forward(&**on, gate.all(), up.all(), found.all_mut())?;
    same(&hidden, &found)
}

fn positions(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let (m, width) = (33, 64);
    let table = RopeTable::new(&inverse_frequencies(width, 10_000.0, None), m);
    let (mut x, at) = (numbers("x", m * width, 1.0), (0..m as u32).rev().collect::<Vec<_>>());
    let (mut found, places) = (Array::of(on, &x)?, Array::of(on, &at)?);
    table.apply(t, &mut x, &at);
    DeviceTable::new(on, &table)?.apply(&**on, found.all_mut(), places.all())?;
    same(&x, &found)
}

fn linear_layers(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let shape @ [m, k, n] = [70, 600, 129];
    let (x, w, dy) =
        (numbers("x", m * k, 1.0), numbers("w", n * k, 1.0), numbers("dy", m * n, 1.0));
    let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
    let rows = [0..40, 40..70];
    gemm::linear(t, &x, &w, &mut y, shape);
    gemm::linear_grad_input(t, &dy, &w, &mut dx, shape, Sink::Write);
    gemm::linear_grad_weight(t, &dy, &x, &rows, &mut dw, shape);
    let (x, w, dy) = (Array::of(on, &x)?, Array::of(on, &w)?, Array::of(on, &dy)?);
    let (mut found, mut found_dx) = (Array::new(on, m * n)?, Array::new(on, m * k)?);
    let (mut found_dw, blocks) = (Array::zeros(on, n * k)?, TokenBlocks::new(on, &rows, m)?);
    let (x, w, dy) = (x.all(), w.all(), dy.all());
    gemm::launch::linear(&**on, x, w, found.all_mut(), shape, Sink::Write)?;
    gemm::launch::linear_grad_input(&**on, dy, w, found_dx.all_mut(), shape, Sink::Write)?;
    gemm::launch::linear_grad_weight(&**on, dy, x, &blocks, found_dw.all_mut(), shape)?;
    Ok(same(&y, &found)? && same(&dx, &found_dx)? && same(&dw, &found_dw)?)
}

fn linear_layers_of_4_bits(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let shape @ [m, k, n] = [9, 320, 65];
    let (packed, scales) = nf4::quantise(t, &numbers("w", n * k, 1.0), true);
    let (x, mut y) = (numbers("x", m * k, 1.0), vec![0.0; m * n]);
    let w = Elements::Nf4(Nf4::new(&packed, &scales, n * k));
    gemm::linear(t, &x, w, &mut y, shape);
    let w = nf4::launch::Matrix::new(on, &packed, &scales, n * k)?;
    let (x, mut found) = (Array::of(on, &x)?, Array::new(on, m * n)?);
    gemm::launch::linear(&**on, x.all(), &w, found.all_mut(), shape, Sink::Write)?;
    same(&y, &found)
}

fn attention(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let heads = Heads { query: 4, kv: 2, width: 64 };
    let segments = [Segment::whole(0..300), Segment::whole(300..333)];
    let (wide, narrow) = (333 * 4 * 64, 333 * 2 * 64);
    let [q, dout] = [("q", 5.0), ("dout", 1.0)].map(|(name, by)| numbers(name, wide, by));
    let [k, v] = ["k", "v"].map(|name| numbers(name, narrow, 1.0));
    let [mut out, mut dq] = [(); 2].map(|()| vec![0.0; wide]);
    let [mut dk, mut dv] = [(); 2].map(|()| vec![0.0; narrow]);
    let [mut max, mut sum] = [(); 2].map(|()| vec![0.0; 333 * 4]);
    attention::forward(t, heads, [&q, &k, &v], &segments, &mut out, [&mut max, &mut sum]);
    let softmax = Softmax { max: &max, sum: &sum };
    let saved = Saved { q: &q, k: &k, v: &v, out: &out, softmax };
    attention::backward(t, heads, &saved, &segments, &dout, [&mut dq, &mut dk, &mut dv]);
    let segments = Segments::new(on, &segments)?;
    let [q, k, v] = [Array::of(on, &q)?, Array::of(on, &k)?, Array::of(on, &v)?];
    let (dout, mut found) = (Array::of(on, &dout)?, Array::new(on, wide)?);
    let mut stats = [Array::new(on, 333 * 4)?, Array::new(on, 333 * 4)?];
    let [q, k, v] = [q.all(), k.all(), v.all()];
    let into = stats.each_mut().map(Array::all_mut);
    attention::launch::forward(&**on, heads, [q, k, v], &segments, found.all_mut(), into)?;
    let [max, sum] = stats.each_ref().map(Array::all);
    let saved = attention::launch::Saved { q, k, v, out: found.all(), max, sum };
    let mut dots = Array::new(on, 333 * 4)?;
    let mut gradients = [Array::new(on, wide)?, Array::new(on, narrow)?, Array::new(on, narrow)?];
    let (dout, dots) = (dout.all(), dots.all_mut());
    let into = gradients.each_mut().map(Array::all_mut);
    attention::launch::backward(&**on, heads, saved, &segments, dout, dots, into)?;
    let [found_dq, found_dk, found_dv] = &gradients;
    Ok(same(&out, &found)? && same(&dq, found_dq)? && same(&dk, found_dk)? && same(&dv, found_dv)?)
}

fn losses(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let (m, d, v) = (5, 64, 3000);
    let (hidden, head) = (numbers("hidden", m * d, 3.0), numbers("head", v * d, 1.0));
    let (ids, rows) = ([0, 7, 2999, 5, 1000], [0..2, 2..m]);
    let targets = cross_entropy::Targets { ids: &ids, rows: &rows, temperature: 0.9 };
    let (mut nll, mut dhidden) = (vec![0.0; m], vec![0.0; m * d]);
    let written = cross_entropy::Losses { nll: &mut nll, entropy: None };
    let gradients =
        cross_entropy::Gradients { weight: &|_, _| 0.3, dhidden: &mut dhidden, dhead: None };
    cross_entropy::cross_entropy(t, &hidden, &head, targets, written, Some(gradients));
    let targets = device::Targets::new(on, targets, v)?;
    let (hidden, head) = (Array::of(on, &hidden)?, Array::of(on, &head)?);
    let (mut found_nll, mut found) = (Array::new(on, m)?, Array::new(on, m * d)?);
    let written = device::Losses { nll: found_nll.all_mut(), entropy: None };
    let gradients = device::Gradients { weight: 0.3, dhidden: found.all_mut(), dhead: None };
    let (hidden, head) = (hidden.all(), head.all());
    device::cross_entropy(on, hidden, head, &targets, written, Some(gradients))?;
    Ok(same(&nll, &found_nll)? && same(&dhidden, &found)?)
}

fn draws(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let (rows, v) = (4, 5000);
    let logits = numbers("logits", rows * v, 8.0);
    let uniforms = [0.0, 0.3, 0.7, 0.999_999_94];
    let on_device = Array::of(on, &logits)?;
    for (top_k, top_p) in [(None, 1.0), (Some(40), 0.9)] {
        let sampling = Sampling { temperature: 0.8, top_k, top_p };
        let expected = draw_rows(t, &logits, sampling, &uniforms);
        if expected != draw(on, on_device.all(), sampling, &uniforms)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn optimizer(on: &Arc<dyn Accelerator>, t: &Threads) -> Result<bool, Fault> {
    let len = 5000;
    let step = AdamW {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.1,
        beta1_power: 0.9,
        beta2_power: 0.95,
        gradient_scale: 0.25,
    };
    let (mut weights, gradient) = (numbers("p", len, 1.0), numbers("g", len, 1.0));
    let (mut found, on_device) = (Array::of(on, &weights)?, Array::of(on, &gradient)?);
    let [mut m, mut v] = [(); 2].map(|()| (vec![0; len], vec![0.0; len.div_ceil(256)]));
    let first = adamw8::Blocks { codes: &mut m.0, scales: &mut m.1 };
    let second = adamw8::Blocks { codes: &mut v.0, scales: &mut v.1 };
    adamw8::step(&step, t, &mut weights, &gradient, first, second);
    let maps = adamw8::launch::Maps::new(on)?;
    let words = adamw8::launch::words(len);
    let [mut first, mut second] = [Array::zeros(on, words)?, Array::zeros(on, words)?];
    let (moments, into) = ([first.all_mut(), second.all_mut()], found.all_mut());
    adamw8::launch::step(&step, &**on, &maps, into, on_device.all(), moments)?;
    let mut all_same = same(&weights, &found)?;
    for ((codes, scales), found) in [(m, first), (v, second)] {
        let found: Vec<f32> = found.read()?;
        let (found_scales, rest) = found.split_at(scales.len());
        let found_codes = rest.iter().flat_map(|word| word.to_ne_bytes());
        all_same &= scales == found_scales && found_codes.take(len).eq(codes);
    }
    Ok(all_same)
}
