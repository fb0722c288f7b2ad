//! A demand on a report: one figure of one model is at least or at most so much, or the build
//! fails. What comes out is the report as it was, so that what is built from it is built only from
//! one that is good enough. Knows a figure; does not know how it came about.

use std::path::{Path, PathBuf};

use super::reading::{Place, Reading};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of the stage kind `expect`.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Name in the recipe and place.
    pub report: (String, PathBuf),
    /// As the report calls it.
    pub model: String,
    pub metric: String,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
}

/// Copies the report to `out/out` if the figure is as demanded.
pub fn run(params: &Expect, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let Expect { report: (name, folder), model, metric, at_least, at_most } = params;
    if at_least.is_none() && at_most.is_none() {
        return Err(Failure::input("nothing is expected of the figure")
            .remedy("give `at_least`, `at_most` or both"));
    }
    let Place { task, figure, value, .. } =
        Reading::open(name, folder)?.only(metric, Some(model))?;
    let fails = |bound: &str, side: &str| {
        Err(Failure::input(format!(
            "`{figure}` of `{model}` in `{task}` is {value}, {side} the {bound} that is expected"
        )))
    };
    match (at_least, at_most) {
        // What is no number is on neither side.
        (Some(least), _) if value.is_nan() || value < *least => fails(&least.to_string(), "below")?,
        (_, Some(most)) if value.is_nan() || value > *most => fails(&most.to_string(), "above")?,
        _ => {}
    }
    copy(folder, &context.out.join("out"))?;
    Ok(vec![(format!("{model}: {task} {figure}"), value)])
}

/// The files of a report, which lie side by side.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to).map_err(Failure::io(to))?;
    for entry in std::fs::read_dir(from).map_err(Failure::io(from))? {
        let entry = entry.map_err(Failure::io(from))?;
        let place = to.join(entry.file_name());
        let bytes = std::fs::read(entry.path()).map_err(Failure::io(entry.path()))?;
        std::fs::write(&place, bytes).map_err(Failure::io(&place))?;
    }
    Ok(())
}
