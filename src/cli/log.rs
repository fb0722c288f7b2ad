//! `llamake log STAGE`: what a stage said when it last ran, and how its figures went.

use anyhow::Result;
use serde_json::json;

use super::exit::{fail, tell};
use super::terminal::{clock, figure, note, out};
use super::{Exit, args, check};
use crate::build::executor::Failure;
use crate::build::plan::unknown_target;
use crate::build::store::{MetricPoint, Store};
use crate::build::target;

/// Shows the last run of a stage.
pub fn run(args: &args::Log) -> Result<Exit> {
    let (compiled, names) = match check::ready(&args.recipe, &args.stage)? {
        Ok(ready) => ready,
        Err(exit) => return Ok(exit),
    };
    let [target] = names.as_slice() else { anyhow::bail!("name one stage") };
    let found = target::find(&compiled.module, target);
    let mut stages: Vec<usize> = found.into_iter().map(|(stage, _)| stage).collect();
    stages.dedup();
    let stage = match stages.as_slice() {
        [one] => &compiled.module.stages[*one].name,
        [] => {
            tell(&unknown_target(&compiled.module, target));
            return Ok(Exit::Usage);
        }
        several => anyhow::bail!("`{target}` is {} stages; name one of them", several.len()),
    };
    let recipe = compiled.history_name();
    let shown = Store::open(&compiled.project.cache)
        .and_then(|store| show(&store, &recipe, stage, args.json));
    Ok(shown.unwrap_or_else(|failure| fail(&[failure])))
}

fn show(store: &Store, recipe: &str, stage: &str, as_json: bool) -> Result<Exit, Failure> {
    let rows = store.records.stage_runs(recipe, stage)?;
    let ran = rows.into_iter().filter(|row| row.state != "skipped");
    let Some(row) = ran.max_by_key(|row| row.run) else {
        note(&format!("`{stage}` has not run yet"));
        return Ok(Exit::Done);
    };
    let points = store.records.metrics_of(row.run, stage)?;
    if as_json {
        for MetricPoint { name, done, value, .. } in &points {
            out(&format!("{}\n", json!({ "name": name, "done": done, "value": value })));
        }
        return Ok(Exit::Done);
    }
    out(&format!("{stage} {} in {}: {}\n", row.state, clock(row.seconds), row.reason));
    for line in store.records.log_of(row.run, stage)? {
        out(&format!("  {line}\n"));
    }
    let mut names = points.iter().map(|point| point.name.as_str()).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let curve = points.iter().filter(|point| point.name == name).collect::<Vec<_>>();
        out(&format!("  {name:<14} {}\n", curve_text(&curve)));
    }
    for (name, value) in &row.metrics {
        out(&format!("  {name}: {}\n", figure(*value)));
    }
    if let Some(failure) = &row.failure {
        out(&format!("  {failure}\n"));
    }
    Ok(Exit::Done)
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const CURVE_WIDTH: usize = 48;

/// A curve of at most 48 bars between its first and last values.
fn curve_text(points: &[&MetricPoint]) -> String {
    let values = points.iter().map(|point| point.value).collect::<Vec<_>>();
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return String::new() };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = CURVE_WIDTH.min(values.len());
    let bar = |at: usize| {
        let value = values[at * values.len() / width];
        let level = if high > low { (value - low) / (high - low) * 7.0 } else { 0.0 };
        BARS[level.round() as usize]
    };
    let bars = (0..width).map(bar).collect::<String>();
    format!("{} {bars} {}", figure(*first), figure(*last))
}
