//! Scores of texts against those of the programs that others use: of drawn pairs in
//! `metrics/agreement.json`, and of the shared files as a whole where they are.

use std::path::{Path, PathBuf};

use llamake::eval::metric::bleu::{self, Bleu, Smoothing};
use llamake::eval::metric::chrf::{self, Chrf};
use llamake::eval::metric::measure::{Measure, Rouge, Units};
use llamake::eval::metric::porter;
use llamake::eval::metric::rouge::{Score, Summary};
use llamake::eval::metric::tokens::Tokens;
use llamake::eval::task::likened;
use llamake::eval::task::written::Known;
use serde_json::Value;

fn close(got: f64, want: &Value, what: &str) {
    let want = want.as_f64().unwrap_or_else(|| panic!("{what}: no number in {want}"));
    assert!((got - want).abs() < 1e-9 * want.abs().max(1.0), "{what}: got {got}, want {want}");
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The fixture, or a larger one that somebody made.
fn agreement() -> Value {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metrics/agreement.json");
    json(&std::env::var_os("LLAMAKE_AGREEMENT").map_or(own, PathBuf::from))
}

struct Pair {
    answer: String,
    references: Vec<String>,
}

impl Pair {
    fn of(row: &Value) -> Pair {
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let references = row["references"].as_array().unwrap().iter().map(text).collect();
        Pair { answer: text(&row["answer"]), references }
    }

    fn references(&self) -> Vec<&str> {
        self.references.iter().map(String::as_str).collect()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn tokens(name: &str) -> Tokens {
    match name {
        "13a" => Tokens::Thirteen,
        "intl" => Tokens::International,
        "char" => Tokens::Characters,
        "none" => Tokens::None,
        other => panic!("no tokens {other}"),
    }
}

fn smoothing(name: &str, value: &Value) -> Smoothing {
    match name {
        "exp" => Smoothing::Exponential,
        "floor" => Smoothing::Floor(value.as_f64().unwrap()),
        "add-k" => Smoothing::AddK(value.as_f64().unwrap()),
        "none" => Smoothing::None,
        other => panic!("no smoothing {other}"),
    }
}

/// sacrebleu's defaults.
const BLEU: Bleu = Bleu {
    tokens: Tokens::Thirteen,
    lowercase: false,
    smoothing: Smoothing::Exponential,
    effective_order: false,
};

fn corpus_bleu<'p>(bleu: &Bleu, pairs: impl IntoIterator<Item = &'p Pair>) -> bleu::Score {
    let counts = pairs.into_iter().map(|pair| bleu.counts(&pair.answer, &pair.references()));
    bleu.score(&counts.fold(bleu::Counts::default(), |sum, next| sum.and(&next)))
}

fn corpus_chrf<'p>(chrf: Chrf, pairs: impl IntoIterator<Item = &'p Pair>) -> f64 {
    let counts = pairs.into_iter().map(|pair| chrf.counts(&pair.answer, &pair.references()));
    counts.fold(chrf::Counts::default(), |sum, next| sum.and(&next)).score()
}

/// ROUGE-1, -2, -L and -Lsum of an answer.
pub fn rouges(answer: &str, reference: &str, stemmed: bool) -> [Score; 4] {
    let [answer, reference] = [answer, reference].map(|text| Summary::new(text, stemmed));
    [
        answer.grams(&reference, 1),
        answer.grams(&reference, 2),
        answer.sequence(&reference),
        answer.lines(&reference),
    ]
}

#[test]
fn sentences_score_as_in_sacrebleu() {
    for row in list(&agreement()["rows"]) {
        let pair = Pair::of(row);
        for (name, want) in row["bleu"].as_object().unwrap() {
            let bleu = Bleu {
                tokens: tokens(name),
                lowercase: name == "none",
                effective_order: name != "intl",
                ..BLEU
            };
            let got = bleu.of_one(&pair.answer, &pair.references());
            close(got, want, &format!("BLEU {name} of {:?}", pair.answer));
        }
        for (words, want) in [false, true].into_iter().zip(list(&row["chrf"])) {
            let got = Chrf { words, lowercase: false }.of_one(&pair.answer, &pair.references());
            close(got, want, &format!("chrF of {:?}", pair.answer));
        }
    }
}

#[test]
fn summaries_score_as_in_rouge_score() {
    for row in list(&agreement()["rows"]) {
        let pair = Pair::of(row);
        for (stemmed, wanted) in [false, true].into_iter().zip(list(&row["rouge"])) {
            let got = rouges(&pair.answer, &pair.references[0], stemmed);
            for (score, want) in got.iter().zip(list(wanted)) {
                let what = format!("ROUGE of {:?}", pair.answer);
                close(score.precision, &want[0], &what);
                close(score.recall, &want[1], &what);
                close(score.f1(), &want[2], &what);
            }
        }
    }
}

#[test]
fn corpora_score_as_in_sacrebleu() {
    let agreement = agreement();
    let pairs = list(&agreement["rows"]).iter().map(Pair::of).collect::<Vec<_>>();
    let few = &pairs[pairs.len() - 4..pairs.len() - 2];
    let corpus = &agreement["corpus"];
    for case in list(&corpus["bleu"]) {
        let bleu = Bleu {
            tokens: tokens(case["tokens"].as_str().unwrap()),
            lowercase: case["lowercase"].as_bool().unwrap(),
            smoothing: smoothing(case["smoothing"].as_str().unwrap(), &case["value"]),
            ..BLEU
        };
        let got = corpus_bleu(&bleu, &pairs);
        close(got.score, &case["score"], &format!("{bleu:?}"));
        close(got.brevity, &case["brevity"], &format!("brevity of {bleu:?}"));
        for (got, want) in got.precisions.iter().zip(list(&case["precisions"])) {
            close(*got, want, &format!("precision of {bleu:?}"));
        }
        close(corpus_bleu(&bleu, few).score, &case["few"], &format!("few rows of {bleu:?}"));
    }
    let manners = [(false, false), (false, true), (true, false), (true, true)];
    for ((words, lowercase), want) in manners.into_iter().zip(list(&corpus["chrf"])) {
        let chrf = Chrf { words, lowercase };
        close(corpus_chrf(chrf, &pairs), want, &format!("{chrf:?}"));
    }
}

#[test]
fn words_lose_their_endings_as_in_nltk() {
    let agreement = agreement();
    let stems = list(&agreement["stems"]);
    assert!(stems.len() > 500);
    for pair in stems {
        let [word, stem] = [&pair[0], &pair[1]].map(|text| text.as_str().unwrap());
        assert_eq!(porter::stem(word), stem, "{word}");
    }
}

#[test]
fn answers_lean_as_in_the_harness() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metrics/truthful.json");
    let bleu = Measure::Bleu(Bleu { tokens: Tokens::International, ..BLEU });
    let rouge = |of: Units| {
        let sentences = Some(" . ".into());
        Measure::Rouge(Rouge { of, stemmed: false, sentences, name: None })
    };
    let measures = [
        ("bleu", bleu),
        ("rouge1", rouge(Units::Words(1))),
        ("rouge2", rouge(Units::Words(2))),
        ("rougeL", rouge(Units::Sentences)),
    ];
    for case in list(&json(&path)) {
        let texts = |name: &str| {
            list(&case[name]).iter().map(|text| text.as_str().unwrap().to_string()).collect()
        };
        let known = [Known { right: texts("right"), wrong: Some(texts("wrong")) }];
        let answer = case["answer"].as_str().unwrap();
        for (name, measure) in &measures {
            let marked = likened::marked(measure, &known, &[answer], 1).unwrap();
            for (end, marked) in ["acc", "max", "diff"].iter().zip(marked) {
                let want = &case["figures"][format!("{name}_{end}")];
                close(marked.figure.value.unwrap(), want, &format!("{name}_{end} of {answer:?}"));
            }
        }
    }
}

/// The pairs of a shared file.
fn shared(path: &Path) -> Vec<Pair> {
    let text = std::fs::read_to_string(path).unwrap();
    let pair = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| row[name].as_str().unwrap().to_string();
        Pair { answer: text("hyp"), references: vec![text("ref")] }
    };
    text.lines().map(pair).collect()
}

fn check_bleus(pairs: &[Pair], wanted: &Value, what: &str) {
    for name in ["13a", "intl", "char", "none"] {
        let bleu = Bleu { tokens: tokens(name), ..BLEU };
        let (got, want) = (corpus_bleu(&bleu, pairs), &wanted[format!("bleu_{name}")]);
        close(got.score, &want["score"], &format!("{what}, {name}"));
        close(got.brevity, &want["bp"], &format!("brevity of {what}, {name}"));
    }
    let lowercase = corpus_bleu(&Bleu { lowercase: true, ..BLEU }, pairs).score;
    close(lowercase, &wanted["bleu_13a_lc"], what);
    for (words, name) in [(false, "chrf"), (true, "chrf++")] {
        let chrf = Chrf { words, lowercase: false };
        close(corpus_chrf(chrf, pairs), &wanted[name], &format!("{what}, {name}"));
    }
}

fn check_rouges(pairs: &[Pair], wanted: &Value, stemmed: bool, what: &str) {
    let each = pairs.iter().map(|pair| rouges(&pair.answer, &pair.references[0], stemmed));
    let each = each.collect::<Vec<_>>();
    for (at, name) in ["rouge1", "rouge2", "rougeL", "rougeLsum"].into_iter().enumerate() {
        let mean = |of: fn(&Score) -> f64| {
            each.iter().map(|scores| of(&scores[at])).sum::<f64>() / each.len() as f64
        };
        let what = format!("{name} of {what}, stemmed: {stemmed}");
        close(mean(|score| score.precision), &wanted[name]["precision"], &what);
        close(mean(|score| score.recall), &wanted[name]["recall"], &what);
        close(mean(Score::f1), &wanted[name]["f1"], &what);
    }
}

#[test]
fn shared_files_score_as_others_say() {
    let root = std::env::var_os("LLAMAKE_DATA").unwrap_or("../shared/data".into());
    let folder = Path::new(&root).join("scores");
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "no texts at {}", folder.display());
        println!("not checked: there are no texts at {}", folder.display());
        return;
    }
    let golden = json(&folder.join("golden.json"));
    for name in ["wmt14_fr_en_fairseq", "bert_score_long"] {
        let pairs = shared(&folder.join(format!("{name}.jsonl")));
        check_bleus(&pairs, &golden[name], name);
        check_rouges(&pairs, &golden[name]["rouge"], false, name);
        check_rouges(&pairs, &golden[name]["rouge_stem"], true, name);
    }
}
