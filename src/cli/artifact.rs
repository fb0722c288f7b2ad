//! Finding what a stage made: the way from a name on the command line to files. Knows plans and the
//! store; does not know what the files are for.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

use super::exit::{fail, tell};
use super::machine::executor;
use super::plan::{Assessed, assessed_for_one};
use super::{Exit, args};
use crate::build::action::ActionId;
use crate::build::examine::{Examiner, Finding};
use crate::build::executor::Failure;
use crate::build::store::ActionResult;
use crate::build::verdict::Verdict;
use crate::lang::value::{SINGLE_PORT, Value};
use crate::train::model::anywhere::is_gguf;
use crate::train::model::{ModelPath, peft};

/// A stage's result, or what to do about its absence.
pub fn find(
    flags: &args::Recipe,
    words: &[String],
) -> Result<Result<(Assessed, ActionResult), Exit>> {
    let (assessed, stage) = match assessed_for_one(flags, words)? {
        Ok(found) => found,
        Err(exit) => return Ok(Err(exit)),
    };
    let id = assessed.plan.find(&stage).expect("the plan is of this stage");
    if assessed.verdicts[id.0 as usize].1 != Verdict::Fresh {
        let remedy = assessed.compiled.command("build", &stage);
        let fact = format!("stage `{stage}` is not built as the recipe stands");
        tell(&Failure::new(fact).remedy(remedy));
        return Ok(Err(Exit::StageFailed));
    }
    Ok(match results(&assessed) {
        Ok(mut results) => {
            let result = results[id.0 as usize].take().expect("it is fresh");
            Ok((assessed, result))
        }
        Err(failure) => Err(fail(&[failure])),
    })
}

/// A model folder or GGUF file that was named, or what a stage made: a model, or an adapter with
/// its base; with what keeps it in place.
pub fn model(
    flags: &args::Recipe,
    words: &[String],
) -> Result<Result<(ModelPath, Option<TempDir>), Exit>> {
    if let [only] = words
        && (Path::new(only).join("config.json").is_file() || is_gguf(Path::new(only)))
    {
        return Ok(Ok((PathBuf::from(only).into(), None)));
    }
    let (found, result) = match find(flags, words)? {
        Ok(found) => found,
        Err(exit) => return Ok(Err(exit)),
    };
    let kept = tempfile::tempdir()?;
    let place = kept.path().join("model");
    let stage = words.last().cloned().unwrap_or_default();
    let port = found.plan.wanted.first().and_then(|wanted| wanted.port.as_deref());
    let Some(manifest) = result.ports.get(port.unwrap_or(SINGLE_PORT)) else {
        return Ok(Err(fail(&[Failure::new(format!("`{stage}` makes no model"))])));
    };
    let place = found.store.blobs().lay_out(manifest, &place)?;
    if place.join(peft::CONFIG).is_file() {
        let base = base_of(&found, found.plan.wanted[0].action, &kept.path().join("base"))?;
        return Ok(base.map(|base| (ModelPath { base, adapter: Some(place) }, Some(kept))));
    }
    if !place.join("config.json").is_file() {
        let kinds = "name a stage that makes a model, a model folder or a `.gguf` file";
        return Ok(Err(fail(&[Failure::new(format!("`{stage}` makes no model")).remedy(kinds)])));
    }
    Ok(Ok((place.into(), Some(kept))))
}

/// Lays out the base of an adapter, which the stage that made it names.
fn base_of(found: &Assessed, id: ActionId, place: &Path) -> Result<Result<PathBuf, Exit>> {
    let Some(Value::Artifact(base)) = found.plan.action(id).params.get("base") else {
        let fact = format!("`{}` makes an adapter of no base", found.plan.action(id).name);
        return Ok(Err(fail(&[Failure::new(fact)])));
    };
    let results = match results(found) {
        Ok(results) => results,
        Err(failure) => return Ok(Err(fail(&[failure]))),
    };
    let origin = found.plan.origin(base.stage);
    let result = results[origin.0 as usize].as_ref().expect("what stands on it is fresh");
    Ok(Ok(found.store.blobs().lay_out(&result.ports[&base.port], place)?))
}

/// The results of all fresh actions.
pub fn results(assessed: &Assessed) -> Result<Vec<Option<ActionResult>>, Failure> {
    let executor = executor().map_err(|error| Failure::new(format!("{error:#}")))?;
    let recipe = assessed.compiled.history_name();
    let examiner = Examiner::new(&assessed.plan, &assessed.store, &executor, &recipe)?;
    let mut results = vec![None; assessed.plan.actions.len()];
    for (id, verdict) in &assessed.verdicts {
        if *verdict == Verdict::Fresh {
            let action = assessed.plan.action(*id);
            let bound = examiner.bind(action, &results)?;
            if let Finding::Fresh(result) = examiner.find(action, &bound)? {
                results[id.0 as usize] = Some(result);
            }
        }
    }
    Ok(results)
}
