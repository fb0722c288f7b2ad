//! `read_prompts`: prompts from files, in a stated shape. Knows files and rows; does not know who
//! answers.

use std::path::PathBuf;

use crate::train::data::columns::each_file;
use crate::train::data::files;
use crate::train::data::rows::Writer;
use crate::train::data::shapes::{Faulty, PromptShape, Sieve};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadPrompts {
    pub files: Vec<PathBuf>,
    pub shape: PromptShape,
    pub ignore: Vec<String>,
    pub faulty: Faulty,
}

/// Makes `out`, rows of [`Prompt`](crate::train::data::rows::Prompt).
pub fn run(params: &ReadPrompts, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let mut columns = params.shape.columns(&params.ignore);
    let unread = columns.unread();
    let mut sieve = Sieve::new(params.faulty);
    let mut later = 0;
    each_file(&params.files, ctx, |path, ctx| {
        files::records(path, &unread, &mut |place, record| {
            let read = params.shape.read(place, &record, &mut columns);
            let Some((prompt, more)) = sieve.take(read, ctx.progress)? else { return Ok(()) };
            later += more;
            out.write(&prompt)
        })
    })?;
    let rows = out.finish()?;
    let left_out = sieve.finish(rows, &params.files, ctx.progress)?;
    columns.finish()?;
    if later > 0 {
        ctx.progress.notice(&format!(
            "{later} later turns of the user are left: they need an answer to the first"
        ));
    }
    Ok([vec![("rows".into(), rows as f64)], left_out].concat())
}
