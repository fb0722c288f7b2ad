//! `read_benchmark`: rows that a task asks about, their named columns kept as they are. Knows
//! columns; does not know tasks.

use std::path::PathBuf;

use crate::train::data::columns::{Columns, each_file, not_empty};
use crate::train::data::files;
use crate::train::data::rows::{Benchmark, Writer};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadBenchmark {
    pub files: Vec<PathBuf>,
    pub columns: Vec<String>,
    pub ignore: Vec<String>,
}

/// Makes `out`, rows of [`Benchmark`] with the columns in the order they were named.
pub fn run(params: &ReadBenchmark, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    if params.columns.is_empty() {
        return Err(Failure::input("`columns` names no column")
            .remedy("name those that the task asks about"));
    }
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let required = params.columns.iter().map(String::as_str).collect();
    let mut columns = Columns::new(required, vec![], &params.ignore);
    let unread = columns.unread();
    each_file(&params.files, ctx, |path, _| {
        files::records(path, &unread, &mut |place, record| {
            columns.check(place, &record)?;
            let kept = params.columns.iter().map(|name| (name.clone(), record[name].clone()));
            out.write(&kept.collect::<Benchmark>())
        })
    })?;
    let rows = out.finish()?;
    not_empty(rows, &params.files)?;
    columns.finish()?;
    Ok(vec![("rows".into(), rows as f64)])
}
