//! What the training stages of a plan would learn from, and how it is looked at without a model:
//! which data sets and which tokenizer each needs, and the call into the trainer once they are
//! there. Knows plans and parameters; does not know how results are found, nor how faults are
//! shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, bail};

use super::decode::model::template_of;
use super::inputs::Fields;
use super::local::{find, translated};
use super::work::Work;
use crate::build::action::{Action, ActionId};
use crate::build::executor::{Failure, Job};
use crate::build::key::Contents;
use crate::build::plan::Plan;
use crate::build::sources::visit;
use crate::lang::value::{Artifact, SINGLE_PORT, Value};
use crate::train::data::inspect::Inspected;
use crate::train::model::folder::write_tokenizer;
use crate::train::progress::Progress;
use crate::train::stage::inspect;

/// A result by the action that makes it.
pub type Place = (ActionId, String);

/// A training stage, and what must be there before its data can be looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub stage: ActionId,
    /// Each data set with its name in the recipe, in order.
    pub data: Vec<(String, Place)>,
    pub tokenizer: Place,
    /// The stage that states the template which the model carries.
    template: Option<ActionId>,
    /// Tokens that the model's context holds.
    positions: usize,
}

/// The parameters by which stages take rows to learn from, or to be judged by while they learn.
const DATA: [&str; 3] = ["data", "prompts", "held_out"];

/// The parameters by which a model comes into a stage that makes another of it.
const MODELS: [&str; 5] = ["init", "policy", "model", "base", "into"];

/// The training stages, in order.
pub fn subjects(plan: &Plan) -> Result<Vec<Subject>> {
    let trainers = plan.actions.iter().filter(|action| is_training(action));
    trainers.map(|action| subject(plan, action)).collect()
}

/// Whether a stage trains a model.
pub fn is_training(action: &Action) -> bool {
    find(&action.kind).is_some_and(|kind| kind.keyed.outside.contains(&"micro_batch"))
}

/// By action: whether it trains, or stands on one that does.
pub fn after_training(plan: &Plan) -> Vec<bool> {
    let mut after: Vec<bool> = Vec::with_capacity(plan.actions.len());
    for action in &plan.actions {
        let needs = plan.needs(action.id);
        let stands = needs.iter().any(|need| after[need.0 as usize]);
        after.push(stands || is_training(action));
    }
    after
}

fn subject(plan: &Plan, action: &Action) -> Result<Subject> {
    let mut data = Vec::new();
    for value in DATA.iter().filter_map(|name| action.params.get(*name)) {
        visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                data.push((name_of(action, artifact), place_of(plan, artifact)));
            }
        });
    }
    let mut from = action;
    let mut template = None;
    loop {
        if matches!(from.params.get("template"), Some(Value::Record { .. })) {
            template = template.or(Some(from.id));
        }
        if let Some(Value::Artifact(tokenizer)) = from.params.get("tokenizer") {
            let tokenizer = place_of(plan, tokenizer);
            let positions = positions_of(from)?;
            return Ok(Subject { stage: action.id, data, tokenizer, template, positions });
        }
        let model = MODELS.iter().find_map(|name| match from.params.get(*name) {
            Some(Value::Artifact(model)) => Some(model),
            _ => None,
        });
        let model = model.with_context(|| format!("`{}` comes from no tokenizer", from.name))?;
        from = plan.action(plan.origin(model.stage));
    }
}

pub(super) fn place_of(plan: &Plan, artifact: &Artifact) -> Place {
    (plan.origin(artifact.stage), artifact.port.clone())
}

/// How the recipe calls a result.
pub(super) fn name_of(action: &Action, artifact: &Artifact) -> String {
    let stage = action.input_name(artifact.stage);
    match artifact.port.as_str() {
        SINGLE_PORT => stage.into(),
        port => format!("{stage}.{port}"),
    }
}

/// The context of the architecture that a stage states.
fn positions_of(action: &Action) -> Result<usize> {
    let shape = action.params.get("model").or(action.params.get("is"));
    let Some(Value::Record { fields, .. }) = shape else { bail!("`{}` has no shape", action.name) };
    let Some(Value::Quantity(context)) = fields.get("context") else { bail!("no context") };
    Ok(usize::try_from(context.as_whole().unwrap_or_default())?)
}

/// Looks at every data set of a stage that lies at its place; `folder` is empty.
pub fn look(
    plan: &Plan,
    subject: &Subject,
    laid: &BTreeMap<Place, PathBuf>,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<(String, Inspected)>, Failure> {
    let action = plan.action(subject.stage);
    let bug = |error: anyhow::Error| Failure::new(format!("{error:#}"));
    let model = dressed(plan, subject, laid, folder).map_err(bug)?;
    // Nothing is read from what is not there yet.
    let nothing = folder.join("nothing");
    std::fs::write(&nothing, "").map_err(|error| bug(error.into()))?;
    let mut artifacts = BTreeMap::new();
    for value in action.params.values() {
        visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                let place = place_of(plan, artifact);
                let is_data = subject.data.iter().any(|(_, data)| *data == place);
                let absent = if is_data { &nothing } else { &model };
                let path = laid.get(&place).filter(|_| is_data).unwrap_or(absent);
                let name = action.input_name(artifact.stage).to_string();
                artifacts.insert((name, artifact.port.clone()), path.clone());
            }
        });
    }
    let work = decoded(action, &artifacts).map_err(bug)?;
    let found = match &work {
        Work::Dpo(params) => inspect::dpo(params, progress),
        Work::Grpo(params) => inspect::grpo(params, subject.positions, progress),
        Work::Lora(params) => inspect::sft(&params.tuning, progress),
        Work::LoraDpo(params) => inspect::dpo(&params.tuning, progress),
        Work::LoraReward(params) => inspect::reward_model(&params.tuning, progress),
        Work::Ppo(params) => inspect::ppo(params, subject.positions, progress),
        Work::Pretrain(params) => inspect::pretrain(params, progress),
        Work::RewardModel(params) => inspect::reward_model(params, progress),
        Work::Sft(params) => inspect::sft(params, progress),
        _ => return Err(Failure::new(format!("data of `{}` cannot be looked at", action.kind))),
    };
    let found = found.map_err(translated)?;
    let named = |(path, inspected): (PathBuf, Inspected)| {
        let of = |(_, place): &&(String, Place)| laid.get(place) == Some(&path);
        Some((subject.data.iter().find(of)?.0.clone(), inspected))
    };
    Ok(found.into_iter().filter_map(named).collect())
}

/// The tokenizer with the template that the model would carry, as a model's folder has them.
fn dressed(
    plan: &Plan,
    subject: &Subject,
    laid: &BTreeMap<Place, PathBuf>,
    folder: &Path,
) -> Result<PathBuf> {
    let tokenizer = laid.get(&subject.tokenizer).context("the tokenizer is not there")?;
    let template = subject.template.map(|stage| {
        let (artifacts, files) = (BTreeMap::new(), BTreeMap::new());
        let job = job(plan.action(stage), &artifacts, &files);
        Fields::of(&job).within("template", |_, fields| template_of(fields))
    });
    let template = template.transpose()?;
    let model = folder.join("model");
    std::fs::create_dir(&model)?;
    let jinja = template.as_ref().map(|template| template.jinja.as_str());
    let written = write_tokenizer(&model, tokenizer, jinja);
    written.map_err(|failure| anyhow::anyhow!(translated(failure).message))?;
    Ok(model)
}

fn decoded(action: &Action, artifacts: &BTreeMap<(String, String), PathBuf>) -> Result<Work> {
    Work::decode(&job(action, artifacts, &BTreeMap::new()))
}

/// An action whose parameters are read and which is not run.
pub(super) fn job<'a>(
    action: &'a Action,
    artifacts: &'a BTreeMap<(String, String), PathBuf>,
    files: &'a BTreeMap<(String, String), Vec<PathBuf>>,
) -> Job<'a> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    static UNKNOWN: Contents = Contents { artifacts: BTreeMap::new(), paths: BTreeMap::new() };
    let nowhere = Path::new("");
    Job {
        action,
        artifacts,
        files,
        contents: &UNKNOWN,
        pieces: None,
        out: nowhere,
        attempt: nowhere,
        threads: 1,
        gpus: &[],
        cancel: &NEVER,
    }
}
