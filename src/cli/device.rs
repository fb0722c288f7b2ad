//! `--device`: what was asked for beside what this program and this machine have. What cannot be
//! had is refused in words; nothing that was asked of a GPU is quietly done without one.

use std::sync::Arc;

use super::args::Device;
use crate::build::action::Action;
use crate::build::executor::{Executor, Failure};
use crate::build::placement::{self, Misplaced, misplaced, uses_gpus};
use crate::build::plan::Plan;
use crate::build::resources;
use crate::build::store::Store;
use crate::exec::Local;
use crate::exec::ledger::bytes_text;
use crate::train::kernels::cuda::{Gpu, open, survey};
use crate::train::kernels::launch::{Accelerator, Fault};

/// The GPUs that the actions of a plan may run on, so many of them on one where they can share it.
pub fn for_plan(
    device: Device,
    together: usize,
    plan: &Plan,
    executor: &Local,
) -> Result<Vec<resources::Gpu>, Failure> {
    let gpus = usable(device, plan, executor)?;
    if together == 1 {
        return Ok(gpus);
    }
    let alike = |one: &resources::Gpu| gpus.iter().filter(|gpu| gpu.kind == one.kind).count();
    let most = gpus.iter().map(alike).max().unwrap_or(0);
    let message = format!("`--data-parallel {together}`: with `--device {device}` there ");
    if most < together {
        let message = message + &counted(most, "GPU of one kind", "GPUs of one kind");
        return Err(Failure::new(message).remedy("`llamake doctor` lists the GPUs of this machine"));
    }
    let shared = |action: &Action| executor.demand(action).gpu.is_some_and(|gpu| gpu.most > 1);
    if !plan.actions.iter().any(shared) {
        let message = message + "is no training stage whose steps have several parts";
        return Err(Failure::new(message).remedy("leave it out, or lower `micro_batch`"));
    }
    Ok(gpus)
}

fn counted(number: usize, one: &str, many: &str) -> String {
    match number {
        0 => format!("are no {many}"),
        1 => format!("is one {one}"),
        _ => format!("are {number} {many}"),
    }
}

/// A driver takes a while to start, so it is asked only where something could run on it.
fn usable(device: Device, plan: &Plan, executor: &Local) -> Result<Vec<resources::Gpu>, Failure> {
    match device {
        Device::Cpu => Ok(Vec::new()),
        Device::Auto if !uses_gpus(plan, executor) => Ok(Vec::new()),
        // What is wrong with those that are there, `doctor` says.
        Device::Auto => Ok(found(None).map(|gpus| pool_of(&gpus)).unwrap_or_default()),
        Device::Cuda(index) => {
            let gpus = pool_of(&found(index).map_err(|fault| refused(device, fault))?);
            if let Some(refusal) = kept_here(device, plan, executor) {
                return Err(refusal);
            }
            match misplaced(plan, executor, &gpus) {
                None => Ok(gpus),
                Some(Misplaced::NothingToRun) => Err(idle(device)),
                Some(Misplaced::TooLarge { stage, gpu_bytes }) => {
                    Err(too_large(device, &stage, gpu_bytes, &gpus))
                }
            }
        }
    }
}

/// Refuses a plan in which something has to run that this machine cannot: what runs on a GPU alone,
/// where there is none for it, and what does not fit the machine's memory.
pub fn stranded(
    plan: &Plan,
    store: &Store,
    executor: &Local,
    recipe: &str,
    gpus: &[resources::Gpu],
) -> Result<(), Failure> {
    overfull(plan, store, executor, recipe, gpus)?;
    homeless(plan, store, executor, recipe, gpus)
}

/// What runs without a GPU and holds more than there is.
fn overfull(
    plan: &Plan,
    store: &Store,
    executor: &Local,
    recipe: &str,
    gpus: &[resources::Gpu],
) -> Result<(), Failure> {
    let most = resources::memory_and_swap();
    let held = |action: &Action| executor.bytes.get(&action.name).map_or(0, |bytes| bytes.held);
    let is_too_large = |action: &&Action| {
        let on_gpu = executor.demand(action).gpu;
        let fits = on_gpu.is_some_and(|asked| gpus.iter().any(|gpu| gpu.fits(asked.gpu_bytes)));
        !fits && held(action) > most
    };
    let found = placement::first_to_run(plan, store, executor, recipe, is_too_large)?;
    let Some(action) = found else { return Ok(()) };
    let [needs, has] = [held(action), most].map(bytes_text);
    let message = format!(
        "`{}` holds {needs} while it runs, and this machine has {has} with its swap",
        action.name
    );
    let remedy = format!("`llamake check --device-memory {}GiB` says what would fit", most >> 30);
    Err(Failure::new(message).remedy(remedy))
}

fn homeless(
    plan: &Plan,
    store: &Store,
    executor: &Local,
    recipe: &str,
    gpus: &[resources::Gpu],
) -> Result<(), Failure> {
    let Some((action, bytes)) = placement::stranded(plan, store, executor, recipe, gpus)? else {
        return Ok(());
    };
    let name = &action.name;
    let why = match (bytes, executor.bytes.get(&action.name).and_then(|bytes| bytes.gpu.err())) {
        (_, Some(why)) => format!("it has {why}, which no GPU computes here"),
        (Some(bytes), _) if !gpus.is_empty() => {
            let most = gpus.iter().map(|gpu| gpu.memory_bytes).max().unwrap_or(0);
            format!("it needs {} of one that has {}", bytes_text(bytes), bytes_text(most))
        }
        _ => "there is none for it".to_string(),
    };
    let message = format!("`{name}` has `numerics: \"bf16\"`, which runs on a GPU alone: {why}");
    let remedy = "build where `llamake doctor` finds a GPU, or leave out `numerics`";
    Err(Failure::new(message).remedy(remedy))
}

/// The GPU that a single answer is computed on. Opening one and copying a model takes longer than
/// most answers do, so it must be asked for.
pub fn for_answers(device: Device) -> Result<Option<Arc<dyn Accelerator>>, Failure> {
    let Device::Cuda(index) = device else { return Ok(None) };
    let opened = found(index).and_then(|gpus| open(&[gpus[0].index]));
    opened.map(|mut opened| opened.pop()).map_err(|fault| refused(device, fault))
}

/// Refuses a GPU for a plan in which something computes with a model that cannot on one.
fn kept_here(device: Device, plan: &Plan, executor: &Local) -> Option<Failure> {
    plan.actions.iter().find_map(|action| {
        let why = executor.bytes.get(&action.name)?.gpu.err()?;
        let name = &action.name;
        let message =
            format!("`--device {device}`: `{name}` has {why}, which no GPU computes here");
        Some(Failure::new(message).remedy("with `--device auto` it is computed on the CPU"))
    })
}

fn found(index: Option<usize>) -> Result<Vec<Gpu>, Fault> {
    survey()?.usable(index)
}

fn pool_of(gpus: &[Gpu]) -> Vec<resources::Gpu> {
    let kind = |gpu: &Gpu| {
        let is_alike = |one: &Gpu| {
            (&one.name, one.memory_bytes, one.capability)
                == (&gpu.name, gpu.memory_bytes, gpu.capability)
        };
        gpus.iter().position(is_alike).expect("it is like itself")
    };
    let amount = |gpu: &Gpu| {
        let (index, memory_bytes) = (gpu.index, gpu.memory_bytes);
        resources::Gpu { index, kind: kind(gpu), memory_bytes }
    };
    gpus.iter().map(amount).collect()
}

fn refused(device: Device, Fault { message, remedy, .. }: Fault) -> Failure {
    Failure { remedy, ..Failure::new(format!("`--device {device}`: {message}")) }
}

fn idle(device: Device) -> Failure {
    Failure::new(format!("`--device {device}` would be idle: every stage here runs on the CPU"))
        .remedy("say `--device cpu`, or leave it out")
}

fn too_large(device: Device, stage: &str, bytes: u64, gpus: &[resources::Gpu]) -> Failure {
    let most = gpus.iter().map(|gpu| gpu.memory_bytes).max().unwrap_or(0);
    let (needs, has) = (bytes_text(bytes), bytes_text(most));
    let message = format!("`--device {device}`: `{stage}` needs {needs} of a GPU that has {has}");
    let remedy = format!("`llamake check --device-memory {}GiB` says what would fit", most >> 30);
    Failure::new(message).remedy(remedy)
}
