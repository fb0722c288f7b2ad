//! `llamake check`: everything that can be proved without reading data, and how it is shown. Other
//! commands begin with the same proof.

use anyhow::Result;
use serde_json::json;

use super::args;
use super::project::{self, Compiled};
use super::terminal::{color, note, out};
use super::{Exit, check_data, draw};
use crate::exec::{device, ledger};
use crate::lang::diagnostic::{Diagnostic, Severity};
use crate::lang::source::Sources;

/// Compiles and proves; prints what is wrong.
pub fn run(args: &args::Check) -> Result<Exit> {
    let words = args.file.iter().map(|file| file.to_string_lossy().into_owned());
    let words = words.collect::<Vec<_>>();
    let (recipe, rest) = match &args.file {
        Some(file) if args.recipe.recipe.is_none() => (file.clone(), Vec::new()),
        _ => project::choose(&args.recipe, &words)?,
    };
    anyhow::ensure!(rest.is_empty(), "check takes one recipe");
    let mut compiled = proved(&recipe, &args.recipe.params)?;
    if let (Some(limit), 0) = (args.device_memory, count(&compiled, Severity::Error)) {
        let found = device::too_large(&compiled.sources, &compiled.module, limit);
        compiled.diagnostics.extend(found);
    }
    if args.json {
        for diagnostic in &compiled.diagnostics {
            out(&format!("{}\n", as_json(&compiled.sources, diagnostic)));
        }
    } else {
        show(&compiled);
    }
    let errors = count(&compiled, Severity::Error);
    let stages = compiled.module.stages.len();
    let recipe = compiled.recipe.display();
    match errors {
        0 => note(&format!("{recipe} is right: {stages} stages")),
        1 => note(&format!("{recipe}: 1 error")),
        errors => note(&format!("{recipe}: {errors} errors")),
    }
    match (errors, args.data) {
        (0, true) => check_data::run(compiled, args.json),
        (0, false) => Ok(Exit::Done),
        _ => Ok(Exit::RecipeWrong),
    }
}

/// A recipe compiled, with what the stage kinds themselves find wrong.
pub fn proved(recipe: &std::path::Path, params: &[String]) -> Result<Compiled> {
    let mut compiled = project::compile(recipe, params)?;
    if count(&compiled, Severity::Error) == 0 {
        let found = ledger::prove(&compiled.sources, &compiled.module);
        compiled.diagnostics.extend(found);
    }
    Ok(compiled)
}

/// The recipe that a command means and its targets, or `None` after saying what is wrong.
pub fn ready(
    flags: &args::Recipe,
    words: &[String],
) -> Result<Result<(Compiled, Vec<String>), Exit>> {
    let (recipe, targets) = project::choose(flags, words)?;
    let compiled = proved(&recipe, &flags.params)?;
    show(&compiled);
    Ok(match count(&compiled, Severity::Error) {
        0 => Ok((compiled, targets)),
        _ => Err(Exit::RecipeWrong),
    })
}

/// Draws every diagnostic on standard error.
pub fn show(compiled: &Compiled) {
    if !compiled.diagnostics.is_empty() {
        note(draw::draw(&compiled.sources, &compiled.diagnostics, color()).trim_end());
    }
}

fn count(compiled: &Compiled, severity: Severity) -> usize {
    compiled.diagnostics.iter().filter(|one| one.severity == severity).count()
}

/// A diagnostic for programs: lines and columns count from 1.
fn as_json(sources: &Sources, diagnostic: &Diagnostic) -> serde_json::Value {
    let label = |label: &crate::lang::diagnostic::Label| {
        let source = sources.get(label.span.file);
        let (line, column) = source.line_column(label.span.start);
        let (end_line, end_column) = source.line_column(label.span.end);
        json!({
            "file": source.path, "line": line, "column": column,
            "end_line": end_line, "end_column": end_column, "text": label.text,
        })
    };
    json!({
        "id": diagnostic.id,
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "labels": diagnostic.labels.iter().map(label).collect::<Vec<_>>(),
        "expected": diagnostic.expected,
        "found": diagnostic.found,
        "notes": diagnostic.notes,
        "hint": diagnostic.hint,
    })
}
