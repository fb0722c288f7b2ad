//! `llamake reproduce FILE.lock`: rebuild in an empty cache, and a verdict for every stage.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::exit::{fail, tell};
use super::machine::{cancel_flag, executor_allowing, pool};
use super::screen::{ButTheLast, Json};
use super::terminal::{note, out, quoted};
use super::{Exit, args, build, device, project};
use crate::build::digest::Digest;
use crate::build::lockfile::Lock;
use crate::build::report::RunReport;
use crate::build::reproduce::{
    Deviation, Reproduction, StageVerdict, TOLERANCE, plan_of, reproduce,
};
use crate::build::resources::Pool;
use crate::build::store::Store;
use crate::exec::{Local, ledger};

/// Rebuilds everything a lockfile describes and compares.
pub fn run(args: &args::Reproduce) -> Result<Exit> {
    let rebuilt = rebuilt(args);
    let report = match &rebuilt {
        Ok(Ok(reproduction)) => reproduction.report.clone(),
        _ => RunReport::default(),
    };
    let exit = rebuilt.map(|rebuilt| rebuilt.map_or_else(|exit| exit, |all| verdict(&all, args)));
    if args.json {
        Json.done(report.built, report.fresh, report.failed);
    }
    exit
}

/// Rebuilds, or says what is wrong before anything runs.
fn rebuilt(args: &args::Reproduce) -> Result<Result<Reproduction, Exit>> {
    let path = args.lockfile.display();
    anyhow::ensure!(args.lockfile.exists(), "there is no lockfile `{path}`");
    let lock = match Lock::read(&args.lockfile) {
        Ok(lock) => lock,
        Err(failure) => {
            tell(&failure);
            return Ok(Err(Exit::LockMismatch));
        }
    };
    let bytes = lock.module().map(|module| ledger::bytes(&module)).unwrap_or_default();
    let executor = Local { bytes, ..executor_allowing(args.allow_code_execution)? };
    // What is wrong with the plan itself is said below.
    let plan = plan_of(&lock, &executor).ok();
    let refusal = |plan| build::forbidden(plan, args.allow_code_execution);
    if let Some(refusal) = plan.as_ref().and_then(refusal) {
        return Ok(Err(refusal));
    }
    let (on, together) = (args.on.device, args.sharing.data_parallel.get());
    let gpus = plan.as_ref().map(|plan| device::for_plan(on, together, plan, &executor));
    let gpus = gpus.transpose();
    let gpus = match gpus {
        Ok(gpus) => gpus.unwrap_or_default(),
        Err(refusal) => {
            tell(&refusal);
            return Ok(Err(Exit::Usage));
        }
    };
    let digest = Digest::of_bytes(lock.text().as_bytes());
    let (folder, kept) = folder_for(args, digest)?;
    let begun = Store::open(&folder).and_then(|store| {
        store.begin_rebuilding(digest)?;
        Ok(store)
    });
    let store = match begun {
        Ok(store) => store,
        Err(failure) => return Ok(Err(fail(&[failure]))),
    };
    let stranded = |plan| device::stranded(plan, &store, &executor, "", &gpus).err();
    if let Some(refusal) = plan.as_ref().and_then(stranded) {
        tell(&refusal);
        return Ok(Err(Exit::Usage));
    }
    let cancel = cancel_flag()?;
    let events = ButTheLast(build::events(args.json, lock.stages.len()));
    let pool = Pool { gpus, gpus_together: together, ..pool(args.jobs) };
    let done = reproduce(&lock, &store, &executor, pool, &cancel, &events);
    if done.as_ref().is_ok_and(Reproduction::is_whole)
        && let Err(failure) = store.end_rebuilding()
    {
        tell(&failure);
    }
    drop(store);
    drop(kept);
    match done {
        Ok(reproduction) => Ok(Ok(reproduction)),
        Err(failures) => {
            failures.iter().for_each(tell);
            Ok(Err(Exit::LockMismatch))
        }
    }
}

/// The folder to rebuild in: the one that was named, if it is empty or was left by an interrupted
/// reproduction of the same lock, or a temporary one beside the project's cache, where there is
/// room for results.
fn folder_for(
    args: &args::Reproduce,
    lock: Digest,
) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
    if let Some(folder) = &args.into {
        let is_used = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
        if is_used && Store::rebuilds(folder) != Some(lock) {
            anyhow::bail!("`{}` is not empty; name a new folder", folder.display());
        }
        return Ok((folder.clone(), None));
    }
    let root = project::project_of(&args.lockfile)?.root;
    let kept = tempfile::Builder::new().prefix(".llamake-reproduce").tempdir_in(root)?;
    Ok((kept.path().join("cache"), Some(kept)))
}

/// Says each stage's verdict; the data goes to standard output.
fn verdict(reproduction: &Reproduction, args: &args::Reproduce) -> Exit {
    for (stage, verdict) in &reproduction.stages {
        match args.json {
            true => Json.verdict(stage, as_json(verdict)),
            false => out(&format!("{stage:<14} {}\n", words(verdict))),
        }
        if let StageVerdict::Failed(failure) = verdict {
            tell(failure);
        }
    }
    let all = reproduction.stages.len();
    if reproduction.report.interrupted {
        note(&interrupted(args));
        return Exit::Interrupted;
    }
    if reproduction.is_identical() {
        note(&format!("bit-identical: all {all} stages"));
        return Exit::Done;
    }
    if reproduction.is_reproduced() {
        let identical = reproduction.identical();
        note(&format!(
            "reproduced: {identical} of {all} stages bit-identical, the others within tolerance"
        ));
        return Exit::Done;
    }
    if let Some((stage, _)) = reproduction.first_difference() {
        note(&format!("error: not reproduced; the first stage that differs is `{stage}`"));
    }
    Exit::LockMismatch
}

/// How an interrupted reproduction goes on.
fn interrupted(args: &args::Reproduce) -> String {
    let lockfile = quoted(&args.lockfile.to_string_lossy());
    match &args.into {
        Some(folder) => format!(
            "interrupted; what is finished is kept, and this goes on from there:\n\
             llamake reproduce {lockfile} --into {}",
            quoted(&folder.to_string_lossy())
        ),
        None => "interrupted; only what is made with `--into DIR` is kept to go on with".into(),
    }
}

fn words(verdict: &StageVerdict) -> String {
    match verdict {
        StageVerdict::Identical => "bit-identical".into(),
        StageVerdict::Within(None) => "within tolerance: other bits, the same metrics".into(),
        StageVerdict::Within(Some(farthest)) => format!("within tolerance: {}", off(farthest)),
        StageVerdict::Different { beyond: Some(beyond), .. } => {
            format!("different: {}, beyond the {:.0}% tolerated", off(beyond), 100.0 * TOLERANCE)
        }
        StageVerdict::Different { port, expected, got, beyond: None } => {
            let got = got.map_or("nothing".to_string(), |got| got.to_string());
            format!("different at `{port}`: locked {expected}, made {got}")
        }
        StageVerdict::Edited(what) => what.clone(),
        StageVerdict::SourceChanged(what) => what.clone(),
        StageVerdict::Failed(failure) => format!("failed: {}", failure.message),
        StageVerdict::NotReached => "not reached".into(),
    }
}

/// A verdict for programs: a word, the sentence, and the digests or figures it rests on.
fn as_json(verdict: &StageVerdict) -> serde_json::Value {
    let word = match verdict {
        StageVerdict::Identical => "bit-identical",
        StageVerdict::Within(_) => "within tolerance",
        StageVerdict::Different { .. } => "different",
        StageVerdict::Edited(_) => "edited",
        StageVerdict::SourceChanged(_) => "source changed",
        StageVerdict::Failed(_) => "failed",
        StageVerdict::NotReached => "not reached",
    };
    let metric = |deviation: &Deviation| {
        let Deviation { metric, locked, got } = deviation;
        json!({ "name": metric, "locked": locked, "got": got, "share": deviation.share() })
    };
    match verdict {
        StageVerdict::Within(farthest) => {
            let farthest = farthest.as_ref().map(metric);
            json!({ "verdict": word, "text": words(verdict), "metric": farthest })
        }
        StageVerdict::Different { port, expected, got, beyond } => json!({
            "verdict": word,
            "text": words(verdict),
            "port": port,
            "expected": expected.to_string(),
            "got": got.map(|got| got.to_string()),
            "metric": beyond.as_ref().map(metric),
        }),
        _ => json!({ "verdict": word, "text": words(verdict) }),
    }
}

/// How far a metric is off.
fn off(deviation: &Deviation) -> String {
    let (share, Deviation { metric, locked, got }) = (100.0 * deviation.share(), deviation);
    format!("`{metric}` {got:.4} where {locked:.4} is locked ({share:.2}% off)")
}
