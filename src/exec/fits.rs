//! Whether the tasks and the models of an `eval` fit each other, whether programs that a model
//! writes may run, and whether a step's parts fit how it learns, found before anything is trained.
//! Knows values and types of the recipe; what fits what is the evaluation's to say.

use std::collections::BTreeMap;

use super::decode::training::batch_of;
use super::inputs::adapter_in;
use super::ledger::{line_of, quantity, whole};
use super::needs::moves_in_backward;
use crate::build::executor::Failure;
use crate::build::plan::Plan;
use crate::eval::roster::{self, Audience};
use crate::eval::task::programs;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Sources;
use crate::lang::types::{Kind, Type};
use crate::lang::value::{Module, SINGLE_PORT, Stage, Value};

/// A model that no task fits, or a task that no model fits.
pub fn unfit(sources: &Sources, module: &Module, stage: &Stage) -> Option<Diagnostic> {
    if stage.kind != "eval" {
        return None;
    }
    let models = listed(stage, "models").iter().map(|value| model(module, value));
    let models = models.collect::<Option<Vec<_>>>()?;
    let models = models.iter().map(|(name, kind)| (name.as_str(), *kind)).collect::<Vec<_>>();
    let tasks = listed(stage, "tasks").iter().map(task).collect::<Option<Vec<_>>>()?;
    let misfit = roster::misfit(&models, &tasks)?;
    let line = line_of(sources, stage, misfit.parameter)?;
    Some(
        Diagnostic::error("unfit-task", misfit.message)
            .label(line, "it is named here")
            .note(misfit.remedy),
    )
}

/// Weights that move on the way back, in a step that goes there in parts.
pub fn parted(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    if !moves_in_backward(stage) {
        return None;
    }
    let number = |name: &str| whole(stage.params.get(name)?);
    let batch = batch_of(quantity(stage.params.get("batch")?)?).ok()?;
    let rows = batch.sequences(number("context").unwrap_or(1)).ok()?;
    let at_once = number("micro_batch")?;
    if rows <= at_once {
        return None;
    }
    let name = &stage.name;
    let message = format!(
        "`{name}` computes {rows} rows of a step {at_once} at a time, and \
         `optimizer_in_backward` needs them all at once"
    );
    Some(
        Diagnostic::error("step-in-parts", message)
            .label(line_of(sources, stage, "optimizer_in_backward")?, "it is asked for here")
            .hint(Some(format!("micro_batch: {rows} sequences"))),
    )
}

/// A task whose programs the recipe does not let run, or that asks more of them than there are.
pub fn unrunnable(sources: &Sources, stage: &Stage) -> Option<Diagnostic> {
    let (fact, remedy, task) = running(&stage.params).find_map(|(task, fields)| {
        if fields.get("allow_code_execution") != Some(&Value::Bool(true)) {
            return Some((programs::NOT_IN_RECIPE.into(), programs::ALLOW_IN_RECIPE, task));
        }
        let fact = programs::beyond(&sizes(fields, "k")?, size(fields.get("samples")?)?)?;
        Some((fact, "set `samples` to the largest `k`", task))
    })?;
    Some(
        Diagnostic::error("programs", format!("task `{task}`: {fact}"))
            .label(line_of(sources, stage, "tasks")?, "it is one of these")
            .note(remedy),
    )
}

/// The first stage of a plan that would run programs of a model, refused.
pub fn not_allowed(plan: &Plan) -> Option<Failure> {
    let found = plan.actions.iter().find_map(|action| {
        let (task, _) = running(&action.params).next()?;
        Some(format!("stage `{}`, task `{task}`: {}", action.name, programs::NOT_ALLOWED))
    });
    Some(Failure::new(found?).remedy(programs::ALLOW))
}

/// The tasks of an `eval` that run programs, by name, with the fields of their `programs`.
fn running(
    params: &BTreeMap<String, Value>,
) -> impl Iterator<Item = (&str, &BTreeMap<String, Value>)> {
    let tasks = match params.get("tasks") {
        Some(Value::List(tasks)) => tasks.as_slice(),
        _ => &[],
    };
    tasks.iter().filter_map(|task| {
        let Value::Record { fields, .. } = task else { return None };
        let (Value::Text(name), Value::Record { name: Some(score), fields }) =
            (fields.get("name")?, fields.get("score")?)
        else {
            return None;
        };
        (score == "programs").then_some((name.as_str(), fields))
    })
}

fn sizes(fields: &BTreeMap<String, Value>, name: &str) -> Option<Vec<usize>> {
    let Value::List(values) = fields.get(name)? else { return None };
    values.iter().map(size).collect()
}

fn size(value: &Value) -> Option<usize> {
    let Value::Int(number) = value else { return None };
    usize::try_from(*number).ok()
}

fn listed<'a>(stage: &'a Stage, parameter: &str) -> &'a [Value] {
    match stage.params.get(parameter) {
        Some(Value::List(values)) => values,
        _ => &[],
    }
}

/// A model's name and kind.
fn model(module: &Module, value: &Value) -> Option<(String, roster::Kind)> {
    let made = adapter_in(value).map_or(value, |[adapter, _]| adapter);
    let Value::Artifact(artifact) = made else { return None };
    let kind = match &artifact.ty {
        Type::Model(Kind::Chat) => roster::Kind::Chat,
        Type::Model(_) => roster::Kind::Base,
        Type::Adapter => roster::Kind::Chat,
        Type::Reward => roster::Kind::Reward,
        _ => return None,
    };
    let name = &module.stages[artifact.stage.0 as usize].name;
    let name = match artifact.port.as_str() {
        SINGLE_PORT => name.clone(),
        port => format!("{name}.{port}"),
    };
    Some((name, kind))
}

fn task(value: &Value) -> Option<(&str, Audience)> {
    let Value::Record { name: Some(kind), fields } = value else { return None };
    let Some(Value::Text(name)) = fields.get("name") else { return None };
    Some((name, Audience::of_task(kind)?))
}
