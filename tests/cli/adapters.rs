//! Adapters from a recipe: what runs anew after a change, and what becomes of them elsewhere.

use super::Project;

const ADAPTERS: &str = r#"
let lessons = { base: chat, data: desk, length: 3 steps, batch: 2 sequences, lr: 1e-2 }

stage worn[rank in [2, 4]] = lora { ..lessons, rank, targets: "all-linear" }

stage dora   = lora { ..lessons, rank: 2, dora: true, rslora: true, dropout: 10%, seed: 3 }
stage merged = merge { adapter: dora }
stage sat    = eval { models: [chat, ..worn, dora, merged], tasks: world.tasks, limit: 5 rows }
stage folder = export { model: dora, to: "peft" }

output chat, scores, merged, sat, folder
"#;

fn project() -> Project {
    let project = Project::micro();
    project.edit("a.recipe", "output chat, scores", ADAPTERS);
    project
}

#[test]
fn a_changed_rank_runs_one_adapter_and_a_changed_base_all() {
    let project = project();
    project.run("build").ended(0);
    assert_eq!(project.run("build").ended(0).built(), [""; 0]);
    project.edit("a.recipe", "rank in [2, 4]", "rank in [2, 3]");
    let built = project.run("build").ended(0);
    assert_eq!(built.built(), ["sat", "worn[rank:"], "{}", built.err);
    project.edit("a.recipe", "length:   4 steps", "length:   5 steps");
    let why = project.run("why a.recipe dora").ended(0);
    assert!((why.out + &why.err).contains("`chat`"));
    let built = project.run("build").ended(0);
    let adapters =
        ["chat", "dora", "folder", "merged", "sat", "scores", "worn[rank:", "worn[rank:"];
    assert_eq!(built.built(), adapters, "{}", built.err);
}

#[test]
fn an_adapter_answers_with_its_base_and_comes_back_from_peft() {
    let project = project();
    project.run("build").ended(0);
    for stage in ["chat", "dora", "merged"] {
        project.run(&format!("generate a.recipe {stage} --prompt Hello --max-answer 3")).ended(0);
    }
    project.run("export a.recipe dora elsewhere --to peft").ended(0);
    project.run("export a.recipe dora nowhere --to hf").ended(3).told(&["`merge` the adapter"]);
    let theirs = "stage theirs = read_adapter { files: \"elsewhere\", base: chat, rank: 2 }\n\
                  stage again = export { model: theirs, to: \"peft\" }\n\noutput again";
    let recipe = project.read("a.recipe");
    project.write("b.recipe", recipe.clone() + theirs);
    project.run("build b.recipe again").ended(0);
    let bytes = |name: &str| std::fs::read(project.path(name)).unwrap();
    let ours = bytes("elsewhere/adapter_model.safetensors");
    assert_eq!(bytes("build/b/again/adapter_model.safetensors"), ours);
    project.write("c.recipe", recipe + &theirs.replace("rank: 2", "rank: 4"));
    let told = project.run("build c.recipe again").ended(3);
    told.told(&["its rank is 2, declared is 4"]);
}

const PAIRS: &str = r#"
let lessons = { base: chat, length: 3 steps, rank: 2, lr: 1e-2 }
let talks   = { ..lessons, data: desk, batch: 2 sequences }
let pairs   = { ..lessons, data: world.helpful, batch: 2 pairs }

stage leaning[beta in [0.1, 0.5]] = lora_dpo { ..pairs, beta }

stage taste = lora_reward { ..pairs, seed: 3 }
stage small = qlora { ..talks, double_quant: true }
stage twice = qlora { ..talks, base: other }
stage thin  = lora_dpo { ..pairs, base: other }
stage other = quantize { model: chat }
stage plain = lora { ..talks, base: other, targets: "all-linear", micro_batch: 1 sequence }
stage both  = combine { base: chat, adapters: leaning, weights: [0.7, 0.3] }

stage kept = rejection_sampling {
    policy:     chat
    judge:      taste
    prompts:    world.asked
    samples:    2
    max_answer: 4 tokens
}
stage sat = eval {
    models: [chat, ..leaning, small, thin, both, taste]
    tasks:  [
        perplexity { data: world.held_out }
        pairs { name: "pairs", data: world.safe }
        rewards { name: "liked", prompts: world.asked, judge: taste, max_answer: 4 tokens }
    ]
    limit:  5 rows
}

output chat, scores, sat, kept, small, plain, twice
"#;

fn project_of_pairs() -> Project {
    let project = Project::micro();
    project.edit("a.recipe", "context: 128 tokens", "context: 256 tokens");
    project.edit("a.recipe", "output chat, scores", PAIRS);
    project
}

#[test]
fn adapters_of_pairs_and_over_nf4_run_anew_where_what_they_stand_on_changed() {
    let project = project_of_pairs();
    project.run("build").ended(0);
    assert_eq!(project.run("build").ended(0).built(), [""; 0]);
    // QLoRA is LoRA over a quantised base, to the bit, wherever the moments are kept.
    let bytes = |stage: &str| {
        std::fs::read(project.path(&format!("build/a/{stage}/adapter_model.safetensors"))).unwrap()
    };
    assert_eq!(bytes("small/adapter"), bytes("plain"));
    assert_eq!(bytes("twice/adapter"), bytes("plain"), "what is quantised already stays as it is");
    let report = project.read("build/a/sat/report.json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let asked = |task: &str| -> Vec<String> {
        report["tasks"][task]["models"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(asked("pairs"), ["taste"]);
    assert_eq!(asked("liked").len(), 6);
    let said = project.run("generate a.recipe small --prompt Hello --max-answer 3").ended(0);
    assert!(said.out.ends_with('\n'), "{}", said.out);
    project.run("export a.recipe small elsewhere --to peft").ended(0);
    project.run("generate a.recipe taste --prompt Hello").ended(3).told(&["a reward model"]);

    project.edit("a.recipe", "leaning[beta in [0.1, 0.5]]", "leaning[beta in [0.1, 0.4]]");
    let built = project.run("build").ended(0);
    assert_eq!(built.built(), ["both", "leaning[beta:", "sat"], "{}", built.err);
    project.edit(
        "a.recipe",
        "small = qlora { ..talks, double",
        "small = qlora { ..talks, rank: 3, double",
    );
    let built = project.run("build").ended(0);
    assert_eq!(built.built(), ["sat", "small/adapter"], "{}", built.err);

    project.edit("a.recipe", "length:   4 steps", "length:   5 steps");
    for (stage, because) in
        [("thin", "`other`"), ("taste", "`chat`"), ("small", "`small/nf4`"), ("both", "`chat`")]
    {
        let why = project.run(&format!("why a.recipe {stage}")).ended(0);
        let why = why.out + &why.err;
        assert!(why.contains(because), "{stage}: {why}");
    }
    let built = project.run("build").ended(0).built().join(" ");
    for stage in
        ["other", "leaning[beta:", "taste", "small/adapter", "thin", "both", "kept", "plain"]
    {
        assert!(built.contains(stage), "{stage}: {built}");
    }
}

#[test]
fn what_no_adapter_can_be_is_found_before_anything_runs() {
    let project = project_of_pairs();
    let recipe = project.read("a.recipe");
    let checked = |stage: &str| {
        project.write("b.recipe", format!("{recipe}\nstage odd = {stage}\noutput odd\n"));
        project.run("check b.recipe").ended(1)
    };
    for (stage, told) in [
        ("export { model: small, to: \"hf\" }", "writes an adapter as hf"),
        ("export { model: both, to: \"gguf\", dtype: \"bf16\" }", "`merge` the adapter first"),
        ("export { model: small, to: \"bnb4\" }", "which only holds whole models"),
        ("export { model: small, to: \"peft\", dtype: \"bf16\" }", "adapters are written in f32"),
        ("export { model: chat, to: \"peft\" }", "which only holds adapters"),
        ("lora { ..talks, targets: [] }", "adapts no projection"),
        ("qlora { ..talks, fits: 1KiB }", "of the 1.0 KiB it promises"),
        ("lora_dpo { ..pairs, targets: [] }", "adapts no projection"),
        ("combine { base: chat, adapters: leaning, weights: [1] }", "2 adapters by 1 weights"),
        ("combine { base: chat, adapters: [], weights: [] }", "`adapters.base` and `base` differ"),
        ("combine { base: chat, adapters: [small], weights: [1] }", "trained on `small/nf4`"),
        (
            "combine { base: other, adapters: [plain, ..leaning], weights: [1, 2, 3] }",
            "`leaning[beta: 0.1]` was trained on `chat`",
        ),
        ("merge { adapter: taste }", "Reward"),
        ("merge { adapter: small, into: chat }", "trained on `small/nf4`"),
        ("eval { models: [taste], tasks: world.tasks }", "no task fits `taste`"),
        (
            "eval { models: [both], tasks: [pairs { name: \"p\", data: world.safe }] }",
            "no task fits `both`",
        ),
        (
            "eval { models: [taste], tasks: [pairs { name: \"p\", data: world.helpful }] }",
            "held-out",
        ),
    ] {
        checked(stage).told(&[told]);
    }
    let dora = "stage bold = lora { ..talks, dora: true }\n\
                stage sum = combine { base: chat, adapters: [bold], weights: [1] }\noutput sum\n";
    project.write("b.recipe", recipe + dora);
    project.run("check b.recipe").ended(1).told(&["combine-dora", "`bold` is DoRA"]);
}
