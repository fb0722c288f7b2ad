//! The three products of each linear layer of the training step (2,048 tokens), beside the `gemm`
//! crate with `x86-v4`: `cargo bench --bench gemm`. Both on the same two threads' worth of work,
//! alternating; GFLOP/s are of medians.

use std::time::Instant;

use gemm::Parallelism;
use llamake::train::kernels::gemm::{Sink, linear, linear_grad_input, linear_grad_weight};
use llamake::train::kernels::{Threads, rng::Stream};

const TOKENS: usize = 2048;
const ROUNDS: usize = 41;
const THREADS: usize = 2;

fn main() {
    let t = Threads::new(THREADS);
    println!("{:<28} {:>10} {:>10} {:>7}", "product", "ours", "gemm", "ratio");
    let mut logarithms = Vec::new();
    for [k, n] in [[256, 256], [256, 688], [688, 256], [256, 4096]] {
        let [x, w, y] = [TOKENS * k, n * k, TOKENS * n].map(random);
        let (mut out_y, mut out_x, mut out_w) = (y.clone(), x.clone(), w.clone());
        let sizes = [TOKENS, k, n];
        let rows: Vec<_> = (0..TOKENS / 256).map(|row| row * 256..(row + 1) * 256).collect();
        let name = |what: &str| format!("{what} {k}x{n}");
        logarithms.push(compare(
            &name("y = x wT"),
            sizes,
            || linear(&t, &x, &w, &mut out_y, sizes),
            |out| peer(out, [TOKENS, n, k], (&x, k, 1), (&w, 1, k), false),
            y.len(),
        ));
        logarithms.push(compare(
            &name("dx = dy w"),
            sizes,
            || linear_grad_input(&t, &y, &w, &mut out_x, sizes, Sink::Write),
            |out| peer(out, [TOKENS, k, n], (&y, n, 1), (&w, k, 1), false),
            x.len(),
        ));
        logarithms.push(compare(
            &name("dw += dyT x"),
            sizes,
            || linear_grad_weight(&t, &y, &x, &rows, &mut out_w, sizes),
            |out| peer(out, [n, k, TOKENS], (&y, 1, n), (&x, k, 1), true),
            w.len(),
        ));
    }
    let mean = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
    println!("geometric mean of the ratios: {mean:.2}");
}

fn random(len: usize) -> Vec<f32> {
    let stream = Stream::new(1, "bench");
    (0..len as u64).map(|at| stream.uniform(0, at) - 0.5).collect()
}

/// Prints one line; gives the logarithm of the ratio.
fn compare(
    name: &str,
    [m, k, n]: [usize; 3],
    mut ours: impl FnMut(),
    mut theirs: impl FnMut(&mut [f32]),
    out: usize,
) -> f64 {
    let (mut mine, mut peers, mut room) = (Vec::new(), Vec::new(), vec![0.0; out]);
    for _ in 0..ROUNDS {
        mine.push(timed(&mut ours));
        peers.push(timed(|| theirs(&mut room)));
    }
    let flops = 2.0 * (m * k * n) as f64;
    let [mine, peers] = [mine, peers].map(|mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        flops / times[ROUNDS / 2] / 1e9
    });
    println!("{name:<28} {mine:>10.0} {peers:>10.0} {:>7.2}", mine / peers);
    (mine / peers).ln()
}

fn timed(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// out[m, n] = (or +=) a[m, k] · b[k, n], each with the distance of its rows and columns.
fn peer(
    out: &mut [f32],
    [m, n, k]: [usize; 3],
    a: (&[f32], usize, usize),
    b: (&[f32], usize, usize),
    add: bool,
) {
    // SAFETY: the sizes and strides are those of the slices.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.0.as_ptr(),
            a.2 as isize,
            a.1 as isize,
            b.0.as_ptr(),
            b.2 as isize,
            b.1 as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(THREADS),
        );
    }
}
