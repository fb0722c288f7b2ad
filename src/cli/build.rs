//! `llamake build`: prove, plan, run what must run, write the lockfile, say what was made.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use super::exit::tell;
use super::machine::{cancel_flag, executor_allowing, pool};
use super::project::{self, Compiled};
use super::screen::{Json, Live, Plain};
use super::terminal::{clock, figure, is_live, note, out};
use super::{Exit, args, check, device};
use crate::build::digest::Manifest;
use crate::build::lockfile::{Lock, update_lock};
use crate::build::outputs::Outputs;
use crate::build::plan::{Plan, plan};
use crate::build::report::{BuildState, Events, RunReport};
use crate::build::resources::{Gpu, Pool};
use crate::build::schedule::{BuildOptions, build};
use crate::build::store::Store;
use crate::exec::{Local, fits, ledger};

/// Everything a build begins with.
struct Begun {
    compiled: Compiled,
    plan: Plan,
    executor: Local,
    gpus: Vec<Gpu>,
    lock: PathBuf,
    /// The lock that is to be obeyed.
    locked: Option<Lock>,
    store: Store,
}

/// Builds the outputs or targets of a recipe.
pub fn run(args: &args::Build) -> Result<Exit> {
    let refused = match begin(args) {
        Ok(Ok(begun)) => return go_on(args, begun),
        Ok(Err(exit)) => Ok(exit),
        Err(error) => Err(error),
    };
    if args.json {
        Json.done(0, 0, 0);
    }
    refused
}

/// Proves, plans, and looks whether a build may run here; or says why not.
fn begin(args: &args::Build) -> Result<Result<Begun, Exit>> {
    if args.locked && !args.recipe.params.is_empty() {
        anyhow::bail!("`--locked` builds what the lockfile says, so `-p` cannot be given");
    }
    let (compiled, targets) = match check::ready(&args.recipe, &args.targets)? {
        Ok(ready) => ready,
        Err(exit) => return Ok(Err(exit)),
    };
    let bytes = ledger::bytes(&compiled.module);
    let executor = Local { bytes, ..executor_allowing(args.allow_code_execution)? };
    let plan = match plan(&compiled.module, &targets, &executor) {
        Ok(plan) => plan,
        Err(failures) => {
            failures.iter().for_each(tell);
            return Ok(Err(Exit::Usage));
        }
    };
    if let Some(refusal) = forbidden(&plan, args.allow_code_execution) {
        return Ok(Err(refusal));
    }
    let together = args.sharing.data_parallel.get();
    let refused = |failure, exit| {
        tell(&failure);
        Ok(Err(exit))
    };
    let gpus = match device::for_plan(args.on.device, together, &plan, &executor) {
        Ok(gpus) => gpus,
        Err(refusal) => return refused(refusal, Exit::Usage),
    };
    let lock = lock_path(&compiled.recipe);
    let read = if args.locked { Lock::read(&lock).map(Some) } else { Lock::read_if_any(&lock) };
    let locked = match read {
        Ok(locked) => locked.filter(|_| args.locked),
        Err(failure) => return refused(failure, Exit::LockMismatch),
    };
    let store = match Store::open(&compiled.project.cache) {
        Ok(store) => store,
        Err(failure) => return refused(failure, Exit::StageFailed),
    };
    let recipe = compiled.history_name();
    if let Err(refusal) = device::stranded(&plan, &store, &executor, &recipe, &gpus) {
        return refused(refusal, Exit::Usage);
    }
    Ok(Ok(Begun { compiled, plan, executor, gpus, lock, locked, store }))
}

/// Runs what must run, writes the lockfile and says what was made.
fn go_on(args: &args::Build, begun: Begun) -> Result<Exit> {
    let Begun { compiled, plan, executor, gpus, lock, locked, store } = begun;
    let cancel = cancel_flag()?;
    let outputs = output_folder(&compiled);
    let options = BuildOptions {
        recipe: &compiled.history_name(),
        outputs: Some(&outputs),
        pool: Pool { gpus, gpus_together: args.sharing.data_parallel.get(), ..pool(args.jobs) },
        keep_going: args.keep_going,
        locked: locked.as_ref(),
        cancel: &cancel,
    };
    let events = events(args.json, plan.actions.len());
    let mut report = build(&plan, &options, &store, &executor, events.as_ref());
    if report.drift.is_empty() && !args.locked {
        report.troubles.extend(update_lock(&lock, &plan, &report).err());
    }
    project::remember(&compiled);
    tell_failures(&plan, &report);
    if !args.json {
        summary(&plan, &report);
        made(&compiled, &plan, &report, &store);
    }
    Ok(exit_of(&report))
}

/// How a command ends whose plan would run programs of a model, if that is not allowed; says why.
pub fn forbidden(plan: &Plan, allowed: bool) -> Option<Exit> {
    let refusal = fits::not_allowed(plan).filter(|_| !allowed)?;
    tell(&refusal);
    Some(Exit::Usage)
}

/// Builds stages for a command that goes on with them: their blocks of the lockfile are written,
/// and nothing appears under `build`.
pub fn build_only(
    compiled: &Compiled,
    stages: &[String],
    store: &Store,
    executor: &Local,
    cancel: &AtomicBool,
) -> Result<RunReport> {
    let plan = plan(&compiled.module, stages, executor);
    let plan = plan.expect("stages of a plan can be planned");
    let options = BuildOptions {
        recipe: &compiled.history_name(),
        outputs: None,
        pool: pool(None),
        keep_going: false,
        locked: None,
        cancel,
    };
    let events = events(false, plan.actions.len());
    let mut report = build(&plan, &options, store, executor, events.as_ref());
    report.troubles.extend(update_lock(&lock_path(&compiled.recipe), &plan, &report).err());
    tell_failures(&plan, &report);
    Ok(report)
}

/// The way a build is shown here.
pub fn events(json: bool, stages: usize) -> Box<dyn Events> {
    match (json, is_live()) {
        (true, _) => Box::new(Json),
        (false, true) => Box::new(Live::new(stages)),
        (false, false) => Box::new(Plain::new(stages)),
    }
}

/// `NAME.lock` beside `NAME.recipe`.
pub fn lock_path(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
}

/// `build/RECIPE` in the project: the recipe's path from the project's root, without its ending.
pub fn output_folder(compiled: &Compiled) -> PathBuf {
    let recipe = project::relative(&compiled.recipe, &compiled.project.root);
    assert!(recipe.is_relative(), "a project lies around its recipes");
    compiled.project.root.join("build").join(recipe.with_extension(""))
}

/// Says of every failed action what happened.
pub fn tell_failures(plan: &Plan, report: &RunReport) {
    for action in &report.actions {
        if let Some(failure) = action.failure.as_ref().filter(|failure| !failure.interrupted) {
            let at = plan.action(action.id);
            note(&format!("\nstage `{}`, {}", at.name, at.place));
            tell(failure);
        }
    }
    for trouble in &report.troubles {
        tell(trouble);
    }
    for drift in &report.drift {
        note(&format!("error: {drift}"));
    }
    if !report.drift.is_empty() {
        note("help: build without `--locked` to accept the change and write a new lockfile");
    }
}

fn summary(plan: &Plan, report: &RunReport) {
    let mut parts = vec![format!("{} built", report.built), format!("{} fresh", report.fresh)];
    if report.failed > 0 {
        parts.push(format!("{} failed", report.failed));
    }
    for state in [BuildState::Stopped, BuildState::Skipped] {
        let count = report.actions.iter().filter(|one| one.state == state).count();
        if count > 0 {
            parts.push(format!("{count} {}", state.word()));
        }
    }
    let time = match report.seconds {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds => clock(seconds),
    };
    if report.drift.is_empty() && !plan.actions.is_empty() {
        note(&format!("{}, {time}", parts.join(", ")));
    }
    if report.interrupted {
        note("interrupted; what is finished is kept, and the next build goes on from there");
    }
}

/// Names what was asked for, where it lies, its figures, and what to try next.
fn made(compiled: &Compiled, plan: &Plan, report: &RunReport, store: &Store) {
    if !report.is_success() {
        return;
    }
    let folder = output_folder(compiled);
    let here = project::shown_from_here(&folder);
    let outputs = Outputs::new(&here, store, plan);
    let mut model = None;
    for wanted in &plan.wanted {
        let found = &report.actions[wanted.action.0 as usize];
        let Some(Ok(crate::build::store::Lookup::Hit(result))) =
            found.key.map(|key| store.lookup(key, &plan.action(wanted.action).ports))
        else {
            continue;
        };
        for (port, manifest) in &result.ports {
            if wanted.port.as_ref().is_none_or(|wanted| wanted == port) {
                let path = outputs.path(&wanted.stage, port, manifest);
                out(&format!("{:<14} {}\n", wanted.stage, path.display()));
                if is_model(manifest) {
                    model = Some(wanted.stage.clone());
                }
            }
        }
        for (name, value) in found.metrics.iter().take(12) {
            out(&format!("{:<14} {name} {}\n", "", figure(*value)));
        }
    }
    if let (Some(model), true) = (model, is_live()) {
        note(&format!("next: {} --prompt \"…\"", compiled.command("generate", &model)));
    }
}

fn is_model(manifest: &Manifest) -> bool {
    let has = |name: &str| manifest.entries().iter().any(|entry| entry.path == name);
    has("model.safetensors") || has("model.gguf") && has("config.json")
}

/// How a build ends, as the shell sees it.
pub fn exit_of(report: &RunReport) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if !report.drift.is_empty() {
        Exit::LockMismatch
    } else if report.is_success() {
        Exit::Done
    } else {
        Exit::StageFailed
    }
}
