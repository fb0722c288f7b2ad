//! HumanEval in the sandbox: its own solutions all pass, empty ones never do.

use std::fs::File;
use std::io::{BufRead, BufReader};

use flate2::read::MultiGzDecoder;
use llamake::eval::finding::Finding;
use llamake::eval::task::posing::{Choose, Examples, Pool, Posing, Question};
use llamake::eval::task::programs::Programs;
use llamake::eval::task::written::Said;
use llamake::train::data::rows::Benchmark;

use super::{program, sandbox};
use crate::train::fixtures::Heard;
use crate::train::shared_data;

fn problems() -> Option<Vec<(usize, Benchmark)>> {
    let file = File::open(shared_data("eval/humaneval")?.join("HumanEval.jsonl.gz")).unwrap();
    let lines = BufReader::new(MultiGzDecoder::new(file)).lines();
    Some((1..).zip(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())).collect())
}

fn posing() -> Posing {
    Posing {
        before: String::new(),
        prompt: "{{prompt}}".into(),
        answer: None,
        between: String::new(),
        apart: String::new(),
        shots: 0,
        examples: Examples::None,
        choose: Choose::First,
        alike: None,
        example: None,
        groups: Vec::new(),
        chat: false,
    }
}

fn task(samples: usize) -> Programs {
    Programs {
        program: "{{prompt}}{{answer}}\n{{test}}\ncheck({{entry_point}})\n".into(),
        stop: Vec::new(),
        max_answer: 1024,
        temperature: 0.1,
        top_p: 0.95,
        samples,
        k: vec![1, samples],
        timeout_seconds: 3,
        allowed: true,
    }
}

/// What answers to every problem come to.
fn scored(task: &Programs, answers: impl Fn(&Benchmark) -> Vec<String>) -> Option<Finding> {
    let problems = problems()?;
    let sandbox = sandbox(&program())?;
    let none = Pool { rows: Vec::new(), is_own: false };
    let questions = posing().questions(&problems, &none, &|_, _| Ok(String::new()), 1).unwrap();
    let said = |one: &Question| answers(&one.columns).into_iter();
    let said = questions.iter().flat_map(said).map(|text| Said { text, ended: true });
    let said = said.collect::<Vec<_>>();
    let ran = task.run(&questions, &said, &sandbox, 2, &mut Heard::default()).unwrap();
    Some(task.finding(&questions, &said, &ran))
}

fn value(finding: &Finding, name: &str) -> f64 {
    finding.scores.iter().find(|figure| figure.name == name).unwrap().value.unwrap()
}

fn canonical(row: &Benchmark) -> String {
    row["canonical_solution"].as_str().unwrap().to_string()
}

#[test]
fn canonical_solutions_pass_and_empty_ones_do_not() {
    let Some(right) = scored(&task(1), |row| vec![canonical(row)]) else { return };
    assert_eq!(value(&right, "questions"), 110.0);
    let wrong = right.records.iter().filter(|record| record.scores[0].1 < 1.0);
    let wrong = wrong.map(|record| &record.row["task_id"]).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(value(&right, "pass@1"), 1.0);
    let empty = scored(&task(1), |_| vec![String::new()]).unwrap();
    assert_eq!(value(&empty, "pass@1"), 0.0);
}

/// Of three programs the middle one is right; one ends before its tests with a word of success.
#[test]
fn several_programs_a_problem_are_counted_together() {
    let early = "    pass\nprint('passed')\nraise SystemExit(0)\n".to_string();
    let three = |row: &Benchmark| vec![early.clone(), canonical(row), String::new()];
    let Some(found) = scored(&task(3), three) else { return };
    assert!((value(&found, "pass@1") - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(value(&found, "pass@3"), 1.0);
}
