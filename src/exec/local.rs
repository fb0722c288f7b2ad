//! The executor that runs stages in this process, on its CPU and, where one is granted, with a GPU
//! that computes with the models. Knows how a failure of the trainer becomes a failure of an
//! action; does not know how any stage works.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::device;
use super::ledger::{self, Bytes, bytes_text};
use super::work::{self, KINDS, Kind, Work};
use crate::build::action::Action;
use crate::build::digest::Digest;
use crate::build::executor::{self, Demand, Executor, Job, JobSink, Keyed, Outcome};
use crate::build::store;
use crate::train::data::hub::Hub;
use crate::train::kernels::Isa;
use crate::train::kernels::launch::{Accelerator, Fault};
use crate::train::model::accelerated::told;
use crate::train::progress::{self, Attempt, Context, Launcher};
use crate::train::stage::ledger::MemoryLedger;

/// Runs stages here.
pub struct Local {
    /// The `PATH` that external programs are found by.
    pub search_path: OsString,
    /// The instruction set of the kernels.
    pub isa: Isa,
    /// The least time between two checkpoints of a stage.
    pub checkpoint_every: Duration,
    /// Where models and data sets are downloaded from.
    pub hub: Hub,
    /// What runs programs that a model wrote, if they may run.
    pub untrusted: Option<Launcher>,
    /// Bytes that stages will need, by their names; of others nothing is known.
    pub bytes: BTreeMap<String, Bytes>,
    /// What opens GPUs.
    pub open: Open,
}

/// Opens GPUs by their indices, or has them open already.
pub type Open = fn(&[usize]) -> Result<Vec<Arc<dyn Accelerator>>, Fault>;

/// A stage kind by its name in the library.
pub fn find(kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.name == kind)
}

impl Executor for Local {
    fn version(&self, kind: &str) -> Option<u32> {
        find(kind).map(|kind| kind.version)
    }

    fn keyed(&self, action: &Action) -> Keyed {
        work::keyed(action)
    }

    fn demand(&self, action: &Action) -> Demand {
        ledger::demand(action, &self.bytes)
    }

    fn run(&self, job: &Job<'_>, sink: &dyn JobSink) -> Result<Outcome, executor::Failure> {
        let work = Work::decode(job).map_err(|error| {
            executor::Failure::new(format!("{error:#}"))
                .remedy("this is a fault of llamake itself; please report it with the recipe")
        })?;
        let mut progress = Forward { job, sink };
        let name = &job.action.name;
        let opened = (self.open)(job.gpus).map_err(|fault| self.told(name, told(fault)))?;
        if !opened.is_empty() {
            let names: Vec<String> = opened.iter().map(|one| format!("{one:?}")).collect();
            sink.log(&format!("it is computed on {}", names.join(", ")));
            // What another stage took is not this one's.
            for one in &opened {
                one.peak_bytes();
            }
        }
        let out = job.out.to_path_buf();
        let attempt = Attempt { folder: job.attempt.to_path_buf(), every: self.checkpoint_every };
        let pieces = job.pieces.map(Shelf);
        let mut context = Context {
            threads: job.threads,
            isa: self.isa,
            accelerator: opened.first().cloned(),
            others: opened.iter().skip(1).cloned().collect(),
            attempt: Some(attempt),
            pieces: pieces.as_ref().map(|shelf| shelf as &dyn progress::Pieces),
            hub: self.hub.clone(),
            untrusted: self.untrusted.clone(),
            out,
            progress: &mut progress,
        };
        let done = work.run(&self.search_path, &mut context);
        if let Some(took) = opened.iter().map(|one| one.peak_bytes()).max() {
            let took = bytes_text(took);
            let foreseen = self.foreseen(name);
            let foreseen = foreseen.map_or("nothing".into(), |ledger| bytes_text(ledger.total()));
            sink.log(&format!("it took {took} of GPU memory at most; {foreseen} foreseen"));
        }
        done.map(|metrics| Outcome { metrics }).map_err(|failure| self.told(name, failure))
    }
}

impl Local {
    /// The memory that a stage was to take of a GPU.
    fn foreseen(&self, stage: &str) -> Option<MemoryLedger> {
        self.bytes.get(stage)?.gpu.ok()
    }

    /// What the trainer says of a stage; where a GPU lacked memory, with what was foreseen.
    fn told(&self, stage: &str, failure: progress::Failure) -> executor::Failure {
        let lacks_memory = matches!(failure, progress::Failure::Memory { .. });
        let failure = translated(failure);
        match self.foreseen(stage).filter(|_| lacks_memory) {
            Some(ledger) => {
                let (total, parts) = (device::size(ledger.total()), device::parts(&ledger));
                let kept = "what it saved last is kept, and the next build goes on from there";
                executor::Failure {
                    tail: vec![format!("{total} foreseen: {parts}"), kept.into()],
                    ..failure
                }
            }
            None => failure,
        }
    }
}

/// What the trainer says, passed on to the engine.
struct Forward<'a> {
    job: &'a Job<'a>,
    sink: &'a dyn JobSink,
}

impl progress::Progress for Forward<'_> {
    fn at(&mut self, done: u64, total: u64, unit: &'static str, metrics: &[(&str, f64)]) {
        let metrics = metrics.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        self.sink.progress(executor::Progress { done, total, unit, metrics });
    }

    fn log(&mut self, line: &str) {
        self.sink.log(line);
    }

    fn notice(&mut self, line: &str) {
        self.sink.notice(line);
    }

    fn cancelled(&self) -> bool {
        self.job.cancel.load(Ordering::Relaxed)
    }
}

/// The parts of results that the store keeps, for the trainer.
struct Shelf<'a>(&'a store::Pieces);

impl progress::Pieces for Shelf<'_> {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        self.0.get(Digest::from_bytes(*key))
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) -> std::io::Result<()> {
        self.0.put(Digest::from_bytes(*key), bytes)
    }
}

/// A failure of the trainer in the engine's terms.
pub fn translated(failure: progress::Failure) -> executor::Failure {
    match failure {
        progress::Failure::Interrupted => executor::Failure::interrupted(),
        progress::Failure::Input { message, remedy }
        | progress::Failure::Memory { message, remedy } => {
            executor::Failure { remedy, ..executor::Failure::new(message) }
        }
        progress::Failure::Io { path, error } => {
            let failure = executor::Failure::new(format!("`{}`: {error}", path.display()));
            match error.kind() {
                std::io::ErrorKind::StorageFull => {
                    failure.remedy("free some space on that disk and build again")
                }
                std::io::ErrorKind::PermissionDenied => failure.remedy("allow access to it"),
                _ => failure,
            }
        }
    }
}
