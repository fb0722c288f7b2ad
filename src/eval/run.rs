//! Every model on every task, one report. Knows tasks and models by name; does not know how an
//! answer is measured.

use std::path::PathBuf;

use super::examinee::{Examinee, GREEDY, Manner};
use super::report::{Baseline, Cell, Report, Sample, TaskReport};
use super::task::answers::Answers;
use super::task::perplexity::{self, Perplexity};
use crate::train::data::rows::{Chat, Text, read_rows};
use crate::train::kernels::rng::Stream;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of the stage kind `eval`.
#[derive(Clone, Debug)]
pub struct Params {
    /// Name in the recipe and folder of each model.
    pub models: Vec<(String, PathBuf)>,
    pub tasks: Vec<Task>,
    /// Rows of each task that are asked; all of them without it.
    pub limit: Option<u64>,
    pub seed: u64,
}

/// What is asked of every model.
#[derive(Clone, Debug)]
pub enum Task {
    Perplexity(Perplexity),
    Answers(Answers),
}

impl Task {
    fn name(&self) -> &str {
        match self {
            Task::Perplexity(task) => &task.name,
            Task::Answers(task) => &task.name,
        }
    }
}

/// Answers that the report shows of each model and task, spread over the questions.
const SAMPLES: usize = 4;

/// Asks everything and writes the report to `out/out`.
pub fn run(params: &Params, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    check_names(params)?;
    let mut report = Report { seed: params.seed, limit: params.limit, tasks: Vec::new() };
    for task in &params.tasks {
        report.tasks.push(examine(task, params, context)?);
    }
    report.write(&context.out.join("out"))?;
    for line in report.text().lines() {
        context.progress.log(line);
    }
    Ok(report.headlines())
}

/// Two tasks of one name could not be told apart in the report.
fn check_names(params: &Params) -> Result<(), Failure> {
    let mut names = params.tasks.iter().map(Task::name).collect::<Vec<_>>();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::input(format!("two tasks are called `{}`", pair[0]))
            .remedy("give each task a `name` of its own")),
        None => Ok(()),
    }
}

fn examine(task: &Task, params: &Params, context: &mut Context<'_>) -> Result<TaskReport, Failure> {
    context.progress.log(&format!("task {}", task.name()));
    match task {
        Task::Perplexity(task) => read_texts(task, params, context),
        Task::Answers(task) => ask_questions(task, params, context),
    }
    .map_err(|failure| failure.of(&format!("task `{}`", task.name())))
}

fn read_texts(
    task: &Perplexity,
    params: &Params,
    context: &mut Context<'_>,
) -> Result<TaskReport, Failure> {
    let rows = drawn(read_rows::<Text>(&task.data)?, params);
    let texts = rows.into_iter().map(|row| row.text).collect::<Vec<_>>();
    let mut cells = Vec::new();
    for (name, folder) in &params.models {
        let examinee = Examinee::open(folder, context.kernels())?;
        let losses = examinee.losses(&texts, context.threads, context.progress)?;
        let scores = perplexity::scores(&texts, &losses);
        cells.push(Cell { model: name.clone(), scores, samples: Vec::new() });
    }
    Ok(TaskReport { name: task.name.clone(), cells, baselines: Vec::new() })
}

fn ask_questions(
    task: &Answers,
    params: &Params,
    context: &mut Context<'_>,
) -> Result<TaskReport, Failure> {
    let questions = task.questions(&drawn(read_rows(&task.data)?, params))?;
    let asked = questions.iter().map(|question| question.question.clone()).collect::<Vec<_>>();
    let max_answer = usize::try_from(task.max_answer).expect("answers fit in memory");
    let manner = Manner { max_answer, sampling: GREEDY, seed: params.seed };
    let mut cells = Vec::new();
    for (name, folder) in &params.models {
        let examinee = Examinee::open(folder, context.kernels())?;
        let answers = examinee.ask(&asked, manner, context.progress)?;
        let apart = questions.len().div_ceil(SAMPLES).max(1);
        let shown = questions.iter().zip(&answers).step_by(apart);
        let samples = shown.map(|(question, answer)| Sample {
            question: question.question.clone(),
            answer: answer.text.clone(),
            right: task.worth(question, &answer.text).right,
        });
        let samples = samples.collect();
        cells.push(Cell {
            model: name.clone(),
            scores: task.scores(&questions, &answers),
            samples,
        });
    }
    let training = task.training.as_deref().map(read_rows::<Chat>).transpose()?;
    let baselines = training.map(|training| task.baselines(&questions, &training));
    let named = baselines.into_iter().flatten();
    let baselines = named.map(|(name, right)| Baseline { name, right }).collect();
    Ok(TaskReport { name: task.name.clone(), cells, baselines })
}

/// The rows that are asked, in their order: all, or `limit` of them drawn by the seed.
fn drawn<T>(rows: Vec<T>, params: &Params) -> Vec<T> {
    let limit = params.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return rows;
    }
    let mut order = (0..rows.len()).collect::<Vec<_>>();
    Stream::new(params.seed, "limit").walk().shuffle(&mut order);
    let mut kept = vec![false; rows.len()];
    order[..limit].iter().for_each(|at| kept[*at] = true);
    rows.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(row, _)| row).collect()
}
