//! What one model shows on one task, kept for other evaluations: with one more model or task only
//! the new cells are asked. Knows findings and their keys; does not know how they came about.

use super::finding::Finding;
use crate::train::progress::Context;

/// Names this encoding: another encoding is another domain, so their keys never meet.
const DOMAIN: &str = "llamake 2026 cell of an evaluation, encoding 1";

/// Models and tasks by all that decides on what is found, whatever they are called: the stage kind
/// with its version, parameters, and the contents of models and data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identities {
    pub models: Vec<[u8; 32]>,
    pub tasks: Vec<[u8; 32]>,
}

/// What every cell of an evaluation depends on besides.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub limit: Option<u64>,
    pub seed: u64,
}

impl Identities {
    /// The key of a cell: equal keys promise equal findings.
    pub fn key(&self, model: usize, task: usize, setting: Setting) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(&self.models[model]).update(&self.tasks[task]);
        hasher.update(&[u8::from(setting.limit.is_some())]);
        for number in [setting.limit.unwrap_or(0), setting.seed] {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// The finding of a cell, where it is known.
pub fn recall(key: &[u8; 32], context: &Context<'_>) -> Option<Finding> {
    serde_json::from_slice(&context.pieces?.get(key)?).ok()
}

/// Keeps the finding of a cell. Where that is not possible the evaluation goes on: only time is
/// lost.
pub fn keep(key: &[u8; 32], finding: &Finding, context: &mut Context<'_>) {
    let Some(pieces) = context.pieces else { return };
    let bytes = serde_json::to_vec(finding).expect("string keys");
    if let Err(why) = pieces.put(key, &bytes) {
        context.progress.notice(&format!("the finding is not kept for other evaluations: {why}"));
    }
}
