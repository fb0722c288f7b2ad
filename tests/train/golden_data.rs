//! Conformance of tokenisation and chat masks with reference stacks, on the same folders as
//! `golden.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use llamake::train::data::chat::{ChatFormat, Template};
use llamake::train::data::pack::{IGNORE, Packing, Row, pack_examples};
use llamake::train::data::rows::Message;
use llamake::train::data::tokenizer::Tokenizer;
use serde_json::Value;

fn cases(kind: &str) -> Vec<(PathBuf, Value)> {
    crate::golden::cases(kind).into_iter().map(|case| (case.folder, case.json)).collect()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn golden_tokenizer() {
    for (folder, case) in cases("tokenizer") {
        let tokenizer = Tokenizer::load(&folder.join("tokenizer")).unwrap();
        let expected = &case["expected"];
        assert_eq!(u64::from(tokenizer.bos().id), case["config"]["bos"].as_u64().unwrap());
        assert_eq!(u64::from(tokenizer.eos().id), case["config"]["eos"].as_u64().unwrap());
        for vector in expected["vectors"].as_array().unwrap() {
            check_vector(&tokenizer, vector);
        }
    }
}

/// The reference takes special tokens in a text at their word, as a template's own text is taken.
fn check_vector(tokenizer: &Tokenizer, vector: &Value) {
    let text = vector["text"].as_str().unwrap();
    let mut ids = Vec::new();
    let mut at = 0;
    let specials = tokenizer.find_specials(text);
    for (id, place) in &specials {
        ids.extend(tokenizer.encode(&text[at..place.start]));
        ids.push(*id);
        at = place.end;
    }
    ids.extend(tokenizer.encode(&text[at..]));
    assert_eq!(ids, numbers(&vector["ids_without_special"]), "{text:?}");
    let with_bos = numbers(&vector["ids"]);
    assert_eq!(tokenizer.decode_with_specials(&with_bos), vector["decoded"].as_str().unwrap());
    assert_eq!(tokenizer.decode(&with_bos), vector["decoded_skip_special"].as_str().unwrap());
    let plain = tokenizer.encode(text);
    assert_eq!(tokenizer.decode(&plain), text, "text stays text");
}

fn messages(value: &Value) -> Vec<Message> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn golden_sft_mask() {
    for (folder, case) in cases("sft_mask") {
        let tokenizer = Tokenizer::load(&folder.join("../tokenizer/tokenizer")).unwrap();
        let jinja = std::fs::read_to_string(folder.join("llama2_chat_template.jinja")).unwrap();
        let format = ChatFormat::new(&Template {
            name: "golden".into(),
            jinja,
            bos: "<s>".into(),
            eos: "</s>".into(),
            forbidden: vec![],
        })
        .unwrap();
        let expected = &case["expected"];
        let mut examples = Vec::new();
        for (at, dialogue) in expected["conversations"].as_array().unwrap().iter().enumerate() {
            let turns = messages(&dialogue["messages"]);
            let text = format.text(at + 1, &turns).unwrap();
            assert_eq!(text, dialogue["text"].as_str().unwrap());
            let example = format.example(&tokenizer, at + 1, &turns).unwrap();
            assert_eq!(example.tokens, numbers(&dialogue["input_ids"]));
            let mask: Vec<u32> = example.learned.iter().map(|&learned| learned.into()).collect();
            assert_eq!(mask, numbers(&dialogue["assistant_mask"]));
            let prompt = format.prompt(&tokenizer, at + 1, &turns[..turns.len() - 1]).unwrap();
            assert!(example.tokens.starts_with(&prompt), "training continues the prompt");
            let first = example.learned[prompt.len()..].iter().all(|&learned| learned);
            assert!(first, "all after the last prompt is learned");
            examples.push(example);
        }
        for roles in expected["must_be_refused"].as_array().unwrap() {
            let roles = roles.as_array().unwrap().iter().map(|role| role.as_str().unwrap());
            let turns: Vec<Message> = roles.map(|role| Message::new(role, "word")).collect();
            format.text(1, &turns).unwrap_err();
        }
        let context = expected["pack_seq_length"].as_u64().unwrap() as usize;
        let rows = pack_examples(&examples, context, Packing::Isolated).unwrap();
        check_bins(&rows, expected);
        for at in 0..rows.len() {
            check_packed(&folder.join(format!("packed_{at}.safetensors")), &rows);
        }
    }
}

/// Bins as sets of lengths, each with the number of labels it holds.
fn check_bins(rows: &[Row], expected: &Value) {
    let ours: BTreeSet<(Vec<usize>, usize)> = rows
        .iter()
        .map(|row| {
            let mut lengths: Vec<usize> = row.segments.iter().map(|s| s.len()).collect();
            lengths.sort();
            (lengths, row.supervised())
        })
        .collect();
    let bins = expected["packed_bins"].as_array().unwrap().iter();
    let theirs: BTreeSet<(Vec<usize>, usize)> = bins
        .map(|bin| {
            let mut lengths: Vec<usize> =
                numbers(&bin["seq_lengths"]).into_iter().map(|n| n as usize).collect();
            lengths.sort();
            (lengths, bin["targets"].as_u64().unwrap() as usize)
        })
        .collect();
    assert_eq!(ours, theirs);
}

/// A packed row of the reference is one of ours: ids, segments, and labels, which stand one place
/// later than our targets.
fn check_packed(file: &Path, rows: &[Row]) {
    let bytes = std::fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| -> Vec<i64> {
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks(8).map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap())).collect()
    };
    let (ids, labels, positions) = (read("input_ids"), read("labels"), read("position_ids"));
    let label_of = |target: u32| if target == IGNORE { -100 } else { i64::from(target) };
    let same = |row: &&Row| row.tokens.iter().map(|&id| i64::from(id)).eq(ids.iter().copied());
    let row = rows.iter().find(same).expect("a row with the same tokens");
    let ours: Vec<i64> =
        [-100].into_iter().chain(row.targets.iter().map(|&target| label_of(target))).collect();
    assert_eq!(ours[..labels.len()], labels);
    assert_eq!(row.targets.last(), Some(&IGNORE));
    let restarts: Vec<i64> = row.segments.iter().flat_map(|s| 0..s.len() as i64).collect();
    assert_eq!(restarts, positions);
}
