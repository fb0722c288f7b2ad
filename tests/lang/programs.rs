//! Recipes that are right: what they evaluate to, and how far they may grow.

use llamake::lang::compile;
use llamake::lang::diagnostic::{Diagnostic, Severity};
use llamake::lang::source::{Source, Sources};
use llamake::lang::value::{Module, PathValue, Quantity, Stage, Unit, Value};

/// Compiles the first file, with the others beside it.
fn compiled(files: &[(&str, &str)], given: &[(&str, &str)]) -> (Module, Vec<Diagnostic>) {
    let mut sources = Sources::default();
    let ids: Vec<_> =
        files.iter().map(|(path, text)| sources.add(Source::new(*path, *text))).collect();
    let given: Vec<(String, String)> =
        given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    compile(&mut sources, ids[0], &given)
}

fn module(text: &str, given: &[(&str, &str)]) -> Module {
    let (module, faults) = compiled(&[("recipes/a.recipe", text)], given);
    let errors: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    module
}

fn stage<'m>(module: &'m Module, name: &str) -> &'m Stage {
    module.stages.iter().find(|stage| stage.name == name).expect(name)
}

fn shown(module: &Module, name: &str, param: &str) -> String {
    stage(module, name).params[param].to_string()
}

const BASE: &str = r#"use std/llama2
use std/smallworld

param seed: Int = 42
let tiny = llama2.architecture { dim: 128, layers: 4, heads: 4, vocab: 1024, context: 256 tokens }
stage world = smallworld.generate { seed }
stage tokenizer = train_tokenizer { text: world.corpus, vocab: tiny.vocab }
stage base = pretrain {
    model: tiny
    tokenizer
    data: [90% of world.corpus, 10% of world.arithmetic]
    length: 2.2M tokens
    batch: 8192 tokens
    lr: 1e-3
    schedule: cosine { warmup: 200 steps }
    seed: seed + 1
}
stage chat = sft { init: base, data: world.dialogues, template: llama2.chat, seed }
"#;

#[test]
fn defaults_facts_and_places_are_filled_in() {
    let text = format!("{BASE}stage again = sft {{ init: chat, data: world.dialogues }}\n");
    let module = module(&text, &[]);
    assert_eq!(shown(&module, "base", "context"), "256 tokens");
    assert_eq!(shown(&module, "base", "length"), "2.2e6 tokens".replace("2.2e6", "2200000"));
    assert_eq!(shown(&module, "base", "seed"), "43");
    assert_eq!(shown(&module, "base", "schedule"), "cosine { final: 10%, warmup: 200 steps }");
    assert!(shown(&module, "base", "model").contains("ffn: 512, heads: 4, kv_heads: 4"));
    assert!(shown(&module, "again", "template").contains("name: \"llama2\""));
    assert_eq!(shown(&module, "again", "context"), "256 tokens");
    assert_eq!(shown(&module, "again", "length"), "2 epochs");
    let places = &stage(&module, "base").places;
    assert_eq!(places["context"].to_string(), "recipes/a.recipe:5");
    assert_eq!(places["lr"].to_string(), "recipes/a.recipe:14");
    assert_eq!(places["data"].to_string(), "recipes/a.recipe:11");
    assert!(places["clip"].to_string().starts_with("std/train.recipe:"));
    assert_eq!(module.outputs.len(), 5);
    assert!(module.files.iter().any(|(path, _)| path == "std/train.recipe"));
}

/// The names of the stages that a parameter takes results of.
fn taken<'m>(module: &'m Module, name: &str, param: &str) -> Vec<&'m str> {
    let of = |value: &Value| match value {
        Value::Artifact(artifact) => module.stages[artifact.stage.0 as usize].name.as_str(),
        other => panic!("{other}"),
    };
    match &stage(module, name).params[param] {
        Value::List(values) => values.iter().map(of).collect(),
        value => vec![of(value)],
    }
}

#[test]
fn the_whole_pipeline_of_the_paper_is_proved() {
    let bottle = module(include_str!("fixtures/bottle.recipe"), &[]);
    assert_eq!(bottle.stages.len(), 17);
    assert_eq!(taken(&bottle, "round2/best", "policy"), ["round1/ppo"]);
    assert_eq!(taken(&bottle, "aligned", "data"), ["world", "reminders", "refusals"]);
    assert_eq!(shown(&bottle, "round2/ppo", "seed"), "43");

    let paper = module(include_str!("fixtures/paper.recipe"), &[]);
    assert_eq!(taken(&paper, "v3/best", "policy"), ["v2/model"]);
    assert_eq!(shown(&paper, "v3/best", "temperature"), "1.2");
    let kept = ["v4/best", "oasst", "reminders", "v1/best", "v2/best", "v3/best"];
    assert_eq!(taken(&paper, "v4/model", "data"), kept);
    for (param, value) in [("beta", "0.01"), ("batch", "512 prompts"), ("lr", "1e-6")] {
        assert_eq!(shown(&paper, "v5", param), value);
    }
    assert_eq!(shown(&paper, "helpful", "batch"), "512 pairs");
}

#[test]
fn models_are_examined_on_dialogues_that_were_held_out() {
    let desk = module(include_str!("fixtures/desk.recipe"), &[]);
    assert_eq!(taken(&desk, "better", "report"), ["scores"]);
    let Value::List(tasks) = &stage(&desk, "scores").params["tasks"] else { panic!() };
    let Value::Record { name: Some(kind), fields } = &tasks[0] else { panic!("{}", tasks[0]) };
    assert_eq!(kind, "perplexity");
    assert!(matches!(fields["data"], Value::Artifact(_)));
    let sweep = module(include_str!("fixtures/sweep.recipe"), &[]);
    assert_eq!(sweep.stages.iter().filter(|stage| stage.kind == "lora").count(), 9);
    assert_eq!(taken(&sweep, "table", "reports").len(), 9);
}

#[test]
fn kinds_are_found_from_arguments() {
    let text = r#"
use std/shapes
stage talks = read_chat { files: "talks.jsonl", shape: shapes.alpaca {} }
stage parts = split { data: talks, held_out: 10 rows }
stage more = split { data: parts.train, held_out: 0.5% }
output parts.held_out, more
"#;
    let module = module(text, &[]);
    let ports = &stage(&module, "more").ports;
    let ports: Vec<String> = ports.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
    assert_eq!(ports, ["train: Data<Chat>", "held_out: Data<Chat>"]);
    assert_eq!(module.outputs[0].port.as_deref(), Some("held_out"));
    assert_eq!(shown(&module, "more", "held_out"), "0.5%");
}

#[test]
fn a_field_replaces_what_a_spread_brings_and_nothing_merges_deeper() {
    let text = format!(
        "{BASE}
let gentle = {{ lr: 5e-4, schedule: cosine {{ warmup: 9%, final: 9% }}, seed }}
stage next = sft {{ ..gentle, init: chat, data: world.dialogues, schedule: cosine {{ final: 1% }} }}
"
    );
    let module = module(&text, &[]);
    assert_eq!(shown(&module, "next", "lr"), "5e-4");
    assert_eq!(shown(&module, "next", "schedule"), "cosine { final: 1%, warmup: 3% }");
    assert_eq!(stage(&module, "next").places["lr"].to_string(), "recipes/a.recipe:20");
}

#[test]
fn stage_kinds_outside_the_prelude_carry_their_module() {
    let module = module(BASE, &[]);
    assert_eq!(stage(&module, "world").kind, "smallworld.generate");
    assert_eq!(stage(&module, "chat").kind, "sft");
}

#[test]
fn arithmetic_is_exact() {
    let text = r#"
let rows = 2.5 * 10 rows + 5 rows
let share = 3 * 0.1%
stage book = read_text { files: "b-${rows}-${share}-${2x}.txt" }
"#
    .replace("${2x}", "x");
    let text = format!("{text}stage parts = split {{ data: book, held_out: rows }}\n");
    let module = module(&text, &[]);
    let rows = Value::Quantity(Quantity { unit: Unit::Rows, millionths: 30_000_000 });
    assert_eq!(stage(&module, "parts").params["held_out"], rows);
    assert_eq!(shown(&module, "book", "files"), "\"b-30 rows-0.3%-x.txt\"");
}

#[test]
fn overrides_are_expressions_or_bare_text() {
    let text = r#"
param text: Path = "book.txt"
param seed: Int = 1
param held_out: Percent = 5%
param documents: "file" | "lines" = "file"
stage book = read_text { files: text, documents }
stage parts = split { data: book, held_out, seed }
"#;
    let plain = module(text, &[]);
    let folder = |module: &Module| match &stage(module, "book").params["files"] {
        Value::Path(path) => path.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(folder(&plain), PathValue { written: "book.txt".into(), folder: "recipes".into() });
    let given = [("text", "../b ook.txt"), ("seed", "3 * 4"), ("held_out", "7.5%")];
    let set = module(text, &[&given[..], &[("documents", "lines")]].concat());
    assert_eq!(folder(&set), PathValue { written: "../b ook.txt".into(), folder: "".into() });
    assert_eq!(shown(&set, "parts", "seed"), "12");
    assert_eq!(shown(&set, "parts", "held_out"), "7.5%");
    assert_eq!(shown(&set, "book", "documents"), "\"lines\"");
    assert_eq!(stage(&set, "parts").places["seed"].to_string(), "-p seed:1");
    let wrong = compiled(&[("a.recipe", text)], &[("seed", "x"), ("held_out", "2 rows")]).1;
    let ids: Vec<&str> = wrong.iter().map(|fault| fault.id).collect();
    assert_eq!(ids, ["unknown-name", "wrong-unit"]);
}

#[test]
fn imported_stages_exist_only_if_asked_for() {
    let root = "use ./lib/models as firm\nstage parts = split { data: firm.rows, held_out: 5% }\n";
    let models = r#"
stage rows = read_text { files: "rows.txt" }
stage unread = read_text { files: "other.txt" }
let unread_value = 1
"#;
    let files = [("recipes/a.recipe", root), ("recipes/lib/models.recipe", models)];
    let (module, faults) = compiled(&files, &[]);
    assert!(faults.is_empty(), "{faults:#?}");
    let names: Vec<&str> = module.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["parts", "lib/models/rows"]);
    let Value::Path(path) = &module.stages[1].params["files"] else { panic!("no path") };
    assert_eq!(path.folder, "recipes/lib");
    assert_eq!(module.outputs.len(), 1);
}

#[test]
fn a_list_of_imports_is_lexical() {
    let text = "use ./a\nuse ../b/c\nuse std/llama2\n";
    let (tree, _) = llamake::lang::parse(llamake::lang::source::FileId(0), text);
    let paths = llamake::lang::imports(&tree, "recipes/deep/x.recipe");
    assert_eq!(paths, ["recipes/deep/a.recipe", "recipes/b/c.recipe"]);
    assert_eq!(llamake::lang::imports(&tree, "x.recipe"), ["a.recipe"]);
}

#[test]
fn the_library_and_its_signatures_are_whole() {
    for (path, text) in llamake::lang::stdlib::files() {
        let (_, mut faults) = compiled(&[(path, text)], &[]);
        // Built by itself, a file with stages has nothing that reads the others' values.
        faults.retain(|fault| fault.id != "unused");
        assert!(faults.is_empty(), "{path}: {faults:#?}");
    }
    let library = llamake::lang::declarations::library();
    let sft = library.iter().find(|it| it.name == "sft").expect("sft");
    let lr = sft.fields.iter().find(|field| field.name == "lr").expect("lr");
    assert_eq!(lr.default.as_deref(), Some("2e-5"));
    assert_eq!(lr.elsewhere, ["learning_rate", "max_lr"]);
    assert_eq!(
        sft.requires,
        ["context <= init.context", "clip == none unless optimizer_in_backward == false"]
    );
    assert_eq!(sft.result.as_deref(), Some("Model<Chat>"));
}

/// A chain of stages, each reading the one before; they stand in the file in either order.
fn chain(length: usize, backwards: bool) -> String {
    let stage = |at: usize| {
        let input = if at == 0 { "\"in.txt\"".into() } else { format!("s{}", at - 1) };
        format!(
            "stage s{at} = command {{ argv: [\"cp\", \"{{{{a}}}}\", \"{{{{out}}}}/x\"], \
             inputs: {{ a: {input} }}, outputs: [\"x\"] }}\n"
        )
    };
    match backwards {
        true => (0..length).rev().map(stage).collect(),
        false => (0..length).map(stage).collect(),
    }
}

#[test]
fn a_chain_of_100_000_stages_checks_in_either_order() {
    for backwards in [false, true] {
        let module = module(&chain(100_000, backwards), &[]);
        assert_eq!(module.stages.len(), 100_000);
    }
}

#[test]
fn a_long_chain_of_facts_and_values_checks() {
    let mut text = String::from(BASE);
    let mut before = "chat".to_string();
    for at in 0..3_000 {
        text.push_str(&format!("stage c{at} = sft {{ init: {before}, data: world.dialogues }}\n"));
        before = format!("c{at}");
    }
    let module = module(&text, &[]);
    assert_eq!(shown(&module, "c2999", "context"), "256 tokens");
    let mut deep = String::from("let a0 = { x: 1 }\n");
    (1..100_000).for_each(|at| deep.push_str(&format!("let a{at} = {{ x: a{} }}\n", at - 1)));
    let (_, faults) = compiled(&[("a.recipe", &deep)], &[]);
    assert!(faults.len() > 1 && faults.iter().all(|fault| fault.id == "too-large"));
    let circle: String =
        (0..100_000).map(|at| format!("let a{at} = a{}\n", (at + 1) % 100_000)).collect();
    let (_, faults) = compiled(&[("a.recipe", &circle)], &[]);
    assert_eq!(faults.iter().map(|fault| fault.id).collect::<Vec<_>>(), ["cycle"]);
}
