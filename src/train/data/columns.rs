//! Which columns of a table are used. Every column is named or ignored, never guessed, and every
//! name must be met. Knows names; does not know what a column means.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{self, Record, name_of};
use crate::train::progress::{Context, Failure};

/// The columns that a stage names, and those it was told to leave.
pub struct Columns<'a> {
    /// Those every row must have.
    pub required: Vec<&'a str>,
    /// Those a row may lack.
    pub optional: Vec<&'a str>,
    pub ignore: &'a [String],
    met: BTreeSet<String>,
}

impl<'a> Columns<'a> {
    /// Columns not met yet.
    pub fn new(required: Vec<&'a str>, optional: Vec<&'a str>, ignore: &'a [String]) -> Self {
        Columns { required, optional, ignore, met: BTreeSet::new() }
    }

    /// A column that is missing, or that nothing reads.
    pub fn check(&mut self, place: &str, record: &Record) -> Result<(), Failure> {
        if let Some(missing) = self.required.iter().find(|name| !record.contains_key(**name)) {
            return Err(no_column(place, missing, record));
        }
        let used: Vec<&str> = self.required.iter().chain(&self.optional).copied().collect();
        self.check_used(place, record, &used)
    }

    /// A name that is neither in `used` nor ignored.
    pub fn check_used(
        &mut self,
        place: &str,
        record: &Record,
        used: &[&str],
    ) -> Result<(), Failure> {
        for name in record.keys() {
            if !used.contains(&name.as_str()) && !self.ignore.contains(name) {
                return Err(Failure::input(format!(
                    "{place} has a column `{name}` that is not used"
                ))
                .remedy(format!("add it to `ignore: {}`", self.ignored_with(name))));
            }
            if !self.met.contains(name) {
                self.met.insert(name.clone());
            }
        }
        Ok(())
    }

    fn ignored_with(&self, name: &str) -> String {
        let names = self.ignore.iter().map(String::as_str).chain([name]);
        format!("[{}]", names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "))
    }

    /// Columns whose values nobody looks at, though their names are checked.
    pub fn unread(&self) -> Vec<String> {
        let used = |name: &str| self.required.contains(&name) || self.optional.contains(&name);
        self.ignore.iter().filter(|name| !used(name)).cloned().collect()
    }

    /// After the last row: a name to ignore that no row has.
    pub fn finish(&self) -> Result<(), Failure> {
        match self.ignore.iter().find(|name| !self.met.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Failure::input(format!("`ignore` names `{name}`, which no row has"))
                .remedy(format!("leave `{name}` out; the columns are {}", quoted(&self.met)))),
        }
    }
}

/// A column that every row must have and this one lacks.
pub fn no_column(place: &str, missing: &str, record: &Record) -> Failure {
    let columns = quoted(record.keys());
    Failure::input(format!("{place} has no column `{missing}`; its columns are {columns}"))
}

/// Names in backticks, for a message.
pub fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// A column as text.
pub fn text<'r>(place: &str, record: &'r Record, column: &str) -> Result<&'r str, Failure> {
    match &record[column] {
        Value::String(text) => Ok(text),
        other => Err(Failure::input(format!(
            "{place}: column `{column}` holds {}, not a text",
            name_of(other)
        ))),
    }
}

/// A column as text, where it is there and holds more than blanks.
pub fn optional_text<'r>(
    place: &str,
    record: &'r Record,
    column: Option<&str>,
) -> Result<Option<&'r str>, Failure> {
    match column {
        Some(column) if record.get(column).is_some_and(|value| !value.is_null()) => {
            Ok(Some(text(place, record, column)?).filter(|text| !text.trim().is_empty()))
        }
        _ => Ok(None),
    }
}

/// Calls `read` for each file, telling how far it is and stopping where asked to.
pub fn each_file(
    paths: &[PathBuf],
    ctx: &mut Context<'_>,
    mut read: impl FnMut(&Path, &mut Context<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let files = files::expand(paths)?;
    for (done, file) in files.iter().enumerate() {
        ctx.progress.at(done as u64, files.len() as u64, "files", &[]);
        if ctx.progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        read(file, ctx)?;
    }
    ctx.progress.at(files.len() as u64, files.len() as u64, "files", &[]);
    Ok(())
}

/// A data set without rows teaches nothing and is most likely a mistake.
pub fn not_empty(rows: usize, paths: &[PathBuf]) -> Result<(), Failure> {
    if rows > 0 {
        return Ok(());
    }
    let names = paths.iter().map(|path| path.display().to_string());
    let names = names.collect::<Vec<_>>();
    if names.is_empty() {
        return Err(Failure::input("there are no files to read")
            .remedy("name at least one file, or a stage that makes one"));
    }
    Err(Failure::input(format!("{} holds no rows", quoted(names)))
        .remedy("name files with at least one row"))
}
