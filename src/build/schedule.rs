//! The event loop: which action is examined, started or passed over, and when. Knows states and
//! resources; does not know what actions do, nor how results are kept.
//!
//! One thread decides everything; each running action has a thread of its own that reports by
//! messages. See [`BuildState`] for the states.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::action::{Action, ActionId};
use super::digest::{Digest, Manifest};
use super::examine::{Bound, Examiner, Finding, input};
use super::executor::{Executor, Failure, JobSink, Outcome, Progress};
use super::key::ActionKey;
use super::lockfile::Lock;
use super::outputs::Outputs;
use super::perform::{Done, Input, Work, perform};
use super::plan::{Plan, Wanted};
use super::report::{ActionReport, BuildState, Event, Events, RunReport, SourceReport};
use super::resources::{Grant, Pool};
use super::store::{ActionResult, KeyLock, LogLine, MetricPoint, StageRow, Store};
use super::verdict::StaleReason;
use crate::lang::value::Value;

/// How often locks of other builds are tried again and the user's wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often logs and figures go to the database.
const FLUSH: Duration = Duration::from_secs(1);

/// What a build is asked besides its plan.
pub struct BuildOptions<'a> {
    /// What histories call the recipe.
    pub recipe: &'a str,
    /// Where results are made visible, if anywhere.
    pub outputs: Option<&'a Path>,
    pub pool: Pool,
    /// Goes on with what does not need a failed action.
    pub keep_going: bool,
    /// Refuses any departure from this lock.
    pub locked: Option<&'a Lock>,
    pub cancel: &'a AtomicBool,
}

/// Brings everything the plan wants into the store, running only what must run.
pub fn build(
    plan: &Plan,
    options: &BuildOptions<'_>,
    store: &Store,
    executor: &dyn Executor,
    events: &dyn Events,
) -> RunReport {
    let began = Instant::now();
    let nothing = |report| {
        events.hear(&Event::Done { built: 0, fresh: 0, failed: 0 });
        report
    };
    let examiner = match Examiner::new(plan, store, executor, options.recipe) {
        Ok(examiner) => examiner,
        Err(failure) => {
            return nothing(RunReport { troubles: vec![failure], ..RunReport::default() });
        }
    };
    let drift = options.locked.map(|lock| lock.drift(plan, store, executor)).unwrap_or_default();
    if !drift.is_empty() {
        return nothing(RunReport { drift, ..RunReport::default() });
    }
    let mut build = Build::new(plan, options, store, executor, events, examiner);
    thread::scope(|scope| build.run(scope));
    build.end(began.elapsed().as_secs_f64())
}

/// What a thread tells the loop.
enum Message {
    Progress(ActionId, Progress),
    Log { id: ActionId, line: String, notice: bool },
    Done(ActionId, Done),
}

/// An action that runs: what it holds until it is done.
struct Running {
    grant: Grant,
    _lock: KeyLock,
    began: Instant,
}

/// A result that is made again because its bytes in the store broke.
#[derive(Default)]
struct Repair {
    times: usize,
    waiting: BTreeSet<ActionId>,
}

/// A result that breaks more often than this is the disk's fault.
const REPAIRS: usize = 3;

struct Build<'a> {
    plan: &'a Plan,
    options: &'a BuildOptions<'a>,
    store: &'a Store,
    executor: &'a dyn Executor,
    events: &'a dyn Events,
    examiner: Examiner<'a>,
    outputs: Option<Outputs<'a>>,
    wanted: BTreeMap<ActionId, Vec<&'a Wanted>>,
    /// What may be used at all, and what of it nothing uses.
    whole: Pool,
    free: Pool,
    report: RunReport,
    /// By action id: the state's authority is `report.actions[id].state`, these are indexes.
    missing: Vec<usize>,
    results: Vec<Option<ActionResult>>,
    /// All inputs are there, but the store was not asked yet.
    unexamined: BTreeSet<ActionId>,
    ready: BTreeMap<ActionId, Bound>,
    running: BTreeMap<ActionId, (Bound, Running)>,
    /// Results found corrupt and made again, and who waits for them.
    repairs: BTreeMap<ActionId, Repair>,
    stopping: bool,
    /// The number of this run, once something happens that is worth a row.
    run: Option<i64>,
    news: Vec<(ActionId, ActionKey)>,
}

impl<'a> Build<'a> {
    fn new(
        plan: &'a Plan,
        options: &'a BuildOptions<'a>,
        store: &'a Store,
        executor: &'a dyn Executor,
        events: &'a dyn Events,
        examiner: Examiner<'a>,
    ) -> Build<'a> {
        let missing: Vec<usize> =
            plan.actions.iter().map(|action| plan.needs(action.id).len()).collect();
        let mut wanted: BTreeMap<ActionId, Vec<&Wanted>> = BTreeMap::new();
        for one in &plan.wanted {
            wanted.entry(one.action).or_default().push(one);
        }
        let blank = |action: &Action| ActionReport::blank(action.id);
        let whole = at_least_a_thread(&options.pool);
        let first = |action: &&Action| missing[action.id.0 as usize] == 0;
        Build {
            plan,
            options,
            store,
            executor,
            events,
            examiner,
            outputs: options.outputs.map(|root| Outputs::new(root, store, plan)),
            wanted,
            free: whole.clone(),
            whole,
            report: RunReport {
                actions: plan.actions.iter().map(blank).collect(),
                ..RunReport::default()
            },
            unexamined: plan.actions.iter().filter(first).map(|action| action.id).collect(),
            missing,
            results: vec![None; plan.actions.len()],
            ready: BTreeMap::new(),
            running: BTreeMap::new(),
            repairs: BTreeMap::new(),
            stopping: false,
            run: None,
            news: Vec::new(),
        }
    }

    fn run<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        let (sender, receiver) = sync_channel(1024);
        let mut flushed = Instant::now();
        loop {
            if !self.unexamined.is_empty() {
                let store = self.store;
                let read = store.reading(|| self.examine_all());
                self.note(read);
            }
            self.start_what_can(scope, &sender);
            if self.unexamined.is_empty() && self.ready.is_empty() && self.running.is_empty() {
                break;
            }
            self.listen(&receiver);
            if flushed.elapsed() > FLUSH {
                let written = self.store.records.flush();
                self.note(written);
                flushed = Instant::now();
            }
        }
    }

    fn listen(&mut self, receiver: &Receiver<Message>) {
        if !self.unexamined.is_empty() {
            return;
        }
        match receiver.recv_timeout(TICK) {
            Ok(message) => self.hear(message),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the loop holds a sender"),
        }
        while let Ok(message) = receiver.try_recv() {
            self.hear(message);
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Progress(id, progress) => self.hear_progress(id, &progress),
            Message::Log { id, line, notice } => {
                let action = self.plan.action(id);
                self.events.hear(&Event::Log { action, line: &line, notice });
                if let Some(run) = self.run {
                    self.store.records.log(run, LogLine { stage: action.name.clone(), line });
                }
            }
            Message::Done(id, done) => self.finish_running(id, done),
        }
    }

    fn hear_progress(&mut self, id: ActionId, progress: &Progress) {
        let action = self.plan.action(id);
        self.events.hear(&Event::Progress { action, progress });
        let Some(run) = self.run else { return };
        for (name, value) in &progress.metrics {
            let (stage, name) = (action.name.clone(), name.clone());
            let point = MetricPoint { stage, name, done: progress.done, value: *value };
            self.store.records.point(run, point);
        }
    }

    /// Looks up every action whose inputs are there; chains of fresh ones fall through here.
    fn examine_all(&mut self) {
        while let Some(id) = self.unexamined.pop_first() {
            self.look_for_cancel();
            if self.options.cancel.load(Ordering::Relaxed) {
                self.finish(id, BuildState::Skipped);
                continue;
            }
            if let Some(from) = self.input_in_repair(id) {
                self.await_repair(id, from);
                continue;
            }
            match self.examine(id) {
                Ok(None) => self.finish(id, BuildState::Fresh),
                Ok(Some(bound)) => {
                    self.ready.insert(id, bound);
                    self.set(id, BuildState::Ready);
                }
                Err(failure) => self.fail(id, failure),
            }
        }
    }

    /// `None` if the result is in the store.
    fn examine(&mut self, id: ActionId) -> Result<Option<Bound>, Failure> {
        let action = self.plan.action(id);
        let bound = self.examiner.bind(action, &self.results)?;
        let source = |source: &super::examine::BoundSource| SourceReport {
            path: source.path.clone(),
            digest: source.digest,
            files: source.files.len(),
        };
        let report = &mut self.report.actions[id.0 as usize];
        report.key = Some(bound.key);
        report.sources = bound.sources.iter().map(source).collect();
        match self.examiner.find(action, &bound)? {
            Finding::Fresh(result) => {
                self.take(id, result);
                Ok(None)
            }
            Finding::Stale(reason) => {
                report.reason = Some(reason);
                Ok(Some(bound))
            }
        }
    }

    fn take(&mut self, id: ActionId, result: ActionResult) {
        let report = &mut self.report.actions[id.0 as usize];
        let digest = |(port, manifest): (&String, &Manifest)| (port.clone(), manifest.digest());
        report.outputs = result.ports.iter().map(digest).collect();
        report.bytes = result.bytes();
        report.metrics = result.metrics.clone();
        self.results[id.0 as usize] = Some(result);
    }

    fn look_for_cancel(&mut self) {
        if self.options.cancel.load(Ordering::Relaxed) {
            self.report.interrupted = true;
            self.stopping = true;
        }
    }

    fn start_what_can<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: &SyncSender<Message>,
    ) where
        'a: 'scope,
    {
        self.look_for_cancel();
        if self.stopping {
            while let Some((id, _)) = self.ready.pop_first() {
                self.finish(id, BuildState::Skipped);
            }
            return;
        }
        let candidates: Vec<ActionId> = self.ready.keys().copied().collect();
        let count = candidates.len();
        for (at, id) in candidates.into_iter().enumerate() {
            if self.free.threads == 0 {
                break;
            }
            if let Some(from) = self.input_in_repair(id) {
                self.ready.remove(&id);
                self.await_repair(id, from);
                continue;
            }
            let demand = self.executor.demand(self.plan.action(id));
            let Some(grant) = self.free.grant(&self.whole, demand, count - at - 1) else {
                continue;
            };
            if let Err(failure) = self.start(id, grant.clone(), scope, sender) {
                self.free.release(grant);
                self.ready.remove(&id);
                self.fail(id, failure);
            }
        }
    }

    fn start<'scope>(
        &mut self,
        id: ActionId,
        grant: Grant,
        scope: &'scope Scope<'scope, '_>,
        sender: &SyncSender<Message>,
    ) -> Result<(), Failure>
    where
        'a: 'scope,
    {
        let key = self.ready[&id].key;
        let Some(lock) = self.store.try_lock(key)? else {
            self.free.release(grant);
            self.wait(id);
            return Ok(());
        };
        // Another build may have made it since it was examined.
        let action = self.plan.action(id);
        if let Finding::Fresh(result) = self.examiner.find(action, &self.ready[&id])? {
            self.free.release(grant);
            self.ready.remove(&id);
            self.take(id, result);
            self.finish(id, BuildState::Fresh);
            return Ok(());
        }
        self.begin_run()?;
        let work = self.work(id, &grant)?;
        let bound = self.ready.remove(&id).expect("only ready actions start");
        self.running.insert(id, (bound, Running { grant, _lock: lock, began: Instant::now() }));
        self.set(id, BuildState::Running);
        self.spawn(id, work, scope, sender.clone());
        Ok(())
    }

    fn wait(&mut self, id: ActionId) {
        if self.report.actions[id.0 as usize].state != BuildState::Waiting {
            self.set(id, BuildState::Waiting);
        }
    }

    fn work(&self, id: ActionId, grant: &Grant) -> Result<Work<'a>, Failure> {
        let (action, bound) = (self.plan.action(id), &self.ready[&id]);
        let folder = self.store.work_folder()?;
        Ok(Work {
            action,
            executor: self.executor,
            inputs: self.inputs(action),
            sources: bound.sources.clone(),
            contents: bound.contents.clone(),
            blobs: self.store.blobs().clone(),
            pieces: self.store.pieces(&folder),
            folder,
            attempt: self.store.attempt(bound.key),
            threads: grant.threads,
            gpus: grant.gpus.iter().map(|gpu| gpu.index).collect(),
            cancel: self.options.cancel,
        })
    }

    fn inputs(&self, action: &Action) -> Vec<Input> {
        let mut found: Vec<Input> = Vec::new();
        for value in action.params.values() {
            super::sources::visit(value, &mut |inner| {
                let Value::Artifact(artifact) = inner else { return };
                let (stage, port) = (artifact.stage, artifact.port.clone());
                let manifest = input(self.plan, &self.results, &stage, &port).clone();
                let name = action.input_name(stage).to_string();
                if !found.iter().any(|one| one.name == name && one.port == port) {
                    found.push(Input { from: self.plan.origin(stage), name, port, manifest });
                }
            });
        }
        found
    }

    fn spawn<'scope>(
        &self,
        id: ActionId,
        work: Work<'a>,
        scope: &'scope Scope<'scope, '_>,
        sender: SyncSender<Message>,
    ) where
        'a: 'scope,
    {
        scope.spawn(move || {
            let sink = Sink { id, sender: sender.clone() };
            let done = perform(&work, &sink);
            // The loop listens until every running action is done.
            let _ = sender.send(Message::Done(id, done));
        });
    }

    fn finish_running(&mut self, id: ActionId, done: Done) {
        let (bound, running) = self.running.remove(&id).expect("only running actions end");
        self.free.release(running.grant);
        self.report.actions[id.0 as usize].seconds = running.began.elapsed().as_secs_f64();
        match done {
            Done::Made(ports, outcome) => match self.publish(id, &bound, ports, outcome) {
                Ok(()) => self.finish(id, BuildState::Built),
                Err(failure) => self.fail(id, failure),
            },
            Done::InputLost(from) => self.repair(id, from),
            Done::Failed(failure) if failure.interrupted => {
                self.report.interrupted = true;
                self.stopping = true;
                self.report.actions[id.0 as usize].failure = Some(failure);
                self.finish(id, BuildState::Stopped);
            }
            Done::Failed(failure) => self.fail(id, failure),
        }
    }

    fn publish(
        &mut self,
        id: ActionId,
        bound: &Bound,
        ports: BTreeMap<String, Manifest>,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        let action = self.plan.action(id);
        let seconds = self.report.actions[id.0 as usize].seconds;
        let result = ActionResult { ports, metrics: outcome.metrics, seconds };
        let parts = self.examiner.explain(action, bound);
        let recipe = self.options.recipe;
        self.store.records.insert(
            recipe,
            &action.name,
            &action.kind,
            bound.key,
            &result,
            &parts,
        )?;
        self.store.remember_blobs(&result);
        self.store.end_attempt(bound.key);
        self.take(id, result);
        Ok(())
    }

    /// An input of `id` was found corrupt: `from` makes it again, and `id` waits for it.
    fn repair(&mut self, id: ActionId, from: ActionId) {
        if self.results[from.0 as usize].take().is_some() {
            let repair = self.repairs.entry(from).or_default();
            repair.times += 1;
            if repair.times > REPAIRS {
                self.set(id, BuildState::Blocked);
                return self.fail(from, keeps_breaking(&self.plan.action(from).name));
            }
            self.unexamined.insert(from);
        }
        self.await_repair(id, from);
    }

    fn await_repair(&mut self, id: ActionId, from: ActionId) {
        self.repairs.entry(from).or_default().waiting.insert(id);
        self.set(id, BuildState::Blocked);
    }

    /// An input whose result is being made again, if there is one.
    fn input_in_repair(&self, id: ActionId) -> Option<ActionId> {
        if self.repairs.is_empty() {
            return None;
        }
        self.plan.needs(id).into_iter().find(|need| self.results[need.0 as usize].is_none())
    }

    fn fail(&mut self, id: ActionId, failure: Failure) {
        self.report.actions[id.0 as usize].failure = Some(failure);
        self.stopping |= !self.options.keep_going;
        self.finish(id, BuildState::Failed);
    }

    /// A final state: the users of the result may go on, or are passed over.
    fn finish(&mut self, id: ActionId, state: BuildState) {
        if matches!(state, BuildState::Fresh | BuildState::Built) {
            self.show(id);
            if state == BuildState::Fresh {
                self.note_news(id);
            }
            self.set(id, state);
            self.release_users(id);
        } else {
            self.set(id, state);
            self.skip_users(id);
        }
    }

    fn release_users(&mut self, id: ActionId) {
        let waiting = self.repairs.get_mut(&id).map(|repair| std::mem::take(&mut repair.waiting));
        if let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) {
            let blocked = |user: &ActionId| self.state(*user) == BuildState::Blocked;
            let blocked: Vec<ActionId> = waiting.into_iter().filter(blocked).collect();
            self.unexamined.extend(blocked);
            return;
        }
        for user in self.plan.used_by(id) {
            let missing = &mut self.missing[user.0 as usize];
            *missing -= 1;
            if *missing == 0 && self.state(user) == BuildState::Blocked {
                self.unexamined.insert(user);
            }
        }
    }

    fn skip_users(&mut self, id: ActionId) {
        let mut open = vec![id];
        while let Some(failed) = open.pop() {
            for user in self.plan.used_by(failed) {
                if self.state(user) == BuildState::Blocked {
                    self.unexamined.remove(&user);
                    self.set(user, BuildState::Skipped);
                    open.push(user);
                }
            }
        }
    }

    fn state(&self, id: ActionId) -> BuildState {
        self.report.actions[id.0 as usize].state
    }

    /// The one place where a state changes, and where the change is told.
    fn set(&mut self, id: ActionId, state: BuildState) {
        let action = self.plan.action(id);
        let report = &mut self.report.actions[id.0 as usize];
        report.state = state;
        match state {
            BuildState::Blocked | BuildState::Ready => {}
            BuildState::Waiting => self.events.hear(&Event::Waiting { action }),
            BuildState::Running => {
                let reason = report.reason.as_ref().unwrap_or(&StaleReason::NeverBuilt);
                let threads = self.running[&id].1.grant.threads;
                self.events.hear(&Event::Started { action, reason, threads });
            }
            BuildState::Fresh => {
                report.reason = None;
                self.events.hear(&Event::Finished { action, report });
            }
            BuildState::Built | BuildState::Failed | BuildState::Stopped | BuildState::Skipped => {
                self.events.hear(&Event::Finished { action, report });
            }
        }
        self.record(id);
    }

    /// Keeps what became of an action in the history, unless it was fresh.
    fn record(&mut self, id: ActionId) {
        let report = &self.report.actions[id.0 as usize];
        let is_told = matches!(
            report.state,
            BuildState::Running
                | BuildState::Built
                | BuildState::Failed
                | BuildState::Stopped
                | BuildState::Skipped
        );
        let Some(run) = self.run.filter(|_| is_told) else { return };
        let row = StageRow {
            run,
            stage: self.plan.action(id).name.clone(),
            state: report.state.word().to_string(),
            reason: report.reason.as_ref().map(StaleReason::to_string).unwrap_or_default(),
            seconds: report.seconds,
            bytes: report.bytes,
            metrics: report.metrics.clone(),
            failure: report.failure.as_ref().map(|failure| failure.message.clone()),
        };
        self.store.records.note_stage(row);
    }

    fn begin_run(&mut self) -> Result<(), Failure> {
        if self.run.is_none() {
            self.run = Some(self.store.records.begin_run(self.options.recipe)?);
        }
        Ok(())
    }

    /// Makes a result visible and compares it with the lock.
    fn show(&mut self, id: ActionId) {
        let result = self.results[id.0 as usize].as_ref().expect("a finished action has a result");
        let mut troubles = Vec::new();
        for wanted in self.wanted.get(&id).into_iter().flatten() {
            if let Some(outputs) = &self.outputs {
                troubles.extend(outputs.place(&wanted.stage, wanted.port.as_deref(), result).err());
            }
        }
        self.report.troubles.append(&mut troubles);
        if let Some(lock) = self.options.locked {
            let made: &BTreeMap<String, Digest> = &self.report.actions[id.0 as usize].outputs;
            let drift = lock.output_drift(&self.plan.action(id).name, made);
            self.stopping |= !drift.is_empty();
            self.report.drift.extend(drift);
        }
    }

    fn note_news(&mut self, id: ActionId) {
        let key = self.report.actions[id.0 as usize].key.expect("a finished action has a key");
        if self.examiner.is_news(self.plan.action(id), key) {
            self.news.push((id, key));
        }
    }

    /// A record that could not be written is a trouble, told once.
    fn note(&mut self, written: Result<(), Failure>) {
        let failure = written.err().filter(|failure| !self.report.troubles.contains(failure));
        self.report.troubles.extend(failure);
    }

    fn end(mut self, seconds: f64) -> RunReport {
        let news = std::mem::take(&mut self.news);
        if !news.is_empty() {
            let name =
                |(id, key): &(ActionId, ActionKey)| (self.plan.action(*id).name.as_str(), *key);
            let keys: Vec<(&str, ActionKey)> = news.iter().map(name).collect();
            let written = self.store.records.note_latest(self.options.recipe, &keys);
            self.note(written);
        }
        self.store.flush_memo();
        let count = |state| self.report.actions.iter().filter(|one| one.state == state).count();
        let counts =
            (count(BuildState::Built), count(BuildState::Fresh), count(BuildState::Failed));
        (self.report.built, self.report.fresh, self.report.failed) = counts;
        self.report.seconds = seconds;
        if let Some(run) = self.run {
            let written = self.store.records.end_run(run, seconds, counts);
            self.note(written);
        }
        let (built, fresh, failed) = counts;
        self.events.hear(&Event::Done { built, fresh, failed });
        self.report
    }
}

/// What may be used at all: one thread at least, or nothing would ever run.
fn at_least_a_thread(pool: &Pool) -> Pool {
    Pool { threads: pool.threads.max(1), ..pool.clone() }
}

fn keeps_breaking(name: &str) -> Failure {
    Failure::new(format!("the result of `{name}` keeps breaking in the cache"))
        .remedy("check the disk, or name another cache with `LLAMAKE_CACHE`")
}

/// Carries what a running action says to the loop.
struct Sink {
    id: ActionId,
    sender: SyncSender<Message>,
}

impl Sink {
    fn tell(&self, line: &str, notice: bool) {
        let (id, line) = (self.id, line.to_string());
        let _ = self.sender.send(Message::Log { id, line, notice });
    }
}

impl JobSink for Sink {
    fn progress(&self, progress: Progress) {
        // The loop listens for as long as anything runs.
        let _ = self.sender.send(Message::Progress(self.id, progress));
    }

    fn log(&self, line: &str) {
        self.tell(line, false);
    }

    fn notice(&self, line: &str) {
        self.tell(line, true);
    }
}
