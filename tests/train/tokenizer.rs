//! Vocabularies: exact size, bytes, digits, and the same file whatever the threads.

use llamake::train::data::chat::Template;
use llamake::train::data::mixture::Mix;
use llamake::train::data::tokenizer::Tokenizer;
use llamake::train::data::vocabulary::{Manner, Vocabulary};
use llamake::train::stage::train_tokenizer::{self, TrainTokenizer};

use super::{file, run_stage, shared_data, told};

fn vocabulary(size: usize, manner: Manner) -> Vocabulary {
    Vocabulary {
        size,
        manner,
        split_digits: true,
        byte_fallback: true,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    }
}

fn texts() -> Vec<String> {
    let lines = [
        "The heron stood by the old bridge and the river went by.",
        "In 1987 there were 1987 herons, in 2024 only 24.",
        "She said <0x41> and </s> and <s> and <unk> again: <0x41> </s> <s>.\n\nThen she left.",
        "naïve café — twice: naïve café",
    ];
    (0..40).map(|at| lines[at % 4].to_owned()).collect()
}

fn train(size: usize, manner: Manner) -> Tokenizer {
    let vocabulary = vocabulary(size, manner);
    vocabulary.train(&vocabulary.count_words(&texts(), 2), 2).unwrap()
}

#[test]
fn the_vocabulary_is_exact_and_in_order() {
    for (size, manner) in [
        (300, Manner::SentencePiece),
        (339, Manner::SentencePiece),
        (259, Manner::SentencePiece),
        (259, Manner::ByteLevel),
        (320, Manner::ByteLevel),
    ] {
        let tokenizer = train(size, manner);
        assert_eq!(tokenizer.vocab(), size);
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let json = std::fs::read(folder.path().join("tokenizer.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let vocab = &json["model"]["vocab"];
        assert_eq!(
            (&vocab["<unk>"], &vocab["<s>"], &vocab["</s>"]),
            (&0.into(), &1.into(), &2.into())
        );
        if manner == Manner::SentencePiece {
            assert_eq!((&vocab["<0x00>"], &vocab["<0xFF>"]), (&3.into(), &258.into()));
        }
        assert_eq!(json["added_tokens"].as_array().unwrap().len(), 3);
        let again = Tokenizer::load(folder.path()).unwrap();
        for text in texts() {
            assert_eq!(again.encode(&text), tokenizer.encode(&text));
        }
    }
}

#[test]
fn a_vocabulary_that_cannot_be_made_is_refused() {
    let refused = |vocabulary: Vocabulary| {
        let counts = vocabulary.count_words(&texts(), 1);
        told(vocabulary.train(&counts, 1).unwrap_err(), std::path::Path::new("-"))
    };
    let large = refused(vocabulary(5000, Manner::SentencePiece));
    assert!(
        large.starts_with("a vocabulary of 5000 was asked for and the text yields "),
        "{large}"
    );
    assert!(large.contains("| set `vocab` to "), "{large}");
    let made: usize =
        large.split("yields ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(train(made, Manner::SentencePiece).vocab(), made);
    let absurd = refused(vocabulary(usize::MAX, Manner::SentencePiece));
    assert!(absurd.contains("the text yields"), "{absurd}");
    let uncovered = Vocabulary { byte_fallback: false, ..vocabulary(20, Manner::SentencePiece) };
    assert!(refused(uncovered).contains("cannot hold the"));
    let level = Vocabulary { byte_fallback: false, ..vocabulary(300, Manner::ByteLevel) };
    assert!(refused(level).starts_with("a byte-level vocabulary always covers every byte"));
    let twice = Vocabulary { eos: "<s>".into(), ..vocabulary(300, Manner::ByteLevel) };
    assert!(refused(twice).starts_with("two special tokens are named `<s>`"));
}

#[test]
fn any_text_comes_back() {
    for manner in [Manner::SentencePiece, Manner::ByteLevel] {
        let tokenizer = train(330, manner);
        for text in [
            "",
            " ",
            "  two  blanks ",
            "llama 🦙 and 你好",
            "<0x41>",
            "</s><s><unk>",
            "a\n\n\tb\r\n",
            "0123456789",
            "[INST] hello [/INST]",
            "\u{0}\u{1}",
            "é vs e\u{301}",
        ] {
            let ids = tokenizer.encode(text);
            assert_eq!(tokenizer.decode(&ids), text, "{manner:?}");
            assert!(ids.iter().all(|&id| id > 2), "{text:?} holds no special token");
        }
    }
}

#[test]
fn bytes_stand_for_what_no_piece_covers_and_for_nothing_else() {
    let tokenizer = train(339, Manner::SentencePiece);
    let llama = tokenizer.encode("🦙");
    let expected: Vec<u32> = "🦙".bytes().map(|byte| 3 + u32::from(byte)).collect();
    assert!(llama.ends_with(&expected), "{llama:?}");
    let spelled = tokenizer.encode("<0x41> <0x41> </s> <s>");
    assert!(spelled.iter().all(|&id| id > 258), "{spelled:?}");
}

#[test]
fn without_byte_fallback_the_rest_is_unknown() {
    let vocabulary = Vocabulary { byte_fallback: false, ..vocabulary(120, Manner::SentencePiece) };
    let counts = vocabulary.count_words(&texts(), 1);
    let tokenizer = vocabulary.train(&counts, 1).unwrap();
    assert_eq!(tokenizer.vocab(), 120);
    assert!(tokenizer.encode("🦙").contains(&0));
    assert_eq!(tokenizer.decode(&tokenizer.encode("naïve café — twice")), "naïve café — twice");
}

#[test]
fn digits_stand_alone() {
    for manner in [Manner::SentencePiece, Manner::ByteLevel] {
        let tokenizer = train(330, manner);
        let digits = |text: &str| {
            let ids = tokenizer.encode(text);
            ids.iter()
                .filter(|&&id| tokenizer.decode(&[id]).chars().any(|c| c.is_ascii_digit()))
                .count()
        };
        assert_eq!(digits("In 1987 there were 1987 herons"), 8);
        let joined = Vocabulary { split_digits: false, ..vocabulary(330, manner) };
        let counts = joined.count_words(&texts(), 1);
        let joined = joined.train(&counts, 1).unwrap();
        assert!(joined.encode("1987").len() < tokenizer.encode("1987").len());
    }
}

/// The stage itself, over rows of text and dialogues.
fn stage_bytes(threads: usize, text: &str, vocab: u64) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = text
        .split("\n\n")
        .filter(|text| !text.trim().is_empty())
        .map(|text| serde_json::json!({ "text": text }).to_string() + "\n")
        .collect();
    let text = file(folder.path(), "text", rows);
    let params = TrainTokenizer {
        text: Mix::Joined(vec![text]),
        dialogues: None,
        template: None,
        vocab,
        manner: Manner::SentencePiece,
        split_digits: true,
        byte_fallback: true,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    let (out, result) = run_stage(threads, |ctx| train_tokenizer::run(&params, ctx));
    assert_eq!(result.unwrap()[0], ("vocab".to_owned(), vocab as f64));
    ["tokenizer.json", "tokenizer_config.json"]
        .map(|name| std::fs::read(out.path().join("out").join(name)).unwrap())
        .to_vec()
}

#[test]
fn the_same_bytes_whatever_the_threads() {
    let Some(data) = shared_data("text") else { return };
    let text = std::fs::read_to_string(data.join("tinyshakespeare.txt")).unwrap();
    let first = stage_bytes(1, &text, 2000);
    for threads in [2, 3, 1] {
        assert!(first == stage_bytes(threads, &text, 2000), "{threads} threads");
    }
}

#[test]
fn shares_weigh_sources() {
    let folder = tempfile::tempdir().unwrap();
    let row = |text: &str| serde_json::json!({ "text": text }).to_string() + "\n";
    let common = file(folder.path(), "a", row("heron").repeat(1000));
    let rare = file(folder.path(), "b", row("tapir").repeat(3));
    let pieces = |common_percent: f64| {
        let shares = vec![(common_percent, common.clone()), (100.0 - common_percent, rare.clone())];
        let params = TrainTokenizer {
            text: Mix::Shares(shares),
            dialogues: None,
            template: None,
            vocab: 274,
            manner: Manner::SentencePiece,
            split_digits: true,
            byte_fallback: true,
            bos: "<s>".into(),
            eos: "</s>".into(),
            unknown: "<unk>".into(),
        };
        let (out, result) = run_stage(1, |ctx| train_tokenizer::run(&params, ctx));
        result.unwrap();
        let tokenizer = Tokenizer::load(&out.path().join("out")).unwrap();
        (tokenizer.encode("heron").len(), tokenizer.encode("tapir").len())
    };
    let (heron, tapir) = pieces(99.0);
    assert!(heron == 1 && tapir > 1, "{heron} {tapir}");
    let (heron, tapir) = pieces(1.0);
    assert!(heron > 1 && tapir == 1, "{heron} {tapir}");
}

/// Dialogues are counted as the template writes them, without its special tokens.
#[test]
fn dialogues_are_counted_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let text = file(folder.path(), "text", "{\"text\":\"heron\"}\n");
    let row = "{\"messages\":[{\"role\":\"user\",\"content\":\"tapir\"},\
               {\"role\":\"assistant\",\"content\":\"heron\"}]}\n";
    let dialogues = file(folder.path(), "dialogues", row.repeat(50));
    let jinja = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + \
                 m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}\
                 {% endif %}{% endfor %}";
    let mut params = TrainTokenizer {
        text: Mix::Joined(vec![text]),
        dialogues: Some(Mix::Joined(vec![dialogues])),
        template: Some(Template {
            name: "plain".into(),
            jinja: jinja.into(),
            bos: "<s>".into(),
            eos: "</s>".into(),
            forbidden: vec![],
        }),
        vocab: 294,
        manner: Manner::SentencePiece,
        split_digits: true,
        byte_fallback: true,
        bos: "<s>".into(),
        eos: "</s>".into(),
        unknown: "<unk>".into(),
    };
    let (out, result) = run_stage(1, |ctx| train_tokenizer::run(&params, ctx));
    result.unwrap();
    let tokenizer = Tokenizer::load(&out.path().join("out")).unwrap();
    for word in ["[INST]", "[/INST]", "tapir", "heron"] {
        assert_eq!(tokenizer.encode(word).len(), 1, "{word}");
    }
    params.template = None;
    let (_out, result) = run_stage(1, |ctx| train_tokenizer::run(&params, ctx));
    let told = told(result.unwrap_err(), folder.path());
    assert!(told.starts_with("`dialogues` are counted as `template` writes them"), "{told}");
}
