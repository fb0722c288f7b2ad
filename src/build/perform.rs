//! One action done in its thread: inputs checked and laid out, the executor called, results taken
//! into the blobs. Knows files; does not know the plan, the schedule or the database.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::action::{Action, ActionId};
use super::digest::{Digest, Manifest};
use super::examine::BoundSource;
use super::executor::{Executor, Failure, Job, JobSink, Outcome};
use super::failures::io_failure;
use super::key::Contents;
use super::store::{Blobs, FileStat, Pieces};

/// An input artifact of an action.
pub struct Input {
    /// The action that made it.
    pub from: ActionId,
    pub name: String,
    pub port: String,
    pub manifest: Manifest,
}

/// Everything a thread needs to do one action.
pub struct Work<'a> {
    pub action: &'a Action,
    pub executor: &'a dyn Executor,
    pub inputs: Vec<Input>,
    pub sources: Vec<BoundSource>,
    /// What inputs and sources hold.
    pub contents: Contents,
    pub blobs: Blobs,
    pub pieces: Pieces,
    /// An empty folder for inputs and results, removed by whoever made it.
    pub folder: PathBuf,
    /// Where its unfinished work is kept, between processes too.
    pub attempt: PathBuf,
    pub threads: usize,
    pub gpus: Vec<usize>,
    pub cancel: &'a AtomicBool,
}

/// How the work ended.
pub enum Done {
    Made(BTreeMap<String, Manifest>, Outcome),
    /// An input turned out to be corrupt: who made it must make it again.
    InputLost(ActionId),
    Failed(Failure),
}

/// Does the work. A panic inside the executor is a failure of this action alone.
pub fn perform(work: &Work<'_>, sink: &dyn JobSink) -> Done {
    if let Some(input) = work.inputs.iter().find(|input| !is_whole(&work.blobs, &input.manifest)) {
        return Done::InputLost(input.from);
    }
    let attempt = catch_unwind(AssertUnwindSafe(|| attempt(work, sink)));
    // What cannot be removed is swept when this process is gone.
    let _ = fs::remove_dir_all(&work.folder);
    match attempt {
        Ok(Ok((ports, outcome))) => Done::Made(ports, outcome),
        Ok(Err(failure)) => Done::Failed(failure),
        Err(panic) => Done::Failed(bug(&work.action.name, panic.as_ref())),
    }
}

fn bug(name: &str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Failure::new(format!("a bug in llamake ended stage `{name}`: {text}"))
        .remedy("report it with this message; every other finished stage is kept")
}

/// Reads an artifact whole; corrupt blobs are discarded, so that no look-up finds them.
fn is_whole(blobs: &Blobs, manifest: &Manifest) -> bool {
    let check = |blob: Digest| {
        let whole = blobs.check(blob).is_ok();
        whole || blobs.discard(blob).is_err() && blobs.check(blob).is_ok()
    };
    manifest.entries().iter().all(|entry| check(entry.blob))
}

type Made = (BTreeMap<String, Manifest>, Outcome);

fn attempt(work: &Work<'_>, sink: &dyn JobSink) -> Result<Made, Failure> {
    let out = work.folder.join("out");
    fs::create_dir(&out).map_err(|error| io_failure("make", &out, &error))?;
    let before = input_stats(work)?;
    let artifacts = lay_out_inputs(work)?;
    let files = source_files(&work.sources);
    let job = Job {
        action: work.action,
        artifacts: &artifacts,
        files: &files,
        contents: &work.contents,
        pieces: Some(&work.pieces),
        out: &out,
        attempt: &work.attempt,
        threads: work.threads,
        gpus: &work.gpus,
        cancel: work.cancel,
    };
    let outcome = work.executor.run(&job, sink)?;
    let mut ports = BTreeMap::new();
    for port in &work.action.ports {
        ports.insert(port.clone(), adopt(work, &out.join(port), port)?);
    }
    refuse_changed_sources(&work.sources)?;
    refuse_changed_inputs(work, &before)?;
    Ok((ports, outcome))
}

fn adopt(work: &Work<'_>, path: &Path, port: &str) -> Result<Manifest, Failure> {
    if fs::symlink_metadata(path).is_err() {
        let name = &work.action.name;
        return Err(Failure::new(format!("stage `{name}` did not make its result `{port}`")));
    }
    work.blobs.adopt(path)
}

fn lay_out_inputs(work: &Work<'_>) -> Result<BTreeMap<(String, String), PathBuf>, Failure> {
    let mut places = BTreeMap::new();
    for (at, input) in work.inputs.iter().enumerate() {
        let place = work.folder.join(format!("in{at}"));
        let laid = work.blobs.lay_out(&input.manifest, &place);
        let laid = laid.map_err(|error| io_failure("lay out", &place, &error))?;
        places.insert((input.name.clone(), input.port.clone()), laid);
    }
    Ok(places)
}

fn source_files(sources: &[BoundSource]) -> BTreeMap<(String, String), Vec<PathBuf>> {
    let paths = |source: &BoundSource| {
        source.files.iter().map(|(file, _)| file.path.clone()).collect::<Vec<_>>()
    };
    let name = |source: &BoundSource| (source.path.folder.clone(), source.path.written.clone());
    sources.iter().map(|source| (name(source), paths(source))).collect()
}

/// A result made from a file that changed meanwhile would be recorded under the wrong key.
fn refuse_changed_sources(sources: &[BoundSource]) -> Result<(), Failure> {
    for (file, stat) in sources.iter().flat_map(|source| &source.files) {
        if FileStat::of(&file.path).ok() != Some(*stat) {
            let path = file.path.display();
            return Err(Failure::new(format!("`{path}` changed while it was being used"))
                .remedy("build again once it is complete"));
        }
    }
    Ok(())
}

fn input_stats(work: &Work<'_>) -> Result<Vec<(Digest, FileStat)>, Failure> {
    let entries = work.inputs.iter().flat_map(|input| input.manifest.entries());
    let stat = |blob: Digest| {
        let stat = work.blobs.stat(blob);
        stat.map_err(|error| io_failure("read", &work.blobs.path(blob), &error))
    };
    entries.map(|entry| Ok((entry.blob, stat(entry.blob)?))).collect()
}

fn refuse_changed_inputs(work: &Work<'_>, before: &[(Digest, FileStat)]) -> Result<(), Failure> {
    for (blob, stat) in before {
        let touched = work.blobs.stat(*blob).ok() != Some(*stat);
        if touched && work.blobs.check(*blob).is_err() {
            let name = &work.action.name;
            return Err(Failure::new(format!("an input of stage `{name}` changed in the cache"))
                .remedy("see that the stage does not write to its inputs, and build again"));
        }
    }
    Ok(())
}
