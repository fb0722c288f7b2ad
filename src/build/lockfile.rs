//! `NAME.lock`: what a recipe's stages were made from and what came out, pinned by digest. Knows
//! the text of the file and how a plan departs from it; does not run anything.
//!
//! One sorted block a stage, so that merges are local; nothing of time, host or version. A block
//! holds every parameter as a literal, so the lock alone is enough to plan from. `check` is a
//! digest of the block itself: an edit by hand is seen before anything runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::digest::Digest;
use super::executor::{Executor, Failure};
use super::failures::io_failure;
use super::key::ActionKey;
use super::literal;
use super::plan::Plan;
use super::report::{ActionReport, RunReport};
use crate::lang::source::{Place, Source};
use crate::lang::types::Type;
use crate::lang::value::{Module, PathValue, Stage, StageId, Value};

/// The version of the text below.
const VERSION: u32 = 1;

const HEADING: &str = "# What llamake built, from what. `llamake reproduce` rebuilds it from this \
file alone.\n# Commit it beside the recipe; do not edit it.\n";

/// A lockfile that was read, or is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// Where it lies; paths inside are relative to its folder.
    pub path: PathBuf,
    /// The library's and imported files' digests.
    pub files: BTreeMap<String, Digest>,
    pub stages: BTreeMap<String, LockedStage>,
}

/// A stage as it was built.
#[derive(Clone, Debug, PartialEq)]
pub struct LockedStage {
    pub kind: String,
    pub version: u32,
    pub key: ActionKey,
    /// Literals, see [`literal`].
    pub params: BTreeMap<String, String>,
    /// `stage.port`, sorted.
    pub inputs: Vec<String>,
    /// What each path parameter held.
    pub sources: BTreeMap<String, Digest>,
    pub outputs: BTreeMap<String, Digest>,
    pub metrics: BTreeMap<String, f64>,
    /// The digest of the block as the file states it.
    pub check: String,
    pub place: Place,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    version: Spanned<u32>,
    #[serde(default)]
    files: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    stage: BTreeMap<String, RawStage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStage {
    kind: Spanned<String>,
    key: Spanned<String>,
    #[serde(default)]
    inputs: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    sources: BTreeMap<String, Spanned<String>>,
    outputs: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
    check: String,
}

impl Lock {
    /// Reads a lockfile; a fault names its line.
    pub fn read(path: &Path) -> Result<Lock, Failure> {
        let text = fs::read(path).map_err(|error| io_failure("read", path, &error))?;
        let text = String::from_utf8(text)
            .map_err(|_| broken(&format!("lockfile `{}` is not UTF-8 text", path.display())))?;
        Lock::parse(path, &text)
    }

    /// The same of one that need not be there: what a first build, or none, has left.
    pub fn read_if_any(path: &Path) -> Result<Option<Lock>, Failure> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.len() > 0 => Lock::read(path).map(Some),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_failure("read", path, &error)),
        }
    }

    /// The lock that a text holds.
    pub fn parse(path: &Path, text: &str) -> Result<Lock, Failure> {
        let reader = LockReader { source: Source::new(path.display().to_string(), text) };
        let raw: RawLock = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reader.wrong(at, error.message().lines().next().unwrap_or("it is no TOML"))
        })?;
        if *raw.version.get_ref() != VERSION {
            let found = raw.version.get_ref();
            return Err(
                reader.wrong(raw.version.span().start, &format!("version {found} is unknown"))
            );
        }
        let mut stages = BTreeMap::new();
        for (name, stage) in raw.stage {
            stages.insert(name, reader.stage(stage)?);
        }
        let files = reader.digests(raw.files)?;
        Ok(Lock { path: path.to_path_buf(), files, stages })
    }

    /// The whole text, which depends on nothing but what is locked.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADING}version = {VERSION}\n");
        if !self.files.is_empty() {
            text.push_str("\n[files]\n");
            for (path, digest) in &self.files {
                line(&mut text, &key(path), &basic(&digest.to_string()));
            }
        }
        for (name, stage) in &self.stages {
            text.push_str(&block(name, stage));
            line(&mut text, "check", &basic(&stage.check));
        }
        text
    }

    /// Where the paths inside are relative to, as [`PathValue`] spells it.
    fn folder(&self) -> String {
        self.path.parent().map_or(String::new(), |folder| folder.to_string_lossy().into_owned())
    }

    /// The stages as a module to plan from; every stage is wanted.
    pub fn module(&self) -> Result<Module, Failure> {
        let ids: BTreeMap<&str, StageId> =
            self.stages.keys().map(String::as_str).zip((0..).map(StageId)).collect();
        let folder = self.folder();
        let mut stages = Vec::with_capacity(self.stages.len());
        for (name, locked) in &self.stages {
            let mut params = BTreeMap::new();
            for (param, text) in &locked.params {
                let value = literal::read(text, &|stage| ids.get(stage).copied(), &folder);
                let value = value.map_err(|what| {
                    broken(&format!("{}: parameter `{param}` of `{name}`: {what}", locked.place))
                })?;
                params.insert(param.clone(), value);
            }
            stages.push(Stage {
                id: ids[name.as_str()],
                name: name.clone(),
                kind: locked.kind.clone(),
                params,
                places: BTreeMap::new(),
                place: locked.place.clone(),
                ports: locked.outputs.keys().map(|port| (port.clone(), Type::Unknown)).collect(),
            });
        }
        Ok(Module { stages, ..Module::default() })
    }

    /// How outputs differ from the locked ones of a stage; one sentence each.
    pub fn output_drift(&self, stage: &str, outputs: &BTreeMap<String, Digest>) -> Vec<String> {
        let Some(locked) = self.stages.get(stage) else { return Vec::new() };
        let differs = |(port, digest): (&String, &Digest)| {
            let expected = locked.outputs.get(port).filter(|expected| *expected != digest)?;
            let (expected, got) = (expected.short(), digest.short());
            Some(format!("stage `{stage}` made another `{port}`: {got}, locked is {expected}"))
        };
        outputs.iter().filter_map(differs).collect()
    }

    /// How a plan, and the files it reads, depart from the lock; one sentence each.
    pub fn drift(
        &self,
        plan: &Plan,
        store: &super::store::Store,
        executor: &dyn Executor,
    ) -> Vec<String> {
        let mut drift: Vec<String> = super::reproduce::edited(self, executor)
            .into_iter()
            .map(|(stage, what)| format!("stage `{stage}` of the lock {what}"))
            .collect();
        let files = locked_files(&self.path, plan);
        for (path, digest) in &files {
            if self.files.get(path) != Some(digest) {
                drift.push(format!("file `{path}` is not the one that was locked"));
            }
        }
        for planned in &plan.stages {
            let action = plan.action(planned.action);
            match self.stages.get(&planned.name) {
                None => drift.push(format!("stage `{}` is not in the lock", planned.name)),
                Some(locked) => {
                    let outside = executor.keyed(action).outside;
                    drift.extend(self.stage_drift(&planned.name, action, locked, outside, store))
                }
            }
        }
        for name in self.stages.keys().filter(|name| !plan.known_stages.contains(*name)) {
            drift.push(format!("stage `{name}` is locked, but no longer in the recipe"));
        }
        drift
    }

    fn stage_drift(
        &self,
        name: &str,
        action: &super::action::Action,
        locked: &LockedStage,
        outside: &[&str],
        store: &super::store::Store,
    ) -> Vec<String> {
        let (kind, then) = (
            format!("{}@{}", action.kind, action.version),
            format!("{}@{}", locked.kind, locked.version),
        );
        if kind != then {
            return vec![format!("stage `{name}` is of kind {kind}, locked is {then}")];
        }
        let now = param_texts(action, &self.path);
        let mut names: Vec<&String> = now.keys().chain(locked.params.keys()).collect();
        names.sort();
        names.dedup();
        let absent = "absent".to_string();
        let mut drift = Vec::new();
        for param in names {
            let (old, new) = (locked.params.get(param), now.get(param));
            // A parameter that the lock is older than, and that decides on no bit.
            let is_younger = old.is_none() && outside.contains(&param.as_str());
            if old != new && !is_younger {
                let place = action.places.get(param).unwrap_or(&action.place);
                let (old, new) = (old.unwrap_or(&absent), new.unwrap_or(&absent));
                drift.push(format!("`{param}` of `{name}` is {new} at {place}, locked is {old}"));
            }
        }
        drift.extend(source_drift(action, &self.path, locked, store));
        drift
    }
}

/// How the files an action reads differ from the locked ones; one sentence each.
pub fn source_drift(
    action: &super::action::Action,
    lock: &Path,
    locked: &LockedStage,
    store: &super::store::Store,
) -> Vec<String> {
    let mut drift = Vec::new();
    for (path, place) in super::sources::paths_of(action) {
        let name = path_text(lock, path);
        match super::examine::bind_source(store, path, place) {
            Err(failure) => drift.push(failure.message),
            Ok(source) if locked.sources.get(&name) == Some(&source.digest) => {}
            Ok(source) => {
                let then = locked.sources.get(&name).map_or("nothing".to_string(), Digest::short);
                let now = source.digest.short();
                drift.push(format!("file `{name}` holds {now}, locked is {then}"));
            }
        }
    }
    drift
}

/// Writes what a build made into its lockfile, leaving the blocks of stages it did not touch;
/// stages that left the recipe drop out. True if the file changed.
pub fn update_lock(path: &Path, plan: &Plan, report: &RunReport) -> Result<bool, Failure> {
    let mut lock =
        Lock { path: path.to_path_buf(), files: locked_files(path, plan), stages: BTreeMap::new() };
    for planned in &plan.stages {
        let Some(action) = report.actions.get(planned.action.0 as usize) else { continue };
        if let Some(stage) = locked_stage(path, plan, &planned.name, action) {
            lock.stages.insert(planned.name.clone(), stage);
        }
    }
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(io_failure("read", path, &error)),
    };
    if before == lock.text() || (before.is_empty() && lock.stages.is_empty()) {
        return Ok(false);
    }
    if !before.is_empty() {
        for (name, stage) in Lock::parse(path, &before)?.stages {
            if plan.known_stages.contains(&name) {
                lock.stages.entry(name).or_insert(stage);
            }
        }
    }
    let text = lock.text();
    if before != text {
        replace(path, &text).map_err(|error| io_failure("write", path, &error))?;
    }
    Ok(before != text)
}

/// Temporary file, sync, rename, sync of the folder: never half a lockfile.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The files besides the recipe itself, whose parameters are locked one by one.
fn locked_files(lock: &Path, plan: &Plan) -> BTreeMap<String, Digest> {
    let recipe = lock.with_extension("recipe");
    let folder = lock.parent().unwrap_or(Path::new(""));
    let mut files = BTreeMap::new();
    for (path, digest) in plan.files.iter().filter(|(path, _)| Path::new(path) != recipe) {
        let name = match path.starts_with("std/") {
            true => path.clone(),
            false => relative(folder, Path::new(path)),
        };
        files.insert(name, *digest);
    }
    files
}

fn locked_stage(
    lock: &Path,
    plan: &Plan,
    name: &str,
    report: &ActionReport,
) -> Option<LockedStage> {
    use super::report::BuildState::{Built, Fresh};
    let key = report.key.filter(|_| matches!(report.state, Built | Fresh))?;
    let action = plan.action(report.id);
    let mut inputs = Vec::new();
    for value in action.params.values() {
        super::sources::visit(value, &mut |inner| {
            if let Value::Artifact(artifact) = inner {
                inputs.push(format!("{}.{}", action.input_name(artifact.stage), artifact.port));
            }
        });
    }
    inputs.sort();
    inputs.dedup();
    let sources = report.sources.iter().map(|one| (path_text(lock, &one.path), one.digest));
    let mut stage = LockedStage {
        kind: action.kind.clone(),
        version: action.version,
        key,
        params: param_texts(action, lock),
        inputs,
        sources: sources.collect(),
        outputs: report.outputs.clone(),
        metrics: report.metrics.iter().cloned().collect(),
        check: String::new(),
        place: action.place.clone(),
    };
    stage.check = check(name, &stage);
    Some(stage)
}

fn param_texts(action: &super::action::Action, lock: &Path) -> BTreeMap<String, String> {
    let stage = |stage| action.input_name(stage).to_string();
    let path = |path: &PathValue| path_text(lock, path);
    let text = |value: &Value| literal::write_with(value, &stage, &path);
    action.params.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// What `check` must say of a block.
pub fn check(name: &str, stage: &LockedStage) -> String {
    Digest::of_bytes(block(name, stage).as_bytes()).short()
}

/// A path as the lock spells it: relative to its folder, unless it was written as absolute.
pub fn path_text(lock: &Path, path: &PathValue) -> String {
    let folder = lock.parent().unwrap_or(Path::new(""));
    let target = super::sources::location(path);
    if Path::new(&path.written).is_absolute() || Path::new(&path.folder) == folder {
        return path.written.clone();
    }
    relative(folder, &target)
}

fn relative(folder: &Path, target: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_path_buf());
    let folder = match folder.as_os_str().is_empty() {
        true => absolute(Path::new(".")),
        false => absolute(folder),
    };
    let (folder, target) = (tidy(&folder), tidy(&absolute(target)));
    let shared = folder.iter().zip(&target).take_while(|(one, other)| one == other).count();
    let up = std::iter::repeat_n("..".to_string(), folder.len() - shared);
    up.chain(target[shared..].iter().cloned()).collect::<Vec<_>>().join("/")
}

/// The names along an absolute path, `.` and `..` resolved as text.
fn tidy(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(names.pop()),
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    names
}

fn block(name: &str, stage: &LockedStage) -> String {
    let mut text = format!("\n[stage.{}]\n", key(name));
    line(&mut text, "kind", &basic(&format!("{}@{}", stage.kind, stage.version)));
    line(&mut text, "key", &basic(&stage.key.to_string()));
    if !stage.inputs.is_empty() {
        let names: Vec<String> = stage.inputs.iter().map(|input| basic(input)).collect();
        line(&mut text, "inputs", &format!("[{}]", names.join(", ")));
    }
    for (param, value) in &stage.params {
        line(&mut text, &format!("params.{}", key(param)), &literal_text(value));
    }
    for (path, digest) in &stage.sources {
        line(&mut text, &format!("sources.{}", key(path)), &basic(&digest.to_string()));
    }
    for (port, digest) in &stage.outputs {
        line(&mut text, &format!("outputs.{}", key(port)), &basic(&digest.to_string()));
    }
    for (metric, value) in &stage.metrics {
        line(&mut text, &format!("metrics.{}", key(metric)), &number(*value));
    }
    if stage.outputs.is_empty() {
        line(&mut text, "outputs", "{}");
    }
    text
}

fn line(text: &mut String, key: &str, value: &str) {
    writeln!(text, "{key} = {value}").expect("a string takes all text");
}

fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !name.is_empty() && name.bytes().all(bare) { name.to_string() } else { basic(name) }
}

/// A TOML basic string; JSON's escapes are a part of TOML's, but for DEL, which JSON leaves bare.
fn basic(text: &str) -> String {
    serde_json::Value::String(text.to_string()).to_string().replace('\u{7f}', "\\u007f")
}

/// A string without escapes where that is possible, for readers' sake.
fn literal_text(text: &str) -> String {
    let plain = text.chars().all(|char| char != '\'' && !char.is_control());
    if plain { format!("'{text}'") } else { basic(text) }
}

fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "nan".to_string(),
        _ => format!("{value:?}"),
    }
}

fn broken(message: &str) -> Failure {
    Failure::new(message).remedy("take the file from version control, or delete it and build again")
}

struct LockReader {
    source: Source,
}

impl LockReader {
    fn place(&self, at: usize) -> Place {
        Place { path: self.source.path.clone(), line: self.source.line_column(at as u32).0 }
    }

    fn wrong(&self, at: usize, what: &str) -> Failure {
        broken(&format!("{}: {what}", self.place(at)))
    }

    fn digest(&self, text: &Spanned<String>) -> Result<Digest, Failure> {
        let found = text.get_ref();
        Digest::parse(found).ok_or_else(|| {
            self.wrong(
                text.span().start,
                &format!("`{found}` is no digest of 64 hexadecimal digits"),
            )
        })
    }

    fn digests(
        &self,
        texts: BTreeMap<String, Spanned<String>>,
    ) -> Result<BTreeMap<String, Digest>, Failure> {
        texts.into_iter().map(|(name, text)| Ok((name, self.digest(&text)?))).collect()
    }

    fn stage(&self, raw: RawStage) -> Result<LockedStage, Failure> {
        let at = raw.kind.span().start;
        let kind = raw.kind.get_ref().rsplit_once('@');
        let kind = kind.and_then(|(kind, version)| Some((kind.to_string(), version.parse().ok()?)));
        let (kind, version) = kind.ok_or_else(|| {
            self.wrong(at, &format!("`{}` is no kind@version", raw.kind.get_ref()))
        })?;
        // A param is checked here, so that a broken one is named with its line.
        for (name, text) in &raw.params {
            literal::read(text.get_ref(), &|_| Some(StageId(0)), "").map_err(|what| {
                self.wrong(text.span().start, &format!("parameter `{name}`: {what}"))
            })?;
        }
        let params = raw.params.into_iter();
        Ok(LockedStage {
            kind,
            version,
            key: ActionKey(self.digest(&raw.key)?),
            params: params.map(|(name, text)| (name, text.into_inner())).collect(),
            inputs: raw.inputs,
            sources: self.digests(raw.sources)?,
            outputs: self.digests(raw.outputs)?,
            metrics: raw.metrics,
            check: raw.check,
            place: self.place(at),
        })
    }
}
