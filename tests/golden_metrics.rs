//! The conformance cases of scores: sacrebleu, rouge-score and lm-eval on made-up texts.

use llamake::eval::metric::bleu::{Bleu, Counts, Smoothing};
use llamake::eval::metric::chrf::{self, Chrf};
use llamake::eval::metric::perplexity::Cost;
use llamake::eval::metric::tokens::Tokens;
use serde_json::Value;

use crate::golden::{Case, cases};
use crate::metrics::rouges;

fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    let found = value.pointer(path).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no list at {path}"))
}

fn texts<'v>(value: &'v Value, path: &str) -> Vec<&'v str> {
    list(value, path).iter().map(|text| text.as_str().unwrap()).collect()
}

impl Case {
    /// Compares by the tolerance of this part of the case.
    fn near(&self, part: &str, got: f64, want: &Value, what: &str) {
        let (absolute, relative) = self.tolerance(part);
        let want = want.as_f64().unwrap_or_else(|| panic!("{what}: no number in {want}"));
        let within = absolute + relative * want.abs();
        assert!((got - want).abs() <= within, "{}, {what}: {got}, not {want}", self.name());
    }
}

const BLEU: Bleu = Bleu {
    tokens: Tokens::Thirteen,
    lowercase: false,
    smoothing: Smoothing::Exponential,
    effective_order: false,
};

fn check_bleu(case: &Case) {
    let wanted = &case.json["expected"]["bleu"];
    let (answers, references) = (texts(wanted, "/hyp"), texts(wanted, "/ref"));
    let sum = |bleu: &Bleu, backwards: bool| {
        let pair = |at: usize| {
            let other = references[references.len() - 1 - at];
            let both = [references[at], other];
            bleu.counts(answers[at], if backwards { &both } else { &both[..1] })
        };
        (0..answers.len()).map(pair).fold(Counts::default(), |sum, next| sum.and(&next))
    };
    let whole = sum(&BLEU, false);
    let numbers = |path: &str| {
        list(wanted, path).iter().map(|count| count.as_u64().unwrap() as usize).collect::<Vec<_>>()
    };
    assert_eq!(whole.matches.to_vec(), numbers("/counts"));
    assert_eq!(whole.totals.to_vec(), numbers("/totals"));
    let score = BLEU.score(&whole);
    case.near("bleu", score.score, &wanted["score"], "BLEU");
    case.near("bleu", score.brevity, &wanted["bp"], "brevity");
    let plain = Bleu { tokens: Tokens::None, lowercase: true, ..BLEU };
    let plain = plain.score(&sum(&plain, false)).score;
    case.near("bleu", plain, &wanted["lowercase_tokenize_none"], "BLEU in lower case");
    let two = BLEU.score(&sum(&BLEU, true)).score;
    case.near("bleu", two, &wanted["two_references"], "BLEU of two references");
    let single = Bleu { effective_order: true, ..BLEU };
    for (at, want) in list(wanted, "/sentence").iter().enumerate() {
        let got = single.of_one(answers[at], &references[at..=at]);
        case.near("bleu", got, want, answers[at]);
    }
    let chrf = Chrf { words: false, lowercase: false };
    let counts = (0..answers.len()).map(|at| chrf.counts(answers[at], &references[at..=at]));
    let chrf = counts.fold(chrf::Counts::default(), |sum, next| sum.and(&next)).score();
    case.near("bleu", chrf, &wanted["chrf"], "chrF");
}

fn check_rouge(case: &Case) {
    let wanted = &case.json["expected"];
    let extra = texts(wanted, "/rouge/extra_pair");
    let answers = texts(wanted, "/bleu/hyp").into_iter().chain([extra[0]]).collect::<Vec<_>>();
    let references = texts(wanted, "/bleu/ref").into_iter().chain([extra[1]]).collect::<Vec<_>>();
    for (stemmed, name) in [(false, "/rouge/plain"), (true, "/rouge/stemmed")] {
        for (at, want) in list(wanted, name).iter().enumerate() {
            let scores = rouges(answers[at], references[at], stemmed);
            for (kind, got) in ["rouge1", "rouge2", "rougeL", "rougeLsum"].iter().zip(scores) {
                let what = format!("{kind} of {}", answers[at]);
                case.near("rouge", got.precision, &want[kind][0], &what);
                case.near("rouge", got.recall, &want[kind][1], &what);
                case.near("rouge", got.f1(), &want[kind][2], &what);
            }
        }
    }
}

fn check_perplexity(case: &Case) {
    let wanted = &case.json["expected"]["rolling_perplexity"];
    let losses = list(wanted, "/loglikelihoods").iter().map(|value| value.as_f64().unwrap());
    let costs = texts(wanted, "/pages").into_iter().zip(losses);
    let cost = costs.map(|(page, loss)| Cost::of(page, -loss)).reduce(Cost::and).unwrap();
    let found = cost.perplexity().unwrap();
    let results = &wanted["results"];
    case.near("perplexity", found.word, &results["word_perplexity"], "perplexity a word");
    case.near("perplexity", found.byte, &results["byte_perplexity"], "perplexity a byte");
    case.near("perplexity", found.bits_per_byte, &results["bits_per_byte"], "bits a byte");
}

#[test]
fn golden_metrics() {
    for case in cases("metrics") {
        check_bleu(&case);
        check_rouge(&case);
        check_perplexity(&case);
    }
}
