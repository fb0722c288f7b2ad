//! Tokenizers that others made: cut as their own programs cut, to the letter, and whatever a
//! hostile file holds, it is refused or harmless.

use std::path::{Path, PathBuf};

use llamake::train::data::sentencepiece::{self, Piece, PieceKind, Rules};
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::tokenizer_files::{self, Names};
use llamake::train::progress::{Failure, Metrics};
use llamake::train::stage::read_tokenizer::{self, ReadTokenizer};
use serde_json::{Value, json};

use super::{file, run_stage, shared_data, told};

/// Made by `foreign_tokens.py` beside it.
const EXPECTED: &str = include_str!("fixtures/foreign_tokens.json");

fn foreign(name: &str) -> Option<Tokenizer> {
    let folder = shared_data("tokenizers")?.join(name);
    Some(tokenizer_files::read(&[folder], &Names::default()).unwrap())
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn digest<'l>(tokenizer: &Tokenizer, lines: impl Iterator<Item = &'l str>) -> u64 {
    let step = |state: u64, number: u64| {
        state.wrapping_mul(1_099_511_628_211).wrapping_add(number).wrapping_add(1)
    };
    lines.fold(0, |state, line| {
        let ids = tokenizer.encode(line);
        let state = step(state, ids.len() as u64);
        ids.into_iter().fold(state, |state, id| step(state, id.into()))
    })
}

#[test]
fn text_is_cut_as_the_programs_they_were_made_for_cut_it() {
    let Some(data) = shared_data("text") else { return };
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let nasty: Vec<&str> =
        expected["nasty"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for (name, expected) in expected["encoders"].as_object().unwrap() {
        let tokenizer = foreign(name).unwrap();
        for (text, ids) in nasty.iter().zip(expected["nasty"].as_array().unwrap()) {
            let cut = tokenizer.encode(text);
            assert_eq!(cut, numbers(ids), "{name}: {text:?}");
            // SentencePiece does not tell a blank from the sign it writes for one.
            let marked = ["llama2", "mistral_v1"].contains(&name.as_str());
            let again = if marked { text.replace('▁', " ") } else { text.to_string() };
            assert_eq!(tokenizer.decode(&cut), again, "{name}");
        }
        for (file, expected) in expected["texts"].as_object().unwrap() {
            let text = std::fs::read_to_string(data.join(file)).unwrap();
            let cut = digest(&tokenizer, text.split('\n')).to_string();
            assert_eq!(cut, expected.as_str().unwrap(), "{name}: {file}");
        }
    }
}

/// The published ids of one French text; those of Llama begin with its `bos`, those of GPT-2 with
/// the text.
#[test]
fn published_encodings_are_met() {
    let Some(folder) = shared_data("tokenizers/golden") else { return };
    for (name, file, with_bos) in [
        ("llama2", "llama_encoded.json", true),
        ("mistral_v1", "", false),
        ("gpt2", "gpt2_encoded_tokens.json", false),
    ] {
        let tokenizer = foreign(name).unwrap();
        assert_eq!(tokenizer.vocab(), if name == "gpt2" { 50257 } else { 32000 });
        if file.is_empty() {
            continue;
        }
        let published = std::fs::read_to_string(folder.join(file)).unwrap();
        let published: Value = serde_json::from_str(&published).unwrap();
        let text = published["text"].as_str().unwrap();
        let mut ids = if with_bos { vec![tokenizer.bos().id] } else { vec![] };
        ids.extend(tokenizer.encode(text));
        assert_eq!(ids, numbers(&published["token_ids"]), "{name}");
        assert_eq!(tokenizer.decode(&ids), text);
        let placed = tokenizer.encode_placed(text);
        let covered: usize = placed.iter().map(|(_, place)| place.len()).sum();
        assert_eq!(covered, text.len(), "each byte belongs to one token");
    }
}

/// A small SentencePiece model, by its own program.
#[test]
fn a_small_sentencepiece_model_is_read() {
    for case in crate::golden::cases("tokenizer") {
        let path = case.folder.join("tokenizer.model");
        let tokenizer = tokenizer_files::read(&[path], &Names::default()).unwrap();
        assert_eq!((tokenizer.bos().text.as_str(), tokenizer.eos().text.as_str()), ("<s>", "</s>"));
        for text in ["", "hello  world", "</s> <0x41>", "naïve 你好 🦙\n"] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text);
        }
    }
}

fn read(params: &ReadTokenizer) -> (tempfile::TempDir, Result<Metrics, Failure>) {
    run_stage(1, |ctx| read_tokenizer::run(params, ctx))
}

fn params(files: Vec<PathBuf>, vocab: u64) -> ReadTokenizer {
    ReadTokenizer { files, vocab, bos: None, eos: None, unknown: None }
}

/// What the stage writes is read again and cuts the same.
#[test]
fn the_stage_writes_what_it_read() {
    let Some(folder) = shared_data("tokenizers") else { return };
    let text = "  The llama's 123 <think> </s> ▁ naïve\n\t🦙 你好";
    for (name, vocab) in
        [("llama2", 32000), ("mistral_v1", 32000), ("gpt2", 50257), ("minimind", 6400)]
    {
        let (out, result) = read(&params(vec![folder.join(name)], vocab));
        assert_eq!(result.unwrap()[0], ("vocab".to_owned(), vocab as f64));
        let written = Tokenizer::load(&out.path().join("out")).unwrap();
        let source = foreign(name).unwrap();
        assert_eq!(written.encode(text), source.encode(text), "{name}");
        assert_eq!((written.bos(), written.eos()), (source.bos(), source.eos()));
        // The same bytes from the files named one by one.
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.reverse();
        let (again, result) = read(&params(files, vocab));
        result.unwrap();
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            let bytes = |out: &Path| std::fs::read(out.join("out").join(file)).unwrap();
            assert!(bytes(out.path()) == bytes(again.path()), "{name}: {file}");
        }
    }
    let (_out, result) = read(&params(vec![folder.join("minimind")], 6399));
    assert_eq!(
        told(result.unwrap_err(), &folder),
        "the tokenizer has 6400 entries and `vocab` declares 6399 | set `vocab` to 6400, or to \
         what the model has"
    );
    let (_out, result) = read(&params(vec![folder.join("minimind")], 6464));
    assert_eq!(result.unwrap()[1], ("entries".to_owned(), 6400.0));
}

/// A byte-level tokenizer of a few entries, changed for a test.
fn tiny(change: impl Fn(&mut Value)) -> Result<Tokenizer, Failure> {
    let bytes = (0..=255).map(|byte| {
        let c = llamake::train::data::tokenizer_json::byte_character(byte);
        (c, json!(byte))
    });
    let mut vocab: serde_json::Map<String, Value> = bytes.collect();
    for (at, text) in ["</", "s>", "</s>", "<s>", "he", "hel"].iter().enumerate() {
        vocab.insert(text.to_string(), json!(256 + at));
    }
    let step = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    let mut tokenizer = json!({
        "version": "1.0",
        "added_tokens": [{ "id": 262, "content": "<think>", "special": false }],
        "pre_tokenizer": step, "decoder": step,
        "model": {
            "type": "BPE", "vocab": vocab,
            "merges": ["< /", "s >", ["</", "s>"], "h e", "he l"],
        },
    });
    change(&mut tokenizer);
    Tokenizer::from_json(tokenizer, "<s>", "</s>", None)
}

#[test]
fn merges_that_spell_a_special_token_are_left_out() {
    let tokenizer = tiny(|_| {}).unwrap();
    assert_eq!(tokenizer.vocab(), 263);
    assert_eq!(tokenizer.encode("hel</s>"), [261, 256, 257]);
    assert_eq!(tokenizer.encode("<think>"), [262], "an added token is no special one");
    // Words that are entries are taken whole, but for special ones.
    let whole = tiny(|json| json["model"]["ignore_merges"] = json!(true)).unwrap();
    assert_eq!(whole.encode("</s>"), [256, 257]);
    assert_eq!(whole.encode("hel"), [261]);
    assert_eq!(whole.decode(&whole.encode("</s><s>")), "</s><s>");
}

#[test]
fn tokenizers_that_lie_are_refused() {
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let failure = tiny(change).unwrap_err();
        let said = told(failure, Path::new("-"));
        assert!(said.contains(expected), "{said} | {expected}");
    };
    check(
        &|json| json["model"]["type"] = json!("Unigram"),
        "is a Unigram, and only BPE can be read",
    );
    check(&|json| json["model"]["dropout"] = json!(0.1), "its `dropout` is set");
    check(&|json| json["model"]["vocab"]["he"] = json!(7), "gives id 7 to both");
    check(&|json| json["model"]["vocab"]["he"] = json!(-1), "gives `he` the id -1");
    check(
        &|json| json["model"]["vocab"]["he"] = json!(1u64 << 40),
        "gives `he` the id 1099511627776",
    );
    check(
        &|json| json["model"]["vocab"]["he"] = json!(4_000_000_000u64),
        "has an id 4000000000 and only",
    );
    check(
        &|json| json["model"]["merges"][3] = json!("h x"),
        "merges `h` and `x`, and `hx` is no entry",
    );
    check(&|json| json["model"]["merges"][3] = json!("zz"), "has a merge of \"zz\"");
    check(&|json| json["model"]["merges"] = json!(null), "has no `merges`");
    check(&|json| json["model"]["continuing_subword_prefix"] = json!("##"), "marks pieces by");
    check(&|json| json["added_tokens"][0]["id"] = json!(900), "which is not the next that is free");
    check(&|json| json["added_tokens"][0]["id"] = json!(3), "gives id 3 to both");
    check(
        &|json| json["added_tokens"][0]["content"] = json!("he"),
        "gives `he` both id 260 and id 262",
    );
    check(
        &|json| json["added_tokens"][0] = json!({ "id": 33, "content": "!", "special": true }),
        "marks `!` as special, which every text may hold",
    );
    check(
        &|json| _ = json["model"]["vocab"].as_object_mut().unwrap().remove("!"),
        "not every byte",
    );
    check(
        &|json| json["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "" }),
        "has the normalizer `Precompiled`, which cannot be read",
    );
    let grow = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aaaaaaa" });
    let grow = json!({ "type": "Sequence", "normalizers": vec![grow; 40] });
    check(&|json| json["normalizer"] = grow.clone(), "that makes texts");
    let strip = json!({ "type": "Strip", "content": " ", "start": 0, "stop": 5 });
    check(&|json| json["decoder"] = strip.clone(), "strips the end of a text");
    check(&|json| json["model"]["vocab"]["</s>"] = json!(null), "gives `</s>` the id null");
    check(&|json| *json = json!([1]), "is no JSON object");
    let split = |pattern: &str| {
        let split = json!({
            "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
            "invert": false,
        });
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false,
        });
        json!({ "type": "Sequence", "pretokenizers": [split, bytes] })
    };
    check(&|json| json["pre_tokenizer"] = split("(((a{1000}){1000}){1000}){1000}"), "is broken");
    // A pattern that backtracks without end is given up, and the text is not lost.
    let patient = tiny(|json| json["pre_tokenizer"] = split(r"(?=(a+)+b)x|(a+)+(?=b)")).unwrap();
    let text = "a".repeat(5000) + "c";
    assert_eq!(patient.decode(&patient.encode(&text)), text);
}

/// Whatever byte of a file is wrong, it is refused or still safe: nothing panics.
#[test]
fn damaged_files_do_no_harm() {
    let Some(folder) = shared_data("tokenizers") else { return };
    let model = std::fs::read(folder.join("mistral_v1/tokenizer.model")).unwrap();
    // A model of few pieces, with the settings of the whole.
    let tail = &model[model.len() - 200..];
    let mut small = model[..3000].to_vec();
    small.extend(tail);
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut read = 0;
    for round in 0..4000 {
        let mut bytes = small.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if round % 3 == 0 {
            bytes.truncate(random(bytes.len()));
        }
        let Ok(model) = sentencepiece::read("m", &bytes) else { continue };
        let tokenizer = sentencepiece::tokenizer_of(&model.pieces, &model.rules, "<s>", "</s>");
        if let Ok(tokenizer) = tokenizer {
            read += 1;
            tokenizer.decode(&tokenizer.encode("the </s> \u{0} 🦙"));
        }
    }
    let json = std::fs::read_to_string(folder.join("minimind/tokenizer.json")).unwrap();
    for place in [0, 5, 50, 500, json.len() / 2, json.len() - 2] {
        let cut = serde_json::from_str::<Value>(&json[..place]);
        assert!(cut.is_err());
    }
    assert!(read < 4000, "some were refused");
}

fn piece(text: &str, score: f32, kind: PieceKind) -> Piece {
    Piece { text: text.into(), score, kind }
}

fn pieces(more: &[Piece]) -> Vec<Piece> {
    let mut pieces = vec![
        piece("<unk>", 0.0, PieceKind::Unknown),
        piece("<s>", 0.0, PieceKind::Control),
        piece("</s>", 0.0, PieceKind::Control),
    ];
    for c in ["▁", "a", "b", "<", ">", "/", "s"] {
        pieces.push(piece(c, -9.0, PieceKind::Normal));
    }
    pieces.extend_from_slice(more);
    pieces
}

const PLAIN: Rules = Rules { dummy_prefix: false, trim_blanks: false, byte_fallback: false };

#[test]
fn pieces_are_merged_by_score_and_never_into_control() {
    let more = [
        piece("ab", -2.0, PieceKind::Normal),
        piece("ba", -1.0, PieceKind::Normal),
        piece("</", -3.0, PieceKind::Normal),
        piece("s>", -3.0, PieceKind::Normal),
    ];
    let tokenizer = sentencepiece::tokenizer_of(&pieces(&more), &PLAIN, "<s>", "</s>").unwrap();
    assert_eq!(tokenizer.encode("aba"), [4, 11], "the better score first");
    assert_eq!(tokenizer.encode("</s>"), [12, 13]);
    assert_eq!(tokenizer.encode("aéüb"), [4, 0, 5], "what is unknown is one token");
    let rules = Rules { trim_blanks: true, dummy_prefix: true, ..PLAIN };
    let trimming = sentencepiece::tokenizer_of(&pieces(&more), &rules, "<s>", "</s>").unwrap();
    assert_eq!(trimming.encode("  a   b "), [3, 4, 3, 5]);
    assert_eq!(trimming.encode("   "), [0u32; 0]);
    let whole = [piece("bab", 0.0, PieceKind::UserDefined), more[0].clone()];
    let whole = sentencepiece::tokenizer_of(&pieces(&whole), &PLAIN, "<s>", "</s>").unwrap();
    assert_eq!(whole.encode("abab"), [4, 10]);
}

#[test]
fn pieces_that_cannot_be_are_refused() {
    let check = |more: &[Piece], rules: &Rules, expected: &str| {
        let failure = sentencepiece::tokenizer_of(&pieces(more), rules, "<s>", "</s>").unwrap_err();
        let said = told(failure, Path::new("-"));
        assert!(said.contains(expected), "{said}");
    };
    let normal = |text: &str| piece(text, 0.0, PieceKind::Normal);
    check(&[normal("a")], &PLAIN, "piece 10, `a`, is also piece 4");
    check(&[normal("")], &PLAIN, "piece 10 of the vocabulary has 0 bytes");
    check(&[normal("ax")], &PLAIN, "piece `ax` is made of `x`, which is no piece of text itself");
    check(&[piece("ab", f32::NAN, PieceKind::Normal)], &PLAIN, "has no number for a score");
    check(&[piece("ab", 0.0, PieceKind::Unused)], &PLAIN, "is marked unused");
    check(&[piece("?", 0.0, PieceKind::Unknown)], &PLAIN, "2 pieces stand for the unknown");
    check(&[piece("x", 0.0, PieceKind::Control)], &PLAIN, "marks `x` as special");
    let prefixed = Rules { dummy_prefix: true, ..PLAIN };
    check(&[piece("ab", 0.0, PieceKind::UserDefined)], &prefixed, "is always taken whole");
    let said = told(sentencepiece::read("m", b"\x12\x02\x18\x01").unwrap_err(), Path::new("-"));
    assert!(said.starts_with("`m` is no SentencePiece model"), "{said}");
    let unigram = b"\x0a\x03\x0a\x01a\x12\x02\x18\x01";
    let said = told(sentencepiece::read("m", unigram).unwrap_err(), Path::new("-"));
    assert!(said.starts_with("`m` cuts text by the unigram algorithm"), "{said}");
}

#[test]
fn special_tokens_are_named_by_the_files_beside() {
    let Some(folder) = shared_data("tokenizers") else { return };
    let from = folder.join("minimind/tokenizer.json");
    let named = |files: &[(&str, Value)], given: &Names| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(&from, folder.path().join("tokenizer.json")).unwrap();
        for (name, json) in files {
            file(folder.path(), name, json.to_string());
        }
        let read = tokenizer_files::read(&[folder.path().to_path_buf()], given);
        read.map(|tokenizer| (tokenizer.bos().id, tokenizer.eos().id, tokenizer.vocab()))
            .map_err(|failure| told(failure, folder.path()))
    };
    let none = Names::default();
    let object = json!({ "bos_token": { "content": "<|im_start|>" }, "eos_token": "<|im_end|>" });
    assert_eq!(named(&[("tokenizer_config.json", object.clone())], &none), Ok((1, 2, 6400)));
    assert_eq!(named(&[("special_tokens_map.json", object.clone())], &none), Ok((1, 2, 6400)));
    let ids = json!({ "bos_token_id": 1, "eos_token_id": [2, 0] });
    assert_eq!(named(&[("generation_config.json", ids)], &none), Ok((1, 2, 6400)));
    let given = Names { eos: Some("<|endoftext|>".into()), ..none.clone() };
    assert_eq!(named(&[("tokenizer_config.json", object)], &given), Ok((1, 0, 6400)));
    assert_eq!(
        named(&[], &none),
        Err("no file names the token that begins a text | name it in the recipe: `bos` begins a \
             text and `eos` ends it"
            .to_owned())
    );
    let more = json!({
        "bos_token": "<s>", "eos_token": "<|im_end|>",
        "added_tokens_decoder": { "6400": { "content": "<s>", "special": true } },
    });
    assert_eq!(named(&[("tokenizer_config.json", more)], &none), Ok((6400, 2, 6401)));
    let absent =
        Names { unknown: Some("<huh>".into()), bos: Some("<|im_start|>".into()), eos: None };
    let config = json!({ "eos_token": "<|im_end|>", "unk_token": "<absent>" });
    let said = named(&[("tokenizer_config.json", config)], &absent).unwrap_err();
    assert!(said.contains("has no entry for `<huh>`"), "{said}");
}
