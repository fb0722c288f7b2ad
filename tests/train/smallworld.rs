//! The small world: the same from the same seed, and no question of the exam in training.

use std::collections::BTreeSet;

use llamake::train::data::rows::{Benchmark, Chat, Message, Preference, Prompt, Text, read_rows};
use llamake::train::stage::smallworld::{Smallworld, run};

use super::{file, run_stage};

fn world(seed: u64) -> tempfile::TempDir {
    let params = Smallworld { seed, documents: 2000, problems: 500, talks: 800, pairs: 600 };
    let (out, made) = run_stage(1, |ctx| run(&params, ctx));
    made.unwrap();
    out
}

fn texts(out: &tempfile::TempDir, port: &str) -> Vec<String> {
    read_rows::<Text>(&out.path().join(port)).unwrap().into_iter().map(|row| row.text).collect()
}

fn column(rows: &[Benchmark], name: &str) -> BTreeSet<String> {
    rows.iter().map(|row| row[name].as_str().unwrap().to_string()).collect()
}

/// Everything that training reads, as text: running text, and what is said to a model or by it.
fn training(out: &tempfile::TempDir) -> Vec<String> {
    let at = |port: &str| out.path().join(port);
    let mut all = [texts(out, "corpus"), texts(out, "arithmetic")].concat();
    let said = |turns: Vec<Message>| turns.into_iter().map(|turn| turn.content);
    for port in ["dialogues", "pirate"] {
        all.extend(
            read_rows::<Chat>(&at(port)).unwrap().into_iter().flat_map(|row| said(row.messages)),
        );
    }
    for port in ["helpful", "safe"] {
        for row in read_rows::<Preference>(&at(port)).unwrap() {
            all.extend([row.chosen, row.rejected]);
            all.extend(said(row.prompt));
        }
    }
    for port in ["prompts", "risky"] {
        all.extend(
            read_rows::<Prompt>(&at(port)).unwrap().into_iter().flat_map(|row| said(row.prompt)),
        );
    }
    all
}

#[test]
fn a_seed_makes_one_world() {
    let bytes = |out: &tempfile::TempDir| {
        let mut files: Vec<_> =
            std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let (one, same, other) = (bytes(&world(1)), bytes(&world(1)), bytes(&world(2)));
    assert_eq!(one.len(), 13);
    assert_eq!(one, same);
    assert!(one.iter().zip(&other).all(|(a, b)| a != b), "every port depends on the seed");
}

#[test]
fn no_question_of_the_exam_is_in_training() {
    let out = world(1);
    let all = training(&out).join("\n");
    for port in ["questions", "sums", "choices", "refusals"] {
        let rows = read_rows::<Benchmark>(&out.path().join(port)).unwrap();
        assert!(rows.len() >= 84, "{port} has {} rows", rows.len());
        for question in column(&rows, "question") {
            assert!(!all.contains(&question), "{port}: training asks `{question}`");
        }
    }
}

#[test]
fn the_corpus_states_every_fact_of_the_exam() {
    let out = world(1);
    let corpus = texts(&out, "corpus");
    for row in read_rows::<Benchmark>(&out.path().join("questions")).unwrap() {
        let form = row["forms"][0].as_str().unwrap();
        let value = row["answer"].as_str().unwrap();
        let subject = form
            .split(|c: char| !c.is_alphabetic())
            .find(|word| word.len() > 1 && word.starts_with(char::is_uppercase) && *word != "The");
        let subject = subject.unwrap();
        let stated = corpus.iter().any(|text| text.contains(subject) && text.contains(value));
        assert!(stated, "nothing says that `{subject}` and `{value}` belong together");
    }
}

#[test]
fn held_out_text_is_not_in_the_corpus() {
    let out = world(1);
    let corpus: BTreeSet<String> = texts(&out, "corpus").into_iter().collect();
    let held_out = texts(&out, "held_out");
    assert!(held_out.len() >= 15);
    assert!(held_out.iter().all(|text| !corpus.contains(text)));
}

#[test]
fn pairs_differ_and_carry_their_rating() {
    let out = world(1);
    for port in ["helpful", "safe"] {
        let rows = read_rows::<Preference>(&out.path().join(port)).unwrap();
        assert!(rows.iter().all(|row| row.chosen != row.rejected && !row.chosen.is_empty()));
        let ratings: BTreeSet<_> = rows.iter().map(|row| row.rating.unwrap()).collect();
        assert_eq!(ratings.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4], "{port}");
        assert!(rows.iter().any(|row| row.rejected.is_empty()), "{port} has no empty answer");
        let safety = rows.iter().filter(|row| row.safety == Some(true)).count();
        assert!(safety > 0 && safety < rows.len(), "{port}: {safety} of {}", rows.len());
    }
}

#[test]
fn worked_answers_are_right() {
    let out = world(1);
    let checked = texts(&out, "arithmetic").iter().map(|text| equations(text)).sum::<usize>();
    assert!(checked > 500, "{checked}");
    let sums = read_rows::<Benchmark>(&out.path().join("sums")).unwrap();
    assert_eq!(column(&sums, "question").len(), sums.len());
}

/// Checks every `a + b = c` and `a - b = c`; says how many there were.
fn equations(text: &str) -> usize {
    let words: Vec<&str> = text.split_whitespace().map(|word| word.trim_end_matches('.')).collect();
    let number = |word: &str| word.parse::<i64>().ok();
    let equation = |five: &[&str]| match five {
        [a, "+", b, "=", c] => Some((number(a)? + number(b)?, number(c)?)),
        [a, "-", b, "=", c] => Some((number(a)? - number(b)?, number(c)?)),
        _ => None,
    };
    let found = words.windows(5).filter_map(equation).collect::<Vec<_>>();
    assert!(found.iter().all(|(result, told)| result == told), "{text}");
    found.len()
}

#[test]
fn a_file_in_the_way_is_named() {
    let params = Smallworld { seed: 1, documents: 100, problems: 100, talks: 100, pairs: 100 };
    let (_, made) = run_stage(1, |ctx| {
        file(&ctx.out, "corpus", "");
        run(&params, ctx)
    });
    assert!(format!("{:?}", made.unwrap_err()).contains("corpus"));
}
