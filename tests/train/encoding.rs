//! Encoding by hand gives the ids of the `tokenizers` crate, for every pipeline that is recognised,
//! on anything; and what is not recognised goes through the crate.

use std::io::Read;
use std::path::Path;

use llamake::train::data::bpe::{Bpe, Encoder};
use llamake::train::data::files;
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::kernels::rng::{Stream, Walk};
use serde_json::{Value, json};

use super::shared_data;

/// A vocabulary learnt from a little of everything, as its `tokenizer.json` says it.
fn learnt(manner: Manner, split_digits: bool, byte_fallback: bool) -> Value {
    let vocabulary = Vocabulary {
        size: 600,
        manner,
        split_digits,
        byte_fallback,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    let mut walk = Stream::new(3, "vocabulary").walk();
    let mut texts: Vec<String> = (0..200).map(|_| scramble(&mut walk, &POOL[..COMMON])).collect();
    texts.extend(PROSE.lines().map(str::to_string));
    let tokenizer = vocabulary.train(&vocabulary.count_words(&texts, 2), 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    let json = std::fs::read(folder.path().join("tokenizer.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

const PROSE: &str = "It's what they'll say: we've been to the bridge, and I'd seen 1987 herons.\n\
    The keeper couldn't count them; she's sure there were 24 or more -- \"twenty-four!\"\n\
    naïve café — twice: naïve café, привет мир, 你好世界\n    indented    text\twith tabs\n";

/// The crate's own, set as [`Tokenizer`] sets it.
fn peer(json: &Value) -> tokenizers::Tokenizer {
    let mut peer: tokenizers::Tokenizer = serde_json::from_value(json.clone()).unwrap();
    peer.set_encode_special_tokens(true);
    peer
}

/// Every pipeline that is encoded by hand, with its name.
fn recognised() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for digits in [false, true] {
        for bytes in [false, true] {
            let pieces = learnt(Manner::SentencePiece, digits, bytes);
            let mut uncut = pieces.clone();
            uncut["pre_tokenizer"] = Value::Null;
            all.push((format!("pieces, digits {digits}, bytes {bytes}"), pieces));
            all.push((format!("uncut, digits {digits}, bytes {bytes}"), uncut));
        }
        let level = learnt(Manner::ByteLevel, digits, true);
        all.push((format!("byte-level, digits {digits}"), level.clone()));
        if !digits {
            // As GPT-2's own file says it.
            let mut alone = level;
            alone["pre_tokenizer"] = json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            });
            all.push(("byte-level alone".into(), alone));
        }
    }
    all
}

/// What texts are thrown together from: common things first.
const POOL: [&str; 48] = [
    "a",
    "b",
    "e",
    "th",
    "ing",
    "Z",
    " ",
    " ",
    "  ",
    "\n",
    ".",
    ",",
    "'",
    "'s",
    "'ll",
    "n't",
    "1",
    "23",
    "é",
    "я",
    "好",
    "e\u{301}",
    "\t",
    "    ",
    "\n\n\n",
    "▁",
    "▁▁",
    "\r\n",
    "\u{a0}",
    "\u{3000}",
    "٣",
    "½",
    "Ⅷ",
    "\u{0}",
    "\u{feff}",
    "🦙",
    "👩‍🚀",
    "\u{10FFFD}",
    "\u{fffd}",
    "</s>",
    "<s>",
    "<unk>",
    "<0x41>",
    "Ġ",
    "Ċ",
    "\u{85}",
    "\u{200b}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];
const COMMON: usize = 24;

fn scramble(walk: &mut Walk, pool: &[&str]) -> String {
    (0..walk.below(24)).map(|_| *walk.pick(pool)).collect()
}

/// Any characters at all, the letters of some script in a row.
fn any_characters(walk: &mut Walk) -> String {
    let mut text = String::new();
    for _ in 0..walk.below(12) {
        let first = walk.below(0x11_0000) as u32;
        let run = (first..first + 1 + walk.below(4) as u32).filter_map(char::from_u32);
        text.extend(run);
        if walk.chance(30) {
            text.push(' ');
        }
    }
    text
}

fn assert_equal(name: &str, peer: &tokenizers::Tokenizer, encoder: &mut Encoder, text: &str) {
    let mut ids = vec![7];
    encoder.encode(text, &mut ids);
    let expected = peer.encode_fast(text, false).unwrap();
    let shown: String = text.chars().take(200).collect();
    assert!(ids[0] == 7 && ids[1..] == *expected.get_ids(), "{name}: {shown:?}");
}

#[test]
fn ids_are_those_of_the_crate_on_anything() {
    for (name, json) in recognised() {
        let peer = peer(&json);
        let bpe = Bpe::of(&peer).unwrap_or_else(|| panic!("{name} is not recognised"));
        let mut encoder = Encoder::new(&bpe);
        let mut walk = Stream::new(1, "texts").walk();
        for _ in 0..400 {
            assert_equal(&name, &peer, &mut encoder, &scramble(&mut walk, &POOL));
            assert_equal(&name, &peer, &mut encoder, &any_characters(&mut walk));
        }
        // A single text, without a memory of words.
        assert_equal(&name, &peer, &mut Encoder::once(&bpe), PROSE);
        let long = ["heron", "好", " ", "\n", "▁", "7", "</s>", "🦙"].map(|text| text.repeat(9000));
        for text in long {
            assert_equal(&name, &peer, &mut encoder, &text);
            assert_equal(&name, &peer, &mut encoder, &format!("a {text} b"));
        }
    }
}

/// The documents of a shared file: rows of a table, or paragraphs.
fn documents(path: &Path) -> Vec<String> {
    let mut text = String::new();
    files::open(path).unwrap().read_to_string(&mut text).unwrap();
    let row = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(row) => row["text"].as_str().unwrap_or(line).to_string(),
        Err(_) => line.to_string(),
    };
    match path.to_string_lossy().contains(".json") {
        true => text.lines().map(row).collect(),
        false => text.split_inclusive("\n\n").map(str::to_string).collect(),
    }
}

#[test]
fn ids_are_those_of_the_crate_on_every_shared_text() {
    let Some(folder) = shared_data("text") else { return };
    let mut seen = 0;
    for (manner, digits) in [(Manner::SentencePiece, true), (Manner::ByteLevel, false)] {
        let json = learnt(manner, digits, true);
        let peer = peer(&json);
        let bpe = Bpe::of(&peer).unwrap();
        for file in files::expand(std::slice::from_ref(&folder)).unwrap() {
            let documents = documents(&file);
            std::thread::scope(|scope| {
                for part in documents.chunks(documents.len().div_ceil(2)) {
                    let (peer, bpe) = (&peer, &bpe);
                    scope.spawn(move || {
                        let mut encoder = Encoder::new(bpe);
                        part.iter().for_each(|text| assert_equal("", peer, &mut encoder, text));
                    });
                }
            });
            seen += documents.iter().map(String::len).sum::<usize>();
        }
    }
    assert!(seen > 2 * 4_000_000, "{seen} bytes");
}

#[test]
fn what_is_not_recognised_goes_through_the_crate() {
    let json = learnt(Manner::SentencePiece, true, true);
    assert!(Bpe::of(&peer(&json)).is_some());
    let changed = |path: &str, value: Value| {
        let mut json = json.clone();
        *json.pointer_mut(path).unwrap() = value;
        json
    };
    let split = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
    let mut crossing = changed("/pre_tokenizer", Value::Null);
    let entries = crossing["model"]["vocab"].as_object().unwrap().len();
    crossing["model"]["vocab"]["e▁"] = entries.into();
    crossing["model"]["merges"].as_array_mut().unwrap().push(json!(["e", "▁"]));
    let cases = [
        ("a piece beyond a blank", crossing),
        ("another expression", changed(split, "▁+(?=▁)|▁?[^▁]+|▁".into())),
        ("one split less", changed("/pre_tokenizer/pretokenizers", json!([]))),
        ("another normalizer", changed("/normalizer/normalizers/0/prepend", "▁▁".into())),
        ("none", changed("/normalizer", Value::Null)),
        ("dropout", changed("/model/dropout", json!(0.1))),
        ("whole words first", changed("/model/ignore_merges", json!(true))),
        ("a suffix", changed("/model/end_of_word_suffix", "_".into())),
        ("an added word", changed("/added_tokens/2/special", json!(false))),
        (
            "truncation",
            changed(
                "/truncation",
                json!({
                    "max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right",
                }),
            ),
        ),
    ];
    for (name, json) in cases {
        assert!(Bpe::of(&peer(&json)).is_none(), "{name}");
        let other = peer(&json);
        let Ok(tokenizer) = Tokenizer::new(other.clone(), "<s>", "</s>", Some("<unk>")) else {
            panic!("{name} is no tokenizer")
        };
        if name != "dropout" {
            let expected = other.encode_fast(PROSE, false).unwrap();
            assert_eq!(tokenizer.encode(PROSE), expected.get_ids(), "{name}");
        }
    }
}
