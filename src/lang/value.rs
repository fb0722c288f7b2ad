//! Plain values, and the checked module that other rooms receive. Knows no syntax and no digests.

use std::collections::BTreeMap;

use super::source::Place;
use super::types::Type;

/// What a quantity counts. Different units never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    Tokens,
    Steps,
    Epochs,
    Sequences,
    Pairs,
    Prompts,
    Rows,
    Bytes,
    Duration,
    Percent,
}

/// A number of something, exact: `amount` is in millionths of the unit (of a second for
/// `Duration`, of one percent for `Percent`), so that `0.1%` and `1.5 epochs` are no floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity {
    pub unit: Unit,
    pub millionths: i128,
}

impl Unit {
    /// The unit as a type is written: `Tokens`.
    pub fn type_name(self) -> &'static str {
        match self {
            Unit::Tokens => "Tokens",
            Unit::Steps => "Steps",
            Unit::Epochs => "Epochs",
            Unit::Sequences => "Sequences",
            Unit::Pairs => "Pairs",
            Unit::Prompts => "Prompts",
            Unit::Rows => "Rows",
            Unit::Bytes => "Bytes",
            Unit::Duration => "Duration",
            Unit::Percent => "Percent",
        }
    }

    /// Whether only whole amounts make sense.
    pub fn is_whole(self) -> bool {
        !matches!(self, Unit::Epochs | Unit::Duration | Unit::Percent)
    }
}

impl Quantity {
    pub fn whole(unit: Unit, amount: i64) -> Quantity {
        Quantity { unit, millionths: i128::from(amount) * 1_000_000 }
    }

    /// The amount if it is whole and fits.
    pub fn as_whole(self) -> Option<i64> {
        (self.millionths % 1_000_000 == 0).then(|| (self.millionths / 1_000_000).try_into().ok())?
    }

    pub fn as_f64(self) -> f64 {
        self.millionths as f64 / 1e6
    }
}

/// A path as written, with the folder it is relative to: the folder of the file that wrote it,
/// as that file's own path spells it (`""` for the working folder, `std` inside the library).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathValue {
    pub written: String,
    pub folder: String,
}

/// A value after evaluation. Records keep their fields sorted, so equal values are equal here.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Path(PathValue),
    Quantity(Quantity),
    List(Vec<Value>),
    /// `name` is the declared record's (`cosine`, `architecture`); `None` for a bare `{ … }`.
    Record {
        name: Option<String>,
        fields: BTreeMap<String, Value>,
    },
    Share {
        percent: Quantity,
        of: Box<Value>,
    },
    Artifact(Artifact),
}

/// A stage of a checked module, as a dense index into [`Module::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageId(pub u32);

/// What a stage makes, before it is made: identity is the stage and the port.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub stage: StageId,
    /// The result's name; [`SINGLE_PORT`] where a stage has one result.
    pub port: String,
    pub ty: Type,
}

/// The record that an adapter becomes where a stage uses it: `adapter`, and the `base` it belongs
/// to, so that whoever has one has both.
pub const WITH_BASE: &str = "with_base";

/// The port of a stage that makes one thing.
pub const SINGLE_PORT: &str = "out";

/// A stage with every parameter, defaults included, evaluated.
#[derive(Clone, Debug)]
pub struct Stage {
    pub id: StageId,
    /// The path people type: `chat`, `round2/ppo`; stages of an imported file are `models/llama`.
    pub name: String,
    /// The signature's name, qualified by its module where that is not the prelude:
    /// `pretrain`, `smallworld.generate`.
    pub kind: String,
    pub params: BTreeMap<String, Value>,
    /// Where each parameter got its value: the recipe's line, or the library's for a default.
    pub places: BTreeMap<String, Place>,
    pub place: Place,
    /// Every result with its type; one entry named [`SINGLE_PORT`] unless the result is a record.
    pub ports: Vec<(String, Type)>,
}

/// A result by a name that people type: all ports of a stage, or one.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub name: String,
    pub stage: StageId,
    pub port: Option<String>,
}

/// A recipe that was parsed, resolved, checked and evaluated. `stages` are those of the root
/// file, in order, and those of imported files that something asks for; edges are the artifacts
/// inside their parameters.
#[derive(Clone, Debug, Default)]
pub struct Module {
    pub doc: Vec<String>,
    pub stages: Vec<Stage>,
    pub outputs: Vec<Output>,
    /// Names that stand for results of other stages: uses of functions, and sweeps. A name that
    /// stands for several results has an entry for each.
    pub named: Vec<Output>,
    /// Path and text of every file that was read, the used parts of the library included.
    pub files: Vec<(String, String)>,
}
