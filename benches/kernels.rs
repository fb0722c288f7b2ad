//! Kernels on the first GPU: `cargo bench --features cuda --bench kernels` prints for each the time,
//! the bytes that it must move in a second and the operations that it must do. An FMA counts as two.
//! Before that it compares bits with those of the processor.

use std::sync::Arc;
use std::time::Instant;

use half::bf16;
use llamake::train::kernels::attention::cached::Cached;
use llamake::train::kernels::attention::launch::{Saved, Segments};
use llamake::train::kernels::attention::{self, Heads, Segment};
use llamake::train::kernels::cuda::card::Card;
use llamake::train::kernels::cuda::survey;
use llamake::train::kernels::gemm::launch::{TokenBlocks, linear, linear_grad_weight};
use llamake::train::kernels::launch::{Accelerator, Array, Fault, Float};
use llamake::train::kernels::nf4::launch::Matrix;
use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::sample::Sampling;
use llamake::train::kernels::sample::launch::draw;
use llamake::train::kernels::{Sink, Threads, conformance, nf4, rms_norm, swiglu};

/// Two rows through a layer of a model of 7 billion numbers.
const TOKENS: usize = 4096;
const WIDE: usize = 4096;
const HIDDEN: usize = 11008;
const HEADS: Heads = Heads { query: 32, kv: 32, width: 128 };
const VOCABULARY: usize = 32_000;

const ROUNDS: usize = 20;

type On = Arc<dyn Accelerator>;

fn random(len: usize) -> Vec<f32> {
    let stream = Stream::new(1, "bench");
    (0..len as u64).map(|at| stream.uniform(0, at) - 0.5).collect()
}

fn floats(on: &On, len: usize) -> Result<Array<f32>, Fault> {
    Array::of(on, &random(len))
}

/// Measures one of many calls, and prints it.
fn measure(
    on: &On,
    name: &str,
    bytes: usize,
    operations: usize,
    mut call: impl FnMut() -> Result<(), Fault>,
) -> Result<(), Fault> {
    // Reading waits for all that was launched before.
    let done = Array::<f32>::zeros(on, 1)?;
    call()?;
    done.read()?;
    let began = Instant::now();
    for _ in 0..ROUNDS {
        call()?;
    }
    done.read()?;
    let seconds = began.elapsed().as_secs_f64() / ROUNDS as f64;
    let (rate, speed) = (bytes as f64 / seconds / 1e9, operations as f64 / seconds / 1e12);
    println!("{name:<34}{:>10.1} µs{rate:>8.0} GB/s{speed:>8.1} TFLOP/s", 1e6 * seconds);
    Ok(())
}

fn rows(on: &On) -> Result<(), Fault> {
    let n = TOKENS * HIDDEN;
    let (gate, up, mut hidden) = (floats(on, n)?, floats(on, n)?, Array::new(on, n)?);
    measure(on, "swiglu forward", 12 * n, 0, || {
        swiglu::launch::forward(&**on, gate.all(), up.all(), hidden.all_mut())
    })?;
    measure(on, "residual add", 12 * n, 0, || {
        rms_norm::launch::add(&**on, gate.all(), hidden.all_mut())
    })?;
    let n = TOKENS * WIDE;
    let (x, w, mut y) = (floats(on, n)?, floats(on, WIDE)?, Array::new(on, n)?);
    let mut inverse = Array::new(on, TOKENS)?;
    measure(on, "rms_norm forward", 8 * n, 0, || {
        let written = (y.all_mut(), inverse.all_mut());
        rms_norm::launch::forward(&**on, x.all(), w.all(), 1e-5, written.0, written.1)
    })
}

fn products(on: &On) -> Result<(), Fault> {
    for (m, name) in [(TOKENS, "linear, many tokens"), (1, "linear, one token")] {
        let shape @ [m, k, n] = [m, WIDE, HIDDEN];
        let (x, w, mut y) = (floats(on, m * k)?, floats(on, n * k)?, Array::new(on, m * n)?);
        let (bytes, operations) = (4 * (m * k + n * k + m * n), 2 * m * n * k);
        measure(on, name, bytes, operations, || {
            linear(&**on, x.all(), w.all(), y.all_mut(), shape, Sink::Write)
        })?;
        let (packed, scales) = nf4::quantise(&Threads::new(8), &random(n * k), true);
        let blocks = Matrix::new(on, &packed, &scales, n * k)?;
        let bytes = 4 * (m * k + m * n) + n * k / 2;
        measure(on, &format!("{name}, weight of 4 bits"), bytes, operations, || {
            linear(&**on, x.all(), &blocks, y.all_mut(), shape, Sink::Write)
        })?;
    }
    let shape @ [m, k, n] = [TOKENS, WIDE, WIDE];
    let (x, dy, mut dw) = (floats(on, m * k)?, floats(on, m * n)?, Array::zeros(on, n * k)?);
    let tokens = TokenBlocks::new(on, &[0..m / 2, m / 2..m], m)?;
    measure(on, "gradient of a weight", 4 * (m * k + m * n + 2 * n * k), 2 * m * n * k, || {
        linear_grad_weight(&**on, dy.all(), x.all(), &tokens, dw.all_mut(), shape)
    })
}

/// Forward and backward; half of all pairs are seen.
fn attend<T: Float>(on: &On, name: &str, round: fn(f32) -> T) -> Result<(), Fault> {
    let (half, n) = (TOKENS / 2, TOKENS * HEADS.query * HEADS.width);
    let segments = Segments::new(on, &[Segment::whole(0..half), Segment::whole(half..2 * half)])?;
    let numbers: Vec<T> = random(n).into_iter().map(round).collect();
    let [q, k, v, dout] = [
        Array::of(on, &numbers)?,
        Array::of(on, &numbers)?,
        Array::of(on, &numbers)?,
        Array::of(on, &numbers)?,
    ];
    let mut out = Array::<T>::new(on, n)?;
    let stats = TOKENS * HEADS.query;
    let mut softmax = [Array::new(on, stats)?, Array::new(on, stats)?];
    let pairs = HEADS.query * half * half;
    let bytes = size_of::<T>() * n;
    measure(on, &format!("attention of {name}"), 4 * bytes, 4 * HEADS.width * pairs, || {
        let into = softmax.each_mut().map(Array::all_mut);
        let read = [q.all(), k.all(), v.all()];
        attention::launch::forward(&**on, HEADS, read, &segments, out.all_mut(), into)
    })?;
    let mut dots = Array::new(on, stats)?;
    let mut gradients = [Array::<T>::new(on, n)?, Array::new(on, n)?, Array::new(on, n)?];
    let name = format!("gradients of attention of {name}");
    measure(on, &name, 8 * bytes, 10 * HEADS.width * pairs, || {
        let [max, sum] = softmax.each_ref().map(Array::all);
        let saved = Saved { q: q.all(), k: k.all(), v: v.all(), out: out.all(), max, sum };
        let (dots, into) = (dots.all_mut(), gradients.each_mut().map(Array::all_mut));
        attention::launch::backward(&**on, HEADS, saved, &segments, dout.all(), dots, into)
    })
}

/// A token of each of sixteen texts.
fn generation(on: &On) -> Result<(), Fault> {
    let (texts, seen, row) = (16, 2048, HEADS.query * HEADS.width);
    let segment =
        |text: usize| Segment { queries: text..text + 1, keys: text * seen..(text + 1) * seen };
    let segments: Vec<Segment> = (0..texts).map(segment).collect();
    let mut cached = Cached::new(on, HEADS, &segments)?;
    let n = texts * seen * row;
    let (q, k, v) = (floats(on, texts * row)?, floats(on, n)?, floats(on, n)?);
    let (mut out, stats) = (Array::new(on, texts * row)?, texts * HEADS.query);
    let mut softmax = [Array::new(on, stats)?, Array::new(on, stats)?];
    measure(on, "attention to keys of before", 8 * n, 4 * n, || {
        let into = softmax.each_mut().map(Array::all_mut);
        cached.attend(&**on, HEADS, [q.all(), k.all(), v.all()], out.all_mut(), into)
    })?;
    let logits = floats(on, texts * VOCABULARY)?;
    for (name, top_k, top_p) in [("draws of all", None, 1.0), ("draws of top p", None, 0.9)] {
        let sampling = Sampling { temperature: 0.8, top_k, top_p };
        measure(on, name, 4 * texts * VOCABULARY, 0, || {
            draw(on, logits.all(), sampling, &vec![0.5; texts]).map(|_| ())
        })?;
    }
    Ok(())
}

fn run() -> Result<(), Fault> {
    let gpu = survey()?.usable(Some(0))?.remove(0);
    println!("{gpu:?}");
    let on: On = Arc::new(Card::open(&gpu)?);
    let differing = conformance::differing(&on, &Threads::new(8))?;
    println!("operations whose bits differ from the processor's: {differing:?}");
    rows(&on)?;
    products(&on)?;
    attend(&on, "f32", |x| x)?;
    attend(&on, "bf16", bf16::from_f32)?;
    generation(&on)
}

fn main() {
    if let Err(fault) = run() {
        println!("{fault}");
    }
}
