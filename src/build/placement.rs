//! Whether a plan can go where it was told to go, asked before anything runs. Knows what actions
//! ask of a GPU; does not know how one is found, nor what runs on it.

use super::action::Action;
use super::examine::assess;
use super::executor::{Executor, Failure};
use super::plan::Plan;
use super::resources::Gpu;
use super::store::Store;
use super::verdict::Verdict;

/// Why a plan is not for the GPUs it was told to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// No action of it can run on any GPU.
    NothingToRun,
    /// One that can fits none of them.
    TooLarge { stage: String, gpu_bytes: u64 },
}

/// Whether any action can run on a GPU.
pub fn uses_gpus(plan: &Plan, executor: &dyn Executor) -> bool {
    plan.actions.iter().any(|action| executor.demand(action).gpu.is_some())
}

/// What is wrong with a plan that is told to use these GPUs.
pub fn misplaced(plan: &Plan, executor: &dyn Executor, gpus: &[Gpu]) -> Option<Misplaced> {
    if !uses_gpus(plan, executor) {
        return Some(Misplaced::NothingToRun);
    }
    plan.actions.iter().find_map(|action| {
        let gpu_bytes = executor.demand(action).gpu?.gpu_bytes;
        let fits = gpus.iter().any(|gpu| gpu.fits(gpu_bytes));
        (!fits).then(|| Misplaced::TooLarge { stage: action.name.clone(), gpu_bytes })
    })
}

/// The first action that runs on GPUs alone, fits none of these, and may have to run; with the
/// bytes that it asks of one, if it can run on any.
pub fn stranded<'p>(
    plan: &'p Plan,
    store: &Store,
    executor: &dyn Executor,
    recipe: &str,
    gpus: &[Gpu],
) -> Result<Option<(&'p Action, Option<u64>)>, Failure> {
    let asked = |action: &Action| executor.demand(action).gpu.map(|gpu| gpu.gpu_bytes);
    let is_homeless = |action: &&Action| {
        let fits = asked(action).is_some_and(|bytes| gpus.iter().any(|gpu| gpu.fits(bytes)));
        executor.demand(action).gpu_only && !fits
    };
    let found = first_to_run(plan, store, executor, recipe, is_homeless)?;
    Ok(found.map(|action| (action, asked(action))))
}

/// The first action of those that may have to run.
pub fn first_to_run<'p>(
    plan: &'p Plan,
    store: &Store,
    executor: &dyn Executor,
    recipe: &str,
    of: impl Fn(&&Action) -> bool,
) -> Result<Option<&'p Action>, Failure> {
    let all: Vec<&Action> = plan.actions.iter().filter(of).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let verdicts = assess(plan, store, executor, recipe)?;
    let runs = |action: &&Action| {
        verdicts.iter().any(|(id, verdict)| *id == action.id && *verdict != Verdict::Fresh)
    };
    Ok(all.into_iter().find(runs))
}
