//! GGUF files broken in every way that a disk or a stranger can: a clear failure each, no panic,
//! and no memory that a header only claims.

use std::path::Path;

use llamake::train::data::vocabulary::Manner;
use llamake::train::kernels::Threads;
use llamake::train::kernels::rope::RopeScaling;
use llamake::train::model::encoding::Encoding;
use llamake::train::model::folder::ModelFolder;
use llamake::train::model::gguf::facts::{Fact, write_fact, write_text};
use llamake::train::model::gguf::{self, vocabulary};
use llamake::train::model::parameters::Parameters;
use llamake::train::model::tensor::Stored;
use llamake::train::model::{ModelConfig, init};
use llamake::train::progress::Failure;

use super::export::{model, tokenizer};
use super::fixtures::{Heard, message};

/// The bytes of a model's file.
fn written(model: &ModelFolder, manner: Manner, encoding: Encoding) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    let facts = vocabulary::facts_of(&tokenizer(manner, true), None, model.config.vocab).unwrap();
    gguf::write(&Threads::new(2), &path, model, facts, encoding, &mut Heard::default()).unwrap();
    std::fs::read(path).unwrap()
}

/// What reading these bytes says.
fn said(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    std::fs::write(&path, bytes).unwrap();
    match gguf::read(&path) {
        Err(Failure::Io { error, .. }) => error.to_string(),
        other => message(other.map(|_| "it was read")),
    }
}

fn read(bytes: &[u8]) -> gguf::GgufModel {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.gguf"), bytes).unwrap();
    gguf::read(&folder.path().join("a.gguf")).unwrap()
}

#[test]
fn a_cut_file_is_no_file() {
    for manner in [Manner::SentencePiece, Manner::ByteLevel] {
        let whole = written(&model(360), manner, Encoding::F32);
        for part in 0..50 {
            said(&whole[..whole.len() * part / 50]);
        }
        let head = whole.len() - 4 * 1000;
        for length in [3, 4, 7, 8, 16, 23, 24, 25, 40, head, whole.len() - 1] {
            said(&whole[..length]);
        }
        let more = said(&[&whole[..], &[0; 64]].concat());
        assert!(more.ends_with("64 bytes follow the last tensor"), "{more}");
        read(&whole);
    }
}

/// A file of our own making, by its parts.
struct Parts {
    version: u32,
    facts: Vec<(String, Fact)>,
    tensors: Vec<Place>,
    data: usize,
}

#[derive(Clone)]
struct Place {
    name: String,
    sizes: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl Parts {
    fn sound() -> Parts {
        let place =
            |name: &str, offset| Place { name: name.into(), sizes: vec![8, 2], kind: 0, offset };
        Parts {
            version: 3,
            facts: vec![("general.architecture".into(), Fact::Text("llama".into()))],
            tensors: vec![place("a", 0), place("b", 64)],
            data: 128,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let (tensors, facts) = (self.tensors.len() as u64, self.facts.len() as u64);
        let mut out = [&b"GGUF"[..], &self.version.to_le_bytes()].concat();
        out.extend(tensors.to_le_bytes());
        out.extend(facts.to_le_bytes());
        self.facts.iter().for_each(|(key, fact)| write_fact(key, fact, &mut out));
        for place in &self.tensors {
            write_text(&place.name, &mut out);
            out.extend((place.sizes.len() as u32).to_le_bytes());
            out.extend(place.sizes.iter().flat_map(|size| size.to_le_bytes()));
            out.extend(place.kind.to_le_bytes());
            out.extend(place.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32) + self.data, 0);
        out
    }
}

#[test]
fn places_that_lie_are_named() {
    let lie = |change: &dyn Fn(&mut Parts), expected: &str| {
        let mut parts = Parts::sound();
        change(&mut parts);
        let said = said(&parts.bytes());
        assert!(said.contains(expected), "{said}");
    };
    // What a sound file of two strange tensors lacks is a model.
    lie(&|_| {}, "it does not state");
    lie(&|parts| parts.version = 1, "version 1; 2 and 3");
    lie(&|parts| parts.version = 3 << 24, "big-endian");
    lie(&|parts| parts.tensors[1].name = "a".into(), "tensor `a` is there twice");
    lie(&|parts| parts.tensors[1].offset = 32, "tensors `a` and `b` lie in the same place");
    lie(&|parts| parts.tensors[1].offset = 65, "begins at 65, no multiple of 32");
    lie(&|parts| parts.tensors[1].offset = 128, "tensor `b` ends at byte 192");
    lie(&|parts| parts.tensors[1].offset = u64::MAX - 31, "impossible sizes");
    lie(&|parts| parts.data = 96, "tensor `b` ends at byte 128 of the numbers and 96 are there");
    lie(&|parts| parts.data = 0, "0 are there");
    lie(&|parts| parts.tensors[0].sizes = vec![], "has 0 dimensions");
    lie(&|parts| parts.tensors[0].sizes = vec![1; 5], "has 5 dimensions");
    lie(&|parts| parts.tensors[0].sizes = vec![0, 8], "rows of 0");
    lie(&|parts| parts.tensors[0].sizes = vec![8, 0], "impossible sizes");
    lie(&|parts| parts.tensors[0].sizes = vec![1 << 62, 1 << 62], "impossible sizes");
    lie(&|parts| parts.tensors[0].sizes = vec![1 << 40, 2], "ends at byte");
    lie(&|parts| parts.tensors[0].kind = 8, "q8_0 needs a multiple of 32");
    lie(&|parts| parts.tensors[0].kind = 12, "q4_K needs a multiple of 256");
    lie(
        &|parts| parts.tensors[0].kind = 13,
        "tensor `a` is of type Q5_K; F32, F16, BF16, Q8_0, Q4_0 and Q4_K",
    );
    lie(&|parts| parts.tensors[0].kind = 999, "is of type number 999");
    let fact = |key: &str, fact: Fact| {
        let pair = (key.to_string(), fact);
        move |parts: &mut Parts| parts.facts.push(pair.clone())
    };
    lie(&fact("general.architecture", Fact::Bool(true)), "is stated twice");
    lie(&fact("general.alignment", Fact::U32(24)), "no power of two");
    lie(&fact("general.alignment", Fact::U32(0)), "no power of two");
    lie(&fact("general.alignment", Fact::U32(1 << 31)), "no power of two");
}

/// Replaces the first place of `what` after `key`.
fn patched(bytes: &[u8], key: &str, skip: usize, with: &[u8]) -> Vec<u8> {
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).unwrap();
    let at = at + key.len() + skip;
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// Norms are computed with in f32, however narrow a stranger's file has them.
#[test]
fn a_norm_in_blocks_is_widened() {
    let whole = written(&model(360), Manner::ByteLevel, Encoding::F32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    for kind in [1u32, 8] {
        // Behind the name the number of dimensions, one of them, and the type.
        let bytes = patched(&whole, "blk.0.attn_norm.weight", 4 + 8, &kind.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let opened = gguf::open(&path).unwrap().model.weights;
        assert!(
            matches!(&opened.blocks[0].attention_norm_d, Stored::Memory(norm) if norm.len() == 32)
        );
    }
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    let whole = written(&model(360), Manner::SentencePiece, Encoding::F32);
    for lie in [u64::MAX, 1 << 62, 1 << 40, whole.len() as u64] {
        let lie = lie.to_le_bytes();
        for at in [8, 16, 24] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&lie);
            let said = said(&bytes);
            assert!(said.contains("is no whole GGUF file"), "{said}");
        }
        // The length of a text, and of two lists.
        said(&patched(&whole, "general.architecture", 4, &lie));
        said(&patched(&whole, "tokenizer.ggml.tokens", 8, &lie));
        said(&patched(&whole, "tokenizer.ggml.scores", 8, &lie));
    }
    for kind in [9u32, 13, 255] {
        let said = said(&patched(&whole, "tokenizer.ggml.tokens", 4, &kind.to_le_bytes()));
        assert!(said.contains("`tokenizer.ggml.tokens`"), "{said}");
    }
}

#[test]
fn facts_that_lie_are_named() {
    let whole = written(&model(360), Manner::SentencePiece, Encoding::F32);
    let lie = |key: &str, with: &[u8], expected: &str| {
        let said = said(&patched(&whole, key, 4, with));
        assert!(said.contains(expected), "{key}: {said}");
    };
    let number = |number: u32| number.to_le_bytes();
    lie("llama.block_count", &number(4096), "tensors are too few for 4096 blocks");
    lie("llama.block_count", &number(u32::MAX), "outside 1..=");
    lie("llama.block_count", &number(0), "outside 1..=");
    lie("llama.block_count", &number(1), "`blk.1.attn_k.weight` belongs to no part");
    lie("llama.embedding_length", &number(64), "a head is 16 wide");
    lie("llama.feed_forward_length", &number(32), "tensor `blk.0.ffn_gate.weight` has shape");
    lie("llama.attention.head_count", &number(8), "a head is 4 wide");
    lie("llama.attention.head_count_kv", &number(3), "does not divide");
    lie("llama.context_length", &number(u32::MAX), "`context` is");
    lie("llama.vocab_size", &number(361), "`token_embd.weight` has 360 rows");
    lie("llama.rope.freq_base", &f32::NAN.to_le_bytes(), "must be positive");
    lie("llama.rope.freq_base", &(-1.0f32).to_le_bytes(), "must be positive");
    lie("bos_token_id", &number(360), "outside the vocabulary of 360");
    lie("eos_token_id", &number(u32::MAX), "outside the vocabulary of 360");
    lie("unknown_token_id", &number(400), "outside the vocabulary of 360");
    let lie = |key: &str, skip, with: &[u8], expected: &str| {
        let said = said(&patched(&whole, key, skip, with));
        assert!(said.contains(expected), "{key}: {said}");
    };
    lie("ggml.scores", 16, &f32::NAN.to_le_bytes(), "the score of token 0 is not a number");
    lie("ggml.token_type", 16, &number(77), "token 0 is of the unknown type 77");
    lie("ggml.model", 12, b"llima", "its tokenizer is of the kind `llima`");
    lie("general.architecture", 12, b"llima", "its architecture is `llima`");
    lie("llama.vocab_size", 0, &number(6), "`llama.vocab_size` is of the wrong type");
    lie("llama.block_c", 0, b"_unt", "`llama.block_c_unt` is not supported");
}

/// Positions that are stretched as Llama 3's.
fn stretched(original_context: usize) -> ModelFolder {
    let scaling =
        RopeScaling { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context };
    // As in Llama 3, the slowest frequency is divided by all of the factor.
    let (rope, rope_scaling) = (500_000.0, Some(scaling));
    let config = ModelConfig { rope, rope_scaling, tied: true, ..model(360).config };
    let weights: Parameters = init::untrained(&config, 1);
    ModelFolder { config, weights, ..model(360) }
}

#[test]
fn stretched_positions_come_back() {
    for original in [16, 8192] {
        let model = stretched(original);
        let bytes = written(&model, Manner::ByteLevel, Encoding::F32);
        let read_back = read(&bytes);
        assert_eq!(read_back.model.config, model.config);
        assert_eq!(read_back.model.weights, model.weights);
        // Other programs' files have the divisors alone.
        let mut foreign = bytes;
        for key in ["factor", "low_freq_factor", "high_freq_factor", "original_context"] {
            foreign = patched(&foreign, &format!("llamake.rope.{}", &key[..3]), 0, b"???");
        }
        if original == 8192 {
            assert_eq!(read(&foreign).model.config, model.config);
        } else {
            let said = said(&foreign);
            assert!(said.contains("in another way than Llama 3's"), "{said}");
        }
    }
}

/// Frequencies so fast that the settings stretch none of them.
#[test]
fn settings_that_stretch_nothing_come_back() {
    let mut model = stretched(8192);
    model.config.rope = 500.0;
    let read_back = read(&written(&model, Manner::ByteLevel, Encoding::F32));
    assert_eq!(read_back.model.config, model.config);
}

#[test]
fn a_missing_file_is_named() {
    let failure = gguf::read(Path::new("/nowhere/a.gguf")).unwrap_err();
    assert!(matches!(failure, Failure::Io { .. }));
}
