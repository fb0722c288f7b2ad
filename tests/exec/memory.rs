//! What recipes need of a device: the parts of the ledger that settings lead to, and what is said
//! of a stage that does not fit.

use llamake::exec::device::too_large;
use llamake::exec::ledger::{Cost, cost, prove};
use llamake::exec::needs::Shapes;
use llamake::lang::compile;
use llamake::lang::diagnostic::{Diagnostic, Severity};
use llamake::lang::source::{Source, Sources};
use llamake::lang::value::Module;
use llamake::train::stage::ledger::MemoryLedger;

/// A chat model of one of the paper's sizes, its base in NF4, and more stages.
pub fn recipe(size: &str, stages: &str) -> String {
    let long = "let long = { context: 2048 tokens, length: 10 steps, micro_batch: 1 sequence }";
    let long = if stages.contains("..long") { long } else { "" };
    format!(
        "use std/llama2\n\
         use std/shapes\n\
         stage words = read_tokenizer {{ files: \"w\", vocab: 32000 }}\n\
         stage talk = read_chat {{ files: \"t.jsonl\", shape: shapes.messages {{}} }}\n\
         stage asked = read_prompts {{ files: \"p.jsonl\", shape: shapes.prompt {{}} }}\n\
         stage pairs = read_preferences {{ files: \"a.jsonl\", shape: shapes.hh {{}} }}\n\
         stage base = read_chat_model {{\n    files:     \"m\"\n    \
         is:        llama2.size_{size}.architecture\n    tokenizer: words\n    \
         template:  llama2.chat\n}}\n\
         stage small = quantize {{ model: base, dtype: \"bf16\" }}\n\
         {long}\n\
         {stages}\noutput tuned\n"
    )
}

pub fn compiled(text: &str) -> (Sources, Module) {
    let mut sources = Sources::default();
    let root = sources.add(Source::new("a.recipe", text));
    let (module, faults) = compile(&mut sources, root, &[]);
    // Stages that nothing needs are only worth a word.
    let faults: Vec<_> = faults.iter().filter(|one| one.severity == Severity::Error).collect();
    assert!(faults.is_empty(), "{faults:?}");
    (sources, module)
}

/// The cost of the stage `tuned`.
fn tuned(size: &str, stage: &str) -> Cost {
    let (_, module) = compiled(&recipe(size, stage));
    let stage = module.stages.iter().find(|stage| stage.name == "tuned").unwrap();
    cost(&Shapes::of(&module), stage).unwrap()
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn near(found: u64, expected: f64) {
    let found = gib(found);
    assert!((found / expected - 1.0).abs() < 0.01, "{found} GiB, not {expected}");
}

const QLORA: &str = "stage tuned = lora { base: small, data: talk, rank: 64, \
                     targets: \"all-linear\", gradient_checkpointing: true, ..long }";

/// Full, LoRA and QLoRA training of 7B, 13B and 70B. GiB of the weights in f32, of the matrices in
/// NF4 and of the rest in 16 bits are worked out by hand; what adapters of rank 64 learn is what
/// PEFT says of them.
#[test]
fn weights_weigh_what_their_numbers_do() {
    let sizes = [
        ("7b", 6_738_415_616, 159_907_840, 25.1, 3.11, 0.49),
        ("13b", 13_015_864_320, 250_347_520, 48.49, 6.10, 0.61),
        ("70b", 68_976_648_192, 828_375_040, 256.96, 32.9, 0.98),
    ];
    for (size, parameters, learnt, wide, blocks, rest) in sizes {
        let full = tuned(size, "stage tuned = sft { init: base, data: talk, ..long }");
        assert_eq!([full.parameters, full.learnt], [parameters; 2]);
        let MemoryLedger { weights, gradients, optimizer, .. } = full.memory;
        near(weights, wide);
        assert_eq!([gradients, optimizer], [weights, 2 * weights]);

        let lora = tuned(size, &QLORA.replace("small", "base"));
        assert_eq!([lora.parameters, lora.learnt], [parameters, learnt]);
        near(lora.memory.weights, wide);
        assert_eq!(lora.memory.blocks, 0);

        let qlora = tuned(size, QLORA);
        near(qlora.memory.weights, rest);
        near(qlora.memory.blocks, blocks);
        let MemoryLedger { adapter, gradients, optimizer, .. } = qlora.memory;
        assert_eq!([adapter, gradients, optimizer], [1, 1, 2].map(|times| 4 * times * learnt));
        assert_eq!(lora.memory.activations, qlora.memory.activations);
        assert!(qlora.memory.total() * 3 < lora.memory.total());
    }
}

/// Each setting moves its own part, and the arithmetic is that of frozen weights.
#[test]
fn settings_of_an_adapter_are_followed() {
    let whole = tuned("7b", QLORA);
    let with = |more: &str| tuned("7b", &QLORA.replace("..long", &format!("{more}, ..long")));
    let few = tuned("7b", &QLORA.replace("rank: 64, targets: \"all-linear\"", "rank: 8"));
    assert_eq!(few.learnt, 4_194_304);
    let (_, flops) = few.total.unwrap();
    let tokens = 10.0 * 16.0 * 2048.0;
    let products = 4 * (6_738_415_616_u64 - 131_072_000) + 6 * 4_194_304;
    assert_eq!(flops, tokens * (products + 12 * 32 * 4096 * 2048) as f64);

    let narrow = with("optimizer: adamw8 {}");
    assert!(narrow.memory.optimizer * 100 < whole.memory.optimizer * 27);
    let paged = with("optimizer: paged_adamw { page_budget: 256MiB }");
    assert!(paged.memory.optimizer <= 256 << 20);
    assert_eq!(paged.memory.optimizer + paged.memory.pages, whole.memory.optimizer);
    assert_eq!(whole.memory.pages, 0);
    let kept = tuned("7b", &QLORA.replace("gradient_checkpointing: true, ", ""));
    assert!(kept.memory.activations > 5 * whole.memory.activations);
    let dropped = with("dropout: 10%");
    let widest = 4 * 2048 * 11008;
    assert_eq!(dropped.memory.activations, whole.memory.activations + widest);
    assert!(with("dora: true").memory.adapter > whole.memory.adapter);
    assert_eq!(with("rslora: true").memory, whole.memory);
}

/// A base is as wide as the stage that made it wrote it.
#[test]
fn a_base_is_as_wide_as_it_was_written() {
    let over = |base: &str| {
        let tuned = QLORA.replace("base: small", "base: made");
        let MemoryLedger { weights, blocks, .. } =
            self::tuned("7b", &format!("{base}\n{tuned}")).memory;
        [weights, blocks]
    };
    // Blocks of 32 numbers and a scale of 16 bits; norms stay as they are.
    let [weights, blocks] = over("stage made = quantize { model: base, to: \"q4_0\" }");
    assert_eq!(weights, 4 * 65 * 4096);
    near(blocks, 3.53);
    let [weights, blocks] = over("stage made = quantize { model: small, double_quant: false }");
    near(blocks, 3.11);
    near(weights, 2.0 * 0.49);
    let merged = "stage one = lora { base: small, data: talk, ..long }\n\
                  stage made = merge { adapter: one, dtype: \"bf16\" }";
    assert_eq!(over(merged)[1], 0);
    near(over(merged)[0], 12.55);
}

/// A pair is a row of two texts; a policy learns beside a judge and what it was; neither is cut.
#[test]
fn alignment_is_counted() {
    let long = "context: 2048 tokens, length: 10 steps, micro_batch: 1 sequence";
    let dpo = tuned("7b", &format!("stage tuned = dpo {{ init: base, data: pairs, {long} }}"));
    let full = tuned("7b", "stage tuned = sft { init: base, data: talk, ..long }");
    assert_eq!(dpo.course, "10 steps of 64 pairs");
    assert_eq!(dpo.memory.activations, 2 * full.memory.activations);
    assert_eq!([dpo.memory.beside, dpo.memory.sampling], [0, 0]);
    assert_eq!(dpo.total.unwrap().0, 10 * 64 * 2 * 2048);

    let judged = "stage judge = reward_model { init: base, data: pairs, margins: \"none\" }\n";
    let grpo = tuned(
        "7b",
        &format!(
            "{judged}stage tuned = grpo {{ policy: base, judge, prompts: asked, samples: 4, \
             length: 5 steps, batch: 8 prompts }}"
        ),
    );
    assert_eq!(grpo.course, "5 iterations of 8 prompts with 4 answers each, 8 a step");
    // The policy as it began, and a judge with a row for a head.
    let judge = grpo.parameters - 31_999 * 4096;
    assert_eq!(grpo.memory.beside, 4 * (grpo.parameters + judge));
    // Keys and values of 32 texts of 4096 tokens and of their beginning, 32 layers of 4096.
    let cache = 2 * 4 * 32 * 4096 * 33 * 4096;
    assert!(grpo.memory.sampling > cache && grpo.memory.sampling < cache + cache / 10);
}

fn refused(stage: &str, limit: Option<u64>) -> Vec<Diagnostic> {
    let (sources, module) = compiled(&recipe("7b", stage));
    match limit {
        Some(gib) => too_large(&sources, &module, gib << 30),
        None => prove(&sources, &module),
    }
}

/// A promise is kept, or said to be broken with the settings under which it would be kept.
#[test]
fn a_promise_is_proved() {
    let kept = QLORA.replace("..long", "fits: 12GiB, ..long");
    assert_eq!(refused(&kept, None), []);
    let lora = QLORA.replace("small", "base").replace("..long", "fits: 24GiB, ..long");
    let found = refused(&lora, None);
    let [fault] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(fault.id, "does-not-fit");
    assert!(fault.message.starts_with("`tuned` needs 2"), "{}", fault.message);
    assert!(fault.message.ends_with("GiB of the 24.0 GiB it promises"), "{}", fault.message);
    assert_eq!(fault.labels.last().unwrap().text, "the promise");
    assert!(fault.labels[0].text.starts_with("weights: 25.1 GiB"), "{fault:?}");
    assert!(fault.notes.iter().any(|note| note.contains("a base from `quantize`")), "{fault:?}");
    assert_eq!(fault.hint, None, "what changes a result is not to be pasted");
}

/// A stage of the library that is made of others passes a promise on.
#[test]
fn a_promise_about_qlora_is_proved() {
    let stage = "stage tuned = qlora { base, data: talk, rank: 64, fits: LIMIT, ..long }";
    assert_eq!(refused(&stage.replace("LIMIT", "9GiB"), None), []);
    let found = refused(&stage.replace("LIMIT", "4GiB"), None);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("of the 4.0 GiB it promises"), "{found:?}");
}

/// Every setting that is told is tried: what the stage needs under it is no more than there is.
#[test]
fn what_is_told_to_fit_fits() {
    let stage = "stage tuned = sft { init: base, data: talk, length: 10 steps, micro_batch: 4 \
                 sequences, context: 2048 tokens, TURNED }";
    let bare = stage.replace(", TURNED", "");
    for limit in [120, 110, 90, 60, 40, 20] {
        let found = refused(&bare, Some(limit));
        let fault = found.iter().find(|fault| fault.message.starts_with("`tuned`")).unwrap();
        let told = fault.notes.iter().filter_map(|note| note.strip_prefix("it fits with "));
        let told = told.collect::<Vec<_>>();
        assert_eq!(
            told.is_empty(),
            fault.notes.contains(&"no setting of the stage makes it fit".to_string())
        );
        for setting in told {
            let (turned, needs) = setting.rsplit_once(": ").unwrap();
            if turned.contains('`') {
                continue;
            }
            let mut text = stage.replace("TURNED", turned);
            for given in ["micro_batch: 4 sequences, ", "context: 2048 tokens, "] {
                let name = given.split(':').next().unwrap();
                if turned.contains(name) {
                    text = text.replace(given, "");
                }
            }
            let total = gib(tuned("7b", &text).memory.total());
            assert_eq!(format!("{total:.1} GiB"), needs, "{turned}");
            assert!(total <= limit as f64, "{turned}");
        }
    }
}

/// All stages that do not fit are told at once.
#[test]
fn every_stage_that_does_not_fit_is_told() {
    let two = "stage first = sft { init: base, data: talk, fits: 24GiB, ..long }\n\
               stage tuned = sft { init: first, data: talk, fits: 24GiB, ..long }";
    let found = refused(two, None);
    let names = found.iter().map(|fault| fault.message.split('`').nth(1).unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["first", "tuned"]);
    let adapters =
        |fault: &Diagnostic| fault.notes.iter().any(|note| note.contains("`lora` of rank 64"));
    assert!(found.iter().all(adapters), "{found:?}");
}

/// Every weight is learnt, and the gradients of one of 32 blocks are kept: all bytes but those of
/// gradients are as before.
#[test]
fn weights_that_move_on_the_way_back_need_the_gradients_of_a_block() {
    let stage = |more: &str| {
        format!(
            "stage tuned = sft {{ init: base, data: talk, batch: 1 sequence, clip: none{more}, \
             ..long }}"
        )
    };
    let (kept, moved) =
        (tuned("7b", &stage("")), tuned("7b", &stage(", optimizer_in_backward: true")));
    near(kept.memory.gradients, 4.0 * 6.738 / 1.0737);
    let block = 202.4 / 1024.0;
    let ends = 2.0 * 131.07 / 1024.0;
    near(moved.memory.gradients, 4.0 * (block + ends) / 1.048_576);
    let gradients = kept.memory.gradients;
    assert_eq!(MemoryLedger { gradients, ..moved.memory }, kept.memory);
}

#[test]
fn weights_do_not_move_on_the_way_back_of_a_step_in_parts() {
    let stage = "stage tuned = sft {\n    init: base\n    data: talk\n    clip: none\n    \
                 batch: 4 sequences\n    optimizer_in_backward: true\n    ..long\n}";
    let (sources, module) = compiled(&recipe("7b", stage));
    let [fault] = &prove(&sources, &module)[..] else { panic!("one fault") };
    assert_eq!(fault.id, "step-in-parts");
    assert_eq!(
        fault.message,
        "`tuned` computes 4 rows of a step 1 at a time, and `optimizer_in_backward` needs them all \
         at once"
    );
    assert_eq!(fault.hint.as_deref(), Some("micro_batch: 4 sequences"));
    let whole = stage.replace("batch: 4 sequences", "batch: 1 sequence");
    let (sources, module) = compiled(&recipe("7b", &whole));
    assert!(prove(&sources, &module).is_empty());
}

/// What a run would refuse is refused before it.
#[test]
fn what_no_run_could_do_anything_with_is_told() {
    let told = |stage: &str| {
        let (sources, module) = compiled(&recipe("7b", stage));
        let faults = prove(&sources, &module);
        faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>()
    };
    let tuned = "stage tuned = sft { init: base, data: talk, ..long }\n";
    let eval = |tasks: &str| {
        format!(
            "{tuned}stage s = eval {{\n    models: [base]\n    tasks:  [{tasks}]\n}}\noutput s\n"
        )
    };
    let one = "perplexity { data: talk }";
    assert!(told(&eval(one)).is_empty());
    assert_eq!(told(&eval(&format!("{one}, {one}"))), ["two tasks of `s` are called `perplexity`"]);
    let expect = |bounds: &str| {
        let stage = eval(one).replace("output s\n", "");
        let metric = "report: s, model: base, metric: \"perplexity\"";
        format!("{stage}stage good = expect {{\n    {metric}\n{bounds}\n}}\noutput good\n")
    };
    assert!(told(&expect("at_most: 5, at_least: 4")).is_empty());
    assert_eq!(told(&expect("")), ["`good` expects nothing of its figure"]);
    let never = "`good` expects at least 6 and at most 5, which nothing is";
    assert_eq!(told(&expect("at_most: 5, at_least: 6")), [never]);
    let other = |data: &str| format!("stage tuned = sft {{ init: base, data: {data}, ..long }}");
    assert_eq!(told(&other("[]")), ["`tuned` learns from nothing"]);
    let part = told(&other("[100% of talk, 0% of talk]"));
    assert_eq!(part, ["`tuned` takes 0% of a part of its data"]);
    let own = "stage own = train_tokenizer {\n    text\n    vocab: 300\n    bos:   \"<x>\"\n    \
               eos:   \"<x>\"\n}\noutput own\n";
    let same = format!("{tuned}stage text = read_text {{ files: \"b\" }}\n{own}");
    assert_eq!(told(&same), ["texts of `own` begin and end with the same token"]);
}
