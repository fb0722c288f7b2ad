//! `safety_gate`: two reward models as one judge, which listens to the safety model on prompts of
//! safety and wherever that one finds an answer unsafe. Llama 2, section 3.2.3. Knows folders; what
//! a gate decides is `train::model::judge`.

use std::fs;
use std::path::Path;

use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::ModelPath;
use crate::train::model::judge::{BASE, GATE, Gate, MEMBERS};
use crate::train::progress::{Context, Failure, Metrics};

/// The parameters of `safety_gate`; artifacts are the paths where they lie.
#[derive(Clone, Debug, PartialEq)]
pub struct SafetyGate {
    pub helpful: ModelPath,
    pub safe: ModelPath,
    pub gate: Gate,
}

/// Writes the gate with its two models at port `out`.
pub fn run(params: &SafetyGate, context: &mut Context<'_>) -> Result<Metrics, Failure> {
    let out = context.out.join("out");
    let [helpful, safe] = [&params.helpful, &params.safe];
    for member in [helpful, safe] {
        if member.base.join(GATE).is_file() {
            let place = member.base.display();
            return Err(Failure::input(format!("`{place}` is a gate already"))
                .remedy("give the reward models themselves"));
        }
    }
    let [ours, theirs] = [helpful, safe].map(|member| Tokenizer::load(member.dress()));
    if ours?.identity() != theirs?.identity() {
        return Err(Failure::input("the two reward models read other tokens"));
    }
    for (name, ModelPath { base, adapter }) in MEMBERS.iter().zip([helpful, safe]) {
        let to = out.join(name);
        match adapter {
            None => copy(base, &to)?,
            Some(adapter) => {
                copy(adapter, &to)?;
                copy(base, &to.join(BASE))?;
            }
        }
    }
    let path = out.join(GATE);
    let text = serde_json::to_string_pretty(&params.gate).expect("numbers only") + "\n";
    fs::write(&path, text).map_err(Failure::io(&path))?;
    Ok(vec![("below".into(), params.gate.below)])
}

/// Copies the files of a model's folder.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to).map_err(Failure::io(to))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(Failure::io(from))? {
        names.push(entry.map_err(Failure::io(from))?.file_name());
    }
    names.sort();
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        let mut source = fs::File::open(&from).map_err(Failure::io(&from))?;
        // Not `fs::copy`, which takes a store's write protection along.
        let mut copy = fs::File::create_new(&to).map_err(Failure::io(&to))?;
        std::io::copy(&mut source, &mut copy).map_err(Failure::io(&to))?;
    }
    Ok(())
}
