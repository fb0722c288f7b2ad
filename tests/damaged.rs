//! Sound files of every kind, damaged in the same ways in every run, given to the targets that the
//! fuzzers have: none may panic or ask for memory that the bytes only claim.

use std::collections::BTreeMap;

use llamake::train::kernels::rng::{Stream, Walk};

#[path = "fuzz/targets.rs"]
mod targets;

/// Damages tried on each seed.
const TRIES: usize = 300;

/// Sound bytes, or nearly so, for each target.
fn seeds() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let text = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut seeds: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    let rows = "{\"a\": \"x\", \"b\": [1, 2.5, null]}\n{\"a\": \"\\u00e9\", \"b\": {}}\n";
    let special = llamake::train::model::SpecialTokens { bos: 1, eos: 2 };
    seeds.insert("config", text(&[&targets::shape().to_json(special)]));
    seeds.insert("csv", text(&["a,b\n1,\"x\ny\"\n\"\"\"\",é\n"]));
    seeds.insert("gguf", small_gguf());
    seeds.insert("gz", vec![zipped(rows.as_bytes())]);
    seeds.insert("json", text(&["[{\"a\": 1}, {\"a\": [\"x\", {\"b\": 1e9}]}]"]));
    seeds.insert("jsonl", text(&[rows]));
    let map = "{\"weight_map\": {\"model.norm.weight\": \"a.safetensors\"}}";
    seeds.insert("index", text(&[map]));
    seeds.insert("merges", text(&["#version: 0.2\na b\n"]));
    let reply = "{\"text\": \"b\", \"role\": \"assistant\", \"rank\": 0, \"replies\": []}";
    let replies = format!("[{reply}, {reply}]");
    let root = "{\"prompt\": {\"text\": \"a\", \"role\": \"prompter\", \"replies\": ";
    let tree = format!("{root}{replies}}}}}\n");
    seeds.insert("oasst", text(&[&tree]));
    let said = |answer| format!("\\n\\nHuman: a\\n\\nAssistant: {answer}");
    let pair = format!("{{\"chosen\": \"{}\", \"rejected\": \"{}\"}}\n", said("b"), said("c"));
    seeds.insert("transcripts", text(&[&pair]));
    seeds.insert("lockfile", text(&[include_str!("../recipes/llama2_tiny.lock")]));
    let table = |name: &str| std::fs::read(format!("{TABLES}/{name}.parquet")).unwrap();
    seeds.insert("parquet", ["gzip", "lz4", "none", "snappy", "zstd"].map(table).to_vec());
    seeds.insert("recipe", text(&[include_str!("../recipes/llama2_tiny.recipe")]));
    seeds.insert("safetensors", vec![small_model()]);
    seeds.insert("sentencepiece", vec![small_sentencepiece()]);
    let turns =
        "{% for m in messages %}{{ bos_token + m['content'] | trim + eos_token }}{% endfor %}";
    seeds.insert("template", text(&[turns]));
    seeds.insert("tokenizer_json", vec![small_tokenizer()]);
    seeds.insert("zst", vec![zstd::encode_all(rows.as_bytes(), 3).unwrap()]);
    seeds
}

/// Parquet files that hold each kind of value.
const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/train/read/parquet");

/// Pieces, and words of bytes.
fn small_gguf() -> Vec<Vec<u8>> {
    use llamake::train::model::encoding::Encoding;
    use llamake::train::model::gguf::{self, vocabulary};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let config = llamake::train::model::ModelConfig { vocab: 360, ..targets::shape() };
    let weights = llamake::train::model::init::untrained(&config, 1);
    let special = llamake::train::model::SpecialTokens { bos: 1, eos: 2 };
    let model = llamake::train::model::folder::ModelFolder { config, special, weights };
    let written = |manner| {
        let tokenizer = crate::train::export::tokenizer(manner, true);
        let facts = vocabulary::facts_of(&tokenizer, None, 360).unwrap();
        let mut heard = crate::train::fixtures::Heard::default();
        let t = llamake::train::kernels::Threads::new(1);
        gguf::write(&t, &path, &model, facts, Encoding::F16, &mut heard).unwrap();
        std::fs::read(&path).unwrap()
    };
    use llamake::train::data::vocabulary::Manner;
    vec![written(Manner::SentencePiece), written(Manner::ByteLevel)]
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap()
}

fn small_model() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let shape = targets::shape();
    let weights = llamake::train::model::init::untrained(&shape, 1);
    llamake::train::model::weights::save(&path, &shape, &weights).unwrap();
    std::fs::read(path).unwrap()
}

fn small_tokenizer() -> Vec<u8> {
    use llamake::train::data::vocabulary::{Manner, Vocabulary};
    let vocabulary = Vocabulary {
        size: 280,
        manner: Manner::SentencePiece,
        split_digits: true,
        byte_fallback: true,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    let counts = vocabulary.count_words(&["the cat and the dog and the cow ".repeat(9)], 1);
    let folder = tempfile::tempdir().unwrap();
    vocabulary.train(&counts, 1).unwrap().save(folder.path()).unwrap();
    std::fs::read(folder.path().join("tokenizer.json")).unwrap()
}

/// SentencePiece's own format: pieces with a text, a score and a kind; then how it was trained.
fn small_sentencepiece() -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8], bytes].concat();
    let piece = |text: &str, score: f32, kind: u8| {
        let score = score.to_le_bytes();
        let parts = [&field(0x0A, text.as_bytes())[..], &[0x15], &score, &[0x18, kind]].concat();
        field(0x0A, &parts)
    };
    let (normal, unknown, control, byte) = (1, 2, 3, 6);
    let mut model = [("<unk>", unknown), ("<s>", control), ("</s>", control)]
        .map(|(text, kind)| piece(text, 0.0, kind))
        .concat();
    model.extend((0..=255).flat_map(|at| piece(&format!("<0x{at:02X}>"), 0.0, byte)));
    for (at, text) in ["▁t", "he", "▁the", "▁", "t", "h", "e", "</"].into_iter().enumerate() {
        model.extend(piece(text, -(at as f32), normal));
    }
    let bpe_with_byte_fallback = [0x18, 2, 0x98, 0x02, 1];
    model.extend(field(0x12, &bpe_with_byte_fallback));
    model
}

/// One to four changes: a bit, a byte, a number of eight bytes, a cut, a repetition, a swap.
fn damaged(seed: &[u8], dice: &mut Walk) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len().max(1));
        let end = (at + 1 + dice.below(24)).min(bytes.len());
        match dice.below(7) {
            _ if bytes.is_empty() => bytes.push(0),
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = *dice.pick(&[0, 1, 0x7F, 0x80, 0xFF, b'"', b'{', b'9']),
            2 => {
                let number = dice.bits64() >> dice.below(64);
                let room = &mut bytes[at..end];
                let length = room.len().min(8);
                room[..length].copy_from_slice(&number.to_le_bytes()[..length]);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let other = dice.below(bytes.len());
                bytes.swap(at, other);
            }
        }
    }
    bytes
}

#[test]
fn no_target_falls_over_damaged_bytes() {
    let seeds = seeds();
    let names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, seeds.keys().copied().collect::<Vec<_>>(), "a seed for each target");
    for (name, target) in targets::TARGETS {
        let mut dice = Stream::new(1, &format!("damage/{name}")).walk();
        for seed in &seeds[name] {
            survives(name, *target, seed);
            (0..TRIES).for_each(|_| survives(name, *target, &damaged(seed, &mut dice)));
        }
    }
}

/// Calls a target; where it panics, the bytes are kept and named.
fn survives(name: &str, target: targets::Target, bytes: &[u8]) {
    if std::panic::catch_unwind(|| target(bytes)).is_err() {
        let path = std::env::temp_dir().join(format!("llamake-damaged-{name}"));
        std::fs::write(&path, bytes).unwrap();
        panic!("`{name}` panics on the bytes of {}", path.display());
    }
}

/// Every target has a fuzzer, and every fuzzer a target.
#[test]
fn each_target_has_a_fuzzer() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/run");
    let entries = std::fs::read_dir(folder).unwrap();
    let stem = |path: std::path::PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut fuzzers: Vec<String> = entries.map(|entry| stem(entry.unwrap().path())).collect();
    fuzzers.sort();
    let names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(fuzzers, names);
    let manifest = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/Cargo.toml"),
    );
    let manifest = manifest.unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"run/{name}.rs\"")), "no binary of {name}");
    }
}
