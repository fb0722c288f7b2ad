//! From an action's plain values to typed fields: every field is taken once, and a leftover or a
//! missing one is a bug that a test finds. Does not know what any stage kind does with them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::build::executor::Job;
use crate::build::key::part_key;
use crate::build::sources::visit;
use crate::eval::overlap::scan::Source;
use crate::lang::value::{Quantity, SINGLE_PORT, Unit, Value, WITH_BASE};
use crate::train::data::mixture::Mix;
use crate::train::model::ModelPath;

/// The fields of a stage or of a record inside it, handed out one by one.
pub struct Fields<'j> {
    job: &'j Job<'j>,
    /// What the fields belong to, for messages.
    owner: String,
    left: RefCell<BTreeMap<String, Value>>,
}

impl<'j> Fields<'j> {
    /// Every parameter of the job's action.
    pub fn of(job: &'j Job<'j>) -> Fields<'j> {
        let left = RefCell::new(job.action.params.clone());
        Fields { job, owner: job.action.kind.clone(), left }
    }

    fn record(&self, value: Value, name: &str) -> Result<(String, Fields<'j>)> {
        let Value::Record { name: record, fields } = value else {
            bail!("`{name}` of `{}` is no record", self.owner)
        };
        let owner = record.unwrap_or_else(|| name.to_string());
        Ok((owner.clone(), Fields { job: self.job, owner, left: RefCell::new(fields) }))
    }

    /// Takes a field; the value may be `none`.
    pub fn take(&self, name: &str) -> Result<Value> {
        let value = self.left.borrow_mut().remove(name);
        value.with_context(|| format!("`{}` has no field `{name}`", self.owner))
    }

    /// A field that is not taken yet.
    pub fn peek(&self, name: &str) -> Option<Value> {
        self.left.borrow().get(name).cloned()
    }

    /// Ends the reading: no field may be left.
    pub fn finish(self) -> Result<()> {
        let left = self.left.into_inner();
        let names = left.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>();
        if names.is_empty() {
            return Ok(());
        }
        bail!("nothing reads {} of `{}`", names.join(", "), self.owner)
    }

    fn wrong<T>(&self, name: &str, value: &Value) -> Result<T> {
        bail!("`{name}` of `{}` cannot be read from {value:?}", self.owner)
    }

    pub fn text(&self, name: &str) -> Result<String> {
        match self.take(name)? {
            Value::Text(text) => Ok(text),
            other => self.wrong(name, &other),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Ok(flag),
            other => self.wrong(name, &other),
        }
    }

    /// The same of a field that is younger than some lockfiles, and `false` where it is missing.
    pub fn younger_flag(&self, name: &str) -> Result<bool> {
        if self.left.borrow().contains_key(name) { self.flag(name) } else { Ok(false) }
    }

    /// A whole number, or a quantity of whole units, that is not negative.
    pub fn count(&self, name: &str) -> Result<u64> {
        let value = self.take(name)?;
        self.count_of(name, &value)
    }

    /// The same as a size in memory.
    pub fn size(&self, name: &str) -> Result<usize> {
        Ok(usize::try_from(self.count(name)?)?)
    }

    fn count_of(&self, name: &str, value: &Value) -> Result<u64> {
        let whole = match value {
            Value::Int(number) => Some(*number),
            Value::Quantity(quantity) => quantity.as_whole(),
            _ => None,
        };
        match whole.and_then(|number| u64::try_from(number).ok()) {
            Some(count) => Ok(count),
            None => self.wrong(name, value),
        }
    }

    /// A list of counts.
    pub fn sizes(&self, name: &str) -> Result<Vec<usize>> {
        let size = |value: Value| Ok(usize::try_from(self.count_of(name, &value)?)?);
        self.list(name)?.into_iter().map(size).collect()
    }

    pub fn seed(&self, name: &str) -> Result<u64> {
        match self.take(name)? {
            Value::Int(seed) => Ok(seed as u64),
            other => self.wrong(name, &other),
        }
    }

    pub fn number(&self, name: &str) -> Result<f64> {
        let value = self.take(name)?;
        self.number_of(name, &value)
    }

    /// A list of numbers.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        self.list(name)?.iter().map(|value| self.number_of(name, value)).collect()
    }

    fn number_of(&self, name: &str, value: &Value) -> Result<f64> {
        match value {
            Value::Float(number) => Ok(*number),
            Value::Int(number) => Ok(*number as f64),
            Value::Quantity(Quantity { unit: Unit::Percent, millionths }) => {
                Ok(*millionths as f64 / 1e8)
            }
            other => self.wrong(name, other),
        }
    }

    pub fn quantity(&self, name: &str) -> Result<Quantity> {
        match self.take(name)? {
            Value::Quantity(quantity) => Ok(quantity),
            other => self.wrong(name, &other),
        }
    }

    /// Reads a field that may be `none` with one of the other readers.
    pub fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.left.borrow().get(name) == Some(&Value::None) {
            self.take(name)?;
            return Ok(None);
        }
        read(self, name).map(Some)
    }

    /// A nested record, which is read to its end by `read`; the record's name tells which it is.
    pub fn within<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str, &Fields<'j>) -> Result<T>,
    ) -> Result<T> {
        let (record, fields) = self.record(self.take(name)?, name)?;
        let result = read(&record, &fields)?;
        fields.finish()?;
        Ok(result)
    }

    /// A list of records, each read to its end.
    pub fn each<T>(
        &self,
        name: &str,
        read: impl Fn(&str, &Fields<'j>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let read_one = |value| {
            let (record, fields) = self.record(value, name)?;
            let result = read(&record, &fields)?;
            fields.finish()?;
            Ok(result)
        };
        self.list(name)?.into_iter().map(read_one).collect()
    }

    pub fn list(&self, name: &str) -> Result<Vec<Value>> {
        match self.take(name)? {
            Value::List(values) => Ok(values),
            other => self.wrong(name, &other),
        }
    }

    /// A list of numbers with gaps.
    pub fn optional_numbers(&self, name: &str) -> Result<Vec<Option<f64>>> {
        let number = |value: Value| match value {
            Value::None => Ok(None),
            other => self.number_of(name, &other).map(Some),
        };
        self.list(name)?.into_iter().map(number).collect()
    }

    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        let text = |value| match value {
            Value::Text(text) => Ok(text),
            other => self.wrong(name, &other),
        };
        self.list(name)?.into_iter().map(text).collect()
    }

    /// Where an input artifact lies.
    pub fn artifact(&self, name: &str) -> Result<PathBuf> {
        let value = self.take(name)?;
        self.artifact_of(name, &value)
    }

    fn artifact_of(&self, name: &str, value: &Value) -> Result<PathBuf> {
        match value {
            Value::Artifact(artifact) => Ok(self.job.artifact(artifact).to_path_buf()),
            other => self.wrong(name, other),
        }
    }

    /// The artifacts of a list, each with the name of the stage that made it.
    pub fn artifacts(&self, name: &str) -> Result<Vec<(String, PathBuf)>> {
        let named = |value: Value| Ok((self.maker(&value), self.artifact_of(name, &value)?));
        self.list(name)?.into_iter().map(named).collect()
    }

    /// An input artifact with the name of the stage that made it.
    pub fn named(&self, name: &str) -> Result<(String, PathBuf)> {
        let value = self.take(name)?;
        Ok((self.maker(&value), self.artifact_of(name, &value)?))
    }

    /// What a report calls a model; an adapter counts, not its base.
    pub fn name_of_model(&self, name: &str) -> Result<String> {
        let value = self.take(name)?;
        self.model_of(name, &value)?;
        Ok(self.maker(adapter_in(&value).map_or(&value, |[adapter, _]| adapter)))
    }

    /// Where a model lies; with an adapter comes its base.
    pub fn model(&self, name: &str) -> Result<ModelPath> {
        let value = self.take(name)?;
        self.model_of(name, &value)
    }

    fn model_of(&self, name: &str, value: &Value) -> Result<ModelPath> {
        match adapter_in(value) {
            None => Ok(self.artifact_of(name, value)?.into()),
            Some([adapter, base]) => Ok(ModelPath {
                base: self.artifact_of(name, base)?,
                adapter: Some(self.artifact_of(name, adapter)?),
            }),
        }
    }

    /// The models of a list, each with the name of the stage that made it.
    pub fn models(&self, name: &str) -> Result<Vec<(String, ModelPath)>> {
        let named = |value: Value| {
            let path = self.model_of(name, &value)?;
            let made = adapter_in(&value).map_or(&value, |[adapter, _]| adapter);
            Ok((self.maker(made), path))
        };
        self.list(name)?.into_iter().map(named).collect()
    }

    /// Every data set inside a list of them, of lists and of shares, once each.
    pub fn sources(&self, name: &str) -> Result<Vec<Source>> {
        let list = Value::List(self.list(name)?);
        let mut found: Vec<Source> = Vec::new();
        visit(&list, &mut |value| {
            if let Value::Artifact(artifact) = value {
                let path = self.job.artifact(artifact).to_path_buf();
                let source = Source { name: self.maker(value), path };
                if !found.contains(&source) {
                    found.push(source);
                }
            }
        });
        Ok(found)
    }

    /// What each element of a list is by its contents, whatever it is called; takes nothing.
    pub fn identities(&self, name: &str) -> Result<Vec<[u8; 32]>> {
        let left = self.left.borrow();
        let Some(Value::List(values)) = left.get(name) else {
            bail!("`{name}` of `{}` is no list", self.owner)
        };
        let identity = |value| *part_key(self.job.action, value, self.job.contents).as_bytes();
        Ok(values.iter().map(identity).collect())
    }

    /// `base`, or `parts.train`: how the recipe calls an artifact.
    fn maker(&self, value: &Value) -> String {
        let Value::Artifact(artifact) = value else { return String::new() };
        let stage = self.job.action.input_name(artifact.stage);
        match artifact.port.as_str() {
            SINGLE_PORT => stage.to_string(),
            port => format!("{stage}.{port}"),
        }
    }

    /// `Path | [Path] | Files`: the files in order. A folder an earlier stage made counts as the
    /// files in it, sorted by name.
    pub fn files(&self, name: &str) -> Result<Vec<PathBuf>> {
        let value = self.take(name)?;
        self.files_of(name, &value)
    }

    fn files_of(&self, name: &str, value: &Value) -> Result<Vec<PathBuf>> {
        match value {
            Value::Path(path) => Ok(self.job.files(path).to_vec()),
            Value::Artifact(artifact) => files_below(self.job.artifact(artifact)),
            Value::List(values) => {
                let each = values.iter().map(|value| self.files_of(name, value));
                Ok(each.collect::<Result<Vec<_>>>()?.concat())
            }
            other => self.wrong(name, other),
        }
    }

    /// A field of type `Map<…>`: its entries by name, as paths of inputs.
    pub fn paths_by_name(&self, name: &str) -> Result<Vec<(String, Vec<PathBuf>)>> {
        let Value::Record { fields, .. } = self.take(name)? else {
            bail!("`{name}` of `{}` is no map", self.owner)
        };
        let paths = |value: &Value| match value {
            Value::Artifact(artifact) => Ok(vec![self.job.artifact(artifact).to_path_buf()]),
            other => self.files_of(name, other),
        };
        fields.iter().map(|(key, value)| Ok((key.clone(), paths(value)?))).collect()
    }

    pub fn texts_by_name(&self, name: &str) -> Result<Vec<(String, String)>> {
        let Value::Record { fields, .. } = self.take(name)? else {
            bail!("`{name}` of `{}` is no map", self.owner)
        };
        let text = |(key, value): (String, Value)| match value {
            Value::Text(text) => Ok((key, text)),
            other => self.wrong(name, &other),
        };
        fields.into_iter().map(text).collect()
    }

    /// A `Mix<T>`: one source, several end to end, or shares.
    pub fn mix(&self, name: &str) -> Result<Mix<PathBuf>> {
        let values = match self.take(name)? {
            Value::List(values) => values,
            one => vec![one],
        };
        let shares = values.iter().map(|value| match value {
            Value::Share { percent, of } => {
                Ok(Some((percent.as_f64(), self.artifact_of(name, of)?)))
            }
            _ => Ok(None),
        });
        let shares = shares.collect::<Result<Option<Vec<_>>>>()?;
        match shares.filter(|shares| !shares.is_empty()) {
            Some(shares) => Ok(Mix::Shares(shares)),
            None => {
                let paths = values.iter().map(|value| self.artifact_of(name, value));
                Ok(Mix::Joined(paths.collect::<Result<_>>()?))
            }
        }
    }
}

/// The two artifacts that an adapter is, used with its base: itself and the base.
pub fn adapter_in(value: &Value) -> Option<[&Value; 2]> {
    match value {
        Value::Record { name: Some(name), fields } if name == WITH_BASE => {
            Some([fields.get("adapter")?, fields.get("base")?])
        }
        _ => None,
    }
}

/// The regular files in a folder, sorted by path; or the file itself.
fn files_below(path: &std::path::Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut open = vec![path.to_path_buf()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            // What a stage made is shown as links into the store.
            let path = entry?.path();
            match path.is_dir() {
                true => open.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}
