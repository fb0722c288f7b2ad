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
