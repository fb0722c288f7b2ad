//! Reading what users have, as a recipe says it: every format and shape, every mistake named with
//! its place.

mod bombs;
mod dialogues;
mod formats;
#[cfg(feature = "parquet")]
mod parquet;
mod preferences;
mod real;
mod tables;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use llamake::build::executor::Job;
use llamake::build::key::Contents;
use llamake::exec::work::Work;
use llamake::train::progress::{Context, Failure};

use super::{Silent, file, told};
use crate::exec::planned;

/// What a stage made of a file: its rows as they are written, its figures, and what it said.
#[derive(Debug)]
pub struct Read {
    pub rows: String,
    pub metrics: BTreeMap<String, f64>,
    pub log: Vec<String>,
}

/// Runs `kind { files: …, fields }` on a file.
pub fn read(path: &Path, kind: &str, fields: &str) -> Result<Read, Failure> {
    let library = if fields.contains("shapes.") { "use std/shapes\n" } else { "" };
    let name = path.file_name().unwrap().to_str().unwrap();
    let plan = planned(&format!(
        "{library}stage it = {kind} {{ files: {name:?}, {fields} }}\noutput it\n"
    ));
    let files = BTreeMap::from([(("".into(), name.to_string()), vec![path.to_path_buf()])]);
    let out = tempfile::tempdir().unwrap();
    let work = Work::decode(&Job {
        action: &plan.actions[0],
        artifacts: &BTreeMap::new(),
        files: &files,
        contents: &Contents::default(),
        pieces: None,
        out: out.path(),
        attempt: out.path(),
        threads: 1,
        gpus: &[],
        cancel: &AtomicBool::new(false),
    });
    let mut progress = Silent::default();
    let mut context = Context::new(1, out.path().into(), &mut progress);
    let metrics = work.unwrap().run(OsStr::new(""), &mut context)?;
    let rows = std::fs::read_to_string(out.path().join("out")).unwrap();
    Ok(Read { rows, metrics: metrics.into_iter().collect(), log: progress.log })
}

/// The rows made of these bytes.
pub fn rows(name: &str, bytes: impl AsRef<[u8]>, kind: &str, fields: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    match read(&file(folder.path(), name, bytes), kind, fields) {
        Ok(read) => read.rows,
        Err(failure) => panic!("{}", told(failure, folder.path())),
    }
}

/// What is said of bytes that are not read.
pub fn refused(name: &str, bytes: impl AsRef<[u8]>, kind: &str, fields: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), name, bytes);
    told(read(&path, kind, fields).unwrap_err(), folder.path())
}

/// The values of a field of each row.
pub fn field(rows: &str, name: &str) -> Vec<String> {
    let value = |row: &str| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        row[name].as_str().map_or(row[name].to_string(), str::to_owned)
    };
    rows.lines().map(value).collect()
}

/// Dialogues and prompts in short: `user: Hi / assistant: Hello`.
pub fn said(rows: &str, name: &str) -> Vec<String> {
    let turn = |turn: &serde_json::Value| {
        format!("{}: {}", turn["role"].as_str().unwrap(), turn["content"].as_str().unwrap())
    };
    let row = |row: &str| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        row[name].as_array().unwrap().iter().map(turn).collect::<Vec<_>>().join(" / ")
    };
    rows.lines().map(row).collect()
}

pub fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

pub fn zst(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(bytes.as_ref(), 3).unwrap()
}
