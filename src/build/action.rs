//! One piece of work of a plan: a stage with the version of its kind. Knows parameters as plain
//! values; does not know digests yet.

use std::collections::BTreeMap;

use crate::lang::source::Place;
use crate::lang::value::{StageId, Value};

/// An action as a dense index into the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId(pub u32);

/// A stage ready to be keyed: concrete parameters, named inputs, named results.
#[derive(Clone, Debug)]
pub struct Action {
    pub id: ActionId,
    /// The path people type; never in the key.
    pub name: String,
    pub kind: String,
    pub version: u32,
    /// Every parameter after defaults. Artifacts inside are the inputs from other actions, paths
    /// are the inputs from files.
    pub params: BTreeMap<String, Value>,
    /// The actions whose artifacts appear in `params`, by the stage id those artifacts carry.
    pub inputs: BTreeMap<StageId, String>,
    /// Names of the results, sorted.
    pub ports: Vec<String>,
    pub place: Place,
    pub places: BTreeMap<String, Place>,
}

impl Action {
    /// The name of the action that makes an input.
    pub fn input_name(&self, stage: StageId) -> &str {
        &self.inputs[&stage]
    }
}
