//! `read_preferences`: prompts with two answers from files, in a stated shape. Knows files and
//! rows; does not know rewards.

use std::path::PathBuf;

use crate::train::data::columns::each_file;
use crate::train::data::files;
use crate::train::data::rows::Writer;
use crate::train::data::shapes::{Faulty, PreferenceShape, Sieve};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadPreferences {
    pub files: Vec<PathBuf>,
    pub shape: PreferenceShape,
    pub ignore: Vec<String>,
    pub faulty: Faulty,
}

/// Makes `out`, rows of [`Preference`](crate::train::data::rows::Preference).
pub fn run(params: &ReadPreferences, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let mut columns = params.shape.columns(&params.ignore);
    let unread = columns.unread();
    let mut sieve = Sieve::new(params.faulty);
    each_file(&params.files, ctx, |path, ctx| {
        files::records(path, &unread, &mut |place, record| {
            let read = params.shape.read(place, &record, &mut columns);
            sieve.take(read, ctx.progress)?.map_or(Ok(()), |row| out.write(&row))
        })
    })?;
    let rows = out.finish()?;
    let left_out = sieve.finish(rows, &params.files, ctx.progress)?;
    columns.finish()?;
    Ok([vec![("rows".into(), rows as f64)], left_out].concat())
}
