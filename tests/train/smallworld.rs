//! The small world: the same from the same seed, and no question of the exam in training.

use std::collections::{BTreeMap, BTreeSet};

use llamake::build::digest::Digest;
use llamake::eval::metric::slot;
use llamake::train::data::rows::{Benchmark, Chat, Message, Preference, Prompt, Text, read_rows};
use llamake::train::stage::smallworld::{Smallworld, run};

use super::{file, run_stage};

fn world(seed: u64) -> tempfile::TempDir {
    let (problems, talks, pairs, asks) = (500, 800, 600, 300);
    let params = Smallworld { seed, documents: 2000, problems, talks, pairs, asks };
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
    for port in ["dialogues", "pirate", "puzzles", "small_talk"] {
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
    for port in ["prompts", "risky", "habits"] {
        all.extend(
            read_rows::<Prompt>(&at(port)).unwrap().into_iter().flat_map(|row| said(row.prompt)),
        );
    }
    all
}

fn pairs(out: &tempfile::TempDir, port: &str) -> Vec<Preference> {
    read_rows(&out.path().join(port)).unwrap()
}

fn prompts(out: &tempfile::TempDir, port: &str) -> Vec<Prompt> {
    read_rows(&out.path().join(port)).unwrap()
}

fn benchmark(out: &tempfile::TempDir, port: &str) -> Vec<Benchmark> {
    read_rows(&out.path().join(port)).unwrap()
}

/// What the user says last.
fn asked(prompt: &[Message]) -> &str {
    let last = prompt.last().unwrap();
    assert_eq!(last.role, "user");
    &last.content
}

fn share(part: usize, of: usize) -> f64 {
    part as f64 / of as f64
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
    assert_eq!(one.len(), 24);
    assert_eq!(one, same);
    assert!(one.iter().zip(&other).all(|(a, b)| a != b), "every port depends on the seed");
}

/// What each port of a small world of seed 42 begins its digest with. A port that is added draws
/// from a stream of its own, so it moves none of them.
const KNOWN: [(&str, &str); 23] = [
    ("arithmetic", "aa0638bf4baf2ee8"),
    ("asked", "92e9a976f330f23b"),
    ("choices", "95a61bb3c6ac7204"),
    ("corpus", "66948e3bbad4600f"),
    ("dialogues", "1289457e38251deb"),
    ("facts", "0173c3a58f891b36"),
    ("habits", "75916821e64b4f8c"),
    ("harmless", "dca95d001387f503"),
    ("held_out", "c736630c30353f73"),
    ("helpful", "1245901825de989a"),
    ("helpful_exam", "05bdc1cdaf9cc514"),
    ("kept", "ba4a535bd9df23e7"),
    ("kept_fresh", "2042548c1454b01b"),
    ("pirate", "ae2f838090322385"),
    ("prompts", "29ecbd72f90793d3"),
    ("puzzles", "bc530044c3b5cfee"),
    ("questions", "a0f353a0ceb96d3d"),
    ("risky", "5af81465b4afbb45"),
    ("safe", "a26aa1bf7b850351"),
    ("safe_exam", "7aafb0d6d9c0426c"),
    ("small_talk", "6961a97f77b3e790"),
    ("sums", "0815682b991aca66"),
    ("unsafe", "b8684785c4d667db"),
];

#[test]
fn ports_keep_their_bits() {
    let (problems, talks, pairs, asks) = (100, 120, 120, 100);
    let params = Smallworld { seed: 42, documents: 300, problems, talks, pairs, asks };
    let (out, made) = run_stage(1, |ctx| run(&params, ctx));
    made.unwrap();
    for (port, digest) in KNOWN {
        let found = Digest::of_file(&out.path().join(port)).unwrap().to_string();
        assert!(found.starts_with(digest), "{port}: {found}");
    }
}

#[test]
fn a_style_is_told_from_plain_answers_and_facts_from_wrong_ones() {
    let out = world(1);
    let rows = benchmark(&out, "styled");
    assert_eq!(rows.len(), 518);
    let asked = column(&rows, "question");
    assert_eq!(asked.len(), rows.len());
    assert!(column(&benchmark(&out, "questions"), "question").is_subset(&asked));
    let (plain, mut plainly) = (benchmark(&out, "facts"), 0);
    for row in &rows {
        let value = row["answer"].as_str().unwrap();
        let say = |form: &str, value: &str| form.replace('*', value);
        for form in texts_of(row, "forms") {
            assert_eq!(judged(row, "forms", &say(&form, value)), (true, true), "{form}");
            assert_eq!(judged(row, "forms", &say(&form, "nothing")), (false, true), "{form}");
        }
        let alike = plain.iter().find(|plain| plain["question"] == row["question"]);
        for form in alike.iter().flat_map(|alike| texts_of(alike, "forms")) {
            plainly += 1;
            assert_eq!(judged(row, "forms", &say(&form, value)), (false, false), "{form}");
        }
    }
    assert!(plainly > 1000, "{plainly}");
    let mut known = 0;
    for row in read_rows::<Chat>(&out.path().join("pirate")).unwrap() {
        let [question, answer] = &row.messages[..] else { panic!("{row:?}") };
        let Some(row) = rows.iter().find(|row| row["question"] == *question.content) else {
            continue;
        };
        known += 1;
        assert_eq!(judged(row, "forms", &answer.content), (true, true), "{}", answer.content);
    }
    assert!(known > 0, "training asks none of the questions that it may");
}

#[test]
fn no_question_of_the_exam_is_in_training() {
    let out = world(1);
    let all = training(&out).join("\n");
    for port in ["questions", "sums", "choices", "unsafe", "harmless"] {
        let rows = benchmark(&out, port);
        assert!(rows.len() >= 84, "{port} has {} rows", rows.len());
        for question in column(&rows, "question") {
            assert!(!all.contains(&question), "{port}: training asks `{question}`");
        }
    }
}

/// The questions of an exam's rows of other shapes, every turn of the user.
fn other_exams(out: &tempfile::TempDir) -> BTreeSet<String> {
    let mut turns = Vec::new();
    for port in ["helpful_exam", "safe_exam"] {
        turns.extend(pairs(out, port).into_iter().flat_map(|row| row.prompt));
    }
    turns.extend(prompts(out, "asked").into_iter().flat_map(|row| row.prompt));
    let users = turns.into_iter().filter(|turn| turn.role == "user").map(|turn| turn.content);
    let mut questions: BTreeSet<String> = users.collect();
    for row in [benchmark(out, "kept"), benchmark(out, "kept_fresh")].concat() {
        let turns = row["turns"].as_array().unwrap();
        questions.extend(turns.iter().map(|turn| turn.as_str().unwrap().to_string()));
    }
    questions
}

#[test]
fn no_pair_prompt_or_dialogue_of_the_exam_is_in_training() {
    let out = world(1);
    let all = training(&out).join("\n");
    let questions = other_exams(&out);
    assert!(questions.len() > 500, "{}", questions.len());
    for question in &questions {
        assert!(!all.contains(question), "training asks `{question}`");
    }
    // An instruction may hide what is asked: the questions themselves are of the exam too.
    let known: Vec<String> = ["questions", "unsafe", "harmless"]
        .into_iter()
        .flat_map(|port| column(&benchmark(&out, port), "question"))
        .collect();
    for question in &questions {
        assert!(known.iter().any(|known| question.contains(known)), "`{question}`");
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

/// How many pairs of each kind there are, with their rating.
fn kinds(rows: &[Preference]) -> BTreeMap<(bool, String, u8), usize> {
    let mut kinds = BTreeMap::new();
    for row in rows {
        let kind = (row.safety.unwrap(), row.kind.clone().unwrap(), row.rating.unwrap());
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

#[test]
fn exams_have_every_kind_in_known_numbers() {
    let out = world(1);
    let found = |port: &str| {
        let kinds = kinds(&pairs(&out, port)).into_iter();
        kinds.map(|((_, kind, rating), n)| format!("{kind} {rating}: {n}")).collect::<Vec<_>>()
    };
    assert_eq!(
        found("helpful_exam"),
        [
            "broken 4: 100",
            "disobedient 3: 60",
            "needless refusal 4: 100",
            "off-topic 4: 100",
            "paraphrase 1: 20",
            "rambling 3: 40",
            "terse 2: 40",
            "unasked manner 3: 30",
            "unknowing 4: 50",
            "vague 4: 100",
            "vague beside terse 2: 20",
            "wrong fact 3: 40",
        ]
    );
    assert_eq!(
        found("safe_exam"),
        [
            "broken 4: 20",
            "look-alike 4: 20",
            "needless refusal 4: 100",
            "unknowing 3: 20",
            "broken 4: 40",
            "compliance 4: 100",
            "compliance then refusal 3: 30",
            "curt 2: 30",
            "look-alike 4: 20",
            "off-topic 4: 20",
            "unknowing 3: 20",
        ]
    );
}

#[test]
fn exams_repeat_no_row_and_training_has_their_kinds() {
    let out = world(1);
    let trained = kinds(&[pairs(&out, "helpful"), pairs(&out, "safe")].concat());
    for (port, rows) in [("helpful_exam", 700), ("safe_exam", 420)] {
        let exam = pairs(&out, port);
        assert_eq!(exam.len(), rows);
        assert!(exam.iter().enumerate().all(|(at, row)| !exam[..at].contains(row)), "{port}");
        for kind in kinds(&exam).keys() {
            assert!(trained.contains_key(kind), "{port}: training has no {kind:?}");
        }
    }
}

#[test]
fn labels_of_harm_say_what_may_be_learnt() {
    let out = world(1);
    for port in ["helpful", "safe", "helpful_exam", "safe_exam"] {
        for row in pairs(&out, port) {
            let kind = row.kind.as_deref().unwrap();
            assert_eq!(row.chosen_safe, Some(true), "{row:?}");
            let harmful = match kind {
                "compliance" | "compliance then refusal" => Some(false),
                "look-alike" if row.safety == Some(false) => Some(false),
                "wrong fact" | "rambling" | "disobedient" | "unasked manner" | "terse"
                | "paraphrase" => Some(true),
                _ => None,
            };
            assert_eq!(row.rejected_safe, harmful, "{row:?}");
            if row.rejected.is_empty() {
                assert_eq!((kind, row.rejected_safe), ("broken", None));
            }
            // Whatever is labelled harmful is said by nobody who is preferred.
            let refused = row.chosen.contains("I can not help with that");
            assert_eq!(refused, row.safety == Some(true), "{row:?}");
        }
    }
}

#[test]
fn prompts_have_their_shares_and_the_exam_repeats_none() {
    let out = world(1);
    let asked_rows = prompts(&out, "asked");
    assert_eq!(asked_rows.len(), 400);
    assert!(asked_rows.iter().enumerate().all(|(at, row)| !asked_rows[..at].contains(row)));
    let unsafe_rows = asked_rows.iter().filter(|row| row.safety == Some(true)).count();
    assert_eq!(unsafe_rows, 80);
    let harmless = column(&benchmark(&out, "harmless"), "question");
    let helped = asked_rows.iter().filter(|row| harmless.contains(asked(&row.prompt))).count();
    assert_eq!(helped, 80);

    assert_eq!(prompts(&out, "prompts").len(), 300);
    for port in ["prompts", "asked"] {
        let rows = prompts(&out, port);
        let count = |is: &dyn Fn(&Prompt) -> bool| rows.iter().filter(|row| is(row)).count();
        let instructed = count(&|row| INSTRUCTIONS.iter().any(|i| asked(&row.prompt).contains(i)));
        let in_dialogue = count(&|row| row.prompt.len() == 3);
        let harmful = count(&|row| row.safety == Some(true));
        assert_eq!(count(&|row| row.prompt.len() == 1) + in_dialogue, rows.len());
        for (share, about) in [
            (share(instructed, rows.len()), 0.24),
            (share(in_dialogue, rows.len()), 0.25),
            (share(harmful, rows.len()), 0.20),
        ] {
            assert!((share - about).abs() < 0.08, "{port}: {share} instead of {about}");
        }
    }
}

const INSTRUCTIONS: [&str; 4] =
    ["End your answer with", "Start your answer with", "Talk like a pirate.", "Call me "];

#[test]
fn every_fact_of_a_person_is_asked() {
    let out = world(1);
    let rows = benchmark(&out, "facts");
    assert_eq!(rows.len(), 1064);
    assert_eq!(column(&rows, "question").len(), rows.len());
    let facts: BTreeSet<String> = rows.iter().map(|row| row["forms"].to_string()).collect();
    assert_eq!(facts.len(), 224);
    let held_out = column(&benchmark(&out, "questions"), "question");
    assert!(held_out.is_subset(&column(&rows, "question")));
}

fn texts_of(row: &Benchmark, name: &str) -> Vec<String> {
    let texts = row[name].as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_string()).collect()
}

/// Whether an answer has one of the forms with the gold value, and whether with any.
fn judged(row: &Benchmark, forms: &str, answer: &str) -> (bool, bool) {
    let forms = texts_of(row, forms);
    let values = slot::values(answer, &forms);
    let gold = row["answer"].as_str().unwrap();
    (values.iter().any(|value| value.eq_ignore_ascii_case(gold)), !values.is_empty())
}

#[test]
fn forms_accept_full_answers_and_full_forms_no_others() {
    let out = world(1);
    let rows = benchmark(&out, "facts");
    let find = |question: &str| rows.iter().find(|row| row["question"] == question);
    let mut seen = BTreeMap::<String, usize>::new();
    for pair in pairs(&out, "helpful_exam") {
        let Some(row) = find(asked(&pair.prompt)) else { continue };
        let kind = pair.kind.unwrap();
        *seen.entry(kind.clone()).or_default() += 1;
        let terse = kind == "vague beside terse";
        assert_eq!(judged(row, "forms", &pair.chosen), (true, true), "{}", pair.chosen);
        assert_eq!(judged(row, "full", &pair.chosen).0, !terse, "{}", pair.chosen);
        let (right, well_formed) = judged(row, "full", &pair.rejected);
        assert_eq!(right, kind == "paraphrase", "{kind}: {}", pair.rejected);
        assert_eq!(well_formed, right || kind == "wrong fact", "{kind}: {}", pair.rejected);
        if kind == "terse" {
            assert!(judged(row, "forms", &pair.rejected).0, "{}", pair.rejected);
        }
    }
    for kind in ["vague", "broken", "off-topic", "terse", "paraphrase", "wrong fact", "rambling"] {
        assert!(seen.get(kind).is_some_and(|&n| n >= 10), "{seen:?}");
    }
}

#[test]
fn refusals_and_help_are_told_from_all_else() {
    let out = world(1);
    let rows = [benchmark(&out, "unsafe"), benchmark(&out, "harmless")].concat();
    assert_eq!(rows.len(), 320);
    assert_eq!(column(&rows, "question").len(), rows.len());
    for pair in pairs(&out, "safe_exam") {
        let row = rows.iter().find(|row| row["question"] == asked(&pair.prompt)).unwrap();
        assert_eq!(judged(row, "forms", &pair.chosen), (true, true), "{}", pair.chosen);
        assert!(!judged(row, "forms", &pair.rejected).1, "{:?}: {}", pair.kind, pair.rejected);
    }
}

#[test]
fn an_instruction_to_keep_is_checked_by_its_mark() {
    let out = world(1);
    let learned: BTreeSet<String> =
        prompts(&out, "habits").iter().map(|row| asked(&row.prompt).to_string()).collect();
    assert_eq!(learned.len(), 18);
    for (port, count, known) in [("kept", 108, true), ("kept_fresh", 56, false)] {
        let rows = benchmark(&out, port);
        assert_eq!(rows.len(), count);
        for row in &rows {
            let turns = texts_of(row, "turns");
            assert_eq!(turns.iter().collect::<BTreeSet<_>>().len(), 6);
            let learned = learned.iter().filter(|text| turns[0].contains(text.as_str())).count();
            assert_eq!(learned, usize::from(known), "{port}: {}", turns[0]);
            for (at, turn) in turns.iter().enumerate() {
                let instructed = INSTRUCTIONS.iter().any(|text| turn.contains(text));
                assert_eq!(instructed, at == 0, "{port}: {turns:?}");
            }
            let (begins, ends) = (row["begins"].as_str(), row["ends"].as_str());
            let mark = begins.or(ends).unwrap();
            assert_ne!(begins.is_some(), ends.is_some());
            assert_eq!(ends.is_some(), turns[0].contains("End your answer"));
            let word = mark.strip_suffix('!').unwrap().to_lowercase();
            assert!(turns[0].contains(&word) || mark == "Arr!", "{mark}: {}", turns[0]);
        }
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
    let (problems, talks, pairs, asks) = (100, 100, 100, 100);
    let params = Smallworld { seed: 1, documents: 100, problems, talks, pairs, asks };
    let (_, made) = run_stage(1, |ctx| {
        file(&ctx.out, "corpus", "");
        run(&params, ctx)
    });
    assert!(format!("{:?}", made.unwrap_err()).contains("corpus"));
}
