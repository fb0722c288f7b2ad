//! The bridge: the library's signatures and what is decoded from them list the same fields.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use llamake::build::action::Action;
use llamake::build::executor::{Executor, Job};
use llamake::build::plan::{Plan, plan};
use llamake::exec::Local;
use llamake::exec::inspect::subjects;
use llamake::exec::work::{KINDS, Work};
use llamake::lang::compile;
use llamake::lang::source::{Source, Sources};
use llamake::lang::value::{Artifact, PathValue, Value};
use llamake::train::data::hub::Hub;
use llamake::train::kernels::Isa;

/// An executor that nothing is asked to run on.
pub fn local() -> Local {
    let (isa, checkpoint_every) = (Isa::Portable, Duration::ZERO);
    Local { search_path: "".into(), isa, checkpoint_every, hub: Hub::none() }
}

pub fn planned(text: &str) -> Plan {
    let mut sources = Sources::default();
    let root = sources.add(Source::new("every_kind.recipe", text));
    let (module, faults) = compile(&mut sources, root, &[]);
    assert!(faults.is_empty(), "{faults:?}");
    plan(&module, &[], &local()).unwrap()
}

/// Every artifact and path inside a value.
fn inputs<'a>(value: &'a Value, artifacts: &mut Vec<&'a Artifact>, paths: &mut Vec<&'a PathValue>) {
    match value {
        Value::Artifact(artifact) => artifacts.push(artifact),
        Value::Path(path) => paths.push(path),
        Value::List(values) => values.iter().for_each(|value| inputs(value, artifacts, paths)),
        Value::Record { fields, .. } => {
            fields.values().for_each(|value| inputs(value, artifacts, paths));
        }
        Value::Share { of, .. } => inputs(of, artifacts, paths),
        _ => {}
    }
}

fn decoded(action: &Action) -> anyhow::Result<Work> {
    let (mut artifacts, mut paths) = (Vec::new(), Vec::new());
    action.params.values().for_each(|value| inputs(value, &mut artifacts, &mut paths));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = |artifact: &&Artifact| {
        let name = action.input_name(artifact.stage).to_string();
        ((name, artifact.port.clone()), folder.join("Cargo.toml"))
    };
    let artifacts = artifacts.iter().map(place).collect::<BTreeMap<_, _>>();
    let place = |path: &&PathValue| {
        let key = (path.folder.clone(), path.written.clone());
        (key, vec![PathBuf::from(&path.written)])
    };
    let files = paths.iter().map(place).collect::<BTreeMap<_, _>>();
    let cancel = AtomicBool::new(false);
    Work::decode(&Job {
        action,
        artifacts: &artifacts,
        files: &files,
        out: folder,
        attempt: folder,
        threads: 1,
        cancel: &cancel,
    })
}

#[test]
fn every_field_of_every_kind_is_read_once() {
    let plan = planned(include_str!("every_kind.recipe"));
    for action in &plan.actions {
        decoded(action).unwrap_or_else(|error| panic!("`{}`: {error:#}", action.name));
        for name in action.params.keys() {
            let mut short = action.clone();
            short.params.remove(name);
            assert!(decoded(&short).is_err(), "nothing reads `{name}` of `{}`", action.kind);
        }
        let mut long = action.clone();
        long.params.insert("surplus".into(), Value::Int(1));
        let error = decoded(&long).unwrap_err().to_string();
        assert!(error.contains("`surplus`"), "{error}");
    }
    let tried = plan.actions.iter().map(|action| action.kind.as_str()).collect::<BTreeSet<_>>();
    let known = KINDS.iter().map(|kind| kind.name).collect::<BTreeSet<_>>();
    assert_eq!(tried, known);
}

/// Functions of the library that make plain values.
const FUNCTIONS: [&str; 2] = ["is_rated", "swiglu_width"];

#[test]
fn every_signature_of_the_library_can_be_run() {
    let executor = local();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_string();
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let Some(rest) = line.strip_prefix("fn ") else { continue };
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            let full =
                if module == "smallworld" { format!("{module}.{name}") } else { name.into() };
            let known = executor.version(&full).is_some() || FUNCTIONS.contains(&name);
            assert!(known, "std/{module} declares `{name}`, which nothing runs");
            found += 1;
        }
    }
    assert_eq!(found, KINDS.len() + FUNCTIONS.len());
}

#[test]
fn the_data_of_every_kind_that_trains_is_found() {
    let plan = planned(include_str!("every_kind.recipe"));
    let found = subjects(&plan).unwrap();
    let kinds = found.iter().map(|subject| plan.action(subject.stage).kind.as_str());
    let kinds = kinds.collect::<BTreeSet<_>>();
    let trains = KINDS.iter().filter(|kind| kind.keyed.outside.contains(&"micro_batch"));
    assert_eq!(kinds, trains.map(|kind| kind.name).collect());
    assert!(found.iter().all(|subject| !subject.data.is_empty()), "{found:?}");
}
