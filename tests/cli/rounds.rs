//! Rounds of alignment by a function, and PPO without its penalty, on a model that is made in
//! seconds: rounds are cached stage by stage, a run stops early, and drift is told.

use super::Project;

fn rewards(project: &Project) -> serde_json::Value {
    let report = project.read("build/a/scores/report.json");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    report["tasks"]["reward"]["models"].clone()
}

#[test]
fn rounds_are_cached_and_a_policy_without_a_penalty_drifts() {
    let project = Project::of(include_str!("rounds.recipe"));
    let ran = project.run("build a.recipe").ended(0);
    let round = ["best", "ppo", "tuned"];
    for round in [1, 2].into_iter().flat_map(|n| round.map(|stage| format!("v{n}/{stage}"))) {
        assert!(ran.built().contains(&&*round), "{round}: {}", ran.err);
    }
    let stopped = project.run("log a.recipe v1/ppo").ended(0).out;
    let steps = stopped.lines().find_map(|line| line.trim().strip_prefix("steps: "));
    assert!(steps.is_some_and(|steps| steps.parse::<u64>().unwrap() < 6), "{stopped}");

    let models = rewards(&project);
    let kl = |model: &str| models[model]["kl_per_reply"].as_f64().unwrap();
    let (held, free) = (kl("free[beta: 0.2]"), kl("free[beta: 0]"));
    println!("{held:.2} nats a reply with a penalty, {free:.2} without");
    assert!(free > 10.0 && held < 10.0 && free > 3.0 * held, "{held} and {free}");
    ran.told(&["the policy drifted", "(`beta` is 0)"]);
    let report = project.read("build/a/scores/report.md");
    assert!(report.contains("**`free[beta: 0]` drifted"), "{report}");
    assert!(!report.contains("**`free[beta: 0.2]` drifted"), "{report}");

    let second = project.run("build a.recipe -p second=3").ended(0);
    assert_eq!(second.built(), ["scores", "v2/best", "v2/ppo", "v2/tuned"]);
    project.edit("a.recipe", "beta in [0.2, 0]", "beta in [0.3, 0]");
    let sweep = project.run("build a.recipe").ended(0);
    assert_eq!(sweep.built(), ["free[beta:", "scores"]);
}

#[test]
fn a_plan_says_what_alignment_costs() {
    let project = Project::of(include_str!("rounds.recipe"));
    let plan = project.run("plan a.recipe v1 judge").ended(0).out;
    for part in [
        "course: steps of 16 pairs until the epochs are over",
        "course: 6 iterations of 16 prompts, 16 a step",
        "memory: at most ",
        " + models beside ",
        " + sampling ",
    ] {
        assert!(plan.contains(part), "`{part}` is not in:\n{plan}");
    }
}
