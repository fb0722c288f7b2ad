//! Sampled tokens a second: `cargo bench --bench generation -- MODEL THREADS` continues 64 prompts
//! of 16 to 48 random tokens by 128 tokens at temperature 1 and prints one line;
//! `benches/generation.py` sets it beside transformers.

use std::path::Path;
use std::time::Instant;

use llamake::train::kernels::Threads;
use llamake::train::kernels::rng::Stream;
use llamake::train::kernels::sample::Sampling;
use llamake::train::model::LoadedModel;
use llamake::train::model::sample::GenerateOptions;
use llamake::train::progress::Progress;

const PROMPTS: usize = 64;
const NEW_TOKENS: usize = 128;

struct Quiet;

impl Progress for Quiet {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, _: &str) {}

    fn notice(&mut self, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(folder) = arguments.first() else {
        println!("give a model's folder: cargo bench --bench generation -- MODEL [THREADS]");
        return;
    };
    let threads = arguments.get(1).map_or(2, |word| word.parse().expect("a number of threads"));
    let model = LoadedModel::load(Path::new(folder), Threads::new(threads)).expect("a model");
    let mut walk = Stream::new(0, "prompts").walk();
    let vocab = model.config().vocab;
    let mut prompt = || -> Vec<u32> {
        let length = 16 + walk.below(33);
        (0..length).map(|_| walk.below(vocab) as u32).collect()
    };
    let prompts: Vec<Vec<u32>> = (0..PROMPTS).map(|_| prompt()).collect();
    let options = GenerateOptions {
        samples: 1,
        max_answer: NEW_TOKENS,
        sampling: Sampling { temperature: 1.0, top_k: None, top_p: 1.0 },
        seed: 0,
        // No token: every answer has its full length.
        eos: u32::MAX,
    };
    let mut rates = Vec::new();
    for _ in 0..4 {
        let began = Instant::now();
        let made = model.generate(&prompts, &options, &mut Quiet).expect("answers");
        let tokens: usize = made.iter().map(|made| made.log_probs.len()).sum();
        rates.push(tokens as f64 / began.elapsed().as_secs_f64());
    }
    // The first warms up.
    let mut rates = rates.split_off(1);
    rates.sort_by(f64::total_cmp);
    println!("RESULT llamake tokens_per_s={:.0}", rates[rates.len() / 2]);
}
