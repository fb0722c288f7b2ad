//! Values while they are checked: each remembers the place that wrote it, so that an error can
//! point at its cause. Does not know which type a value is meant for.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::lang::source::Span;
use crate::lang::types::{Kind, RecordName, Type};
use crate::lang::value::{Artifact, PathValue, Quantity, StageId, Value};

/// A value and the place that wrote it: the literal, the record or the stage, not the last name
/// it went by.
#[derive(Clone, Debug)]
pub struct Known {
    pub data: Data,
    pub span: Span,
}

/// Shared inside, so that naming a value costs nothing.
#[derive(Clone, Debug)]
pub enum Data {
    /// Already reported: it fits everywhere and says nothing more.
    Unknown,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A `literal` may still become a path or a choice; a text of declared type may not.
    Text {
        text: Rc<str>,
        literal: bool,
    },
    Path(Rc<PathValue>),
    Quantity(Quantity),
    List(Rc<List>),
    Record(Rc<Record>),
    Share {
        percent: Quantity,
        of: Rc<Known>,
    },
    Artifact {
        stage: StageId,
        port: Rc<str>,
        ty: Type,
    },
    /// A field of a function that is checked by itself: only its type is known.
    Some(Type),
    /// The stages of a sweep.
    Sweep(Rc<Sweep>),
    /// A stage with several results, before one of them is chosen.
    Results(StageId, Rc<[(String, Type)]>),
}

/// The stages of a sweep: the names of the axes, then each point's values and what was made there.
#[derive(Debug)]
pub struct Sweep {
    pub axes: Vec<String>,
    pub points: Vec<(Vec<Known>, Known)>,
}

impl Sweep {
    /// What was made at every point.
    pub fn made(&self) -> Vec<Known> {
        self.points.iter().map(|(_, made)| made.clone()).collect()
    }

    /// Each point as people write it: `rank: 4, lr: 2e-4`.
    pub fn texts(&self) -> Vec<String> {
        let text = |(axis, value): (&String, &Known)| format!("{axis}: {}", value.to_value());
        let point = |(values, _): &(Vec<Known>, Known)| {
            self.axes.iter().zip(values).map(text).collect::<Vec<_>>().join(", ")
        };
        self.points.iter().map(point).collect()
    }
}

/// The items of a list with the size of everything in them.
#[derive(Debug)]
pub struct List {
    pub items: Vec<Known>,
    size: Size,
}

/// The fields of a record; `name` is a declared record's.
#[derive(Debug)]
pub struct Record {
    pub name: Option<RecordName>,
    pub fields: BTreeMap<String, Known>,
    size: Size,
}

impl Record {
    /// Whether this is what a function with several results makes.
    pub fn is_work(&self) -> bool {
        let is_work = |known: &Known| matches!(known.data, Data::Artifact { .. });
        self.name.is_none() && !self.fields.is_empty() && self.fields.values().all(is_work)
    }
}

/// How deep and how large a value is, written out. Sharing would let a few lines stand for more
/// than any memory, so both are limited.
#[derive(Clone, Copy, Debug)]
struct Size {
    depth: usize,
    items: usize,
}

const DEEPEST: usize = 64;
const LARGEST: usize = 1_000_000;

/// A value beyond the limits; the text says which.
pub struct TooLarge(pub String);

fn size_of<'k>(parts: impl Iterator<Item = &'k Known>) -> Result<Size, TooLarge> {
    let mut size = Size { depth: 1, items: 1 };
    for part in parts {
        let inner = part.data.size();
        size.depth = size.depth.max(inner.depth + 1);
        size.items = size.items.saturating_add(inner.items);
    }
    if size.depth > DEEPEST {
        return Err(TooLarge(format!("nested more than {DEEPEST} levels deep")));
    }
    if size.items > LARGEST {
        return Err(TooLarge(format!("more than {LARGEST} items")));
    }
    Ok(size)
}

impl Data {
    /// A text as written, which may still become a path or a choice.
    pub fn literal(text: &str) -> Data {
        Data::Text { text: text.into(), literal: true }
    }

    /// A list, unless it is too large.
    pub fn list(items: Vec<Known>) -> Result<Data, TooLarge> {
        let size = size_of(items.iter())?;
        Ok(Data::List(Rc::new(List { items, size })))
    }

    /// A record, unless it is too large.
    pub fn record(
        name: Option<RecordName>,
        fields: BTreeMap<String, Known>,
    ) -> Result<Data, TooLarge> {
        let size = size_of(fields.values())?;
        Ok(Data::Record(Rc::new(Record { name, fields, size })))
    }

    fn size(&self) -> Size {
        match self {
            Data::List(list) => list.size,
            Data::Sweep(sweep) => Size { depth: 1, items: sweep.points.len() },
            Data::Record(record) => record.size,
            Data::Text { text, .. } => Size { depth: 0, items: 1 + text.len() / 16 },
            _ => Size { depth: 0, items: 1 },
        }
    }

    /// Whether no more than a type is known.
    pub fn is_open(&self) -> bool {
        matches!(self, Data::Unknown | Data::Some(_))
    }

    /// Whether a sweep may have this value, so that people can type it.
    pub fn is_axis_value(&self) -> bool {
        use Data::{Bool, Float, Int, Quantity, Text};
        matches!(self, Bool(_) | Int(_) | Float(_) | Text { .. } | Quantity(_))
    }

    /// Whether an error was reported anywhere inside.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Data::Unknown)
    }

    /// The type a reader would give this value, for errors.
    pub fn type_of(&self) -> Type {
        let plain = Default::default;
        match self {
            Data::Unknown => Type::Unknown,
            Data::None => Type::None,
            Data::Bool(_) => Type::Bool,
            Data::Int(_) => Type::Int(plain()),
            Data::Float(_) => Type::Float(plain()),
            Data::Text { .. } => Type::String,
            Data::Path(_) => Type::Path,
            Data::Quantity(quantity) => Type::Quantity(quantity.unit, plain()),
            Data::List(list) => Type::List(Box::new(type_of_items(&list.items))),
            Data::Record(record) => match &record.name {
                Some(name) => Type::Record(name.clone()),
                None => Type::Fields(types_of_fields(&record.fields)),
            },
            Data::Share { of, .. } => match of.data.type_of() {
                Type::Data(kind) => Type::Share(kind),
                _ => Type::Share(Kind::Unknown),
            },
            Data::Artifact { ty, .. } => ty.clone(),
            Data::Some(ty) => ty.clone(),
            Data::Sweep(sweep) => Type::List(Box::new(type_of_items(&sweep.made()))),
            Data::Results(_, ports) => Type::Fields(ports.to_vec()),
        }
    }
}

fn types_of_fields(fields: &BTreeMap<String, Known>) -> Vec<(String, Type)> {
    fields.iter().map(|(name, known)| (name.clone(), known.data.type_of())).collect()
}

fn type_of_items(items: &[Known]) -> Type {
    let mut types: Vec<Type> = Vec::new();
    for item in items {
        let ty = item.data.type_of();
        if !types.contains(&ty) {
            types.push(ty);
        }
    }
    match types.len() {
        0 => Type::Unknown,
        1 => types.remove(0),
        _ => Type::Union(types),
    }
}

impl Known {
    /// What stands for a value whose error was reported.
    pub fn unknown(span: Span) -> Known {
        Known { data: Data::Unknown, span }
    }

    /// Whether two values are the same, wherever they were written; `None` if that is unknown.
    pub fn same(&self, other: &Known) -> Option<bool> {
        if self.data.is_open() || other.data.is_open() {
            return None;
        }
        Some(match (&self.data, &other.data) {
            (Data::List(a), Data::List(b)) => {
                let pairs = a.items.iter().zip(&b.items);
                a.items.len() == b.items.len() && all_same(pairs)?
            }
            (Data::Record(a), Data::Record(b)) => {
                let names = a.name == b.name && a.fields.keys().eq(b.fields.keys());
                names && all_same(a.fields.values().zip(b.fields.values()))?
            }
            _ => self.to_value() == other.to_value(),
        })
    }

    /// The plain value for other rooms. What is unknown becomes `none`: a module with errors is
    /// never built.
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Unknown | Data::None | Data::Some(_) | Data::Results(..) => Value::None,
            Data::Sweep(sweep) => Value::List(sweep.made().iter().map(Known::to_value).collect()),
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Int(number) => Value::Int(*number),
            Data::Float(number) => Value::Float(*number),
            Data::Text { text, .. } => Value::Text(text.to_string()),
            Data::Path(path) => Value::Path((**path).clone()),
            Data::Quantity(quantity) => Value::Quantity(*quantity),
            Data::List(list) => Value::List(list.items.iter().map(Known::to_value).collect()),
            Data::Record(record) => Value::Record {
                name: record.name.as_ref().map(|name| name.name.clone()),
                fields: values(&record.fields),
            },
            Data::Share { percent, of } => {
                Value::Share { percent: *percent, of: Box::new(of.to_value()) }
            }
            Data::Artifact { stage, port, ty } => {
                Value::Artifact(Artifact { stage: *stage, port: port.to_string(), ty: ty.clone() })
            }
        }
    }
}

fn all_same<'k>(mut pairs: impl Iterator<Item = (&'k Known, &'k Known)>) -> Option<bool> {
    pairs.try_fold(true, |same, (a, b)| Some(a.same(b)? && same))
}

/// The results of a stage as a record of them.
pub fn results_as_record(stage: StageId, ports: &[(String, Type)], span: Span) -> Known {
    let fields = ports.iter().map(|(port, ty)| {
        let data = Data::Artifact { stage, port: port.as_str().into(), ty: ty.clone() };
        (port.clone(), Known { data, span })
    });
    match Data::record(None, fields.collect()) {
        Ok(data) => Known { data, span },
        Err(_) => Known::unknown(span),
    }
}

/// Fields as other rooms receive them.
pub fn values(fields: &BTreeMap<String, Known>) -> BTreeMap<String, Value> {
    fields.iter().map(|(name, known)| (name.clone(), known.to_value())).collect()
}
