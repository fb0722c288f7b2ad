//! What the evaluations of a plan ask, and what their models learn from, before any is trained: all
//! training stages that a model comes from, and the rows that they take. Knows plans; does not know
//! how rows are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::decode::eval::tasks_of;
use super::inputs::Fields;
use super::inspect::{Place, is_training, job, name_of, place_of};
use super::local::translated;
use crate::build::action::{Action, ActionId};
use crate::build::executor::Failure;
use crate::build::plan::Plan;
use crate::build::sources::visit;
use crate::eval::overlap::found::Overlap;
use crate::eval::overlap::index::SEED;
use crate::eval::overlap::run::{Params, find};
use crate::eval::overlap::scan::Source;
use crate::lang::value::Value;
use crate::train::progress::Progress;

/// An evaluation, and what its models of one tokenizer learn from.
#[derive(Clone, Debug, PartialEq)]
pub struct Exam {
    pub stage: ActionId,
    /// The rows of its tasks.
    pub asked: Vec<Place>,
    pub learnt: Vec<Learnt>,
    pub tokenizer: Place,
}

/// A data set that a model learns from.
#[derive(Clone, Debug, PartialEq)]
pub struct Learnt {
    /// How the recipe calls it.
    pub name: String,
    pub place: Place,
}

impl Exam {
    /// Everything that must be there.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        let learnt = self.learnt.iter().map(|learnt| &learnt.place);
        self.asked.iter().chain(learnt).chain([&self.tokenizer])
    }
}

/// The evaluations of a plan, in order; one with models of several tokenizers once for each.
pub fn exams(plan: &Plan) -> Vec<Exam> {
    let evals = plan.actions.iter().filter(|action| action.kind == "eval");
    evals.flat_map(|action| exams_of(plan, action)).collect()
}

fn exams_of(plan: &Plan, action: &Action) -> Vec<Exam> {
    let asked = asked(plan, action);
    let mut by_tokenizer: BTreeMap<Place, Vec<Learnt>> = BTreeMap::new();
    for (_, model) in places(plan, action, "models") {
        let (tokenizer, learnt) = lineage(plan, model.0);
        let Some(tokenizer) = tokenizer else { continue };
        let all = by_tokenizer.entry(tokenizer).or_default();
        for one in learnt {
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    let exam =
        |(tokenizer, learnt)| Exam { stage: action.id, asked: asked.clone(), learnt, tokenizer };
    by_tokenizer.into_iter().map(exam).collect()
}

/// Where the rows of tasks come from.
fn asked(plan: &Plan, action: &Action) -> Vec<Place> {
    let mut found = Vec::new();
    let Some(Value::List(tasks)) = action.params.get("tasks") else { return found };
    for task in tasks {
        let Value::Record { fields, .. } = task else { continue };
        let rows = ASKED.iter().filter_map(|name| fields.get(*name));
        found.extend(rows.filter_map(|value| match value {
            Value::Artifact(artifact) => Some(place_of(plan, artifact)),
            _ => None,
        }));
    }
    found
}

/// The artifacts in a parameter: the name and the place of each.
fn places(plan: &Plan, action: &Action, parameter: &str) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    if let Some(value) = action.params.get(parameter) {
        visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                found.push((name_of(action, artifact), place_of(plan, artifact)));
            }
        });
    }
    found
}

/// The tokenizer of a model, and all data of the training stages that it comes from. What judged
/// it while it learnt is none of them.
fn lineage(plan: &Plan, model: ActionId) -> (Option<Place>, Vec<Learnt>) {
    let (mut open, mut seen) = (vec![model], BTreeSet::new());
    let (mut tokenizer, mut learnt) = (None, Vec::new());
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let action = plan.action(id);
        let own = places(plan, action, "tokenizer").into_iter().next();
        tokenizer = tokenizer.or(own.map(|(_, place)| place));
        if is_training(action) {
            let data = LEARNT.iter().flat_map(|name| places(plan, action, name));
            learnt.extend(data.map(|(name, place)| Learnt { name, place }));
        }
        let models = PARENTS.iter().flat_map(|name| places(plan, action, name));
        open.extend(models.map(|(_, place)| place.0));
    }
    (tokenizer, learnt)
}

/// The fields of tasks that hold their rows.
const ASKED: [&str; 2] = ["data", "prompts"];

/// The parameters by which training stages take what is learnt.
const LEARNT: [&str; 2] = ["data", "prompts"];

/// The parameters by which a stage takes the models of which it makes another.
const PARENTS: [&str; 9] =
    ["adapter", "adapters", "base", "helpful", "init", "into", "model", "policy", "safe"];

/// Holds the tasks of an evaluation against what is there of its models' data; `folder` is empty.
pub fn compare(
    plan: &Plan,
    exam: &Exam,
    laid: &BTreeMap<Place, PathBuf>,
    folder: &Path,
    threads: usize,
    progress: &mut dyn Progress,
) -> Result<Overlap, Failure> {
    let action = plan.action(exam.stage);
    let bug = |error: anyhow::Error| Failure::new(format!("{error:#}"));
    // Nothing is read from what is not there yet.
    let nothing = folder.join("nothing");
    std::fs::write(&nothing, "").map_err(|error| bug(error.into()))?;
    let mut artifacts = BTreeMap::new();
    for value in action.params.values() {
        visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                let path = laid.get(&place_of(plan, artifact)).unwrap_or(&nothing);
                let name = action.input_name(artifact.stage).to_string();
                artifacts.insert((name, artifact.port.clone()), path.clone());
            }
        });
    }
    let files = BTreeMap::new();
    let tasks = tasks_of(&Fields::of(&job(action, &artifacts, &files))).map_err(bug)?;
    let source = |learnt: &Learnt| {
        let Learnt { name, place } = learnt;
        Some(Source { name: name.clone(), path: laid.get(place)?.clone() })
    };
    let training = exam.learnt.iter().filter_map(source).collect();
    let tokenizer = laid.get(&exam.tokenizer).cloned().unwrap_or_default();
    let params = Params { tasks, training, tokenizer, longer_than: SEED, fails: false };
    find(&params, threads, progress).map_err(translated)
}
