//! The training step of a small Llama: time, memory, and what the ledger said of it.
//!
//! `cargo bench --bench step -- STEPS THREADS [checkpointing] [q,v|all-linear]` prints one line; with
//! the names of layers an adapter of rank 8 on them is learnt instead of the weights.
//! `benches/step.py` and `benches/lora.py` set it beside PyTorch and PEFT. Random tokens: what is
//! measured does not depend on them.

use std::path::Path;
use std::time::Instant;

use llamake::train::data::batch::{Batches, Rows};
use llamake::train::data::mixture::Source;
use llamake::train::data::pack::Row;
use llamake::train::kernels::Threads;
use llamake::train::kernels::rng::Stream;
use llamake::train::model::activations::Keep;
use llamake::train::model::lora::{Adapter, LoraSettings};
use llamake::train::model::projection::Which;
use llamake::train::model::{Head, ModelConfig, Transformer, init};
use llamake::train::objective::next_token::NextToken;
use llamake::train::optim::{AdamW, AdamWState, Bits, clip};
use llamake::train::stage::ledger::training_memory;
use llamake::train::stage::train_loop::TrainState;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONTEXT: usize = 256;
const ROWS: usize = 8;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, default: usize| {
        arguments.get(at).map_or(default, |word| word.parse().expect("a number"))
    };
    let (steps, threads) = (number(0, 12), number(1, 2));
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let keep = if has("checkpointing") { Keep::Residuals } else { Keep::Activations };
    let config = ModelConfig {
        dim: 256,
        layers: 6,
        heads: 8,
        kv_heads: 8,
        ffn: 688,
        vocab: 4096,
        context: CONTEXT,
        norm_eps: 1e-5,
        rope: 10_000.0,
        rope_scaling: None,
        tied: false,
        head: Head::Language,
    };
    let t = Threads::new(threads);
    let mut model = Transformer::new(config.clone(), init::untrained(&config, 0), CONTEXT);
    model.adapter = targets(&has).map(|targets| {
        let settings = LoraSettings {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            targets,
            rslora: false,
            dora: false,
        };
        Adapter::untrained(&t, &config, &model.weights, &settings, 0)
    });
    let settings = AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.1,
        bits: Bits::Full,
        page_budget: None,
    };
    let settings = AdamWState::new(&model, settings, Path::new("")).expect("it is in memory");
    let mut state = TrainState::new(&model, settings, ROWS * CONTEXT, keep);
    let mut walk = Stream::new(0, "tokens").walk();
    let (mut times, mut loss) = (Vec::new(), 0.0);
    for _ in 0..steps {
        let rows: Vec<Row> = (0..ROWS)
            .map(|_| {
                let text: Vec<u32> = (0..=CONTEXT).map(|_| walk.below(4096) as u32).collect();
                let segment = 0..CONTEXT;
                Row {
                    tokens: text[..CONTEXT].to_vec(),
                    targets: text[1..].to_vec(),
                    segments: vec![segment],
                }
            })
            .collect();
        let source: Vec<Source<Box<dyn Rows>>> =
            vec![Source { percent: 100.0, of: Box::new(rows.clone()) }];
        let mut objective = NextToken::new(Batches::new(source, ROWS, 0).expect("there are rows"));
        let rows: Vec<&Row> = rows.iter().collect();
        let began = Instant::now();
        let learnt = state.gradients_of(&t, &model, &mut objective, &rows, ROWS);
        let (report, _) = learnt.expect("the CPU does not fail");
        let scale = clip::factor(report.norm, Some(1.0));
        state.optimizer.step(&t, &mut model, &state.gradients, 1e-3, scale);
        times.push(began.elapsed().as_secs_f64());
        loss = report.loss;
    }
    let mut kept = times.split_off(times.len().min(3));
    kept.sort_by(f64::total_cmp);
    let median = kept.get(kept.len() / 2).copied().unwrap_or(f64::NAN);
    let ledger = training_memory(&config, ROWS as u64, CONTEXT as u64, keep).total();
    let peak = peak_memory();
    println!(
        "RESULT llamake threads={threads} loss={loss:.4} median_s={median:.5} tokens_per_s={:.0} \
         peak_rss_bytes={peak} ledger_bytes={ledger}",
        (ROWS * CONTEXT) as f64 / median
    );
}

/// The layers that have adapters.
fn targets(has: &dyn Fn(&str) -> bool) -> Option<Vec<Which>> {
    has("all-linear")
        .then(|| Which::ALL.to_vec())
        .or_else(|| has("q,v").then(|| vec![Which::Query, Which::Value]))
}

/// The most memory this process ever held.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number")
}
