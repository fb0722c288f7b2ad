//! Values and gradients against candle's differentiable slow operations in f64, and finite
//! differences.

use candle_core::{D, Device, IndexOp, Tensor, Var};
use candle_nn::ops::{rms_norm_slow, silu, softmax};
use candle_nn::rotary_emb::rope_slow;
use llamake::train::kernels::adamw::{AdamW, Moments, squared_norm};
use llamake::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};
use llamake::train::kernels::cross_entropy::{Gradients, IGNORE, Losses, Targets, cross_entropy};
use llamake::train::kernels::gemm::{linear, linear_grad_input, linear_grad_weight};
use llamake::train::kernels::rope::{RopeTable, inverse_frequencies};
use llamake::train::kernels::{Sink, Threads, embedding, rms_norm, swiglu};

use super::{assert_near, numbers};

const TOLERANCE: f64 = 2e-6;

fn var(values: &[f32], shape: &[usize]) -> Var {
    let values: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The gradients of Σ y · dy with respect to the inputs.
fn gradients(y: &Tensor, dy: &[f32], inputs: &[&Var]) -> Vec<Vec<f64>> {
    let loss = (y * var(dy, y.dims()).as_tensor()).unwrap().sum_all().unwrap();
    let found = loss.backward().unwrap();
    inputs.iter().map(|input| values(found.get(input).expect("a gradient"))).collect()
}

#[test]
fn linear_agrees() {
    let t = Threads::new(2);
    let [m, k, n] = [37, 300, 45];
    let (x, w, dy) = (numbers("x", m * k), numbers("w", n * k), numbers("dy", m * n));
    let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
    linear(&t, &x, &w, &mut y, [m, k, n]);
    linear_grad_input(&t, &dy, &w, &mut dx, [m, k, n], Sink::Write);
    linear_grad_weight(&t, &dy, &x, &[0..20, 20..37], &mut dw, [m, k, n]);
    let (vx, vw) = (var(&x, &[m, k]), var(&w, &[n, k]));
    let truth = vx.matmul(&vw.t().unwrap()).unwrap();
    assert_near("y", &values(&truth), &y, TOLERANCE);
    let truth = gradients(&truth, &dy, &[&vx, &vw]);
    assert_near("dx", &truth[0], &dx, TOLERANCE);
    assert_near("dw", &truth[1], &dw, TOLERANCE);
}

#[test]
fn rms_norm_agrees() {
    let t = Threads::new(2);
    let (m, d) = (33, 71);
    let (x, w, dy) = (numbers("x", m * d), numbers("w", d), numbers("dy", m * d));
    let (mut y, mut inv_rms) = (vec![0.0; m * d], vec![0.0; m]);
    let (mut dx, mut dw) = (vec![0.0; m * d], vec![0.0; d]);
    rms_norm::forward(&t, &x, &w, 1e-5, &mut y, &mut inv_rms);
    rms_norm::grad_input(&t, &dy, &x, &w, &inv_rms, &mut dx, Sink::Write);
    rms_norm::grad_weight(&t, &dy, &x, &inv_rms, &[0..10, 10..33], &mut dw);
    let (vx, vw) = (var(&x, &[m, d]), var(&w, &[d]));
    let truth = rms_norm_slow(&vx, &vw, 1e-5).unwrap();
    assert_near("y", &values(&truth), &y, TOLERANCE);
    let truth = gradients(&truth, &dy, &[&vx, &vw]);
    assert_near("dx", &truth[0], &dx, TOLERANCE);
    assert_near("dw", &truth[1], &dw, TOLERANCE);
}

#[test]
fn rope_agrees_and_turns_back() {
    let t = Threads::new(1);
    let (tokens, heads, width) = (40, 3, 8);
    let x = numbers("x", tokens * heads * width);
    let frequencies = inverse_frequencies(width, 10_000.0, None);
    for (i, &f) in frequencies.iter().enumerate() {
        let truth = 10_000f64.powf(-2.0 * i as f64 / width as f64);
        assert!((f64::from(f) / truth - 1.0).abs() < 1e-7);
    }
    let table = RopeTable::new(&frequencies, tokens);
    let positions: Vec<u32> = (0..tokens as u32).collect();
    let mut turned = x.clone();
    table.apply(&t, &mut turned, &positions);
    let angle = |i: usize| f64::from((i / 4) as f32 * frequencies[i % 4]);
    let table_of = |f: fn(f64) -> f64| {
        let angles: Vec<f64> = (0..tokens * 4).map(|i| f(angle(i))).collect();
        Tensor::from_vec(angles, (tokens, 4), &Device::Cpu).unwrap()
    };
    let x_bhtd = var(&x, &[1, tokens, heads, width]).transpose(1, 2).unwrap();
    let truth = rope_slow(&x_bhtd, &table_of(f64::cos), &table_of(f64::sin)).unwrap();
    let truth = truth.transpose(1, 2).unwrap();
    assert_near("rope", &values(&truth), &turned, TOLERANCE);
    table.apply_inverse(&t, &mut turned, &positions);
    let before: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    assert_near("rope and back", &before, &turned, TOLERANCE);
}

#[test]
fn swiglu_agrees() {
    let t = Threads::new(2);
    let gate: Vec<f32> = numbers("gate", 3001).into_iter().map(|x| 12.0 * x).collect();
    let (up, dhidden) = (numbers("up", 3001), numbers("dhidden", 3001));
    let [mut hidden, mut dgate, mut dup] = [(); 3].map(|()| vec![0.0; 3001]);
    swiglu::forward(&t, &gate, &up, &mut hidden);
    swiglu::backward(&t, &gate, &up, &dhidden, &mut dgate, &mut dup);
    let (vgate, vup) = (var(&gate, &[3001]), var(&up, &[3001]));
    let truth = (silu(&vgate).unwrap() * vup.as_tensor()).unwrap();
    assert_near("hidden", &values(&truth), &hidden, TOLERANCE);
    let truth = gradients(&truth, &dhidden, &[&vgate, &vup]);
    assert_near("dgate", &truth[0], &dgate, TOLERANCE);
    assert_near("dup", &truth[1], &dup, TOLERANCE);
}

#[test]
fn embedding_agrees() {
    let t = Threads::new(2);
    let (table, ids, dout) = (numbers("t", 7 * 100), [3, 0, 3, 6], numbers("dout", 400));
    let (mut out, mut dtable) = (vec![0.0; 400], vec![0.0; 700]);
    embedding::gather(&table, &ids, &mut out);
    embedding::backward(&t, &ids, &dout, &mut dtable);
    let vtable = var(&table, &[7, 100]);
    let truth = vtable.index_select(&Tensor::new(&ids[..], &Device::Cpu).unwrap(), 0).unwrap();
    assert_near("out", &values(&truth), &out, 0.0);
    assert_near("dtable", &gradients(&truth, &dout, &[&vtable])[0], &dtable, TOLERANCE);
}

/// Softmax attention of one segment by candle: q, k and v of [tokens, heads, width].
fn slow_attention(heads: Heads, q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let (tokens, group) = (q.dim(0).unwrap(), heads.query / heads.kv);
    let mask = (0..tokens * tokens).map(|i| if i % tokens > i / tokens { -1e9 } else { 0.0 });
    let mask = Tensor::from_vec(mask.collect::<Vec<f64>>(), (tokens, tokens), &Device::Cpu);
    let mask = mask.unwrap();
    let head = |h: usize| {
        let q = q.i((.., h)).unwrap().contiguous().unwrap();
        let [k, v] = [k, v].map(|x| x.i((.., h / group)).unwrap().contiguous().unwrap());
        let scores = q.matmul(&k.t().unwrap().contiguous().unwrap()).unwrap();
        let scores = ((scores / (heads.width as f64).sqrt()).unwrap() + &mask).unwrap();
        softmax(&scores, D::Minus1).unwrap().matmul(&v).unwrap()
    };
    Tensor::stack(&(0..heads.query).map(head).collect::<Vec<_>>(), 1).unwrap()
}

#[test]
fn attention_agrees() {
    let t = Threads::new(2);
    let heads = Heads { query: 4, kv: 2, width: 12 };
    let (m, lengths) = (165, [1, 64, 100]);
    let [q, dout] = ["q", "dout"].map(|name| numbers(name, m * 48));
    let [k, v] = ["k", "v"].map(|name| numbers(name, m * 24));
    let q: Vec<f32> = q.iter().map(|x| 4.0 * x).collect();
    let segments = [0..1, 1..65, 65..165].map(Segment::whole);
    let (mut out, mut max, mut sum) = (vec![0.0; m * 48], vec![0.0; m * 4], vec![0.0; m * 4]);
    attention::forward(&t, heads, [&q, &k, &v], &segments, &mut out, [&mut max, &mut sum]);
    let [mut dq, mut dk, mut dv] = [48, 24, 24].map(|width| vec![0.0; m * width]);
    let softmax = Softmax { max: &max, sum: &sum };
    let saved = Saved { q: &q, k: &k, v: &v, out: &out, softmax };
    attention::backward(&t, heads, &saved, &segments, &dout, [&mut dq, &mut dk, &mut dv]);
    let (vq, vk) = (var(&q, &[m, 4, 12]), var(&k, &[m, 2, 12]));
    let vv = var(&v, &[m, 2, 12]);
    let mut at = 0;
    let parts = lengths.map(|len| {
        at += len;
        let [q, k, v] = [&vq, &vk, &vv].map(|x| x.narrow(0, at - len, len).unwrap());
        slow_attention(heads, &q, &k, &v)
    });
    let truth = Tensor::cat(&parts, 0).unwrap();
    assert_near("out", &values(&truth), &out, TOLERANCE);
    let truth = gradients(&truth, &dout, &[&vq, &vk, &vv]);
    assert_near("dq", &truth[0], &dq, TOLERANCE);
    assert_near("dk", &truth[1], &dk, TOLERANCE);
    assert_near("dv", &truth[2], &dv, TOLERANCE);
}

#[test]
fn cross_entropy_agrees() {
    for temperature in [1.0, 0.6, 1.7] {
        check_cross_entropy(temperature);
    }
}

/// Losses, entropies and gradients under weights of both signs, some of them zero.
fn check_cross_entropy(temperature: f32) {
    let t = Threads::new(2);
    let (m, d, v) = (290, 40, 130);
    let (hidden, head) = (numbers("hidden", m * d), numbers("head", v * d));
    let targets: Vec<u32> = (0..m).map(|i| (i * 11 % v) as u32).collect();
    let mut ids = targets.clone();
    ids.iter_mut().step_by(4).for_each(|target| *target = IGNORE);
    let weights: Vec<f32> = (0..m).map(|i| 0.25 * (i % 5) as f32 - 0.5).collect();
    let (mut nll, mut dhidden, mut dhead) = (vec![0.0; m], vec![0.0; m * d], vec![0.0; v * d]);
    let mut entropy = vec![9.0; m];
    let weight = |token: usize, _| weights[token];
    let to = Gradients { weight: &weight, dhidden: &mut dhidden, dhead: Some(&mut dhead) };
    let losses = Losses { nll: &mut nll, entropy: Some(&mut entropy) };
    let asked = Targets { ids: &ids, rows: &[0..30, 30..290], temperature };
    cross_entropy(&t, &hidden, &head, asked, losses, Some(to));
    let (vhidden, vhead) = (var(&hidden, &[m, d]), var(&head, &[v, d]));
    let logits = vhidden.matmul(&vhead.t().unwrap()).unwrap();
    let logits = (logits / f64::from(temperature)).unwrap();
    let log_z = logits.log_sum_exp(D::Minus1).unwrap();
    let targets = Tensor::new(&targets[..], &Device::Cpu).unwrap().unsqueeze(1).unwrap();
    let picked = logits.gather(&targets, 1).unwrap().squeeze(1).unwrap();
    let kept: Vec<f32> = ids.iter().map(|&target| f32::from(target != IGNORE)).collect();
    let kept = var(&kept, &[m]);
    let truth = ((&log_z - picked).unwrap() * kept.as_tensor()).unwrap();
    assert_near("nll", &values(&truth), &nll, TOLERANCE);
    let log_p = logits.broadcast_sub(&log_z.unsqueeze(1).unwrap()).unwrap();
    let entropies = (log_p.exp().unwrap() * &log_p).unwrap().sum(D::Minus1).unwrap().neg().unwrap();
    let entropies = (entropies * kept.as_tensor()).unwrap();
    assert_near("entropy", &values(&entropies), &entropy, TOLERANCE);
    let truth = gradients(&truth, &weights, &[&vhidden, &vhead]);
    assert_near("dhidden", &truth[0], &dhidden, TOLERANCE);
    assert_near("dhead", &truth[1], &dhead, TOLERANCE);
}

#[test]
fn cross_entropy_agrees_with_finite_differences() {
    let t = Threads::new(1);
    let (m, d, v) = (3, 8, 11);
    let (hidden, head) = (numbers("hidden", m * d), numbers("head", v * d));
    let (row, weights) = (0..m, [1.0f32, -0.5, 2.0]);
    let rows = [row];
    let asked = Targets { ids: &[1, 9, 4], rows: &rows, temperature: 0.8 };
    let loss = |head: &[f32]| {
        let mut nll = vec![0.0; m];
        let losses = Losses { nll: &mut nll, entropy: None };
        cross_entropy(&t, &hidden, head, asked, losses, None);
        nll.iter().zip(weights).map(|(&x, weight)| f64::from(x * weight)).sum::<f64>()
    };
    let (mut nll, mut dhidden, mut dhead) = (vec![0.0; m], vec![0.0; m * d], vec![0.0; v * d]);
    let weight = |token: usize, _| weights[token];
    let to = Gradients { weight: &weight, dhidden: &mut dhidden, dhead: Some(&mut dhead) };
    let losses = Losses { nll: &mut nll, entropy: None };
    cross_entropy(&t, &hidden, &head, asked, losses, Some(to));
    for at in 0..v * d {
        let moved = |step: f32| {
            let mut head = head.clone();
            head[at] += step;
            loss(&head)
        };
        let slope = (moved(0.01) - moved(-0.01)) / 0.02;
        assert!((slope - f64::from(dhead[at])).abs() < 5e-4, "{slope} and {}", dhead[at]);
    }
}

/// Three steps of the update as the documentation of PyTorch states it, in f64.
#[test]
fn adamw_agrees() {
    let t = Threads::new(2);
    let (lr, beta1, beta2, eps, decay) = (1e-2, 0.9, 0.95, 1e-8, 0.1);
    let mut param = numbers("param", 500);
    let (mut first, mut second) = (vec![0.0; 500], vec![0.0; 500]);
    let mut truth: Vec<[f64; 3]> = param.iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
    for step in 1..=3 {
        let gradient = numbers(&format!("gradient {step}"), 500);
        let (beta1_power, beta2_power) = (f64::powi(beta1, step), f64::powi(beta2, step));
        let adamw = AdamW {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay: decay,
            beta1_power,
            beta2_power,
            gradient_scale: 0.5,
        };
        let moments = Moments { first: &mut first, second: &mut second };
        adamw.step(&t, &mut param, &gradient, moments);
        for ([p, m, v], &g) in truth.iter_mut().zip(&gradient) {
            let g = 0.5 * f64::from(g);
            *p -= lr * decay * *p;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let denominator = (*v / (1.0 - beta2_power)).sqrt() + eps;
            *p -= lr * (*m / (1.0 - beta1_power)) / denominator;
        }
    }
    let truth: Vec<f64> = truth.iter().map(|[p, ..]| *p).collect();
    assert_near("param", &truth, &param, 1e-6);
    let norm: f64 = param.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    assert!((squared_norm(&t, [&param[..200], &param[200..]]) / norm - 1.0).abs() < 1e-14);
}
