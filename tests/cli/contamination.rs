//! Rows of a task that stand in training data are found, named and taken out of the score, before
//! anything is trained; where nothing leaked, nothing is found.

use serde_json::{Value, json};

use super::Project;

const RECIPE: &str = r#"use std/llama2
use std/shapes
use std/smallworld

let micro = llama2.architecture { dim: 16, layers: 1, heads: 2, vocab: 400, context: 256 tokens }
let quiz  = answers { name: "quiz", data: exam, max_answer: 4 tokens }

stage world = smallworld.generate { seed: 7, documents: 300, problems: 100, talks: 100, pairs: 100 }
stage tokenizer = train_tokenizer { text: world.corpus, vocab: micro.vocab }
stage desk  = read_chat { files: "desk.jsonl", shape: shapes.messages {} }
stage notes = read_text { files: "notes.txt", documents: "lines" }
stage exam  = read_benchmark { files: "exam.jsonl", columns: ["question", "answer"] }
stage base = pretrain {
    model:  micro
    tokenizer
    data:   [90% of world.corpus, 10% of notes]
    length: 1 step
    batch:  4 sequences
    lr:     1e-3
}
stage chat = sft {
    init:     base
    data:     desk
    template: llama2.chat
    length:   1 step
    batch:    2 sequences
    lr:       1e-3
}
stage leaks = contamination { tasks: [quiz], training: chat.trained_on, tokenizer: chat.tokenizer }
stage scores = eval { models: [base, chat], tasks: [quiz], overlap: leaks }
output scores
"#;

const EXAM: [(&str, &str); 6] = [
    ("Which of the three brothers sold the old boat by the northern harbour?", "The youngest one."),
    ("How many silver coins did the miller hide under the floor of his barn?", "Forty two coins."),
    ("What did the gardener plant along the western wall after the long frost?", "Yellow quinces."),
    (
        "Who wrote the letter that the postman lost on his way across the moor?",
        "The judge's niece.",
    ),
    (
        "Why was the bridge to the quarry closed in the week before the harvest?",
        "A pillar had sunk.",
    ),
    ("Who?", "Nobody."),
];

fn dialogue(user: &str, answer: &str) -> Value {
    json!({ "messages": [
        { "role": "user", "content": user }, { "role": "assistant", "content": answer },
    ]})
}

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

/// What is planted: into the dialogues, and into the text.
fn project(dialogues: Vec<Value>, notes: &str) -> Project {
    let project = Project::of(RECIPE);
    let exam = EXAM.map(|(question, answer)| json!({ "question": question, "answer": answer }));
    project.write("exam.jsonl", lines(exam));
    let clean = (0..8).map(|at| dialogue(&format!("Is {at} a number?"), "It is one of them."));
    project.write("desk.jsonl", lines(clean.chain(dialogues)));
    project.write("notes.txt", format!("The barn of the miller is red.\n{notes}\n"));
    project
}

/// A row of the training data that holds a question of the exam as it is, one that holds another
/// with two words exchanged, one that is asked what is too short for any run of tokens, and a line
/// of text that ends with half a question.
fn leaky() -> Project {
    let edited = EXAM[3].0.replace("lost", "kept").replace("moor", "farm");
    let half = EXAM[4].0.split_at(40).0;
    project(
        vec![
            dialogue(EXAM[1].0, EXAM[1].1),
            dialogue(&edited, EXAM[3].1),
            dialogue(" Who? ", "I."),
        ],
        &format!("They wondered. {half}"),
    )
}

fn overlap(project: &Project) -> Value {
    let text = project.read("build/a/leaks/overlap.json");
    serde_json::from_str::<Value>(&text).unwrap()["tasks"][0].clone()
}

/// The number and the share of each row that was found.
fn shares(task: &Value) -> Vec<(u64, f64)> {
    let rows = task["found"].as_array().unwrap().iter();
    let share = |row: &Value| row["shared"].as_f64().unwrap() / row["tokens"].as_f64().unwrap();
    rows.map(|row| (row["row"].as_u64().unwrap(), share(row))).collect()
}

#[test]
fn planted_rows_are_named_before_anything_is_trained() {
    let project = leaky();
    let built = project.run("build a.recipe leaks").ended(0);
    assert_eq!(built.built(), ["desk", "exam", "leaks", "notes", "tokenizer", "world"]);
    let task = overlap(&project);
    let found = shares(&task);
    let rows = found.iter().map(|(row, _)| *row).collect::<Vec<_>>();
    assert_eq!(rows, [2, 4, 5, 6], "{task}");
    let share = |row: usize| found[row].1;
    assert!(share(0) == 1.0 && share(1) > 0.6 && share(1) < 1.0, "{found:?}");
    assert!(share(2) > 0.2 && share(2) < 0.8 && share(3) == 0.0, "{found:?}");
    let prompts = task["found"].as_array().unwrap().iter().map(|row| row["prompt"] == true);
    assert_eq!(prompts.collect::<Vec<_>>(), [true, false, false, true]);
    let place = |row: usize| {
        let place = &task["found"][row]["places"][0];
        (place["data"].as_str().unwrap(), place["row"].as_u64().unwrap())
    };
    assert_eq!(
        [place(0), place(1), place(2), place(3)],
        [("desk", 9), ("desk", 10), ("notes", 2), ("desk", 11)]
    );

    let said = project.run("log a.recipe leaks").ended(0).out;
    for line in [
        "task `quiz`: 4 of 6 rows are not clean",
        "task `quiz`, row 2: its prompt and 100% of its",
        "most in row 9 of `desk`",
        "task `quiz`, row 6: its prompt is in row 11 of `desk`",
    ] {
        assert!(said.contains(line), "`{line}` is not in:\n{said}");
    }
}

#[test]
fn scores_are_told_on_clean_rows_too() {
    let project = leaky();
    project.run("build a.recipe").ended(0);
    let report: Value = serde_json::from_str(&project.read("build/a/scores/report.json")).unwrap();
    let cell = &report["tasks"]["quiz"]["models"]["chat"];
    assert_eq!(cell["clean_rows"], json!(2.0 / 6.0), "{cell}");
    assert_eq!(cell["on_clean"], json!(0.0), "{cell}");
    let parts = &cell["by_overlap"];
    let rows = |name: &str| parts[name]["rows"].clone();
    assert_eq!([rows("clean, < 20%"), rows("not clean")], [json!(2), json!(4)]);

    // What was found for other rows is not taken for these.
    project.edit("a.recipe", "tasks: [quiz], overlap", "tasks: [other], overlap");
    project.edit(
        "a.recipe",
        "let quiz",
        "let other = answers { ..quiz, question: \"answer\" }\nlet quiz",
    );
    project.run("build a.recipe").ended(3).told(&["was found for other rows of task `quiz`"]);
}

#[test]
fn a_build_fails_where_the_recipe_says_so() {
    let project = leaky();
    let strict = "tokenizer: chat.tokenizer, contaminated: \"fail\" }";
    project.edit("a.recipe", "tokenizer: chat.tokenizer }", strict);
    let failed = project.run("build a.recipe leaks").ended(3);
    failed.told(&["task `quiz`, row 2: its prompt and 100%", "3 more rows are not clean"]);
}

#[test]
fn clean_data_has_no_finding() {
    let project = project(Vec::new(), "Nothing of it is known here.");
    let strict = "tokenizer: chat.tokenizer, contaminated: \"fail\" }";
    project.edit("a.recipe", "tokenizer: chat.tokenizer }", strict);
    project.run("build a.recipe leaks").ended(0);
    assert_eq!(overlap(&project)["found"], json!([]));
    let checked = project.run("check --data a.recipe").ended(0);
    assert!(!checked.err.contains("warning"), "{}", checked.err);
}

#[test]
fn checking_data_warns_of_rows_that_leaked() {
    let project = leaky();
    let told = project.run("check --data a.recipe").ended(0).told(&[
        "warning: stage `scores`, task `quiz`: 4 of 6 rows are not clean",
        "warning: stage `scores`, task `quiz`, row 2: its prompt and 100%",
    ]);
    assert!(!told.built().contains(&"chat"), "{}", told.err);
    let json = project.run("check --data --json a.recipe").ended(0);
    let objects = json.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = objects.filter(|object| object["id"] == "contaminated");
    assert_eq!(rows.map(|object| object["row"].clone()).collect::<Vec<_>>(), [2, 4, 5, 6]);
}
