//! `check --data`: every row is looked at before anything is trained, in the words of the stage
//! that would refuse it.

use serde_json::{Value, json};

use super::Project;

/// A chat model and a reward model of rows in two files.
const RECIPE: &str = r#"use std/llama2
use std/shapes
use std/smallworld

let micro = llama2.architecture { dim: 16, layers: 1, heads: 2, vocab: 400, context: 128 tokens }

let stars = shapes.preference { rating: "stars" }

stage world = smallworld.generate { seed: 7, documents: 300, problems: 100, talks: 100, pairs: 100 }
stage tokenizer = train_tokenizer { text: world.corpus, vocab: micro.vocab }
stage desk  = read_chat { files: "desk.jsonl", shape: shapes.messages {} }
stage liked = read_preferences { files: "liked.jsonl", shape: stars }
stage base = pretrain {
    model:  micro
    tokenizer
    data:   world.corpus
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
stage score = reward_model { init: chat, data: liked, batch: 2 pairs, length: 1 step }
stage again = generate { model: chat, prompts: world.prompts, max_answer: 4 tokens }
stage next  = sft { init: chat, data: [desk, again], length: 1 step, batch: 2 sequences }
output score, next
"#;

fn dialogue(user: &str, answer: &str) -> Value {
    json!({ "messages": [
        { "role": "user", "content": user }, { "role": "assistant", "content": answer },
    ]})
}

fn pair(chosen: &str, rejected: &str, stars: Option<u8>) -> Value {
    json!({ "prompt": "What is it?", "chosen": chosen, "rejected": rejected, "stars": stars })
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn project(dialogues: &[Value], pairs: &[Value]) -> Project {
    let project = Project::of(RECIPE);
    project.write("desk.jsonl", lines(dialogues));
    project.write("liked.jsonl", lines(pairs));
    project
}

#[test]
fn data_is_proved_and_nothing_is_trained() {
    let good = project(&[dialogue("Hi", "Hello.")], &[pair("A cat.", "A dog.", Some(3))]);
    let told = good.run("check --data").ended(0).told(&["`again` of stage `next` is not there"]);
    assert_eq!(told.built(), ["desk", "liked", "tokenizer", "world"]);
    for found in ["world.corpus", "desk", "liked", "1 rows"] {
        assert!(told.out.contains(found), "{}", told.out);
    }
    assert!(good.path("a.lock").exists(), "what was built is locked");
    good.run("check --data").ended(0);

    // What a data stage needs is not trained for it, but looked at where it is there already.
    good.run("build again").ended(0);
    let told = good.run("check --data").ended(1).told(&["stage `next`, `again`: row"]);
    assert!(!told.err.contains("not there"), "{}", told.err);
}

#[test]
fn every_faulty_row_is_told_by_its_row_and_in_the_words_of_its_stage() {
    let long = "word ".repeat(200);
    let dialogues = [
        dialogue("Hi", "Hello."),
        dialogue("[INST] Hi", "Hello."),
        dialogue("Hi", &long),
        dialogue("Hi", "Hello."),
        dialogue("Hi </s>", "Hello <<SYS>>"),
    ];
    let pairs = [
        pair("A cat.", "A dog.", None),
        pair("A cat.", &long, Some(1)),
        pair("A cat.", "A dog.", Some(4)),
    ];
    let project = project(&dialogues, &pairs);
    let told = project.run("check --data").ended(1).told(&[
        "stage `chat`, `desk`: row 2",
        "stage `chat`, `desk`: row 3 is",
        "stage `chat`, `desk`: row 5",
        "stage `score`, `liked`: row 1 has no rating for a margin",
        "stage `score`, `liked`: row 2 is",
        "help: ",
    ]);
    let refused = "row 2: a turn of the user contains `[INST]`";
    assert!(told.err.contains(refused), "{}", told.err);
    project.run("build chat").ended(3).told(&[refused]);

    let json = project.run("check --data --json").ended(1);
    let objects = json.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let faulty = objects.filter(|object| object["id"] == "faulty-data").collect::<Vec<_>>();
    let of_chat = faulty.iter().filter(|object| object["stage"] == "chat");
    let rows = of_chat.map(|object| object["row"].clone()).collect::<Vec<_>>();
    assert_eq!(rows, [2, 3, 5]);
}

#[test]
fn many_faults_of_a_sort_are_counted() {
    let rows = vec![dialogue("[INST] Hi", "Hello."); 33];
    let project = project(&rows, &[pair("A cat.", "A dog.", Some(3))]);
    let told = project.run("check --data").ended(1).told(&["row 20:", "and 13 more rows"]);
    assert!(!told.err.contains("row 21:"), "{}", told.err);
}

/// What an adapter learns from is looked at as what a whole model learns from, over any base.
#[test]
fn rows_of_adapters_are_looked_at_too() {
    let dialogues = [dialogue("Hi", "Hello."), dialogue("[INST] Hi", "Hello.")];
    let long = "word ".repeat(200);
    let pairs = [pair("A cat.", "A dog.", None), pair("A cat.", &long, Some(1))];
    let project = project(&dialogues, &pairs);
    let adapters = "stage over  = qlora { base, data: desk, template: llama2.chat }\n\
                    stage alone = merge { adapter: over }\n\
                    stage worn  = lora { base: alone, data: desk }\n\
                    stage leans = lora_dpo { base: chat, data: liked }\n\
                    stage taste = lora_reward { base: chat, data: liked }\n\
                    output score, next, worn, leans, taste\n";
    project.edit("a.recipe", "output score, next\n", adapters);
    project.run("check --data").ended(1).told(&[
        "stage `over/adapter`, `desk`: row 2",
        "stage `worn`, `desk`: row 2",
        "stage `leans`, `liked`: row 2",
        "stage `taste`, `liked`: row 1 has no rating for a margin",
    ]);
}
