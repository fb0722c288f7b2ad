//! The bridge: the library's signatures and what is decoded from them list the same fields.

mod gpus;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use llamake::build::action::Action;
use llamake::build::digest::Digest;
use llamake::build::executor::{Executor, Job};
use llamake::build::key::Contents;
use llamake::build::plan::{Plan, plan};
use llamake::exec::Local;
use llamake::exec::inspect::subjects;
use llamake::exec::ledger::{Cost, cost};
use llamake::exec::needs::Shapes;
use llamake::exec::work::{KINDS, Work};
use llamake::lang::compile;
use llamake::lang::source::{Source, Sources};
use llamake::lang::value::{Artifact, PathValue, Value};
use llamake::train::data::hub::Hub;
use llamake::train::kernels::Isa;
use llamake::train::stage::ledger::MemoryLedger;

/// An executor that nothing is asked to run on.
pub fn local() -> Local {
    let (isa, checkpoint_every) = (Isa::Portable, Duration::ZERO);
    Local {
        search_path: "".into(),
        isa,
        checkpoint_every,
        hub: Hub::none(),
        untrusted: None,
        bytes: BTreeMap::new(),
        open: llamake::train::kernels::cuda::open,
    }
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

/// Every artifact and path holds something else.
fn contents(params: &BTreeMap<String, Value>) -> Contents {
    let (mut artifacts, mut paths) = (Vec::new(), Vec::new());
    params.values().for_each(|value| inputs(value, &mut artifacts, &mut paths));
    let artifacts = artifacts.into_iter().map(|artifact| {
        let place = (artifact.stage, artifact.port.clone());
        let digest = Digest::of_bytes(format!("{place:?}").as_bytes());
        (place, digest)
    });
    let paths = paths.into_iter().map(|path| {
        let place = (path.folder.clone(), path.written.clone());
        let digest = Digest::of_bytes(path.written.as_bytes());
        (place, digest)
    });
    Contents { artifacts: artifacts.collect(), paths: paths.collect() }
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
    let contents = contents(&action.params);
    let cancel = AtomicBool::new(false);
    Work::decode(&Job {
        action,
        artifacts: &artifacts,
        files: &files,
        contents: &contents,
        pieces: None,
        out: folder,
        attempt: folder,
        threads: 1,
        gpus: &[],
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
            // What locks may be older than is read where it is there.
            match name.as_str() {
                "optimizer_in_backward" => short.params.insert(name.clone(), Value::Int(1)),
                _ => short.params.remove(name),
            };
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

/// Functions of the library that make plain values, or stages of other kinds.
const FUNCTIONS: [&str; 3] = ["is_rated", "qlora", "swiglu_width"];

#[test]
fn every_signature_of_the_library_can_be_run() {
    let executor = local();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_string();
        if ["exams", "tasks", "truthfulqa"].contains(&module.as_str()) {
            // Functions with bodies.
            continue;
        }
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

fn cost_of(name: &str) -> Cost {
    let text = include_str!("../lang/fixtures/bottle.recipe");
    let mut sources = Sources::default();
    let root = sources.add(Source::new("bottle.recipe", text));
    let (module, faults) = compile(&mut sources, root, &[]);
    assert!(faults.is_empty(), "{faults:?}");
    let stage = module.stages.iter().find(|stage| stage.name == name).unwrap();
    cost(&Shapes::of(&module), stage).unwrap()
}

/// A pair is a row of two texts, and the head of a reward model one number.
#[test]
fn a_reward_model_costs_rows_of_two_texts() {
    let (chat, helpful) = (cost_of("chat"), cost_of("helpful"));
    assert_eq!(helpful.course, "steps of 32 pairs until the epochs are over");
    assert_eq!(chat.parameters - helpful.parameters, 1023 * 128);
    assert_eq!(chat.memory.activations * 2, helpful.memory.activations);
    assert_eq!((helpful.memory.beside, helpful.memory.sampling), (0, 0));
}

/// A policy learns beside what it was and two judges.
#[test]
fn ppo_costs_its_judges_and_its_reference() {
    let (chat, helpful, ppo) = (cost_of("chat"), cost_of("helpful"), cost_of("round1/ppo"));
    assert_eq!(ppo.course, "20 iterations of 64 prompts, 16 a step");
    assert_eq!(ppo.parameters, chat.parameters + 128);
    assert_eq!(ppo.memory.beside, 4 * (chat.parameters + 2 * helpful.parameters));
    assert_eq!(ppo.memory.activations, chat.memory.activations);
    // Keys and values of 64 texts of 256 tokens: 4 layers, 64 wide.
    assert!(ppo.memory.sampling > 2 * 4 * 4 * 64 * 64 * 256);
    let MemoryLedger { weights, gradients, optimizer, .. } = ppo.memory;
    assert_eq!([gradients, optimizer], [weights, 2 * weights]);
}
