//! `llamake cache ls|verify`: a look into the store.

use anyhow::Result;
use serde_json::json;

use super::exit::fail;
use super::terminal::{note, out};
use super::{Exit, args, project};
use crate::build::executor::Failure;
use crate::build::store::{ResultRow, Store};
use crate::exec::ledger::bytes_text;

/// Lists results, or hashes every blob again.
pub fn run(args: &args::Cache) -> Result<Exit> {
    let here = std::env::current_dir()?.join("here.recipe");
    let project = project::project_of(args.recipe.recipe.as_deref().unwrap_or(&here))?;
    let done = Store::open(&project.cache).and_then(|store| match args.action {
        args::CacheAction::Ls { json } => list(&store, json),
        args::CacheAction::Verify => verify(&store),
    });
    Ok(done.unwrap_or_else(|failure| fail(&[failure])))
}

fn list(store: &Store, as_json: bool) -> Result<Exit, Failure> {
    let rows = store.list()?;
    for row in &rows {
        let ResultRow { key, stage, kind, bytes, made_at } = row;
        match as_json {
            true => {
                let row = json!({
                    "key": key.to_string(), "stage": stage, "kind": kind,
                    "bytes": bytes, "made_at": made_at,
                });
                out(&format!("{row}\n"));
            }
            false => {
                let key = key.to_string();
                let short = &key[..12];
                out(&format!("{short}  {kind:<20} {:>9}  {stage}\n", bytes_text(*bytes)));
            }
        }
    }
    let bytes = rows.iter().map(|row| row.bytes).sum::<u64>();
    note(&format!("{} results, {}", rows.len(), bytes_text(bytes)));
    Ok(Exit::Done)
}

fn verify(store: &Store) -> Result<Exit, Failure> {
    let faults = store.verify()?;
    for fault in &faults {
        let stages = match fault.stages.is_empty() {
            true => "of no result".to_string(),
            false => format!("of {}", fault.stages.join(", ")),
        };
        out(&format!("{}, {stages}\n", fault.what));
    }
    match faults.len() {
        0 => note("every blob is as it was written"),
        faults => note(&format!("{faults} damaged; the next build makes them anew")),
    }
    Ok(if faults.is_empty() { Exit::Done } else { Exit::StageFailed })
}
