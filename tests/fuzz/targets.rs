//! What strangers' bytes are given to, a function a parser. Each must come back: no panic, no
//! memory that the bytes only claim to need. libFuzzer calls them through `run/`, and the test
//! suite on bytes damaged the same way in every run.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use llamake::build::lockfile::Lock;
use llamake::lang::compile;
use llamake::lang::source::{Source, Sources};
use llamake::train::data::chat::{ChatFormat, Template};
use llamake::train::data::files;
use llamake::train::data::rows::Message;
use llamake::train::data::shapes::preference::PromptColumns;
use llamake::train::data::shapes::{ChatShape, Faulty, PreferenceShape, tree::Paths};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::tokenizer_files::{self, Names};
use llamake::train::data::tokenizer_json::byte_character;
use llamake::train::model::{Head, ModelConfig, weights};
use llamake::train::progress::{Context, Progress};
use llamake::train::stage::read_chat::{self, ReadChat};
use llamake::train::stage::read_preferences::{self, ReadPreferences};

/// What is done with bytes.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("csv", csv),
    ("gguf", gguf),
    ("gz", gz),
    ("index", index),
    ("json", json),
    ("jsonl", jsonl),
    ("lockfile", lockfile),
    ("merges", merges),
    ("oasst", oasst),
    ("parquet", parquet),
    ("recipe", recipe),
    ("safetensors", safetensors),
    ("sentencepiece", sentencepiece),
    ("template", template),
    ("tokenizer_json", tokenizer_json),
    ("transcripts", transcripts),
    ("zst", zst),
];

thread_local! {
    /// A folder for the bytes, kept from call to call.
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// The folder, with these bytes in a file of this name.
fn in_folder(name: &str, bytes: &[u8]) -> PathBuf {
    FOLDER.with_borrow_mut(|folder| {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let folder = folder.get_or_insert_with(|| tempfile::tempdir_in(place).expect("a folder"));
        std::fs::write(folder.path().join(name), bytes).expect("a file");
        folder.path().to_path_buf()
    })
}

fn records(name: &str, bytes: &[u8]) {
    let path = in_folder(name, bytes).join(name);
    let _ = files::records(&path, &[], &mut |_, _| Ok(()));
}

/// `config.json` of a model.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ModelConfig::from_json(text, Path::new("config.json"));
    }
}

/// A table with a header.
pub fn csv(bytes: &[u8]) {
    records("rows.csv", bytes);
}

/// A whole model in one file.
pub fn gguf(bytes: &[u8]) {
    let path = in_folder("model.gguf", bytes).join("model.gguf");
    try_tokenizer(llamake::train::model::gguf::read(&path).map(|read| read.tokenizer));
}

/// Compressed rows.
pub fn gz(bytes: &[u8]) {
    records("rows.jsonl.gz", bytes);
}

/// An array of rows.
pub fn json(bytes: &[u8]) {
    records("rows.json", bytes);
}

/// A row a line.
pub fn jsonl(bytes: &[u8]) {
    records("rows.jsonl", bytes);
}

/// Rows compressed in the other way.
pub fn zst(bytes: &[u8]) {
    records("rows.jsonl.zst", bytes);
}

/// The index of a model in several files, which are not there.
pub fn index(bytes: &[u8]) {
    let folder = in_folder(weights::INDEX, bytes);
    let _ = std::fs::remove_file(folder.join(weights::WHOLE));
    let _ = weights::load(&folder, &shape());
}

/// GPT-2's merges beside a sound vocabulary.
pub fn merges(bytes: &[u8]) {
    let bytes_and_a_pair = (0..=255u8).map(byte_character).chain(["ab".into()]);
    let vocab = bytes_and_a_pair.chain(["<|endoftext|>".into()]).zip(0u32..);
    let vocab: std::collections::BTreeMap<String, u32> = vocab.collect();
    let vocab = serde_json::to_vec(&vocab).expect("names and numbers");
    let vocab = in_folder("vocab.json", &vocab).join("vocab.json");
    let merges = in_folder("merges.txt", bytes).join("merges.txt");
    try_tokenizer(tokenizer_files::read(&[vocab, merges], &Names::default()));
}

/// Trees of replies.
pub fn oasst(bytes: &[u8]) {
    let shape = ChatShape::Oasst { tree: "prompt".into(), paths: Paths::All };
    let files = vec![in_folder("trees.jsonl", bytes).join("trees.jsonl")];
    let read = ReadChat { files, shape, ignore: Vec::new(), faulty: Faulty::LeaveOut };
    in_context(|context| drop(read_chat::run(&read, context)));
}

/// Anthropic's transcripts.
pub fn transcripts(bytes: &[u8]) {
    let [chosen, rejected] = ["chosen", "rejected"].map(String::from);
    let prompt = PromptColumns::Transcript;
    let shape = PreferenceShape { prompt, chosen, rejected, rating: None };
    let files = vec![in_folder("pairs.jsonl", bytes).join("pairs.jsonl")];
    let read = ReadPreferences { files, shape, ignore: Vec::new(), faulty: Faulty::LeaveOut };
    in_context(|context| drop(read_preferences::run(&read, context)));
}

/// Calls a stage whose results nobody wants.
fn in_context(stage: impl FnOnce(&mut Context<'_>)) {
    let out = in_folder("made.txt", b"").join("made");
    let _ = std::fs::remove_dir_all(&out);
    std::fs::create_dir(&out).expect("a folder");
    stage(&mut Context::new(1, out, &mut Unheard));
}

struct Unheard;

impl Progress for Unheard {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, _: &str) {}

    fn notice(&mut self, _: &str) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// A lockfile.
pub fn lockfile(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Lock::parse(Path::new("a.lock"), text);
    }
}

/// Rows by column.
pub fn parquet(bytes: &[u8]) {
    records("rows.parquet", bytes);
}

/// A recipe.
pub fn recipe(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut sources = Sources::default();
        let root = sources.add(Source::new("a.recipe", text));
        let _ = compile(&mut sources, root, &[]);
        let _ = llamake::lang::format(text);
    }
}

/// Weights of a small model.
pub fn safetensors(bytes: &[u8]) {
    let folder = in_folder(weights::WHOLE, bytes);
    let _ = weights::load(&folder, &shape());
}

/// The shape that the weights are read as.
pub fn shape() -> ModelConfig {
    ModelConfig {
        dim: 8,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        ffn: 8,
        vocab: 12,
        context: 16,
        norm_eps: 1e-5,
        rope: 10_000.0,
        rope_scaling: None,
        tied: false,
        head: Head::Language,
    }
}

/// SentencePiece's `tokenizer.model`, alone in its folder.
pub fn sentencepiece(bytes: &[u8]) {
    let path = in_folder("tokenizer.model", bytes).join("tokenizer.model");
    try_tokenizer(tokenizer_files::read(&[path], &Names::default()));
}

/// A chat template.
pub fn template(bytes: &[u8]) {
    let Ok(jinja) = std::str::from_utf8(bytes) else { return };
    let template = Template {
        name: "a stranger's".into(),
        jinja: jinja.into(),
        bos: "<s>".into(),
        eos: "</s>".into(),
        forbidden: Vec::new(),
    };
    let turns = [Message::new("user", "Hello </s> [INST]"), Message::new("assistant", "Good day.")];
    if let Ok(format) = ChatFormat::new(&template) {
        let _ = format.text(1, &turns);
        let _ = format.stretches(1, &turns);
    }
}

/// `tokenizer.json`.
pub fn tokenizer_json(bytes: &[u8]) {
    let folder = in_folder("tokenizer.json", bytes);
    let config = br#"{"bos_token": "<s>", "eos_token": "</s>"}"#;
    in_folder("tokenizer_config.json", config);
    try_tokenizer(Tokenizer::load(&folder));
}

fn try_tokenizer<E>(tokenizer: Result<Tokenizer, E>) {
    if let Ok(tokenizer) = tokenizer {
        for text in ["", " a b  c\n", "</s> <s> <unk>", "\u{10FFFD}é 12 ▁"] {
            let ids = tokenizer.encode(text);
            let _ = tokenizer.encode_placed(text);
            let _ = tokenizer.decode(&ids);
        }
    }
}
