//! The stage kind `contamination`: the rows of tasks held against the data that models learn from.
//! Needs a tokenizer and no model, so it can be known before anything is trained. Knows tasks and
//! sources; does not know how runs of tokens are found.

use std::path::PathBuf;

use super::found::{Overlap, PlaceFound, RowOverlap, TaskOverlap, digest};
use super::said::{Said, said};
use super::scan::{Source, Touched, Wanted};
use crate::eval::run::Task;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::progress::{Context, Failure, Metrics, Progress};

/// The parameters of the stage kind.
#[derive(Clone, Debug)]
pub struct Params {
    pub tasks: Vec<Task>,
    pub training: Vec<Source>,
    pub tokenizer: PathBuf,
    pub longer_than: usize,
    /// Whether rows that are not clean end the build.
    pub fails: bool,
}

/// Finds the overlap and writes it to `out/out`; every row that is not clean is told.
pub fn run(params: &Params, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let found = find(params, context.threads, context.progress)?;
    for line in found.tasks.iter().flat_map(TaskOverlap::sentences) {
        context.progress.log(&line);
    }
    if params.fails {
        refuse(&found)?;
    }
    found.write(&context.out.join("out"))?;
    let share = |task: &TaskOverlap| {
        let unclean = task.unclean().count() as f64 / task.rows.max(1) as f64;
        (format!("{}: not clean", task.name), unclean)
    };
    Ok(found.tasks.iter().map(share).collect())
}

fn refuse(found: &Overlap) -> Result<(), Failure> {
    let unclean = found.tasks.iter().flat_map(|task| task.unclean().map(move |row| (task, row)));
    let unclean = unclean.collect::<Vec<_>>();
    let Some((task, row)) = unclean.first() else { return Ok(()) };
    let more = match unclean.len() - 1 {
        0 => String::new(),
        more => format!("; {more} more rows are not clean"),
    };
    Err(Failure::input(format!("task `{}`, {}{more}", task.name, row.sentence())).remedy(
        "take these rows out of the training data, or write `contaminated: \"report\"`; the log of \
         the stage names them",
    ))
}

/// What the sources have of each row of each task.
pub fn find(
    params: &Params,
    threads: usize,
    progress: &mut dyn Progress,
) -> Result<Overlap, Failure> {
    let tokenizer = Tokenizer::load(&params.tokenizer)?;
    let rows =
        |task: &Task| said(task).map_err(|failure| failure.of(&format!("task `{}`", task.name())));
    let papers = params.tasks.iter().map(rows).collect::<Result<Vec<_>, _>>()?;
    let all = papers.iter().flatten().collect::<Vec<_>>();
    let wanted = Wanted::new(&all, &tokenizer, params.longer_than);
    let mut touched = wanted.scan(&params.training, threads, progress)?.into_iter();
    let task = |(task, rows): (&Task, &Vec<Said>)| TaskOverlap {
        name: task.name().into(),
        digest: digest(rows),
        rows: rows.len(),
        found: (1..)
            .zip(touched.by_ref().take(rows.len()))
            .filter_map(|(row, touched)| kept(row, &touched, &params.training))
            .collect(),
    };
    let tasks = params.tasks.iter().zip(&papers).map(task).collect();
    Ok(Overlap { longer_than: params.longer_than, tasks })
}

/// A row as it is kept, if anything of it was found.
fn kept(row: usize, touched: &Touched, sources: &[Source]) -> Option<RowOverlap> {
    let shared = touched.tokens.iter().filter(|shared| **shared).count();
    let place = |place: &super::scan::Place| PlaceFound {
        data: sources[place.source].name.clone(),
        row: place.row,
        tokens: place.tokens,
        prompt: place.prompt,
    };
    (shared > 0 || touched.prompt).then(|| RowOverlap {
        row,
        tokens: touched.tokens.len(),
        shared,
        prompt: touched.prompt,
        places: touched.places.iter().map(place).collect(),
    })
}
