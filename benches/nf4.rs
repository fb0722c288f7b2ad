//! Matrix products over NF4 beside those over an f32 copy: `cargo bench --bench nf4` prints a table;
//! `benches/nf4.py` has each line measured in turn with PyTorch. With `--serve` it reads lines
//! `TOKENS INPUTS OUTPUTS` and answers each with the seconds of one product y = x wᵀ over blocks.

use std::io::{BufRead, Write};
use std::time::Instant;

use llamake::train::kernels::gemm::linear;
use llamake::train::kernels::nf4::{Nf4, Scales, quantise};
use llamake::train::kernels::{Elements, Threads, rng::Stream};

const THREADS: usize = 2;
const ROUNDS: usize = 15;

/// Tokens, inputs, outputs: a token, a small batch and a long row through layers of a model of 1.1
/// billion numbers.
const SHAPES: [[usize; 3]; 6] = [
    [1, 2048, 2048],
    [1, 2048, 5632],
    [16, 2048, 2048],
    [16, 2048, 5632],
    [512, 2048, 2048],
    [512, 2048, 5632],
];

/// One product's operands.
struct Product {
    sizes: [usize; 3],
    x: Vec<f32>,
    packed: Vec<u8>,
    scales: Scales,
    y: Vec<f32>,
}

impl Product {
    fn new(t: &Threads, sizes: [usize; 3]) -> Product {
        let [m, k, n] = sizes;
        let (packed, scales) = quantise(t, &random(n * k), true);
        Product { sizes, x: random(m * k), packed, scales, y: vec![0.0; m * n] }
    }

    fn blocks(&self) -> Elements<'_> {
        let [_, k, n] = self.sizes;
        Elements::Nf4(Nf4::new(&self.packed, &self.scales, n * k))
    }

    /// Seconds of one product over the blocks.
    fn fused(&mut self, t: &Threads) -> f64 {
        let (mut y, sizes) = (std::mem::take(&mut self.y), self.sizes);
        let began = Instant::now();
        linear(t, &self.x, self.blocks(), &mut y, sizes);
        let seconds = began.elapsed().as_secs_f64();
        self.y = y;
        seconds
    }
}

fn random(len: usize) -> Vec<f32> {
    let stream = Stream::new(1, "bench");
    (0..len as u64).map(|at| stream.uniform(0, at) - 0.5).collect()
}

fn main() {
    let t = Threads::new(THREADS);
    if std::env::args().any(|argument| argument == "--serve") {
        return serve(&t);
    }
    println!("{:<20} {:>10} {:>10} {:>7}", "tokens x in x out", "blocks", "f32 copy", "ratio");
    for sizes in SHAPES {
        let mut product = Product::new(&t, sizes);
        let copy = product.blocks().to_floats();
        let (mut fused, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            fused.push(product.fused(&t));
            let began = Instant::now();
            linear(&t, &product.x, &copy, &mut product.y, sizes);
            plain.push(began.elapsed().as_secs_f64());
        }
        let [fused, plain] = [fused, plain].map(|mut times| {
            times.sort_by(f64::total_cmp);
            1e3 * times[ROUNDS / 2]
        });
        let name = sizes.map(|size| size.to_string()).join(" x ");
        println!("{name:<20} {fused:>7.2} ms {plain:>7.2} ms {:>7.2}", plain / fused);
    }
}

/// Answers until there are no more questions; the operands of a shape are made once.
fn serve(t: &Threads) {
    let mut products: Vec<Product> = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let sizes: Vec<usize> =
            line.split_whitespace().map(|size| size.parse().expect("a size")).collect();
        let sizes: [usize; 3] = sizes.try_into().expect("three sizes");
        let known = products.iter().position(|product| product.sizes == sizes);
        let at = known.unwrap_or_else(|| {
            products.push(Product::new(t, sizes));
            products.len() - 1
        });
        println!("{}", products[at].fused(t));
        std::io::stdout().flush().expect("somebody listens");
    }
}
