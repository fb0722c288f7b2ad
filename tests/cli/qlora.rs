//! An adapter over a base in NF4, from a recipe: the base stays as it is, and what is said of its
//! size counts what links lead to, as they do in a build.

use super::Project;

const ADAPTED: &str = r#"stage small = quantize { model: chat }
stage tuned = lora {
    base:    small
    data:    desk
    targets: "all-linear"
    length:  12 steps
    batch:   4 sequences
    lr:      1e-2
}
stage both = eval { models: [small, tuned], tasks: world.tasks, limit: 10 rows }

output scores, both"#;

#[test]
fn an_adapter_learns_over_a_quantised_base() {
    let project = Project::micro();
    project.edit("a.recipe", "output chat, scores", ADAPTED);
    project.run("build a.recipe").ended(0);
    let said = project.run("log a.recipe small").ended(0).out;
    let figure = |name: &str| -> f64 {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("{said}")).trim().parse().unwrap()
    };
    let (before, after) = (figure("bytes before:"), figure("bytes after:"));
    assert!(before > 10_000.0 && after > 10_000.0, "{before} and {after}");

    let report = project.read("build/a/both/report.json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let models = &report["tasks"]["held-out text"]["models"];
    let perplexity = |model: &str| models[model]["perplexity"].as_f64().unwrap();
    assert_ne!(perplexity("small"), perplexity("tuned"), "the adapter changes what is said");
    let again = project.run("build a.recipe").ended(0);
    assert!(again.built().is_empty(), "{}", again.err);
}
