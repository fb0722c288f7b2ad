//! Whether the tasks and the models of an `eval` fit each other, found before anything is trained.
//! Knows values and types of the recipe; what fits what is the evaluation's to say.

use super::inputs::adapter_in;
use super::ledger::line_of;
use crate::eval::roster::{self, Audience};
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
