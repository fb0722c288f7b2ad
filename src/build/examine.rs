//! One action against the store: its inputs' contents, its key, and whether its result is there.
//! Knows how facts are gathered; does not run anything, and does not know schedules.

use std::collections::BTreeMap;

use super::action::{Action, ActionId};
use super::digest::{Digest, Entry, Manifest};
use super::executor::{Executor, Failure};
use super::key::{ActionKey, Contents, Part, action_key, explain_key};
use super::plan::Plan;
use super::sources::{self, SourceFile};
use super::store::{ActionResult, FileStat, Lookup, Store};
use super::verdict::{StaleReason, Verdict, changes};
use crate::lang::source::Place;
use crate::lang::value::{PathValue, Value};

/// A path parameter with the files it stands for, as they were when the key was made.
#[derive(Clone, Debug)]
pub struct BoundSource {
    pub path: PathValue,
    pub files: Vec<(SourceFile, FileStat)>,
    pub digest: Digest,
}

/// An action whose inputs are all known.
#[derive(Clone, Debug)]
pub struct Bound {
    pub key: ActionKey,
    pub contents: Contents,
    pub sources: Vec<BoundSource>,
}

/// What the store has for a bound action.
#[derive(Clone, Debug)]
pub enum Finding {
    Fresh(ActionResult),
    Stale(StaleReason),
}

/// Results by action, as far as they are known.
pub type Results = [Option<ActionResult>];

/// Everything needed to examine the actions of a plan.
pub struct Examiner<'a> {
    plan: &'a Plan,
    store: &'a Store,
    executor: &'a dyn Executor,
    latest: BTreeMap<String, ActionKey>,
}

impl<'a> Examiner<'a> {
    /// Reads what the stages of `recipe` were when they were last built or found fresh.
    pub fn new(
        plan: &'a Plan,
        store: &'a Store,
        executor: &'a dyn Executor,
        recipe: &str,
    ) -> Result<Examiner<'a>, Failure> {
        let latest = store.records.latest(recipe)?;
        Ok(Examiner { plan, store, executor, latest })
    }

    /// Finds the contents of an action's inputs, and so its key. Every input action must have its
    /// result in `results`.
    pub fn bind(&self, action: &Action, results: &Results) -> Result<Bound, Failure> {
        let mut contents = Contents::default();
        for value in action.params.values() {
            sources::visit(value, &mut |inner| {
                if let Value::Artifact(artifact) = inner {
                    let place = (artifact.stage, artifact.port.clone());
                    let manifest = input(self.plan, results, &place.0, &place.1);
                    contents.artifacts.insert(place, manifest.digest());
                }
            });
        }
        let mut sources = Vec::new();
        for (path, place) in sources::paths_of(action) {
            let source = bind_source(self.store, path, place)?;
            contents.paths.insert((path.folder.clone(), path.written.clone()), source.digest);
            sources.push(source);
        }
        let key = action_key(action, self.executor.keyed(action), &contents);
        Ok(Bound { key, contents, sources })
    }

    /// Looks a bound action up, and says why it has to run if it does.
    pub fn find(&self, action: &Action, bound: &Bound) -> Result<Finding, Failure> {
        match self.store.lookup(bound.key, &action.ports)? {
            Lookup::Hit(result) => Ok(Finding::Fresh(result)),
            Lookup::Damaged(why) => Ok(Finding::Stale(StaleReason::Lost(why))),
            Lookup::Missing => Ok(Finding::Stale(self.reason(action, bound)?)),
        }
    }

    fn reason(&self, action: &Action, bound: &Bound) -> Result<StaleReason, Failure> {
        let Some(last) = self.latest.get(&action.name) else {
            return Ok(StaleReason::NeverBuilt);
        };
        let Some(before) = self.store.records.parts(*last)? else {
            return Ok(StaleReason::NeverBuilt);
        };
        let changes = changes(action, &before, &self.explain(action, bound));
        Ok(match changes.is_empty() {
            true => StaleReason::Lost("its result was removed from the cache".to_string()),
            false => StaleReason::Changed(changes),
        })
    }

    /// The parts of a bound action's key.
    pub fn explain(&self, action: &Action, bound: &Bound) -> Vec<Part> {
        explain_key(action, self.executor.keyed(action), &bound.contents)
    }

    /// Whether the store remembers another key, or none, for the stage.
    pub fn is_news(&self, action: &Action, key: ActionKey) -> bool {
        self.latest.get(&action.name) != Some(&key)
    }
}

/// The manifest of an input artifact.
pub fn input<'a>(
    plan: &Plan,
    results: &'a Results,
    stage: &crate::lang::value::StageId,
    port: &str,
) -> &'a Manifest {
    let origin = plan.origin(*stage);
    let result = results[origin.0 as usize].as_ref().expect("inputs are built before their users");
    &result.ports[port]
}

/// The files and the digest of a path.
pub fn bind_source(store: &Store, path: &PathValue, place: &Place) -> Result<BoundSource, Failure> {
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for file in sources::find(path, place)? {
        let (blob, stat) = store.file_digest(&file.path)?;
        let name = file.name.clone();
        entries.push(Entry { path: name, blob, bytes: stat.size, executable: false });
        files.push((file, stat));
    }
    let digest = Manifest::Folder(entries).digest();
    Ok(BoundSource { path: path.clone(), files, digest })
}

/// What would happen to each action if the plan were built now; nothing is run or written but the
/// memo.
pub fn assess(
    plan: &Plan,
    store: &Store,
    executor: &dyn Executor,
    recipe: &str,
) -> Result<Vec<(ActionId, Verdict)>, Failure> {
    let examiner = Examiner::new(plan, store, executor, recipe)?;
    store.reading(|| assess_all(plan, &examiner))?
}

fn assess_all(plan: &Plan, examiner: &Examiner<'_>) -> Result<Vec<(ActionId, Verdict)>, Failure> {
    let mut results: Vec<Option<ActionResult>> = vec![None; plan.actions.len()];
    let mut verdicts = Vec::with_capacity(plan.actions.len());
    for action in &plan.actions {
        let unbuilt = |id: &ActionId| results[id.0 as usize].is_none();
        if let Some(input) = plan.needs(action.id).into_iter().find(unbuilt) {
            verdicts.push((action.id, Verdict::Maybe(plan.action(input).name.clone())));
            continue;
        }
        let bound = match examiner.bind(action, &results) {
            Ok(bound) => bound,
            Err(failure) => {
                verdicts.push((action.id, Verdict::Blocked(failure)));
                continue;
            }
        };
        let verdict = match examiner.find(action, &bound)? {
            Finding::Stale(reason) => Verdict::Stale(reason),
            Finding::Fresh(result) => {
                results[action.id.0 as usize] = Some(result);
                Verdict::Fresh
            }
        };
        verdicts.push((action.id, verdict));
    }
    Ok(verdicts)
}
