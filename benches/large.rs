//! A model too large for memory: a folder of Llama-2-7B's shape in bf16 (13 GB, two files of random
//! weights, made here and deleted again), one forward pass of 16 tokens, and the most memory of its
//! own that the program had meanwhile. Fails above 4 GiB.
//!
//! `cargo bench --bench large -- [FOLDER]` writes to FOLDER, or to the system's temporary folder.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use llamake::train::data::pack::Row;
use llamake::train::kernels::Threads;
use llamake::train::model::parameters::{TensorSpec, table};
use llamake::train::model::{Head, LoadedModel, ModelConfig, SpecialTokens, weights};
use llamake::train::progress::Progress;
use serde_json::{Map, Value, json};

const LIMIT_BYTES: u64 = 4 << 30;
const TOKENS: u32 = 16;

fn main() {
    let config = ModelConfig {
        dim: 4096,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        ffn: 11008,
        vocab: 32000,
        context: 4096,
        norm_eps: 1e-5,
        rope: 10_000.0,
        rope_scaling: None,
        tied: false,
        head: Head::Language,
    };
    let place = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let place = place.map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(place).expect("a folder to write to");
    let began = Instant::now();
    let bytes = write(folder.path(), &config).expect("13.5 GB can be written");
    println!("wrote {:.1} GB in {:.0} s", bytes as f64 / 1e9, began.elapsed().as_secs_f64());

    let (over, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    let seconds = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(anonymous_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let began = Instant::now();
        let model = LoadedModel::load(folder.path(), Threads::new(2)).expect("it is a model");
        let tokens: Vec<u32> = (1..=TOKENS).collect();
        let targets = (2..=TOKENS + 1).collect();
        let segment = 0..TOKENS as usize;
        let row = Row { tokens, targets, segments: vec![segment] };
        let scores = model.score(&[row], &mut Silent).expect("it can be scored");
        over.store(true, Ordering::Relaxed);
        let loss = scores[0].iter().sum::<f32>() / TOKENS as f32;
        assert!(loss.is_finite() && loss > 1.0, "a loss of {loss}");
        began.elapsed().as_secs_f64()
    });
    let peak = peak.into_inner();
    println!(
        "{TOKENS} tokens in {seconds:.1} s, {:.2} GiB of anonymous memory",
        peak as f64 / 1.074e9
    );
    assert!(peak < LIMIT_BYTES, "more than 4 GiB");
}

/// What the program holds that is no copy of a file.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("the kernel tells") << 10
}

/// The folder's files; gives the bytes of its weights.
fn write(folder: &Path, config: &ModelConfig) -> std::io::Result<u64> {
    std::fs::write(folder.join("config.json"), config.to_json(SpecialTokens { bos: 1, eos: 2 }))?;
    let table = table(config);
    let (first, second) = table.split_at(table.len() / 2);
    let (mut index, mut bytes) = (Map::new(), 0);
    for (name, specs) in [("a.safetensors", first), ("b.safetensors", second)] {
        bytes += write_file(&folder.join(name), specs)?;
        index.extend(specs.iter().map(|spec| (spec.name.clone(), Value::from(name))));
    }
    let index = json!({ "metadata": { "total_size": bytes }, "weight_map": index });
    std::fs::write(folder.join(weights::INDEX), index.to_string())?;
    Ok(bytes)
}

fn write_file(path: &Path, specs: &[TensorSpec]) -> std::io::Result<u64> {
    let (mut header, mut end) = (Map::new(), 0u64);
    for spec in specs {
        let start = end;
        end += 2 * spec.len() as u64;
        let tensor = json!({ "dtype": "BF16", "shape": spec.shape, "data_offsets": [start, end] });
        header.insert(spec.name.clone(), tensor);
    }
    let mut header = Value::from(header).to_string();
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for spec in specs {
        let norm = spec.shape.len() == 1;
        for _ in 0..spec.len() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // A sign and seven bits of fraction: between 0.0156 and 0.0313; norms are about one.
            let bits = if norm { 0x3F80 } else { 0x3C80 | (state as u16 & 0x807F) };
            file.write_all(&bits.to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok(end)
}

struct Silent;

impl Progress for Silent {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, _: &str) {}

    fn notice(&mut self, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}
