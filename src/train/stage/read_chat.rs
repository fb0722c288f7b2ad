//! `read_chat`: dialogues from files, in a stated shape. Knows files and rows; does not know
//! templates or tokens.

use std::path::PathBuf;

use crate::train::data::columns::each_file;
use crate::train::data::files;
use crate::train::data::rows::{Chat, Writer};
use crate::train::data::shapes::{ChatShape, Faulty, Sieve};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadChat {
    pub files: Vec<PathBuf>,
    pub shape: ChatShape,
    pub ignore: Vec<String>,
    pub faulty: Faulty,
}

/// Makes `out`, rows of [`Chat`].
pub fn run(params: &ReadChat, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let mut out = Writer::create(&ctx.out.join("out"))?;
    let mut columns = params.shape.columns(&params.ignore);
    let unread = columns.unread();
    let mut sieve = Sieve::new(params.faulty);
    let mut turns = 0;
    each_file(&params.files, ctx, |path, ctx| {
        files::records(path, &unread, &mut |place, record| {
            let read = params.shape.read(place, &record, &mut columns);
            for messages in sieve.take(read, ctx.progress)?.into_iter().flatten() {
                turns += messages.len();
                out.write(&Chat::new(messages))?;
            }
            Ok(())
        })
    })?;
    let rows = out.finish()?;
    let left_out = sieve.finish(rows, &params.files, ctx.progress)?;
    columns.finish()?;
    let figures = vec![("rows".into(), rows as f64), ("turns".into(), turns as f64)];
    Ok([figures, left_out].concat())
}
