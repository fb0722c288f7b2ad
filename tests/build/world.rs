//! A temporary project, modules made by hand, and an executor that does nothing costly.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use llamake::build::action::Action;
use llamake::build::executor::{
    Demand, Executor, Failure, Job, JobSink, Keyed, OnGpu, Outcome, Progress,
};
use llamake::build::plan::{Plan, plan};
use llamake::build::report::{BuildState, Event, Events, RunReport};
use llamake::build::resources::Pool;
use llamake::build::schedule::{BuildOptions, build};
use llamake::build::store::Store;
use llamake::lang::source::Place;
use llamake::lang::types::Type;
use llamake::lang::value::*;

/// A module under construction.
#[derive(Clone, Default)]
pub struct Recipe {
    pub module: Module,
}

impl Recipe {
    pub fn stage(mut self, name: &str, kind: &str, params: &[(&str, Value)]) -> Recipe {
        let line = self.module.stages.len() + 1;
        let place = Place { path: "a.recipe".to_string(), line };
        let params: BTreeMap<String, Value> =
            params.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        self.module.stages.push(Stage {
            id: StageId(line as u32 - 1),
            name: name.to_string(),
            kind: kind.to_string(),
            places: params.keys().map(|name| (name.clone(), place.clone())).collect(),
            params,
            place,
            ports: vec![(SINGLE_PORT.to_string(), Type::Unknown)],
        });
        self
    }

    /// What a stage makes, for use in a later stage's parameters.
    pub fn made_by(&self, name: &str) -> Value {
        let at = self.module.stages.iter().position(|stage| stage.name == name).unwrap();
        self.made_by_index(at)
    }

    /// The same by the stage's position.
    pub fn made_by_index(&self, at: usize) -> Value {
        Value::Artifact(Artifact {
            stage: self.module.stages[at].id,
            port: SINGLE_PORT.to_string(),
            ty: Type::Unknown,
        })
    }

    /// A stage that joins the results of others.
    pub fn join(self, name: &str, from: &[&str]) -> Recipe {
        let inputs = from.iter().map(|from| self.made_by(from)).collect();
        self.stage(name, "join", &[("inputs", Value::List(inputs))])
    }

    pub fn text(self, name: &str, text: &str) -> Recipe {
        self.stage(name, "text", &[("text", Value::Text(text.to_string()))])
    }

    pub fn output(mut self, name: &str) -> Recipe {
        let Value::Artifact(artifact) = self.made_by(name) else { unreachable!() };
        let output = Output { name: name.to_string(), stage: artifact.stage, port: None };
        self.module.outputs.push(output);
        self
    }
}

/// Kinds: `text` writes a text, `upper` one in capitals, `join` concatenates inputs, `read` copies
/// files, `folder` makes two files, `fail` fails, `panic` panics, `hold` waits until it is
/// cancelled, `large` writes many bytes, `nothing` makes nothing, `meddle` edits its source. One
/// that has `gpu_bytes` can run on a GPU.
#[derive(Default)]
pub struct Fake {
    /// Names of the stages that ran, in order.
    pub ran: Mutex<Vec<String>>,
    pub versions: BTreeMap<String, u32>,
    /// Every run takes this long.
    pub delay: Duration,
    pub running: AtomicUsize,
    pub most_running: AtomicUsize,
    /// The GPUs that each stage ran on, if any, and those that are in use.
    pub ran_on: Mutex<BTreeMap<String, Vec<usize>>>,
    pub busy: Mutex<BTreeSet<usize>>,
    /// Changes a result that should be reproducible, and the loss by this.
    pub drifts: bool,
    pub loses: f64,
    /// The kind whose bits depend on the machine.
    pub of_machine: Option<&'static str>,
}

impl Fake {
    pub fn ran(&self) -> Vec<String> {
        let mut ran = std::mem::take(&mut *self.ran.lock().unwrap());
        ran.sort();
        ran
    }
}

impl Executor for Fake {
    fn version(&self, kind: &str) -> Option<u32> {
        (kind != "unknown").then(|| self.versions.get(kind).copied().unwrap_or(1))
    }

    fn keyed(&self, action: &Action) -> Keyed {
        Keyed {
            outside: &["micro_batch"],
            input_names: action.kind == "report",
            of_machine: self.of_machine == Some(&action.kind),
        }
    }

    fn demand(&self, action: &Action) -> Demand {
        let on_gpu = |gpu_bytes: &Value| match gpu_bytes {
            Value::Int(bytes) => {
                OnGpu { threads: 1, memory_bytes: 1, gpu_bytes: *bytes as u64, most: 2 }
            }
            _ => panic!("bytes are due"),
        };
        let gpu = action.params.get("gpu_bytes").map(on_gpu);
        Demand { threads: 1, memory_bytes: 1, gpu, gpu_only: false }
    }

    fn run(&self, job: &Job<'_>, sink: &dyn JobSink) -> Result<Outcome, Failure> {
        self.ran.lock().unwrap().push(job.action.name.clone());
        let mut busy = self.busy.lock().unwrap();
        assert!(job.gpus.iter().all(|gpu| busy.insert(*gpu)), "a GPU does one thing at a time");
        drop(busy);
        self.ran_on.lock().unwrap().insert(job.action.name.clone(), job.gpus.to_vec());
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(self.delay);
        sink.log(&format!("{} begins", job.action.name));
        let metrics =
            [("loss", 0.5 + self.loses), ("right", 79.0 / 84.0), ("perplexity", f64::INFINITY)];
        let metrics = metrics.map(|(name, value)| (name.to_string(), value)).to_vec();
        sink.progress(Progress { done: 1, total: 2, unit: "steps", metrics: metrics.clone() });
        let done = self.work(job);
        self.busy.lock().unwrap().retain(|gpu| !job.gpus.contains(gpu));
        self.running.fetch_sub(1, Ordering::SeqCst);
        done.map(|()| Outcome { metrics })
    }
}

impl Fake {
    fn work(&self, job: &Job<'_>) -> Result<(), Failure> {
        let out = job.out.join(SINGLE_PORT);
        let failed = |error: std::io::Error| Failure::new(error.to_string());
        match job.action.kind.as_str() {
            "text" if self.drifts => fs::write(out, "other bytes").map_err(failed),
            "text" => fs::write(out, text_of(job)).map_err(failed),
            "upper" => fs::write(out, text_of(job).to_uppercase()).map_err(failed),
            "large" => fs::write(out, vec![b'x'; 1 << 20]).map_err(failed),
            "join" => fs::write(out, joined(job)).map_err(failed),
            "read" => fs::write(out, contents(job)).map_err(failed),
            "report" => fs::write(out, format!("{:?}", job.action.inputs)).map_err(failed),
            "folder" => {
                fs::create_dir_all(out.join("deep")).map_err(failed)?;
                fs::write(out.join("a.txt"), text_of(job)).map_err(failed)?;
                fs::write(out.join("deep/b.txt"), "b").map_err(failed)
            }
            "meddle" => {
                let Value::Path(path) = &job.action.params["path"] else { unreachable!() };
                fs::write(&job.files(path)[0], "meddled").map_err(failed)?;
                fs::write(out, "made").map_err(failed)
            }
            "hold" => {
                while !job.cancel.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Failure::interrupted())
            }
            "panic" => panic!("a fake bug"),
            "fail" => Err(Failure::new("it was made to fail")),
            _ => Ok(()),
        }
    }
}

fn text_of(job: &Job<'_>) -> String {
    let Value::Text(text) = &job.action.params["text"] else { panic!("a text is due") };
    text.clone()
}

fn joined(job: &Job<'_>) -> Vec<u8> {
    let Value::List(items) = &job.action.params["inputs"] else { panic!("a list is due") };
    let mut bytes = Vec::new();
    for item in items {
        let Value::Artifact(artifact) = item else { panic!("an artifact is due") };
        let path = job.artifact(artifact);
        let file = if path.is_dir() { path.join("a.txt") } else { path.to_path_buf() };
        bytes.extend(fs::read(file).unwrap());
    }
    bytes
}

fn contents(job: &Job<'_>) -> Vec<u8> {
    let Value::Path(path) = &job.action.params["path"] else { panic!("a path is due") };
    job.files(path).iter().flat_map(|file| fs::read(file).unwrap()).collect()
}

/// Remembers what happened, in words.
#[derive(Default)]
pub struct Heard {
    pub lines: RefCell<Vec<String>>,
    /// Set when a stage starts, if there is one.
    pub cancel_at_start: Option<&'static AtomicBool>,
}

impl Events for Heard {
    fn hear(&self, event: &Event<'_>) {
        let line = match event {
            Event::Started { action, reason, .. } => {
                if let Some(cancel) = self.cancel_at_start {
                    cancel.store(true, Ordering::Relaxed);
                }
                format!("started {}: {reason}", action.name)
            }
            Event::Waiting { action } => format!("waiting {}", action.name),
            Event::Finished { action, report } => {
                format!("{} {}", report.state.word(), action.name)
            }
            Event::Done { built, fresh, failed } => format!("done {built} {fresh} {failed}"),
            Event::Progress { .. } | Event::Log { .. } => return,
        };
        self.lines.borrow_mut().push(line);
    }
}

/// A folder with a cache and outputs.
pub struct World {
    pub folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        World { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn store(&self) -> Store {
        Store::open(&self.path("cache")).unwrap()
    }

    /// A path parameter relative to this folder.
    pub fn file(&self, written: &str) -> Value {
        let folder = self.folder.path().to_str().unwrap().to_string();
        Value::Path(PathValue { written: written.to_string(), folder })
    }

    pub fn build(&self, recipe: &Recipe, fake: &Fake) -> RunReport {
        self.build_told(recipe, fake, &Heard::default())
    }

    pub fn build_told(&self, recipe: &Recipe, fake: &Fake, heard: &Heard) -> RunReport {
        build_in(self.folder.path(), recipe, fake, heard)
    }

    /// Builds and says which stages ran.
    pub fn ran(&self, recipe: &Recipe) -> Vec<String> {
        let fake = Fake::default();
        let report = self.build(recipe, &fake);
        assert!(report.is_success(), "{report:?}");
        fake.ran()
    }
}

pub fn planned(recipe: &Recipe) -> Plan {
    plan(&recipe.module, &[], &Fake::default()).unwrap()
}

pub fn build_in(folder: &Path, recipe: &Recipe, fake: &Fake, heard: &Heard) -> RunReport {
    let plan = plan(&recipe.module, &[], fake).unwrap();
    let store = Store::open(&folder.join("cache")).unwrap();
    let outputs = folder.join("build");
    let off = AtomicBool::new(false);
    let cancel = heard.cancel_at_start.unwrap_or(&off);
    let options = BuildOptions { outputs: Some(&outputs), cancel, ..options(&off) };
    build(&plan, &options, &store, fake, heard)
}

pub fn options(cancel: &AtomicBool) -> BuildOptions<'_> {
    BuildOptions {
        recipe: "a",
        outputs: None,
        pool: Pool { threads: 2, memory_bytes: 1 << 30, gpus: Vec::new(), gpus_together: 1 },
        keep_going: false,
        locked: None,
        cancel,
    }
}

pub fn state(report: &RunReport, recipe: &Recipe, name: &str) -> BuildState {
    let id = planned(recipe).find(name).unwrap();
    report.actions[id.0 as usize].state
}

pub fn failure<'a>(report: &'a RunReport, recipe: &Recipe, name: &str) -> &'a Failure {
    let id = planned(recipe).find(name).unwrap();
    report.actions[id.0 as usize].failure.as_ref().unwrap()
}
