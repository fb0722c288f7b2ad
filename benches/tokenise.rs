//! Tokenising 100 MB: ours from a file of rows to rows of a shard, beside `encode_batch_fast` of
//! the `tokenizers` crate on the same documents, which are in memory already and whose ids are
//! thrown away. `cargo bench --bench tokenise` takes documents of the small world; with `-- THREADS PATH`
//! it repeats the text files at PATH. Alternating; medians. Then the peak of anonymous memory of
//! ours, in processes of their own, for 25 MB and for 100 MB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use llamake::train::data::batch::Rows;
use llamake::train::data::files::{expand, whole_text};
use llamake::train::data::pack::DocumentRows;
use llamake::train::data::rows::{Reader, Text, Writer};
use llamake::train::data::smallworld::{World, corpus};
use llamake::train::data::tokenise::{Part, documents};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::progress::{Attempt, Context, Progress};

const MEGABYTE: usize = 1_000_000;
const ROUNDS: usize = 5;
const CONTEXT: usize = 1024;
/// Documents that the crate is given at once.
const AT_ONCE: usize = 10_000;

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
    if let [mark, data, tokenizer, threads] = &words[..]
        && mark == "memory"
    {
        let threads = threads.parse().expect("a number of threads");
        return print_peak(Path::new(data), Path::new(tokenizer), threads);
    }
    let threads = words.first().map_or(2, |word| word.parse().expect("a number of threads"));
    let path = words.get(1).map(PathBuf::from);
    let folder = tempfile::tempdir().expect("a folder");
    let [small, large] = [25, 100].map(|megabytes| {
        let data = folder.path().join(format!("{megabytes} MB"));
        write_texts(&data, megabytes * MEGABYTE, path.as_deref());
        data
    });
    for (name, manner) in [("pieces", Manner::SentencePiece), ("byte-level", Manner::ByteLevel)] {
        let tokenizer = folder.path().join(name);
        fs::create_dir(&tokenizer).expect("a folder");
        learn(&small, manner, if path.is_some() { 16_000 } else { 1024 }, &tokenizer);
        compare(name, &large, &tokenizer, threads);
        for data in [&small, &large] {
            let size = data.file_name().expect("a name").to_string_lossy();
            println!(
                "{name:<12} peak anonymous memory, {size}: {}",
                peak(data, &tokenizer, threads)
            );
        }
    }
}

/// Rows of text: the small world of one seed after another, or the paragraphs at `path` again and
/// again.
fn write_texts(data: &Path, bytes: usize, path: Option<&Path>) {
    let mut out = Writer::create(data).expect("a file");
    let mut left = bytes;
    let files = path.map(|path| expand(&[path.into()]).expect("files"));
    for seed in 0.. {
        let texts: Vec<String> = match &files {
            None => corpus(&World::new(seed), 20_000).0.into_iter().map(|row| row.text).collect(),
            Some(files) => files.iter().flat_map(|file| paragraphs(file)).collect(),
        };
        for text in texts {
            out.write(&Text { text: text.clone() }).expect("a row");
            left = left.saturating_sub(text.len());
            if left == 0 {
                out.finish().expect("a file");
                return;
            }
        }
    }
}

/// Some kilobytes each, as documents of the web are.
fn paragraphs(file: &Path) -> Vec<String> {
    let text = whole_text(file).expect("text");
    let mut documents = vec![String::new()];
    for paragraph in text.split_inclusive("\n\n") {
        let last = documents.last_mut().expect("it was begun");
        match last.len() {
            0..3000 => last.push_str(paragraph),
            _ => documents.push(paragraph.into()),
        }
    }
    documents
}

fn texts(data: &Path) -> Vec<String> {
    let rows = Reader::<Text>::open(data).expect("a file");
    rows.map(|row| row.expect("a row").text).collect()
}

fn learn(data: &Path, manner: Manner, size: usize, folder: &Path) {
    let vocabulary = Vocabulary {
        size,
        manner,
        split_digits: true,
        byte_fallback: true,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    let counts = vocabulary.count_words(&texts(data), 2);
    vocabulary.train(&counts, 2).expect("a vocabulary").save(folder).expect("a folder");
}

fn compare(name: &str, data: &Path, folder: &Path, threads: usize) {
    let tokenizer = Tokenizer::load(folder).expect("a tokenizer");
    let mut peer =
        tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).expect("the same");
    peer.set_encode_special_tokens(true);
    let texts = texts(data);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let (mut mine, mut peers) = (Vec::new(), Vec::new());
    let mut tokens = [0, 0];
    for _ in 0..ROUNDS {
        let (took, made) = ours(data, &tokenizer, threads);
        mine.push(took);
        tokens[0] = made;
        let (took, made) = pool.install(|| theirs(&texts, &peer));
        peers.push(took);
        tokens[1] = made + 2 * texts.len();
    }
    assert_eq!(tokens[0], tokens[1], "the same tokens, bos and eos besides");
    let bytes: usize = texts.iter().map(String::len).sum();
    let [mine, peers] = [mine, peers].map(|mut times| {
        times.sort_by(f64::total_cmp);
        bytes as f64 / MEGABYTE as f64 / times[ROUNDS / 2]
    });
    println!(
        "{name:<12} {:.1} MB, {} tokens, {threads} threads: ours {mine:.1} MB/s, \
         tokenizers {peers:.1} MB/s, ratio {:.2}",
        bytes as f64 / MEGABYTE as f64,
        tokens[0],
        mine / peers
    );
}

/// From the file to rows that can be drawn.
fn ours(data: &Path, tokenizer: &Tokenizer, threads: usize) -> (f64, usize) {
    let kept = tempfile::tempdir().expect("a folder");
    let attempt = Attempt { folder: kept.path().into(), every: Duration::MAX };
    let mut quiet = Quiet;
    let mut context = Context::new(threads, kept.path().into(), &mut quiet);
    context.attempt = Some(attempt);
    let began = Instant::now();
    let part = Part { paths: &[&data.to_path_buf()], number: 0 };
    let shard = documents(part, tokenizer, &mut context).expect("a shard");
    let tokens = shard.tokens();
    let rows = DocumentRows::new(shard, CONTEXT);
    assert!(!rows.is_empty());
    (began.elapsed().as_secs_f64(), tokens)
}

fn theirs(texts: &[String], peer: &tokenizers::Tokenizer) -> (f64, usize) {
    let (mut seconds, mut tokens) = (0.0, 0);
    for part in texts.chunks(AT_ONCE) {
        let inputs: Vec<&str> = part.iter().map(String::as_str).collect();
        let began = Instant::now();
        let encodings = peer.encode_batch_fast(inputs, false).expect("ids");
        seconds += began.elapsed().as_secs_f64();
        tokens += encodings.iter().map(|encoding| encoding.len()).sum::<usize>();
    }
    (seconds, tokens)
}

/// What a process that does nothing else says of itself.
fn peak(data: &Path, tokenizer: &Path, threads: usize) -> String {
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.arg("memory").arg(data).arg(tokenizer).arg(threads.to_string());
    let said = again.output().expect("it runs").stdout;
    String::from_utf8(said).expect("text").trim().to_string()
}

fn print_peak(data: &Path, folder: &Path, threads: usize) {
    let tokenizer = Tokenizer::load(folder).expect("a tokenizer");
    let before = anonymous();
    let done = AtomicBool::new(false);
    let peak = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = anonymous().max(peak);
                std::thread::sleep(Duration::from_millis(1));
            }
            peak
        });
        ours(data, &tokenizer, threads);
        done.store(true, Ordering::Relaxed);
        watch.join().expect("it watches")
    });
    println!("{:.1} MB, {:.1} MB of it before", peak as f64 / 1e3, before as f64 / 1e3);
}

/// Kilobytes of this process that no file stands behind.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("kilobytes")
}
