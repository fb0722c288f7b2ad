//! Functions with a body, and sweeps: the paths they expand to, what they stand for, and how far
//! they may grow.

use llamake::lang::compile;
use llamake::lang::diagnostic::Severity;
use llamake::lang::source::{Source, Sources};
use llamake::lang::value::{Module, Value};

fn module(text: &str, others: &[(&str, &str)]) -> Module {
    let mut sources = Sources::default();
    let root = sources.add(Source::new("recipes/a.recipe", text));
    for (path, text) in others {
        sources.add(Source::new(*path, *text));
    }
    let (module, faults) = compile(&mut sources, root, &[]);
    let errors: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    module
}

fn names(module: &Module) -> Vec<&str> {
    module.stages.iter().map(|stage| stage.name.as_str()).collect()
}

/// What an output or a name of the module stands for.
fn meant(module: &Module, name: &str) -> Vec<String> {
    let all = module.named.iter().filter(|one| one.name == name);
    let text = |stage: u32, port: &Option<String>| match port {
        Some(port) => format!("{}.{port}", module.stages[stage as usize].name),
        None => module.stages[stage as usize].name.clone(),
    };
    all.map(|one| text(one.stage.0, &one.port)).collect()
}

const BASE: &str = "use std/llama2
use std/smallworld
let tiny = llama2.architecture { dim: 128, layers: 4, heads: 4, vocab: 1024, context: 256 tokens }
stage world = smallworld.generate {}
stage tokenizer = train_tokenizer { text: world.corpus, vocab: tiny.vocab }
stage base = pretrain {
    model: tiny, tokenizer, data: world.corpus, length: 2M tokens, batch: 8192 tokens, lr: 1e-3
}
";

#[test]
fn a_function_expands_to_paths_and_stands_for_its_result() {
    let text = format!(
        "{BASE}
fn version {{ base: Model<Base>, keep: [Data<Chat>], seed: Int }} -> {{
    first: Model<Chat>
    model: Model<Chat>
}} {{
    stage model = sft {{ ..llama2.paper.sft, init: first, data: keep, seed: seed + 1 }}
    stage first = sft {{ init: base, data: [world, ..keep], template: llama2.chat, seed }}
    let world = keep_first {{ keep }}.one
    {{ first, model }}
}}
stage v1 = version {{ base, keep: [world.dialogues], seed: 3 }}
stage scores = eval {{ models: [v1.model, v1.first], tasks: world.tasks }}
output v1.model, scores
"
    );
    let text = text
        .replace("[world, ..keep]", "[..keep]")
        .replace("    let world = keep_first { keep }.one\n", "");
    let module = module(&text, &[]);
    assert_eq!(names(&module), ["world", "tokenizer", "base", "scores", "v1/first", "v1/model"]);
    assert_eq!(meant(&module, "v1"), ["v1/first", "v1/model"]);
    assert_eq!(meant(&module, "v1.model"), ["v1/model"]);
    assert_eq!(module.stages[5].params["seed"], Value::Int(4));
    assert_eq!(module.stages[5].params["packing"].to_string(), "\"wrapped\"");
    assert_eq!(module.outputs.len(), 2);
}

#[test]
fn functions_nest_are_imported_and_compute_values() {
    let lib = "
/// Settings that are one and a half times as large.
fn larger { rows: Int } -> { rows: Int, seed: Int } {
    let more = rows + 1
    { rows: more, seed: 2 * more }
}
fn inner { data: Data<Text>, seed: Int } -> Data<Text> {
    stage parts = split { data, held_out: 5 rows, seed }
    parts.train
}
fn outer { data: Data<Text>, seed: Int } -> Data<Text> {
    stage once = inner { data, seed }
    stage twice = inner { data: once, seed: seed + 1 }
    twice
}
";
    let text = "
use ./lib
let set = lib.larger { rows: 6 }
stage book = read_text { files: \"book.txt\" }
stage less = lib.outer { data: book, seed: set.seed }
stage last = split { data: less, held_out: 1% }
output last
";
    let module = module(text, &[("recipes/lib.recipe", lib)]);
    assert_eq!(names(&module), ["book", "last", "less/once/parts", "less/twice/parts"]);
    assert_eq!(module.stages[3].params["seed"], Value::Int(15));
    assert_eq!(meant(&module, "less"), ["less/twice/parts.train"]);
    assert_eq!(meant(&module, "less/once"), ["less/once/parts.train"]);
}

#[test]
fn sweeps_are_picked_from_spread_and_named() {
    let text = format!(
        "{BASE}
let ranks = [8, 16]
fn tune {{ init: Model<Base>, data: Data<Chat>, seed: Int }} -> Model<Chat> {{
    stage t[lr in [1e-4, 0.5]] = sft {{ init, data, template: llama2.chat, lr, seed }}
    t[lr: 0.5]
}}
stage tuned[seed in ranks, lr in [1e-4, 2e-4]] = sft {{
    init: base, data: world.dialogues, template: llama2.chat, seed, lr
}}
stage f[seed in ranks] = tune {{ init: base, data: world.dialogues, seed }}
stage next[seed in ranks] = sft {{ init: tuned[seed, lr: 2e-4], data: world.dialogues }}
stage scores = eval {{
    models: [base, ..tuned[lr: 1e-4], ..f, tuned[seed: 8, lr: 2e-4]]
    tasks:  world.tasks
}}
output scores, next[seed: 16], f
"
    );
    let module = module(&text, &[]);
    assert!(names(&module).contains(&"tuned[seed: 16, lr: 2e-4]"), "{:?}", names(&module));
    assert!(names(&module).contains(&"f[seed: 8]/t[lr: 0.5]"));
    assert_eq!(module.stages.len(), 3 + 1 + 4 + 4 + 2);
    assert_eq!(meant(&module, "f[seed: 8]"), ["f[seed: 8]/t[lr: 0.5]"]);
    assert_eq!(meant(&module, "f").len(), 2);
    assert_eq!(meant(&module, "tuned").len(), 4);
    let scores = module.stages.iter().find(|stage| stage.name == "scores").unwrap();
    let Value::List(models) = &scores.params["models"] else { panic!("no list") };
    assert_eq!(models.len(), 1 + 2 + 2 + 1);
    assert_eq!(module.outputs.len(), 4);
}

#[test]
fn errors_at_a_use_name_the_use_and_the_line_inside() {
    let text = format!(
        "{BASE}
fn wide {{ init: Model<Base>, data: Data<Chat>, context: Tokens }} -> Model<Chat> {{
    stage t = sft {{ init, data, template: llama2.chat, context }}
    t
}}
stage small = wide {{ init: base, data: world.dialogues, context: 256 tokens }}
stage large = wide {{ init: base, data: world.dialogues, context: 512 tokens }}
"
    );
    let mut sources = Sources::default();
    let root = sources.add(Source::new("a.recipe", text));
    let (_, faults) = compile(&mut sources, root, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].id, "requirement");
    let last = faults[0].labels.last().unwrap();
    assert_eq!(last.text, "in this use of `wide`");
    let told: Vec<&str> = faults[0].labels.iter().map(|label| sources.text(label.span)).collect();
    assert_eq!(told, ["512 tokens", "256 tokens", "wide"]);
}

#[test]
fn ten_thousand_stages_expand_at_once() {
    let digits = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
    let text = format!(
        "{BASE}
fn tune {{ init: Model<Base>, data: Data<Chat>, seed: Int }} -> Model<Chat> {{
    stage t[d in {digits}] = sft {{ init, data, template: llama2.chat, seed: seed + d }}
    t[d: 9]
}}
stage all[a in {digits}, b in {digits}, c in {digits}] = tune {{
    init: base, data: world.dialogues, seed: 1000 * a + 100 * b + 10 * c
}}
output all
"
    );
    let start = std::time::Instant::now();
    let module = module(&text, &[]);
    assert_eq!(module.stages.len(), 10_003);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
