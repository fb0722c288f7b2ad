//! From arguments to a compiled recipe: which file is meant, where its project lies, and every
//! source it imports. Does not know what is done with it.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::args;
use super::terminal::{note, quoted};
use crate::lang::{self, diagnostic::Diagnostic, source::Source, source::Sources, value::Module};

/// A project: the folder that results belong to.
#[derive(Clone, Debug)]
pub struct Project {
    /// The nearest folder above the recipe with a `llamake.toml`, else the recipe's own.
    pub root: PathBuf,
    pub cache: PathBuf,
}

/// The `llamake.toml` of a project: what is not meaning.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The folder of the cache, relative to the project.
    cache: Option<PathBuf>,
    /// The recipe that commands mean when none is named.
    recipe: Option<PathBuf>,
}

/// A recipe with everything the compiler said about it.
pub struct Compiled {
    pub recipe: PathBuf,
    /// `NAME=VALUE`, as they were given.
    pub params: Vec<String>,
    pub project: Project,
    pub sources: Sources,
    pub module: Module,
    pub diagnostics: Vec<Diagnostic>,
}

impl Compiled {
    /// The name under which histories keep the recipe.
    pub fn history_name(&self) -> String {
        relative(&self.recipe, &self.project.root).to_string_lossy().into_owned()
    }

    /// A command on a stage of the recipe as it was compiled here, to be pasted into a shell.
    pub fn command(&self, name: &str, stage: &str) -> String {
        let mut words = format!("llamake {name} {}", quoted(&self.recipe.to_string_lossy()));
        words += &format!(" {}", quoted(stage));
        for param in &self.params {
            words += &format!(" -p {}", quoted(param));
        }
        words
    }
}

/// The recipe that a command means, and the words that are left as targets.
pub fn choose(flags: &args::Recipe, words: &[String]) -> Result<(PathBuf, Vec<String>)> {
    if let Some(recipe) = &flags.recipe {
        return Ok((recipe.clone(), words.to_vec()));
    }
    match words.split_first() {
        Some((first, rest)) if first.ends_with(".recipe") => Ok((first.into(), rest.to_vec())),
        _ => Ok((default_recipe()?, words.to_vec())),
    }
}

/// `llamake.toml`'s recipe, the only one in this folder, or the one last built in this project.
fn default_recipe() -> Result<PathBuf> {
    let here = std::env::current_dir().context("the working folder is gone")?;
    let root = root_above(&here).unwrap_or_else(|| here.clone());
    if let Some(recipe) = settings(&root)?.recipe {
        return Ok(seen_from(&here, root.join(recipe)));
    }
    let recipes = recipes_in(Path::new("."))?;
    if let [only] = recipes.as_slice() {
        note(&format!("recipe {}", only.display()));
        return Ok(only.clone());
    }
    let last = project_at(&root)?.cache.join(LAST_RECIPE);
    if let Ok(path) = std::fs::read_to_string(last) {
        let path = seen_from(&here, root.join(path.trim()));
        if path.is_file() {
            note(&format!("recipe {}, the last one built here", path.display()));
            return Ok(path);
        }
    }
    if recipes.is_empty() {
        bail!("no recipe in this folder; name one: `llamake build FILE.recipe`");
    }
    let names = recipes.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    bail!("{} recipes in this folder; name one: {}", names.len(), names.join(", "))
}

/// A path as it is told: without the folder that one is in.
fn seen_from(here: &Path, path: PathBuf) -> PathBuf {
    path.strip_prefix(here).map(Path::to_path_buf).unwrap_or(path)
}

/// The file in the cache that remembers the recipe last built.
const LAST_RECIPE: &str = "last-recipe";

/// Remembers a recipe as the last one built; only a convenience, so a failure is let go.
pub fn remember(compiled: &Compiled) {
    let path = relative(&compiled.recipe, &compiled.project.root);
    let file = compiled.project.cache.join(LAST_RECIPE);
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    if known != path.to_string_lossy() {
        drop(std::fs::write(file, path.to_string_lossy().as_bytes()));
    }
}

fn recipes_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut recipes = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = PathBuf::from(entry?.file_name());
        if path.extension().is_some_and(|end| end == "recipe") {
            recipes.push(path);
        }
    }
    recipes.sort();
    Ok(recipes)
}

fn root_above(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|above| above.join("llamake.toml").is_file()).map(Path::to_path_buf)
}

fn settings(root: &Path) -> Result<Settings> {
    let path = root.join("llamake.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The project that a file belongs to.
pub fn project_of(file: &Path) -> Result<Project> {
    let absolute = lexical(&std::path::absolute(file)?);
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    project_at(&root_above(folder).unwrap_or_else(|| folder.to_path_buf()))
}

/// The project at a folder; `LLAMAKE_CACHE` goes before the settings.
fn project_at(root: &Path) -> Result<Project> {
    let cache = match std::env::var_os("LLAMAKE_CACHE") {
        Some(path) if !path.is_empty() => {
            std::path::absolute(whole_path("`LLAMAKE_CACHE`", path.into())?)?
        }
        _ => match settings(root)?.cache {
            Some(path) => root.join(whole_path("`cache` in `llamake.toml`", path)?),
            None => root.join("cache"),
        },
    };
    Ok(Project { root: root.to_path_buf(), cache })
}

/// The path of a cache as `place` states it; what only a shell would replace is refused, as it
/// would become a folder of that very name.
fn whole_path(place: &str, path: PathBuf) -> Result<PathBuf> {
    match path.as_os_str().as_encoded_bytes().first() {
        None => bail!("{place} is empty; name a folder"),
        Some(b'~' | b'$') => bail!("{place} is `{}`; write the whole path", path.display()),
        Some(_) => Ok(path),
    }
}

/// Reads a recipe and its imports, and compiles them.
pub fn compile(recipe: &Path, params: &[String]) -> Result<Compiled> {
    let project = project_of(recipe)?;
    let overrides = params.iter().map(|text| split_param(text)).collect::<Result<Vec<_>>>()?;
    let mut sources = Sources::default();
    let label = lexical(recipe);
    let root = sources.add(Source::new(label.to_string_lossy(), read_recipe(&label)?));
    load_imports(&mut sources, root, &project)?;
    let (module, diagnostics) = lang::compile(&mut sources, root, &overrides);
    Ok(Compiled { recipe: label, params: params.to_vec(), project, sources, module, diagnostics })
}

fn split_param(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_string(), value.to_string())),
        None => bail!("`-p {text}` gives no value; write `-p {text}=VALUE`"),
    }
}

/// Reads a recipe, with errors that say what to do.
pub fn read_recipe(path: &Path) -> Result<String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no recipe `{}`{}", path.display(), nearby(path))
        }
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
            bail!("`{}` is not UTF-8 text, from line {line} on", path.display())
        }
    }
}

/// The recipes that do lie in the folder of one that does not.
fn nearby(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let names = recipes_in(folder.unwrap_or(Path::new("."))).unwrap_or_default();
    match names.as_slice() {
        [] => String::new(),
        names => {
            let names = names.iter().map(|name| format!("`{}`", name.display()));
            format!("; there {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Adds every file that is reached by `use ./…`; one that is not there is left to the compiler,
/// which knows the line that asks for it.
fn load_imports(
    sources: &mut Sources,
    root: lang::source::FileId,
    project: &Project,
) -> Result<()> {
    let mut open = vec![root];
    while let Some(file) = open.pop() {
        let source = sources.get(file).clone();
        // Only a path to a file holds `./`; most recipes import from the library alone.
        if !source.text.contains("./") {
            continue;
        }
        let (tree, _) = lang::parse(file, &source.text);
        for path in lang::imports(&tree, &source.path) {
            let inside = std::path::absolute(&path)
                .is_ok_and(|absolute| lexical(&absolute).starts_with(lexical(&project.root)));
            if inside && sources.find(&path).is_none() && Path::new(&path).is_file() {
                let text = read_recipe(Path::new(&path))?;
                open.push(sources.add(Source::new(path, text)));
            }
        }
    }
    Ok(())
}

/// A path without `.` and inner `..`, not touching the disk.
pub fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// A path as seen from the project's root, where it lies inside.
pub fn relative(path: &Path, root: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let absolute = lexical(&absolute);
    absolute.strip_prefix(lexical(root)).map(Path::to_path_buf).unwrap_or(absolute)
}

/// A path as short as it can be said from the working folder.
pub fn shown_from_here(path: &Path) -> PathBuf {
    match std::env::current_dir() {
        Ok(here) => path.strip_prefix(here).map(Path::to_path_buf).unwrap_or(path.to_path_buf()),
        Err(_) => path.to_path_buf(),
    }
}
