//! Whether a plan can go where it was told to go, asked before anything runs. Knows what actions
//! ask of a GPU; does not know how one is found, nor what runs on it.

use super::executor::Executor;
use super::plan::Plan;
use super::resources::Gpu;

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
