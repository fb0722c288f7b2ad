//! What adapters are refused, found before anything is trained: forms that have no place for one,
//! sums that are none, targets that name nothing. Knows values of the recipe; does not know
//! weights.

use super::inputs::adapter_in;
use super::ledger::line_of;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::value::{Module, Stage, Value};

/// What is wrong with a stage that makes, combines or writes an adapter.
pub fn unfit(sources: &Sources, module: &Module, stage: &Stage) -> Option<Diagnostic> {
    match stage.kind.as_str() {
        "export" => form(sources, stage),
        "combine" => weights(sources, stage).or_else(|| norms(sources, module, stage)),
        "lora" | "lora_dpo" | "lora_reward" => targets(sources, stage),
        _ => None,
    }
}

/// An adapter has one form, and a whole model has every other.
fn form(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let text = |name: &str| match stage.params.get(name) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let (name, to, dtype) = (&stage.name, text("to")?, text("dtype")?);
    let refused = |parameter, message, label: &str, note| {
        let line = line_of(sources, stage, parameter)?;
        Some(Diagnostic::error("export-form", message).label(line, label).note(note))
    };
    match (adapter_in(stage.params.get("model")?), to) {
        (Some(_), "peft") if dtype != "f32" => refused(
            "dtype",
            format!("`{name}` writes an adapter in {dtype}, and adapters are written in f32"),
            "no adapter is written so",
            "leave `dtype` out",
        ),
        (Some(_), "peft") => None,
        (Some(_), _) => refused(
            "to",
            format!("`{name}` writes an adapter as {to}, which only holds whole models"),
            "an adapter can only become `peft`",
            "`merge` the adapter first, and export the model that makes",
        ),
        (None, "peft") => refused(
            "to",
            format!("`{name}` writes a whole model as peft, which only holds adapters"),
            "only an adapter can become `peft`",
            "choose `to: \"hf\"` or `to: \"gguf\"`",
        ),
        (None, _) => None,
    }
}

fn listed<'a>(stage: &'a Stage, parameter: &str) -> &'a [Value] {
    match stage.params.get(parameter) {
        Some(Value::List(values)) => values,
        _ => &[],
    }
}

/// Each adapter counts by one weight.
fn weights(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let [adapters, weights] = ["adapters", "weights"].map(|name| listed(stage, name).len());
    if adapters == weights {
        return None;
    }
    let message = format!("`{}` combines {adapters} adapters by {weights} weights", stage.name);
    Some(
        Diagnostic::error("combine-weights", message)
            .label(line_of(sources, stage, "weights")?, "here are the weights")
            .note("give each adapter one weight"),
    )
}

/// The norms of DoRA do not add up.
fn norms(sources: &Sources, module: &Module, stage: &Stage) -> Option<Diagnostic> {
    let made = |value: &Value| match adapter_in(value) {
        Some([Value::Artifact(adapter), _]) => Some(&module.stages[adapter.stage.0 as usize]),
        _ => None,
    };
    let mut stages = listed(stage, "adapters").iter().filter_map(made);
    let dora = stages.find(|made| made.params.get("dora") == Some(&Value::Bool(true)))?;
    let (name, part) = (&stage.name, &dora.name);
    let message = format!("`{name}` combines `{part}`, which is DoRA: its norms do not add up");
    Some(
        Diagnostic::error("combine-dora", message)
            .label(line_of(sources, stage, "adapters")?, "it is named here")
            .label(line_of(sources, dora, "dora")?, format!("`{part}` is DoRA"))
            .note(format!("train `{part}` without `dora: true`, or `merge` it")),
    )
}

/// An adapter of nothing.
fn targets(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    if stage.params.get("targets") != Some(&Value::List(Vec::new())) {
        return None;
    }
    let message = format!("`{}` adapts no projection, so nothing would be learnt", stage.name);
    Some(
        Diagnostic::error("no-targets", message)
            .label(line_of(sources, stage, "targets")?, "this list is empty")
            .note("name some, or choose `targets: \"all-linear\"`"),
    )
}
