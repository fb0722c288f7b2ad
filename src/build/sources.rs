//! Paths in parameters → the files they stand for: a file, a folder, or a glob. Knows names and
//! kinds of files; reads no content, and does not know digests.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::action::Action;
use super::executor::Failure;
use super::failures::io_failure;
use crate::lang::source::Place;
use crate::lang::value::{PathValue, Value};

/// Folders nested deeper than this are refused.
const DEPTH: usize = 64;

/// A file that a path stands for, under the name that enters the key: relative to the folder or
/// to the fixed part of the glob, or a lone file's own name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    pub name: String,
    pub path: PathBuf,
}

/// Every path inside an action's parameters, once each, with the place that wrote it.
pub fn paths_of(action: &Action) -> Vec<(&PathValue, &Place)> {
    let mut found: Vec<(&PathValue, &Place)> = Vec::new();
    for (name, value) in &action.params {
        let place = action.places.get(name).unwrap_or(&action.place);
        visit(value, &mut |inner| {
            if let Value::Path(path) = inner
                && !found.iter().any(|(known, _)| *known == path)
            {
                found.push((path, place));
            }
        });
    }
    found
}

/// Calls `see` for a value and all values inside it, in order.
pub fn visit<'a>(value: &'a Value, see: &mut dyn FnMut(&'a Value)) {
    see(value);
    match value {
        Value::List(items) => items.iter().for_each(|item| visit(item, see)),
        Value::Record { fields, .. } => fields.values().for_each(|field| visit(field, see)),
        Value::Share { of, .. } => visit(of, see),
        _ => {}
    }
}

/// Where a path points, from the working folder.
pub fn location(path: &PathValue) -> PathBuf {
    Path::new(&path.folder).join(&path.written)
}

/// The files a path stands for, sorted by name; a path that stands for none is a failure.
pub fn find(path: &PathValue, place: &Place) -> Result<Vec<SourceFile>, Failure> {
    let target = location(path);
    let mut files = match fs::metadata(&target) {
        Ok(meta) if meta.is_dir() => folder(&target)?,
        Ok(meta) if meta.is_file() => vec![lone(&target)?],
        Ok(_) => return Err(no_file(&target)),
        Err(_) if path.written.contains(['*', '?', '[']) => matches(path, place)?,
        Err(error) => return Err(absent(path, place, &target, &error)),
    };
    if files.is_empty() {
        let written = &path.written;
        return Err(Failure::new(format!("`{written}` at {place} names no file"))
            .remedy(format!("put a file there, or change the path at {place}")));
    }
    files.sort();
    Ok(files)
}

/// Reading a pipe or a device takes what it gives away, or waits for ever.
fn no_file(path: &Path) -> Failure {
    Failure::new(format!("`{}` is a pipe, a socket or a device, and no file", path.display()))
        .remedy("write what it gives into a file, and name that")
}

fn absent(path: &PathValue, place: &Place, target: &Path, error: &std::io::Error) -> Failure {
    if error.kind() != std::io::ErrorKind::NotFound {
        return io_failure("read", target, error);
    }
    let written = &path.written;
    let looked = target.display();
    Failure::new(format!("there is no file `{written}`, which {place} names"))
        .remedy(format!("put it at `{looked}`, or change the path at {place}"))
}

fn lone(target: &Path) -> Result<SourceFile, Failure> {
    let name = target.file_name().unwrap_or(target.as_os_str());
    Ok(SourceFile { name: readable(Path::new(name))?, path: target.to_path_buf() })
}

fn folder(root: &Path) -> Result<Vec<SourceFile>, Failure> {
    let mut files = Vec::new();
    let mut open = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if depth > DEPTH {
            let shown = folder.display();
            return Err(Failure::new(format!("`{shown}` is nested more than {DEPTH} deep")));
        }
        let failed = |error| io_failure("read", &folder, &error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let meta = fs::metadata(&path).map_err(|error| io_failure("read", &path, &error))?;
            match (meta.is_dir(), meta.is_file()) {
                (true, _) => open.push((path, depth + 1)),
                (_, true) => files.push(relative(root, path)?),
                _ => return Err(no_file(&path)),
            }
        }
    }
    Ok(files)
}

fn matches(path: &PathValue, place: &Place) -> Result<Vec<SourceFile>, Failure> {
    let fixed = fixed_part(&path.written);
    let root = Path::new(&path.folder).join(&fixed);
    let varying = Path::new(&path.written).strip_prefix(&fixed).unwrap_or(Path::new(""));
    let escaped = glob::Pattern::escape(&readable(&root)?);
    let pattern = Path::new(&escaped).join(varying);
    let found = glob::glob(&readable(&pattern)?).map_err(|error| {
        let written = &path.written;
        Failure::new(format!("`{written}` at {place} is no pattern of files: {}", error.msg))
            .remedy("`*` stands for any name, `**` for any folders, `[ab]` for one of two letters")
    })?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|error| io_failure("read", error.path(), error.error()))?;
        if path.is_file() {
            files.push(relative(&root, path)?);
        }
    }
    Ok(files)
}

/// The folders of a pattern before the first that holds a wildcard.
fn fixed_part(pattern: &str) -> PathBuf {
    let plain = |part: &Component| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    Path::new(pattern).components().take_while(plain).collect()
}

fn relative(root: &Path, path: PathBuf) -> Result<SourceFile, Failure> {
    // The glob crate drops a leading `./`, which `strip_prefix` would miss.
    let tidy = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect();
    let (root, full): (PathBuf, PathBuf) = (tidy(root), tidy(&path));
    let name = readable(full.strip_prefix(&root).unwrap_or(&full))?;
    Ok(SourceFile { name, path })
}

fn readable(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_string).ok_or_else(|| {
        Failure::new(format!("the name of `{}` is not UTF-8", path.display()))
            .remedy("rename the file")
    })
}
