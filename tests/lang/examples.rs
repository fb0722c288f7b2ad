//! The library's examples: every declaration but a type has one, and each is right as it stands.

use std::path::Path;

use llamake::lang::compile;
use llamake::lang::source::{Source, Sources};

/// What examples may take for granted, unless they declare it themselves.
const GIVEN: [(&str, &str); 13] = [
    ("tiny", "let tiny = llama2.architecture { dim: 128, layers: 4, heads: 4, vocab: 1024 }"),
    ("world", "stage world = smallworld.generate {}"),
    ("tokenizer", "stage tokenizer = train_tokenizer { text: world.corpus, vocab: 1024 }"),
    (
        "base",
        "stage base = pretrain { model: tiny, tokenizer, data: world.corpus, length: 9 steps, \
         batch: 4 sequences, lr: 1e-3 }",
    ),
    ("chat", "stage chat = sft { init: base, data: world.dialogues, template: llama2.chat }"),
    (
        "helpful",
        "stage helpful = reward_model { init: chat, data: world.helpful, batch: 32 pairs }",
    ),
    ("safe", "stage safe = reward_model { init: chat, data: world.safe, batch: 32 pairs }"),
    ("judge", "stage judge = safety_gate { helpful, safe }"),
    ("parts", "stage parts = split { data: world.corpus, held_out: 5% }"),
    ("pirate", "stage pirate = lora { base: chat, data: world.pirate }"),
    ("desk", "stage desk = read_chat { files: \"desk.jsonl\", shape: shapes.messages {} }"),
    ("exam", "stage exam = read_benchmark { files: \"exam.jsonl\", columns: [\"question\"] }"),
    ("scores", "stage scores = eval { models: [chat], tasks: world.tasks }"),
];

/// The first declaration after each run of doc lines, with the example inside them.
fn examples(text: &str) -> Vec<(String, String)> {
    let (mut found, mut example) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(doc) = line.strip_prefix("///") {
            if let Some(code) = doc.strip_prefix("     ") {
                example += &format!("{code}\n");
            }
        } else {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some("fn" | "record") = words.next() {
                found.push((words.next().unwrap().to_string(), std::mem::take(&mut example)));
            }
            example.clear();
        }
    }
    found
}

fn faults(example: &str) -> Vec<String> {
    let modules = ["exams", "llama2", "shapes", "smallworld", "tasks", "truthfulqa"];
    let mut text = modules.map(|module| format!("use std/{module}\n")).concat();
    for (name, item) in GIVEN {
        let declares =
            ["let", "stage"].iter().any(|word| example.contains(&format!("{word} {name} =")));
        if !declares {
            text += &format!("{item}\n");
        }
    }
    let mut sources = Sources::default();
    let root = sources.add(Source::new("example.recipe", text + example));
    let (_, faults) = compile(&mut sources, root, &[]);
    let faults =
        faults.into_iter().filter(|fault| !["unused", "unneeded-stage"].contains(&fault.id));
    faults.map(|fault| fault.message).collect()
}

#[test]
fn every_declaration_has_an_example_that_checks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for (name, example) in examples(&text) {
            if example.is_empty() {
                assert!(UNSHOWN.contains(&name.as_str()), "`{name}` has no example");
                continue;
            }
            let faults = faults(&example);
            assert!(faults.is_empty(), "the example of `{name}`: {faults:?}");
            tried += 1;
        }
    }
    assert!(tried > 15, "{tried}");
}

/// What is only ever spread into a signature.
const UNSHOWN: [&str; 2] = ["low_rank", "training"];
