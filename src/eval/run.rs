//! Every model on every task that fits it, one report. Each model is opened once. Knows tasks and
//! models by name; does not know how an answer is measured.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::about::About;
use super::cells::{self, Identities, Setting};
use super::critic::Critic;
use super::examinee::Examinee;
use super::finding::{Card, Finding, RowsAsked};
use super::notes::Notes;
use super::overlap::found::Overlap;
use super::overlap::said::said;
use super::publish;
use super::reference::Reference;
use super::report::{self, Baseline, Report, TaskReport};
use super::roster::{self, Audience, Candidate, Kind};
use super::task::answers::{Answers, Question};
use super::task::asked::{Asked, Exam};
use super::task::kept::{Dialogue, Kept};
use super::task::pairs::Pairs;
use super::task::perplexity::{Passage, Perplexity};
use super::task::rewards::{Readers, Rewards};
use crate::train::data::rows::{Chat, Preference, Prompt, read_rows};
use crate::train::kernels::rng::Stream;
use crate::train::model::ModelPath;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of the stage kind `eval`.
#[derive(Clone, Debug)]
pub struct Params {
    /// Name in the recipe and place of each model.
    pub models: Vec<(String, ModelPath)>,
    pub tasks: Vec<Task>,
    /// What models and tasks are by their contents.
    pub identities: Identities,
    /// Rows of each task that are asked; all of them without it.
    pub limit: Option<u64>,
    pub seed: u64,
    /// Figures published elsewhere that the report shows beside its own.
    pub references: Vec<Reference>,
    /// What training data has of the tasks.
    pub overlap: Option<PathBuf>,
}

/// What is asked of every model that it fits.
#[derive(Clone, Debug)]
pub enum Task {
    Answers(Answers),
    Asked(Box<Asked>),
    Kept(Kept),
    Pairs(Pairs),
    Perplexity(Perplexity),
    Rewards(Rewards),
}

/// A task with its rows read, before any model is asked.
enum Paper<'a> {
    Answers(&'a Answers, Vec<Question>, Vec<Baseline>),
    Asked(&'a Asked, Exam),
    Kept(&'a Kept, Vec<Dialogue>),
    Pairs(&'a Pairs, Vec<Preference>),
    Perplexity(&'a Perplexity, Vec<Passage>),
    Rewards(&'a Rewards, Vec<Prompt>, Box<Readers>),
}

/// A model, opened.
enum Sitter {
    Language(Box<Examinee>),
    Reward(Box<Critic>),
}

impl Sitter {
    fn card(&self) -> Card {
        match self {
            Sitter::Language(examinee) => examinee.card(),
            Sitter::Reward(critic) => critic.card(),
        }
    }
}

impl Task {
    /// Its name in the report.
    pub fn name(&self) -> &str {
        match self {
            Task::Answers(task) => &task.name,
            Task::Asked(task) => &task.name,
            Task::Kept(task) => &task.name,
            Task::Pairs(task) => &task.name,
            Task::Perplexity(task) => &task.name,
            Task::Rewards(task) => &task.name,
        }
    }

    fn about(&self) -> About {
        let (kind, output_type) = match self {
            Task::Answers(_) => ("answers", "generate_until"),
            Task::Asked(task) => return task.about(),
            Task::Kept(_) => ("kept", "generate_until"),
            Task::Pairs(_) => ("pairs", "scores"),
            Task::Perplexity(_) => ("perplexity", "loglikelihood_rolling"),
            Task::Rewards(_) => ("rewards", "generate_until"),
        };
        About {
            kind,
            output_type,
            version: 1,
            shots: 0,
            drawing: self.drawing(),
            source: String::new(),
        }
    }

    fn audience(&self) -> Audience {
        Audience::of_task(self.about().kind).expect("every kind of task is for someone")
    }

    /// Whether the report has figures for it that come of no model.
    fn has_baselines(&self) -> bool {
        matches!(self, Task::Answers(task) if task.training.is_some())
    }

    /// How freely answers are drawn, and how many to a row.
    fn drawing(&self) -> Option<(f64, usize)> {
        match self {
            Task::Answers(task) => Some((task.temperature, task.samples)),
            Task::Rewards(task) => Some((task.temperature, task.samples)),
            Task::Asked(task) => task.drawing(),
            Task::Kept(_) | Task::Pairs(_) | Task::Perplexity(_) => None,
        }
    }
}

/// Asks what is not known yet, and writes the report to `out/out`.
pub fn run(params: &Params, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    check_tasks(&params.tasks)?;
    if let Some(fault) = params.references.iter().find_map(Reference::fault) {
        return Err(Failure::input(fault).remedy("give each row one figure a column, or `none`"));
    }
    let candidates = roster::candidates(&params.models)?;
    check_fit(&candidates, &params.tasks)?;
    let notes = Notes::of(context.attempt.as_ref());
    let mut cells = known(params, &candidates, context);
    let papers = params.tasks.iter().zip(&cells).map(|(task, cells)| {
        let is_asked = cells.iter().any(|cell| cell.finding.is_none());
        (is_asked || task.has_baselines())
            .then(|| Opened::of(task, params, &notes, context).map_err(of(task)))
    });
    let papers = papers.map(Option::transpose).collect::<Result<Vec<_>, _>>()?;
    fill(&mut cells, &papers, &candidates, params, &notes, context)?;
    part(&mut cells, params)?;
    let tasks = params.tasks.iter().zip(cells).zip(papers);
    let seed = params.seed;
    let tasks = tasks.map(|((task, cells), paper)| task_report(task, cells, paper, seed));
    let report = Report {
        seed,
        limit: params.limit,
        tasks: tasks.collect(),
        references: params.references.clone(),
    };
    publish::write(&report, &context.out.join("out"))?;
    for line in report.text().lines() {
        context.progress.log(line);
    }
    Ok(report.headlines())
}

/// A task ready to be asked.
struct Opened<'a> {
    paper: Paper<'a>,
    asked: RowsAsked,
}

impl<'a> Opened<'a> {
    fn of(
        task: &'a Task,
        params: &Params,
        notes: &Rc<Notes>,
        context: &Context<'_>,
    ) -> Result<Opened<'a>, Failure> {
        let draw = Draw { limit: params.limit, seed: params.seed, asked: Cell::default() };
        let paper = paper(task, &draw, notes, context)?;
        Ok(Opened { paper, asked: draw.asked.get() })
    }
}

/// One model on one task, asked or not.
struct Sheet<'a> {
    candidate: &'a Candidate,
    key: [u8; 32],
    finding: Option<Finding>,
}

/// The cells of each task, in the order of the models; those that other evaluations have found are
/// there already.
fn known<'a>(
    params: &Params,
    candidates: &'a [Candidate],
    context: &Context<'_>,
) -> Vec<Vec<Sheet<'a>>> {
    let setting = Setting { limit: params.limit, seed: params.seed };
    let of_task = |(at, task): (usize, &Task)| {
        let fit = candidates.iter().enumerate();
        let fit = fit.filter(|(_, candidate)| task.audience().holds(candidate.kind));
        let sheet = |(model, candidate): (usize, &'a Candidate)| {
            let key = params.identities.key(model, at, setting);
            Sheet { candidate, key, finding: cells::recall(&key, context) }
        };
        fit.map(sheet).collect()
    };
    params.tasks.iter().enumerate().map(of_task).collect()
}

/// Asks what is missing, model by model: each is opened once, and only if it is asked.
fn fill(
    cells: &mut [Vec<Sheet<'_>>],
    papers: &[Option<Opened<'_>>],
    candidates: &[Candidate],
    params: &Params,
    notes: &Rc<Notes>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let mut seated: Option<(&Candidate, Sitter)> = None;
    for candidate in candidates {
        for ((task, cells), paper) in params.tasks.iter().zip(&mut *cells).zip(papers) {
            let mut sheets =
                cells.iter_mut().filter(|sheet| std::ptr::eq(sheet.candidate, candidate));
            let Some(sheet) = sheets.next() else { continue };
            let line = format!("task {} to {}", task.name(), candidate.name);
            if sheet.finding.is_some() {
                context.progress.log(&format!("{line}: known"));
                continue;
            }
            if seated.as_ref().is_none_or(|(other, _)| !std::ptr::eq(*other, candidate)) {
                let sitter = seat(candidate, seated.take(), notes, context);
                seated = Some((candidate, sitter.map_err(|why| why.of(&candidate.named()))?));
            }
            context.progress.log(&line);
            let (_, sitter) = seated.as_ref().expect("it was seated above");
            let Opened { paper, asked } = paper.as_ref().expect("rows are read to be asked");
            notes.begin(&sheet.key);
            let finding = examine(paper, sitter, params.seed, context);
            let finding = finding.map_err(|failure| failure.of(&candidate.named()));
            let finding = finding.map_err(of(task))?;
            let finding = Finding { asked: *asked, card: sitter.card(), ..finding };
            cells::keep(&sheet.key, &finding, context);
            sheet.finding = Some(finding);
        }
    }
    Ok(())
}

/// Adds to each finding what it is on the rows that training data does not have.
fn part(cells: &mut [Vec<Sheet<'_>>], params: &Params) -> Result<(), Failure> {
    let Some(folder) = &params.overlap else { return Ok(()) };
    let overlap = Overlap::read(folder)?;
    for (task, cells) in params.tasks.iter().zip(cells) {
        let found = said(task).and_then(|rows| overlap.of(task.name(), &rows)).map_err(of(task))?;
        let draw = Draw { limit: params.limit, seed: params.seed, asked: Cell::default() };
        let asked = drawn((0..found.rows).collect(), &draw);
        let findings = cells.iter_mut().filter_map(|sheet| sheet.finding.as_mut());
        findings.for_each(|finding| found.part(finding, &asked));
    }
    Ok(())
}

impl Candidate {
    fn named(&self) -> String {
        format!("model `{}`", self.name)
    }
}

fn of(task: &Task) -> impl Fn(Failure) -> Failure {
    move |failure| failure.of(&format!("task `{}`", task.name()))
}

/// What fits nothing would not show in the report.
fn check_fit(candidates: &[Candidate], tasks: &[Task]) -> Result<(), Failure> {
    let models = candidates.iter().map(|candidate| (candidate.name.as_str(), candidate.kind));
    let tasks = tasks.iter().map(|task| (task.name(), task.audience()));
    let misfit = roster::misfit(&models.collect::<Vec<_>>(), &tasks.collect::<Vec<_>>());
    misfit.map_or(Ok(()), |misfit| Err(Failure::input(misfit.message).remedy(misfit.remedy)))
}

/// Two tasks of one name could not be told apart in the report, and greedy answers to one question
/// are all alike.
fn check_tasks(tasks: &[Task]) -> Result<(), Failure> {
    let mut names = tasks.iter().map(Task::name).collect::<Vec<_>>();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::input(format!("two tasks are called `{}`", pair[0]))
            .remedy("give each task a `name` of its own"));
    }
    let alike = |(temperature, samples)| temperature == 0.0 && samples > 1;
    match tasks.iter().find(|task| task.drawing().is_some_and(alike)) {
        Some(task) => Err(Failure::input(format!(
            "task `{}` asks for several answers at temperature 0, which are all alike",
            task.name()
        ))
        .remedy("set `temperature` above 0, or `samples` to 1")),
        None => Ok(()),
    }
}

/// Reads the rows of a task.
fn paper<'a>(
    task: &'a Task,
    params: &Draw,
    notes: &Rc<Notes>,
    context: &Context<'_>,
) -> Result<Paper<'a>, Failure> {
    Ok(match task {
        Task::Answers(task) => {
            let questions = task.questions(&drawn(read_rows(&task.data)?, params))?;
            let training = task.training.as_deref().map(read_rows::<Chat>).transpose()?;
            let baselines = training.map(|training| task.baselines(&questions, &training));
            let named = baselines.into_iter().flatten();
            let baselines = named.map(|(name, right)| Baseline { name, right }).collect();
            Paper::Answers(task, questions, baselines)
        }
        Task::Asked(task) => {
            let rows = (1..).zip(read_rows(&task.data)?).collect();
            let untrusted = context.untrusted.as_ref();
            Paper::Asked(task, task.exam(&drawn(rows, params), params.seed, untrusted)?)
        }
        Task::Kept(task) => {
            Paper::Kept(task, drawn(task.dialogues(&read_rows(&task.data)?)?, params))
        }
        Task::Pairs(task) => Paper::Pairs(task, drawn(read_rows(&task.data)?, params)),
        Task::Perplexity(task) => Paper::Perplexity(task, drawn(read_rows(&task.data)?, params)),
        Task::Rewards(task) => {
            let prompts = drawn(read_rows(&task.prompts)?, params);
            let critic = Critic::open(&task.judge, context.engine())?.noting(notes);
            let open = |path: &Path| {
                Ok::<_, Failure>(Examinee::open(path, context.engine())?.noting(notes))
            };
            let reference = task.reference.as_deref().map(open).transpose()?;
            let readers = Readers { critic, reference };
            Paper::Rewards(task, prompts, Box::new(readers))
        }
    })
}

/// Opens a model; where the one before is, or is over, the same base, only the adapter changes.
fn seat(
    candidate: &Candidate,
    before: Option<(&Candidate, Sitter)>,
    notes: &Rc<Notes>,
    context: &Context<'_>,
) -> Result<Sitter, Failure> {
    let ModelPath { base, adapter } = &candidate.path;
    if candidate.kind == Kind::Reward {
        let critic = Critic::open(&candidate.path, context.engine())?;
        return Ok(Sitter::Reward(Box::new(critic.noting(notes))));
    }
    let mut examinee = match before {
        Some((other, Sitter::Language(examinee))) if other.path.base == *base => examinee,
        _ => Box::new(Examinee::open(base, context.engine())?.noting(notes)),
    };
    examinee.wear(adapter.as_deref())?;
    Ok(Sitter::Language(examinee))
}

fn examine(
    paper: &Paper<'_>,
    sitter: &Sitter,
    seed: u64,
    context: &mut Context<'_>,
) -> Result<Finding, Failure> {
    let (threads, progress) = (context.threads, &mut *context.progress);
    match (paper, sitter) {
        (Paper::Answers(task, questions, _), Sitter::Language(examinee)) => {
            task.examine(questions, examinee, seed, progress)
        }
        (Paper::Asked(task, exam), Sitter::Language(examinee)) => {
            task.examine(exam, examinee, (seed, threads), progress)
        }
        (Paper::Kept(task, dialogues), Sitter::Language(examinee)) => {
            task.examine(dialogues, examinee, seed, progress)
        }
        (Paper::Pairs(task, pairs), Sitter::Reward(critic)) => {
            task.examine(pairs, critic, progress)
        }
        (Paper::Perplexity(task, passages), Sitter::Language(examinee)) => {
            task.examine(passages, examinee, threads, progress)
        }
        (Paper::Rewards(task, prompts, readers), Sitter::Language(examinee)) => {
            task.examine(prompts, readers, examinee, seed, progress)
        }
        _ => unreachable!("only tasks that fit are asked"),
    }
}

/// The cells of a task, each compared with the one before it.
fn task_report(
    task: &Task,
    sheets: Vec<Sheet<'_>>,
    opened: Option<Opened<'_>>,
    seed: u64,
) -> TaskReport {
    let cell = |sheet: Sheet<'_>| report::Cell {
        model: sheet.candidate.name.clone(),
        finding: sheet.finding.expect("every cell is known by now"),
    };
    let mut cells = sheets.into_iter().map(cell).collect::<Vec<_>>();
    for at in (0..cells.len()).rev() {
        let (before, rest) = cells.split_at_mut(at);
        rest[0].finding.compare(before.last().map(|cell| &cell.finding), seed);
    }
    let baselines = match opened.map(|opened| opened.paper) {
        Some(Paper::Answers(_, _, baselines)) => baselines,
        _ => Vec::new(),
    };
    TaskReport { name: task.name().into(), about: task.about(), cells, baselines }
}

/// Which rows of a task are asked.
struct Draw {
    limit: Option<u64>,
    seed: u64,
    /// How many they were, once they are drawn.
    asked: Cell<RowsAsked>,
}

/// The rows that are asked, in their order: all, or `limit` of them drawn by the seed.
fn drawn<T>(rows: Vec<T>, params: &Draw) -> Vec<T> {
    let limit = params.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    params.asked.set(RowsAsked { rows: rows.len().min(limit), of: rows.len() });
    if rows.len() <= limit {
        return rows;
    }
    let mut order = (0..rows.len()).collect::<Vec<_>>();
    Stream::new(params.seed, "limit").walk().shuffle(&mut order);
    let mut kept = vec![false; rows.len()];
    order[..limit].iter().for_each(|at| kept[*at] = true);
    rows.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(row, _)| row).collect()
}
