//! The conformance cases of scores: sacrebleu, rouge-score and lm-eval on made-up texts.

use std::collections::BTreeSet;

use llamake::eval::examinee::Examinee;
use llamake::eval::finding::Choice;
use llamake::eval::metric::bleu::{Bleu, Counts, Smoothing};
use llamake::eval::metric::chrf::{self, Chrf};
use llamake::eval::metric::extract::{Extract, Written};
use llamake::eval::metric::pass::pass_at;
use llamake::eval::metric::perplexity::Cost;
use llamake::eval::metric::tokens::Tokens;
use llamake::eval::prompt::Sheet;
use llamake::eval::task::choice::{Choices, OneOf, Options};
use llamake::eval::task::posing::Question;
use llamake::train::data::rows::Benchmark;
use llamake::train::kernels::Threads;
use llamake::train::model::endings::Ending;
use serde_json::Value;

use crate::golden::{Case, cases};
use crate::metrics::rouges;
use crate::train::fixtures::Heard;

/// Fails where a part of the case has other fields than those that are compared here.
fn holds(value: &Value, fields: &[&str]) {
    let found = value.as_object().unwrap().keys().map(String::as_str).collect::<BTreeSet<_>>();
    assert_eq!(found, fields.iter().copied().collect(), "fields that nothing compares");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text in {value}"))
}

fn whole(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("no count in {value}")) as usize
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| whole(id) as u32).collect()
}

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
    holds(
        wanted,
        &[
            "hyp",
            "ref",
            "score",
            "counts",
            "totals",
            "precisions",
            "bp",
            "sys_len",
            "ref_len",
            "signature",
            "lowercase_tokenize_none",
            "two_references",
            "sentence",
            "chrf",
        ],
    );
    let settings = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:";
    assert!(text(&wanted["signature"]).starts_with(settings), "{}", wanted["signature"]);
    let (answers, references) = (texts(wanted, "/hyp"), texts(wanted, "/ref"));
    let sum = |bleu: &Bleu, backwards: bool| {
        let pair = |at: usize| {
            let other = references[references.len() - 1 - at];
            let both = [references[at], other];
            bleu.counts(answers[at], if backwards { &both } else { &both[..1] })
        };
        (0..answers.len()).map(pair).fold(Counts::default(), |sum, next| sum.and(&next))
    };
    let sum_of_all = sum(&BLEU, false);
    let numbers = |path: &str| {
        list(wanted, path).iter().map(|count| count.as_u64().unwrap() as usize).collect::<Vec<_>>()
    };
    assert_eq!(sum_of_all.matches.to_vec(), numbers("/counts"));
    assert_eq!(sum_of_all.totals.to_vec(), numbers("/totals"));
    let lengths = [&wanted["sys_len"], &wanted["ref_len"]].map(whole);
    assert_eq!([sum_of_all.length, sum_of_all.reference_length], lengths);
    let score = BLEU.score(&sum_of_all);
    for (got, want) in score.precisions.iter().zip(list(wanted, "/precisions")) {
        case.near("bleu", *got, want, "a precision of BLEU");
    }
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
    holds(&wanted["rouge"], &["extra_pair", "order", "plain", "stemmed"]);
    assert_eq!(wanted["rouge"]["order"], "[precision, recall, fmeasure]");
    let extra = texts(wanted, "/rouge/extra_pair");
    let answers = texts(wanted, "/bleu/hyp").into_iter().chain([extra[0]]).collect::<Vec<_>>();
    let references = texts(wanted, "/bleu/ref").into_iter().chain([extra[1]]).collect::<Vec<_>>();
    for (stemmed, name) in [(false, "/rouge/plain"), (true, "/rouge/stemmed")] {
        for (at, want) in list(wanted, name).iter().enumerate() {
            let scores = rouges(answers[at], references[at], stemmed);
            let kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"];
            holds(want, &kinds);
            for (kind, got) in kinds.iter().zip(scores) {
                let what = format!("{kind} of {}", answers[at]);
                case.near("rouge", got.precision, &want[kind][0], &what);
                case.near("rouge", got.recall, &want[kind][1], &what);
                case.near("rouge", got.f1(), &want[kind][2], &what);
            }
        }
    }
}

/// What reads an answer as the options of lm-eval say, through one of its filters.
fn extract_of(options: &Value, filter: Option<&Value>) -> Extract {
    let names = ["ignore_case", "ignore_punctuation", "regexes_to_ignore"];
    holds(options, &[&names[..], &["metric", "aggregation", "higher_is_better"]].concat());
    assert_eq!(options["metric"], "exact_match");
    assert_eq!(options["aggregation"], "mean");
    assert_eq!(options["higher_is_better"], true);
    let flag = |name: &str| options[name].as_bool().unwrap();
    let filter = filter.map(|filter| &filter["filter"]);
    if let Some(steps) = filter {
        assert_eq!(
            (&steps[0]["function"], &steps[1]["function"]),
            (&"regex".into(), &"take_first".into())
        );
    }
    Extract::new(Written {
        name: None,
        pattern: filter.map(|steps| text(&steps[0]["regex_pattern"]).to_string()),
        last: filter.is_some_and(|steps| steps[0]["group_select"] == -1),
        ignore: texts(options, "/regexes_to_ignore").into_iter().map(str::to_string).collect(),
        ignore_case: flag("ignore_case"),
        ignore_punctuation: flag("ignore_punctuation"),
    })
    .unwrap()
}

fn is_right(extract: &Extract, said: &str, gold: &Value) -> f64 {
    f64::from(u8::from(extract.is_right(said, &[text(gold).to_string()]).unwrap()))
}

fn check_exact_match(case: &Case) {
    let wanted = &case.json["expected"]["nq_exact_match"];
    holds(wanted, &["options", "stop", "rows"]);
    let exams = include_str!("../stdlib/exams.recipe");
    let stops = texts(wanted, "/stop");
    let asked = format!("stop: {:?}, accept: \"answer\", marks: [whole]", stops);
    assert!(exams.contains(&asked), "std/exams has no `{asked}`");
    let extract = extract_of(&wanted["options"], None);
    for row in list(wanted, "/rows") {
        holds(row, &["pred", "ref", "match"]);
        assert_eq!(is_right(&extract, text(&row["pred"]), &row["ref"]), row["match"], "{row}");
    }
}

fn check_extraction(case: &Case) {
    let wanted = &case.json["expected"]["gsm8k"];
    holds(wanted, &["filters", "options", "rows"]);
    let filters = list(wanted, "/filters");
    let names = filters.iter().map(|filter| text(&filter["name"])).collect::<Vec<_>>();
    for row in list(wanted, "/rows") {
        holds(row, &[&names[..], &["output", "target"]].concat());
        for (filter, name) in filters.iter().zip(&names) {
            holds(&row[*name], &["extracted", "match"]);
            let extract = extract_of(&wanted["options"], Some(filter));
            let said = extract.said(text(&row["output"])).unwrap();
            assert_eq!(said, row[*name]["extracted"], "{name} of {row}");
            let right = is_right(&extract, &said, &row["target"]);
            assert_eq!(right, row[*name]["match"], "{name} of {row}");
        }
    }
}

/// The model and the tokenizer that the case was made with.
fn examinee(case: &Case) -> Examinee {
    let folder = tempfile::tempdir().unwrap();
    for from in ["../llama/model", "../tokenizer/tokenizer"] {
        for entry in std::fs::read_dir(case.folder.join(from)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    Examinee::open(folder.path(), Threads::new(1)).unwrap()
}

/// A row of choices as it is asked, and what was found of it.
struct Asked {
    options: Options,
    choices: Vec<Choice>,
}

fn asked(case: &Case, model: &Examinee, row: &Value) -> Asked {
    let fields =
        ["context_ids", "continuation_ids", "loglikelihoods", "is_greedy", "acc", "acc_norm"];
    // There is no figure of llamake's that divides by bytes.
    let beside = ["context", "choices", "gold", "requests", "acc_bytes"];
    holds(row, &[&fields[..], &beside].concat());
    let choices = texts(row, "/choices");
    let ends = choices.iter().map(|choice| format!(" {choice}")).collect::<Vec<_>>();
    let context = text(&row["context"]);
    for (request, end) in list(row, "/requests").iter().zip(&ends) {
        assert_eq!([text(&request[0]), text(&request[1])], [context, end]);
    }
    let (endings, cut) = model.endings(&[(1, context, &ends)], false, 1).unwrap();
    assert_eq!(cut, 0);
    let found = model.score_endings(&endings, &mut Heard::default()).unwrap();
    let mut told = Vec::new();
    for (at, (ending, found)) in endings.iter().zip(found).enumerate() {
        let (before, after) = ending.tokens.split_at(ending.from);
        assert_eq!(before, ids(&row["context_ids"][at]), "{row}");
        assert_eq!(after, ids(&row["continuation_ids"][at]), "{row}");
        let log_prob = -found.losses.into_iter().map(f64::from).sum::<f64>();
        case.near("loglikelihoods", log_prob, &row["loglikelihoods"][at], choices[at]);
        assert_eq!(found.greedy, row["is_greedy"][at], "{row}");
        told.push(Choice { text: ends[at].clone(), log_prob, greedy: found.greedy });
    }
    let gold = whole(&row["gold"]);
    let texts = choices.into_iter().map(str::to_string).collect::<Vec<_>>();
    let right = (0..texts.len()).map(|at| at == gold).collect();
    Asked { options: Options { texts, right }, choices: told }
}

fn check_choices(case: &Case) {
    let wanted = &case.json["expected"]["multiple_choice"];
    holds(wanted, &["results", "samples"]);
    holds(&wanted["results"], &["acc", "acc_norm", "acc_bytes"]);
    let one_of = OneOf { choices: Choices::Written(Vec::new()), gold: None, several: false };
    let figures = |rows: &[Asked]| {
        let columns = Benchmark::new();
        let question = Question {
            row: 1,
            sheet: Sheet::of(&columns),
            columns,
            prompt: String::new(),
            own: String::new(),
            groups: Vec::new(),
        };
        let options = rows.iter().map(|row| row.options.clone()).collect::<Vec<_>>();
        let choices = rows.iter().map(|row| row.choices.clone()).collect::<Vec<_>>();
        let finding = one_of.finding(&vec![question; rows.len()], &options, &choices);
        let figure = |name: &str| finding.scores.iter().find(|one| one.name == name).unwrap();
        ["acc", "acc_norm"].map(|name| (name, figure(name).value.unwrap()))
    };
    let model = examinee(case);
    let mut rows = Vec::new();
    for row in list(wanted, "/samples") {
        let asked = asked(case, &model, row);
        for (name, got) in figures(std::slice::from_ref(&asked)) {
            assert_eq!(got, row[name], "{name} of {row}");
        }
        rows.push(asked);
    }
    for (name, got) in figures(&rows) {
        let want = wanted["results"][name].as_f64().unwrap();
        assert!((got - want).abs() < 1e-12, "{name}: got {got}, want {want}");
    }
}

fn check_perplexity(case: &Case) {
    let wanted = &case.json["expected"]["rolling_perplexity"];
    let lists = ["pages", "loglikelihoods", "token_counts", "ids"];
    holds(wanted, &[&lists[..], &["max_length", "prefix_token", "results"]].concat());
    let model = examinee(case);
    let (prefix, context) = (whole(&wanted["prefix_token"]) as u32, whole(&wanted["max_length"]));
    assert_eq!(model.wording.tokenizer.bos().id, prefix);
    let mut sum = Cost::default();
    for (at, page) in texts(wanted, "/pages").into_iter().enumerate() {
        let tokens = ids(&wanted["ids"][at]);
        assert_eq!(model.wording.plain(page), tokens, "{page:?}");
        assert_eq!(tokens.len(), whole(&wanted["token_counts"][at]), "{page:?}");
        // Here the harness predicts the `bos` that the tokenizer writes, after its own.
        let tokens = [&[prefix][..], &tokens].concat();
        let window = |first: usize| {
            let end = (first + context).min(tokens.len());
            let start = (end - 1).saturating_sub(context).min(first - 1);
            Ending { tokens: tokens[start..end].to_vec(), from: first - start }
        };
        let windows = (1..tokens.len()).step_by(context).map(window).collect::<Vec<_>>();
        let found = model.score_endings(&windows, &mut Heard::default()).unwrap();
        let losses = found.iter().flat_map(|found| &found.losses);
        let nats = losses.map(|loss| f64::from(*loss)).sum::<f64>();
        case.near("loglikelihoods", -nats, &wanted["loglikelihoods"][at], page);
        sum = sum.and(Cost::of(page, nats));
    }
    let (found, results) = (sum.perplexity().unwrap(), &wanted["results"]);
    holds(results, &["word_perplexity", "byte_perplexity", "bits_per_byte"]);
    case.near("perplexity", found.word, &results["word_perplexity"], "perplexity a word");
    case.near("perplexity", found.byte, &results["byte_perplexity"], "perplexity a byte");
    case.near("perplexity", found.bits_per_byte, &results["bits_per_byte"], "bits a byte");
}

fn check_programs(case: &Case) {
    let wanted = &case.json["expected"]["pass_at_k"];
    holds(wanted, &["order", "rows"]);
    assert_eq!(wanted["order"], "[n, c, k, value]");
    for row in list(wanted, "/rows") {
        let [programs, passed, k] = [&row[0], &row[1], &row[2]].map(whole);
        let got = pass_at(k, programs, passed).unwrap();
        case.near("pass_at_k", got, &row[3], &format!("pass@{k} of {programs}"));
    }
}

#[test]
fn golden_metrics() {
    for case in cases("metrics") {
        let parts = ["bleu", "rouge", "nq_exact_match", "gsm8k", "multiple_choice"];
        let others = ["rolling_perplexity", "pass_at_k"];
        holds(&case.json["expected"], &[&parts[..], &others].concat());
        check_bleu(&case);
        check_rouge(&case);
        check_exact_match(&case);
        check_extraction(&case);
        check_choices(&case);
        check_perplexity(&case);
        check_programs(&case);
    }
}
