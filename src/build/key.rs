//! The key of an action: what must be equal for a result to be used again. Knows which facts count
//! and how they are written down; does not know where results are kept, nor how content is read.
//!
//! | fact | in the key | why |
//! |---|---|---|
//! | kind and its semantic version | yes | they say what is done; the version moves with the bits |
//! | every parameter, defaults included | yes | so that a changed default is a changed stage |
//! | parameters of [`Keyed::outside`] | no | they cannot change the bits (`micro_batch`) |
//! | the seed and the numerics class | yes | they are parameters like others |
//! | an input artifact | its content digest | so that equal bytes upstream cut the rebuild off |
//! | a file, folder or glob | content digests and names | a name tells the format |
//! | an input's static type and facts | no | they are never shown to the executor either |
//! | names of stages, lets and params | no | renaming changes no bits |
//! | names of inputs | where [`Keyed::input_names`] | a report calls models by their names |
//! | comments, formatting, places | no | the same |
//! | absolute paths, times, modes of files | no | the same |
//! | device, threads, jobs, host, log settings | no | a result belongs to every machine |
//! | llamake's own version | no | kinds have versions of their own |
//!
//! Encoding: each fact is a tag byte, a length in 8 bytes (little-endian) and that many bytes.
//! Floats are their IEEE bits, with −0 written as 0; quantities are millionths as integers;
//! records are sorted by field. One walk writes the key and its explanation: [`KeyHasher`] and
//! [`KeyExplainer`] hear the same calls.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::digest::Digest;
use super::executor::Keyed;
use super::literal;
use crate::lang::value::{Artifact, PathValue, StageId, Unit, Value};

/// Names this encoding: another encoding is another domain, so their keys never meet.
const DOMAIN: &str = "llamake 2026 action key, encoding 1";
/// The same for a part of an action.
const PART_DOMAIN: &str = "llamake 2026 part of an action, encoding 1";

/// The identity of a piece of work: equal keys promise equal bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionKey(pub Digest);

impl fmt::Display for ActionKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What the artifacts and paths inside an action's parameters hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub artifacts: BTreeMap<(StageId, String), Digest>,
    pub paths: BTreeMap<(String, String), Digest>,
}

impl Contents {
    fn artifact(&self, artifact: &Artifact) -> Digest {
        self.artifacts[&(artifact.stage, artifact.port.clone())]
    }

    fn path(&self, path: &PathValue) -> Digest {
        self.paths[&(path.folder.clone(), path.written.clone())]
    }
}

/// What sort of thing follows; the byte is part of the encoding and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    Kind = 1,
    Field = 2,
    None = 3,
    Bool = 4,
    Int = 5,
    Float = 6,
    Text = 7,
    Path = 8,
    Quantity = 9,
    List = 10,
    Record = 11,
    Share = 12,
    Artifact = 13,
}

/// Hears the facts of a key in canonical order.
pub trait KeyWriter {
    /// The facts until `leave` belong to this parameter, field or element.
    fn enter(&mut self, field: &str);

    /// The innermost field ends.
    fn leave(&mut self);

    /// One fact: its bytes for the key, and the same for people.
    fn fact(&mut self, tag: Tag, bytes: &[u8], fact: &dyn Fn() -> Fact);

    /// `length` fields follow; `name` is a record's.
    fn group(&mut self, tag: Tag, name: &str, length: usize);
}

/// A fact in the user's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// `sft@1`
    Kind(String),
    Value(String),
    /// Stage and port, and the digest of what they hold.
    Input(String, String),
    /// A path as written, and the digest of what it names.
    File(String, String),
}

/// One fact of an explained key: `lr`, `schedule.warmup`, `data[1]`; empty for the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub path: String,
    pub fact: Fact,
}

/// The key of an action whose inputs are known.
pub fn action_key(action: &Action, keyed: Keyed, contents: &Contents) -> ActionKey {
    let mut hasher = KeyHasher::new(DOMAIN);
    write_key(action, keyed, contents, &mut hasher);
    ActionKey(hasher.finish())
}

/// The identity of what an action does with one value alone, whatever its other parameters are: the
/// kind, its version and the value, by the same walk. Names of inputs are left out.
pub fn part_key(action: &Action, value: &Value, contents: &Contents) -> Digest {
    let mut hasher = KeyHasher::new(PART_DOMAIN);
    write_kind(action, &mut hasher);
    Walk { action, input_names: false, contents }.value(value, &mut hasher);
    hasher.finish()
}

/// The same walk as [`action_key`], told to people.
pub fn explain_key(action: &Action, keyed: Keyed, contents: &Contents) -> Vec<Part> {
    let mut explainer = KeyExplainer::default();
    write_key(action, keyed, contents, &mut explainer);
    explainer.parts
}

/// Walks every fact of an action in canonical order.
pub fn write_key(action: &Action, keyed: Keyed, contents: &Contents, writer: &mut dyn KeyWriter) {
    write_kind(action, writer);
    let walk = Walk { action, input_names: keyed.input_names, contents };
    for (name, value) in &action.params {
        if !keyed.outside.contains(&name.as_str()) {
            walk.field(name, value, writer);
        }
    }
}

fn write_kind(action: &Action, writer: &mut dyn KeyWriter) {
    let kind = format!("{}@{}", action.kind, action.version);
    writer.fact(Tag::Kind, kind.as_bytes(), &|| Fact::Kind(kind.clone()));
}

struct Walk<'a> {
    action: &'a Action,
    input_names: bool,
    contents: &'a Contents,
}

impl Walk<'_> {
    fn field(&self, name: &str, value: &Value, writer: &mut dyn KeyWriter) {
        writer.enter(name);
        self.value(value, writer);
        writer.leave();
    }

    fn value(&self, value: &Value, writer: &mut dyn KeyWriter) {
        let shown = || Fact::Value(literal::write(value));
        match value {
            Value::None => writer.fact(Tag::None, &[], &shown),
            Value::Bool(bool) => writer.fact(Tag::Bool, &[u8::from(*bool)], &shown),
            Value::Int(int) => writer.fact(Tag::Int, &int.to_le_bytes(), &shown),
            Value::Float(float) => writer.fact(Tag::Float, &float_bytes(*float), &shown),
            Value::Text(text) => writer.fact(Tag::Text, text.as_bytes(), &shown),
            Value::Quantity(quantity) => {
                let bytes = quantity_bytes(quantity.unit, quantity.millionths);
                writer.fact(Tag::Quantity, &bytes, &shown);
            }
            Value::Path(path) => self.path(path, writer),
            Value::Artifact(artifact) => self.artifact(artifact, writer),
            Value::List(items) => self.list(items, writer),
            Value::Record { name, fields } => {
                self.record(name.as_deref().unwrap_or(""), fields, writer);
            }
            Value::Share { percent, of } => {
                writer.group(Tag::Share, "", 2);
                self.field("percent", &Value::Quantity(*percent), writer);
                self.field("of", of, writer);
            }
        }
    }

    fn list(&self, items: &[Value], writer: &mut dyn KeyWriter) {
        writer.group(Tag::List, "", items.len());
        for (at, item) in items.iter().enumerate() {
            self.field(&format!("[{at}]"), item, writer);
        }
    }

    fn record(&self, name: &str, fields: &BTreeMap<String, Value>, writer: &mut dyn KeyWriter) {
        writer.group(Tag::Record, name, fields.len());
        for (name, value) in fields {
            self.field(name, value, writer);
        }
    }

    fn artifact(&self, artifact: &Artifact, writer: &mut dyn KeyWriter) {
        let digest = self.contents.artifact(artifact);
        let name = || format!("{}.{}", self.action.input_name(artifact.stage), artifact.port);
        writer.fact(Tag::Artifact, digest.as_bytes(), &|| Fact::Input(name(), digest.to_string()));
        if self.input_names {
            self.field("name", &Value::Text(name()), writer);
        }
    }

    fn path(&self, path: &PathValue, writer: &mut dyn KeyWriter) {
        let digest = self.contents.path(path);
        writer.fact(Tag::Path, digest.as_bytes(), &|| {
            Fact::File(path.written.clone(), digest.to_string())
        });
    }
}

fn float_bytes(float: f64) -> [u8; 8] {
    let canonical = match float {
        _ if float == 0.0 => 0.0,
        _ if float.is_nan() => f64::NAN,
        _ => float,
    };
    canonical.to_bits().to_le_bytes()
}

fn quantity_bytes(unit: Unit, millionths: i128) -> Vec<u8> {
    let mut bytes = millionths.to_le_bytes().to_vec();
    bytes.extend_from_slice(literal::unit_word(unit).as_bytes());
    bytes
}

/// Turns the facts into the key.
pub struct KeyHasher {
    hasher: blake3::Hasher,
}

impl KeyHasher {
    fn new(domain: &str) -> KeyHasher {
        KeyHasher { hasher: blake3::Hasher::new_derive_key(domain) }
    }

    fn write(&mut self, tag: Tag, bytes: &[u8]) {
        self.hasher.update(&[tag as u8]);
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn finish(self) -> Digest {
        Digest::of_hasher(&self.hasher)
    }
}

impl KeyWriter for KeyHasher {
    fn enter(&mut self, field: &str) {
        self.write(Tag::Field, field.as_bytes());
    }

    fn leave(&mut self) {}

    fn fact(&mut self, tag: Tag, bytes: &[u8], _: &dyn Fn() -> Fact) {
        self.write(tag, bytes);
    }

    fn group(&mut self, tag: Tag, name: &str, length: usize) {
        self.write(tag, name.as_bytes());
        self.hasher.update(&(length as u64).to_le_bytes());
    }
}

/// Turns the facts into named parts.
#[derive(Default)]
pub struct KeyExplainer {
    path: Vec<String>,
    parts: Vec<Part>,
}

impl KeyExplainer {
    fn here(&self) -> String {
        let mut here = String::new();
        for step in &self.path {
            if !here.is_empty() && !step.starts_with('[') {
                here.push('.');
            }
            here.push_str(step);
        }
        here
    }
}

impl KeyWriter for KeyExplainer {
    fn enter(&mut self, field: &str) {
        self.path.push(field.to_string());
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn fact(&mut self, _: Tag, _: &[u8], fact: &dyn Fn() -> Fact) {
        let path = self.here();
        self.parts.push(Part { path, fact: fact() });
    }

    fn group(&mut self, tag: Tag, name: &str, length: usize) {
        let shown = match tag {
            Tag::Record if !name.is_empty() => format!("{name} {{…}}"),
            Tag::List => format!("a list of {length}"),
            _ => return,
        };
        let path = self.here();
        self.parts.push(Part { path, fact: Fact::Value(shown) });
    }
}
