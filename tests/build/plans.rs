//! Plans: what is needed, what is one, what goes in a circle.

use llamake::build::plan::plan;
use llamake::lang::value::Value;

use super::world::*;

#[test]
fn only_what_the_outputs_need_is_planned() {
    let recipe = Recipe::default().text("a", "1").text("b", "2").join("c", &["a"]).output("c");
    let plan = planned(&recipe);
    let names: Vec<&str> = plan.actions.iter().map(|action| action.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn targets_are_stages_or_ports_and_unknown_ones_are_named() {
    let recipe = Recipe::default().text("a", "1").text("b", "2");
    let fake = Fake::default();
    let found = plan(&recipe.module, &["b.out".to_string()], &fake).unwrap();
    assert_eq!(found.wanted[0].port.as_deref(), Some("out"));
    assert_eq!(found.actions.len(), 1);
    let targets = ["x".to_string(), "y".to_string()];
    let failures = plan(&recipe.module, &targets, &fake).unwrap_err();
    assert_eq!(failures.len(), 2);
    assert_eq!(failures[0].message, "the recipe has no stage `x`");
    assert_eq!(failures[0].remedy.as_deref(), Some("its stages are `a`, `b`"));
    let recipe = recipe.text("world", "3");
    let failures = plan(&recipe.module, &["wrold".to_string()], &fake).unwrap_err();
    assert_eq!(failures[0].remedy.as_deref(), Some("did you mean `world`?"));
}

#[test]
fn identical_stages_are_one_action_but_both_stages() {
    let recipe = Recipe::default()
        .text("a", "1")
        .text("b", "1")
        .join("c", &["a"])
        .join("d", &["b"])
        .text("e", "2");
    let plan = planned(&recipe);
    assert_eq!(plan.actions.len(), 3);
    assert_eq!(plan.stages.len(), 5);
    assert_eq!(plan.find("c"), plan.find("d"));
}

#[test]
fn a_later_stage_may_stand_earlier_in_the_recipe() {
    let mut recipe = Recipe::default().text("a", "1").join("b", &["a"]);
    recipe.module.stages.reverse();
    let plan = planned(&recipe);
    assert_eq!(plan.action(plan.find("a").unwrap()).id.0, 0);
}

#[test]
fn a_circle_is_named() {
    let mut recipe = Recipe::default().text("a", "1").join("b", &["a"]);
    let b = recipe.made_by("b");
    recipe.module.stages[0].params.insert("inputs".to_string(), Value::List(vec![b]));
    let failures = plan(&recipe.module, &[], &Fake::default()).unwrap_err();
    assert_eq!(failures[0].message, "stages need each other in a circle: `a`, `b`");
}

#[test]
fn an_unknown_kind_is_a_failure_with_its_place() {
    let recipe = Recipe::default().stage("a", "unknown", &[]);
    let failures = plan(&recipe.module, &[], &Fake::default()).unwrap_err();
    assert!(failures[0].message.contains("`a` at a.recipe:1 is of kind `unknown`"));
}

#[test]
fn a_chain_of_100_000_stages_plans() {
    let mut recipe = Recipe::default().text("s0", "1");
    for at in 1..100_000 {
        let before = recipe.made_by_index(at - 1);
        recipe = recipe.stage(&format!("s{at}"), "join", &[("inputs", Value::List(vec![before]))]);
    }
    assert_eq!(planned(&recipe).actions.len(), 100_000);
}
