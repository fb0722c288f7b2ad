//! `llamake check --data`: the rows of every training stage, looked at before anything is trained.
//! What makes and splits rows is built first, as `build` would; what trains is not. Knows the order
//! of things; how a row is judged is the trainer's to say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde_json::json;

use super::artifact::results;
use super::build::{build_only, exit_of, lock_path};
use super::exit::{fail, tell};
use super::machine::executor;
use super::plan::Assessed;
use super::project::Compiled;
use super::terminal::{note, out};
use super::{Exit, machine};
use crate::build::action::ActionId;
use crate::build::examine::assess;
use crate::build::lockfile::Lock;
use crate::build::plan::{Plan, plan};
use crate::build::store::{ActionResult, Store};
use crate::eval::overlap::found::TaskOverlap;
use crate::exec::Local;
use crate::exec::exams::{Exam, compare, exams};
use crate::exec::inspect::{Place, Subject, after_training, look, subjects};
use crate::train::data::inspect::Inspected;
use crate::train::progress::Progress;

/// Builds what the training stages of a right recipe learn from, and looks at every row.
pub fn run(compiled: Compiled, json: bool) -> Result<Exit> {
    let executor = executor()?;
    let every = compiled.module.stages.iter().map(|stage| stage.name.clone()).collect::<Vec<_>>();
    let whole = match plan(&compiled.module, &every, &executor) {
        Ok(whole) => whole,
        Err(failures) => {
            failures.iter().for_each(tell);
            return Ok(Exit::Usage);
        }
    };
    if let Err(failure) = Lock::read_if_any(&lock_path(&compiled.recipe)) {
        tell(&failure);
        return Ok(Exit::LockMismatch);
    }
    let store = match Store::open(&compiled.project.cache) {
        Ok(store) => store,
        Err(failure) => return Ok(fail(&[failure])),
    };
    let cancel = machine::cancel_flag()?;
    let (subjects, exams) = (subjects(&whole)?, exams(&whole));
    let needed = needed(&whole, &subjects, &exams);
    if !needed.is_empty() {
        let report = build_only(&compiled, &needed, &store, &executor, &cancel)?;
        if !report.is_success() {
            return Ok(exit_of(&report));
        }
    }
    let assessed = match assessed(compiled, whole, store, &executor) {
        Ok(assessed) => assessed,
        Err(failure) => return Ok(fail(&[failure])),
    };
    let results = match results(&assessed) {
        Ok(results) => results,
        Err(failure) => return Ok(fail(&[failure])),
    };
    Look { assessed: &assessed, results, cancel, json }.at_all(&subjects, &exams)
}

/// The stages that make data sets, rows of tasks and tokenizers, less those that need a trained
/// model.
fn needed(plan: &Plan, subjects: &[Subject], exams: &[Exam]) -> Vec<String> {
    let after = after_training(plan);
    let data = |subject: &Subject| {
        let places = subject.data.iter().map(|(_, place)| place.0);
        places.chain([subject.tokenizer.0]).collect::<Vec<_>>()
    };
    let mut ids = subjects.iter().flat_map(data).collect::<Vec<_>>();
    ids.extend(exams.iter().flat_map(Exam::places).map(|place| place.0));
    ids.sort();
    ids.dedup();
    let ids = ids.into_iter().filter(|id| !after[id.0 as usize]);
    ids.map(|id| plan.action(id).name.clone()).collect()
}

fn assessed(
    compiled: Compiled,
    plan: Plan,
    store: Store,
    executor: &Local,
) -> Result<Assessed, crate::build::executor::Failure> {
    let verdicts = assess(&plan, &store, executor, &compiled.history_name())?;
    Ok(Assessed { compiled, plan, store, verdicts })
}

/// Rows of a task that are named one by one; the stage `contamination` names them all.
const WARNED: usize = 3;

/// Everything that is there to look at.
struct Look<'a> {
    assessed: &'a Assessed,
    results: Vec<Option<ActionResult>>,
    cancel: Arc<AtomicBool>,
    json: bool,
}

impl Look<'_> {
    fn at_all(&self, subjects: &[Subject], exams: &[Exam]) -> Result<Exit> {
        let mut faults = 0;
        for subject in subjects {
            match self.at(subject)? {
                Ok(found) => faults += found,
                Err(failure) if failure.interrupted => return Ok(Exit::Interrupted),
                Err(failure) => {
                    faults += 1;
                    self.finding(
                        subject.stage,
                        None,
                        None,
                        &failure.message,
                        failure.remedy.as_deref(),
                    );
                }
            }
        }
        for exam in exams {
            match self.compared(exam)? {
                Ok(()) => {}
                Err(failure) if failure.interrupted => return Ok(Exit::Interrupted),
                Err(failure) => {
                    faults += 1;
                    let remedy = failure.remedy.as_deref();
                    self.finding(exam.stage, None, None, &failure.message, remedy);
                }
            }
        }
        let recipe = self.assessed.compiled.recipe.display();
        match faults {
            0 => note(&format!("{recipe}: the data of {} stages is right", subjects.len())),
            1 => note(&format!("{recipe}: 1 fault in its data")),
            faults => note(&format!("{recipe}: {faults} faults in its data")),
        }
        Ok(if faults == 0 { Exit::Done } else { Exit::RecipeWrong })
    }

    /// The number of faults in what a stage learns from.
    fn at(&self, subject: &Subject) -> Result<Result<usize, crate::build::executor::Failure>> {
        let folder = tempfile::tempdir()?;
        let places = subject.data.iter().map(|(_, place)| place).chain([&subject.tokenizer]);
        let laid = self.laid(places, folder.path())?;
        for (data, place) in &subject.data {
            if !laid.contains_key(place) {
                self.waits(subject.stage, data, place);
            }
        }
        if !laid.contains_key(&subject.tokenizer) {
            return Ok(Ok(0));
        }
        let listens = Listens { cancel: &self.cancel };
        let found = look(&self.assessed.plan, subject, &laid, folder.path(), &listens);
        Ok(found.map(|found| found.iter().map(|(data, of)| self.tell(subject, data, of)).sum()))
    }

    /// Lays out what is there of some results.
    fn laid<'p>(
        &self,
        places: impl Iterator<Item = &'p Place>,
        folder: &std::path::Path,
    ) -> Result<BTreeMap<Place, PathBuf>> {
        let mut laid = BTreeMap::new();
        for (at, place) in places.enumerate() {
            let result = self.results[place.0.0 as usize].as_ref();
            if let Some(manifest) = result.and_then(|result| result.ports.get(&place.1)) {
                let blobs = self.assessed.store.blobs();
                let path = blobs.lay_out(manifest, &folder.join(format!("in{at}")))?;
                laid.insert(place.clone(), path);
            }
        }
        Ok(laid)
    }

    /// Tells which rows of an evaluation's tasks stand in what its models learn from.
    fn compared(&self, exam: &Exam) -> Result<Result<(), crate::build::executor::Failure>> {
        let folder = tempfile::tempdir()?;
        let laid = self.laid(exam.places(), folder.path())?;
        if !laid.contains_key(&exam.tokenizer) {
            return Ok(Ok(()));
        }
        for place in exam.asked.iter().filter(|place| !laid.contains_key(*place)) {
            self.waits(exam.stage, self.name(place.0), place);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut listens = Listens { cancel: &self.cancel };
        let plan = &self.assessed.plan;
        let found = compare(plan, exam, &laid, folder.path(), threads, &mut listens);
        Ok(found.map(|overlap| {
            overlap.tasks.iter().for_each(|task| self.tell_overlap(exam.stage, task));
        }))
    }

    fn tell_overlap(&self, stage: ActionId, task: &TaskOverlap) {
        if self.json {
            for row in task.unclean() {
                let (data, text) = (Some(task.name.as_str()), row.sentence());
                self.object(stage, "contaminated", "warning", data, Some(row.row), &text, None);
            }
        } else if task.unclean().next().is_some() {
            let name = self.name(stage);
            let told = task.sentences(WARNED);
            told.iter().for_each(|text| note(&format!("warning: stage `{name}`, {text}")));
        }
    }

    fn name(&self, stage: ActionId) -> &str {
        &self.assessed.plan.action(stage).name
    }

    fn waits(&self, stage: ActionId, data: &str, place: &Place) {
        let maker = &self.assessed.plan.action(place.0).name;
        let text = format!(
            "`{data}` of stage `{}` is not there yet: `{maker}` needs a trained model; it is \
             looked at once it is built",
            self.name(stage)
        );
        match self.json {
            true => self.object(stage, "data-waits", "note", Some(data), None, &text, None),
            false => note(&text),
        }
    }

    fn tell(&self, subject: &Subject, data: &str, found: &Inspected) -> usize {
        let summary = summary(found);
        match self.json {
            true => self.object(subject.stage, "data", "note", Some(data), None, &summary, None),
            false => out(&format!("{:<14} {data:<20} {summary}\n", self.name(subject.stage))),
        }
        if found.rows == 0 {
            let message = "the data holds nothing that can be learned from";
            self.finding(subject.stage, Some(data), None, message, None);
            return 1;
        }
        let untold = found.untold();
        for fault in &found.faults {
            let remedy = fault.remedy.as_deref();
            self.finding(subject.stage, Some(data), Some(fault.row), &fault.message, remedy);
            if let Some((_, more)) = untold.iter().find(|(last, _)| *last == fault) {
                let message = format!("and {more} more rows of this sort");
                self.finding(subject.stage, Some(data), None, &message, None);
            }
        }
        found.faulty()
    }

    fn finding(
        &self,
        stage: ActionId,
        data: Option<&str>,
        row: Option<usize>,
        message: &str,
        remedy: Option<&str>,
    ) {
        if self.json {
            return self.object(stage, "faulty-data", "error", data, row, message, remedy);
        }
        let set = data.map(|data| format!(", `{data}`")).unwrap_or_default();
        note(&format!("error: stage `{}`{set}: {message}", self.name(stage)));
        if let Some(remedy) = remedy {
            note(&format!("help: {remedy}"));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn object(
        &self,
        stage: ActionId,
        id: &str,
        severity: &str,
        data: Option<&str>,
        row: Option<usize>,
        message: &str,
        hint: Option<&str>,
    ) {
        let object = json!({
            "id": id, "severity": severity, "message": message, "stage": self.name(stage),
            "data": data, "row": row, "hint": hint,
        });
        out(&format!("{object}\n"));
    }
}

fn summary(found: &Inspected) -> String {
    let amount = &found.amount;
    let share = |part: u64| 100.0 * part as f64 / amount.tokens.max(1) as f64;
    format!(
        "{} rows, {} tokens, longest {}, {:.1}% learned, {:.2}% spelled in bytes or unknown",
        found.rows,
        amount.tokens,
        amount.longest,
        share(amount.learned),
        share(amount.spelled)
    )
}

/// Hears only whether to stop.
struct Listens<'a> {
    cancel: &'a AtomicBool,
}

impl Progress for Listens<'_> {
    fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}

    fn log(&mut self, _: &str) {}

    fn notice(&mut self, _: &str) {}

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
