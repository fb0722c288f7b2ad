//! `llamake fmt`: recipes in the canonical form.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::terminal::color;
use super::{Exit, draw, project};
use crate::lang::{self, source::Source, source::Sources};

/// Formats each file in place; with `check` only says which would change.
pub fn run(files: &[PathBuf], check: bool) -> Result<Exit> {
    let mut exit = Exit::Done;
    for path in files {
        let stdin = path.as_os_str() == "-";
        let text = if stdin { read_stdin()? } else { project::read_recipe(path)? };
        let formatted = match lang::format(&text) {
            Ok(formatted) => formatted,
            Err(diagnostics) => {
                let mut sources = Sources::default();
                sources.add(Source::new(path.to_string_lossy(), text));
                super::terminal::note(draw::draw(&sources, &diagnostics, color()).trim_end());
                exit = Exit::RecipeWrong;
                continue;
            }
        };
        match (stdin, check) {
            (true, true) if formatted != text => exit = Exit::RecipeWrong,
            (true, true) => {}
            (true, false) => super::terminal::out(&formatted),
            (false, true) if formatted != text => {
                super::terminal::out(&format!("{}\n", path.display()));
                exit = Exit::RecipeWrong;
            }
            (false, true) => {}
            (false, false) if formatted != text => replace(path, &formatted)?,
            (false, false) => {}
        }
    }
    Ok(exit)
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input")?;
    Ok(text)
}

/// Replaces a file whole, the one that a link leads to: what was there stays until the new text is
/// on the disk.
fn replace(path: &Path, text: &str) -> Result<()> {
    let target = std::fs::canonicalize(path).with_context(|| path.display().to_string())?;
    let folder = target.parent().expect("a file lies in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    file.as_file().set_permissions(std::fs::metadata(&target)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&target).with_context(|| path.display().to_string())?;
    super::terminal::note(&format!("formatted {}", path.display()));
    Ok(())
}
