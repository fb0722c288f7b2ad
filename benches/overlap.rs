//! Holding 100 MB of documents against a task of 10,000 rows: the stage `contamination` without the
//! writing. `cargo bench --bench overlap` takes documents of the small world; the rows are other
//! documents of it, so some runs of tokens are met again. `-- THREADS` says how many threads.

use std::path::Path;
use std::time::Instant;

use llamake::eval::overlap::run::{Params, find};
use llamake::eval::overlap::scan::Source;
use llamake::eval::run::Task;
use llamake::eval::task::perplexity::{Perplexity, Windows};
use llamake::train::data::rows::{Text, Writer, read_rows};
use llamake::train::data::smallworld::{World, corpus};
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::progress::Progress;

const MEGABYTE: usize = 1_000_000;
const ROUNDS: usize = 5;
const ROWS: usize = 10_000;

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
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let threads = words.first().map_or(2, |word| word.parse().expect("a number of threads"));
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let (data, asked, tokenizer) = (place("data"), place("asked"), place("tokenizer"));
    write(&data, 0, 100 * MEGABYTE, usize::MAX);
    write(&asked, 1_000_000, usize::MAX, ROWS);
    learn(&asked, &tokenizer);
    let source = Source { name: "data".into(), path: data };
    let params = Params {
        tasks: vec![Task::Perplexity(Perplexity {
            name: "asked".into(),
            data: asked,
            rewrite: Vec::new(),
            windows: Windows::Apart,
        })],
        training: vec![source],
        tokenizer,
        longer_than: 10,
        fails: false,
    };
    let mut rates = (0..ROUNDS).map(|_| rate(&params, threads)).collect::<Vec<_>>();
    rates.sort_by(f64::total_cmp);
    println!("{threads} threads: {:.1} MB/s", rates[ROUNDS / 2]);
}

/// Megabytes a second.
fn rate(params: &Params, threads: usize) -> f64 {
    let begun = Instant::now();
    let found = find(params, threads, &mut Quiet).expect("what was written above is right");
    let seconds = begun.elapsed().as_secs_f64();
    let task = &found.tasks[0];
    println!("{seconds:.2} s; of {} rows {} are not clean", task.rows, task.unclean().count());
    100.0 / seconds
}

/// Documents of one world after another, up to so many bytes and rows.
fn write(path: &Path, first_seed: u64, bytes: usize, rows: usize) {
    let mut out = Writer::create(path).expect("a file");
    let (mut written, mut count) = (0, 0);
    for seed in first_seed.. {
        for text in corpus(&World::new(seed), 20_000).0.into_iter().map(|row| row.text) {
            if written >= bytes || count >= rows {
                out.finish().expect("a file");
                return;
            }
            (written, count) = (written + text.len(), count + 1);
            out.write(&Text { text }).expect("a row");
        }
    }
}

fn learn(data: &Path, folder: &Path) {
    let vocabulary = Vocabulary {
        size: 1024,
        manner: Manner::SentencePiece,
        split_digits: true,
        byte_fallback: true,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    let texts = read_rows::<Text>(data).expect("rows").into_iter().map(|row| row.text);
    let counts = vocabulary.count_words(&texts.collect::<Vec<_>>(), 2);
    std::fs::create_dir(folder).expect("a folder");
    vocabulary.train(&counts, 2).expect("a vocabulary").save(folder).expect("a folder");
}
