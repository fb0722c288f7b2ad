//! `llamake new DIR`: a folder with a recipe that builds at once.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::terminal::{note, quoted};

const RECIPE: &str = include_str!("../../recipes/llama2_tiny.recipe");
const SETTINGS: &str = "# What is not meaning: where results are kept.\ncache = \"cache\"\n";
const IGNORED: &str = "/cache\n/build\n";

/// Writes the project's files into a folder that is empty or not there yet.
pub fn run(folder: &Path) -> Result<()> {
    if folder.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("`{}` is not empty; name a new folder", folder.display());
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, text) in
        [("main.recipe", RECIPE), ("llamake.toml", SETTINGS), (".gitignore", IGNORED)]
    {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let word = quoted(&folder.to_string_lossy());
    note(&format!("made {}\nnext: cd {word} && llamake build", folder.display()));
    Ok(())
}
