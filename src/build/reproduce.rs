//! A lockfile against the world: its plan rebuilt in an empty store, with a verdict per stage.
//! Knows locks, plans and reports; does not know what stages do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use super::action::Action;
use super::digest::Digest;
use super::executor::{Executor, Failure};
use super::key::{Contents, action_key};
use super::lockfile::{Lock, LockedStage, check, path_text, source_drift};
use super::plan::{Plan, plan};
use super::report::{ActionReport, BuildState, Events, RunReport};
use super::resources::Pool;
use super::schedule::{BuildOptions, build};
use super::sources;
use super::store::Store;
use crate::lang::value::Value;

/// What became of a locked stage.
#[derive(Clone, Debug, PartialEq)]
pub enum StageVerdict {
    /// Every port has the locked digest.
    Identical,
    /// Other bits, as a machine of another kind makes them, or from an input that has: every metric
    /// is within the tolerance. The one that differs most, if any does.
    Within(Option<Deviation>),
    /// The first port that differs.
    Different {
        port: String,
        expected: Digest,
        got: Option<Digest>,
        /// The metric that is beyond the tolerance, where there is one.
        beyond: Option<Deviation>,
    },
    /// The block was edited by hand, or does not agree with the others.
    Edited(String),
    /// A source is missing or holds something else.
    SourceChanged(String),
    Failed(Failure),
    /// It did not run, because something before it failed or was refused.
    NotReached,
}

/// What a metric is now, of a result whose bits may differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    pub metric: String,
    pub locked: f64,
    pub got: f64,
}

/// How far a metric may be off, as a share of the larger value.
pub const TOLERANCE: f64 = 0.05;

impl Deviation {
    /// As a share of the larger of both.
    pub fn share(&self) -> f64 {
        let Deviation { locked, got, .. } = self;
        match locked == got || (locked.is_nan() && got.is_nan()) {
            true => 0.0,
            false => (got - locked).abs() / got.abs().max(locked.abs()),
        }
    }

    /// Whether it is no sign of another result.
    fn is_within(&self) -> bool {
        self.share() <= TOLERANCE
    }
}

/// The verdicts, in the order of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Reproduction {
    pub stages: Vec<(String, StageVerdict)>,
    pub report: RunReport,
}

impl Reproduction {
    /// Whether every stage is bit-identical.
    pub fn is_identical(&self) -> bool {
        self.stages.iter().all(|(_, verdict)| *verdict == StageVerdict::Identical)
    }

    /// Whether every stage is that, or within the tolerance.
    pub fn is_reproduced(&self) -> bool {
        let same = |verdict: &StageVerdict| {
            matches!(verdict, StageVerdict::Identical | StageVerdict::Within(_))
        };
        self.stages.iter().all(|(_, verdict)| same(verdict))
    }

    /// Whether every stage was made, alike or not, so that there is nothing to go on with.
    pub fn is_whole(&self) -> bool {
        let made = |verdict: &StageVerdict| {
            use StageVerdict::{Different, Identical, Within};
            matches!(verdict, Identical | Within(_) | Different { .. })
        };
        self.stages.iter().all(|(_, verdict)| made(verdict))
    }

    /// How many are bit-identical.
    pub fn identical(&self) -> usize {
        self.stages.iter().filter(|(_, verdict)| *verdict == StageVerdict::Identical).count()
    }

    /// The first stage that is not reproduced: what differs after it may differ because of it.
    pub fn first_difference(&self) -> Option<&(String, StageVerdict)> {
        let same = |verdict: &StageVerdict| {
            use StageVerdict::{Identical, NotReached, Within};
            matches!(verdict, Identical | Within(_) | NotReached)
        };
        self.stages.iter().find(|(_, verdict)| !same(verdict))
    }
}

/// Rebuilds what a lock describes in `store`, which should be empty. An edited block, an unknown
/// kind or a changed source is told before anything runs.
pub fn reproduce(
    lock: &Lock,
    store: &Store,
    executor: &dyn Executor,
    pool: Pool,
    cancel: &AtomicBool,
    events: &dyn Events,
) -> Result<Reproduction, Vec<Failure>> {
    let plan = plan_of(lock, executor)?;
    let refused = refused(lock, &plan, store, executor);
    if !refused.is_empty() {
        let verdict =
            |name: &String| refused.get(name).cloned().unwrap_or(StageVerdict::NotReached);
        let stages = plan.stages.iter().map(|stage| (stage.name.clone(), verdict(&stage.name)));
        return Ok(Reproduction { stages: stages.collect(), report: RunReport::default() });
    }
    let recipe = lock.path.display().to_string();
    let options = BuildOptions {
        recipe: &recipe,
        outputs: None,
        pool,
        keep_going: true,
        locked: None,
        cancel,
    };
    let report = build(&plan, &options, store, executor, events);
    let stages = judged(lock, &plan, executor, &report);
    Ok(Reproduction { stages, report })
}

/// Every stage's verdict. What is made from an input whose bits may differ may differ as well.
fn judged(
    lock: &Lock,
    plan: &Plan,
    executor: &dyn Executor,
    report: &RunReport,
) -> Vec<(String, StageVerdict)> {
    let mut differing = BTreeSet::new();
    let mut judged = Vec::new();
    for stage in &plan.stages {
        let (locked, id) = (&lock.stages[&stage.name], stage.action);
        let mut may_differ = executor.keyed(plan.action(id)).of_machine;
        may_differ |= plan.needs(id).iter().any(|need| differing.contains(need));
        let verdict = report.actions.get(id.0 as usize);
        let verdict = verdict.map(|one| judge(locked, one, may_differ));
        let verdict = verdict.unwrap_or(StageVerdict::NotReached);
        if matches!(verdict, StageVerdict::Within(_)) {
            differing.insert(id);
        }
        judged.push((stage.name.clone(), verdict));
    }
    judged
}

/// The plan of a lock; every kind must be known in the very version that made it.
pub fn plan_of(lock: &Lock, executor: &dyn Executor) -> Result<Plan, Vec<Failure>> {
    let module = lock.module().map_err(|failure| vec![failure])?;
    let wrong: Vec<Failure> = (lock.stages.iter())
        .filter_map(|(name, stage)| {
            let LockedStage { kind, version, place, .. } = stage;
            let here = match executor.version(kind) {
                Some(here) if here == *version => return None,
                Some(here) => format!("has {kind}@{here}"),
                None => "has no such kind".to_string(),
            };
            let what = format!("stage `{name}` at {place} was made by {kind}@{version}");
            Some(
                Failure::new(format!("{what}, this llamake {here}"))
                    .remedy("use the llamake that wrote the lockfile"),
            )
        })
        .collect();
    if wrong.is_empty() { plan(&module, &[], executor) } else { Err(wrong) }
}

fn refused(
    lock: &Lock,
    plan: &Plan,
    store: &Store,
    executor: &dyn Executor,
) -> BTreeMap<String, StageVerdict> {
    let mut refused = BTreeMap::new();
    for stage in &plan.stages {
        let locked = &lock.stages[&stage.name];
        let drift = source_drift(plan.action(stage.action), &lock.path, locked, store);
        if !drift.is_empty() {
            refused.insert(stage.name.clone(), StageVerdict::SourceChanged(drift.join("; ")));
        }
    }
    for (stage, what) in edited(lock, executor) {
        refused.insert(stage, StageVerdict::Edited(what));
    }
    refused
}

/// The blocks of a lock that are not as a build wrote them, with what is wrong: an edit by hand,
/// or a key that does not follow from the parameters and inputs the lock states.
pub fn edited(lock: &Lock, executor: &dyn Executor) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, stage) in &lock.stages {
        if check(name, stage) != stage.check {
            found.push((name.clone(), format!("was edited by hand, at {}", stage.place)));
        }
    }
    if !found.is_empty() {
        return found;
    }
    let plan = match plan_of(lock, executor) {
        Ok(plan) => plan,
        Err(failures) => {
            let text = |failure: &Failure| (String::new(), failure.message.clone());
            return failures.iter().map(text).collect();
        }
    };
    for stage in &plan.stages {
        let (action, locked) = (plan.action(stage.action), &lock.stages[&stage.name]);
        let agrees = locked_contents(lock, action).is_some_and(|contents| {
            action_key(action, executor.keyed(action), &contents) == locked.key
        });
        if !agrees {
            let what = format!(
                "has a key that does not follow from its parameters and inputs, at {}",
                locked.place
            );
            found.push((stage.name.clone(), what));
        }
    }
    found
}

/// The contents of an action's inputs as the lock states them.
fn locked_contents(lock: &Lock, action: &Action) -> Option<Contents> {
    let locked = lock.stages.get(&action.name)?;
    let mut contents = Contents::default();
    let mut complete = true;
    for value in action.params.values() {
        sources::visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                let from = lock.stages.get(action.input_name(artifact.stage));
                let digest = from.and_then(|from| from.outputs.get(&artifact.port));
                complete &= digest.is_some();
                let place = (artifact.stage, artifact.port.clone());
                contents.artifacts.extend(digest.map(|digest| (place, *digest)));
            }
        });
    }
    for (path, _) in sources::paths_of(action) {
        let digest = locked.sources.get(&path_text(&lock.path, path));
        complete &= digest.is_some();
        let place = (path.folder.clone(), path.written.clone());
        contents.paths.extend(digest.map(|digest| (place, *digest)));
    }
    complete.then_some(contents)
}

fn judge(locked: &LockedStage, report: &ActionReport, may_differ: bool) -> StageVerdict {
    match (&report.failure, report.state) {
        (Some(failure), _) => return StageVerdict::Failed(failure.clone()),
        (None, BuildState::Built | BuildState::Fresh) => {}
        _ => return StageVerdict::NotReached,
    }
    let differs = |(port, expected): (&String, &Digest)| {
        let got = report.outputs.get(port).copied();
        (got != Some(*expected)).then(|| (port.clone(), *expected, got))
    };
    let Some((port, expected, got)) = locked.outputs.iter().find_map(differs) else {
        return StageVerdict::Identical;
    };
    let farthest = if may_differ { farthest(locked, report) } else { None };
    match farthest {
        Some(farthest) if !farthest.is_within() => {
            StageVerdict::Different { port, expected, got, beyond: Some(farthest) }
        }
        _ if !may_differ => StageVerdict::Different { port, expected, got, beyond: None },
        farthest => StageVerdict::Within(farthest.filter(|farthest| farthest.share() > 0.0)),
    }
}

/// The metric that is farthest off; one that is no longer there is as far as can be.
fn farthest(locked: &LockedStage, report: &ActionReport) -> Option<Deviation> {
    let now: BTreeMap<&str, f64> =
        report.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let deviation = |(metric, locked): (&String, &f64)| {
        let got = now.get(metric.as_str()).copied().unwrap_or(f64::NAN);
        Deviation { metric: metric.clone(), locked: *locked, got }
    };
    let far = |deviation: &Deviation| match deviation.share() {
        share if share.is_nan() => f64::INFINITY,
        share => share,
    };
    let all = locked.metrics.iter().map(deviation);
    all.max_by(|a, b| far(a).total_cmp(&far(b)))
}
