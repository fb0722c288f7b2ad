//! `split`: some rows set aside, drawn without replacement; both parts keep their order. Knows
//! lines; does not know what a row holds.

use std::path::{Path, PathBuf};

use crate::train::data::files;
use crate::train::data::rows::Writer;
use crate::train::kernels::rng::Stream;
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters, as `stdlib/data.recipe` states them.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub data: PathBuf,
    pub held_out: HeldOut,
    pub seed: u64,
}

/// How many rows are set aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldOut {
    Percent(f64),
    Rows(u64),
}

/// Makes `train` and `held_out`.
pub fn run(params: &Split, ctx: &mut Context<'_>) -> Result<Metrics, Failure> {
    let rows = count(&params.data)?;
    let aside = params.held_out.of(rows)?;
    let chosen = choose(rows, aside, params.seed);
    let mut train = Writer::create(&ctx.out.join("train"))?;
    let mut held_out = Writer::create(&ctx.out.join("held_out"))?;
    let mut lines = files::lines(&params.data)?;
    for set_aside in chosen {
        if ctx.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let line = lines.next_line()?.expect("the file was counted");
        if set_aside { &mut held_out } else { &mut train }.write_line(line)?;
    }
    ctx.progress.at(rows as u64, rows as u64, "rows", &[]);
    let (train, held_out) = (train.finish()?, held_out.finish()?);
    Ok(vec![("train".into(), train as f64), ("held_out".into(), held_out as f64)])
}

fn count(path: &Path) -> Result<usize, Failure> {
    let mut lines = files::lines(path)?;
    let mut rows = 0;
    while lines.next_line()?.is_some() {
        rows += 1;
    }
    Ok(rows)
}

impl HeldOut {
    /// Rows set aside of so many; each part must keep one.
    fn of(self, rows: usize) -> Result<usize, Failure> {
        let aside = match self {
            HeldOut::Rows(count) => usize::try_from(count).unwrap_or(usize::MAX),
            HeldOut::Percent(percent) => (rows as f64 * percent / 100.0).round() as usize,
        };
        if aside == 0 || aside >= rows {
            let share = match self {
                HeldOut::Rows(count) => format!("{count} rows"),
                HeldOut::Percent(percent) => format!("{percent}%"),
            };
            return Err(Failure::input(format!(
                "{share} of {rows} rows leaves one of the two parts empty"
            ))
            .remedy("give more rows, or set `held_out` to another number"));
        }
        Ok(aside)
    }
}

/// Which rows are set aside.
fn choose(rows: usize, aside: usize, seed: u64) -> Vec<bool> {
    let mut marks: Vec<bool> = (0..rows).map(|at| at < aside).collect();
    Stream::new(seed, "split").walk().shuffle(&mut marks);
    marks
}
