//! Types, as the checker compares them and as users write them. Does not know values, nor the
//! syntax that a type was read from.

use std::fmt::{Display, Formatter, Result};

use super::ast::Bound;
use super::value::Unit;

/// A type with every alias resolved. A declared record is known by its definition, a bare one by
/// its fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Int(Range),
    Float(Range),
    Bool,
    String,
    Path,
    Quantity(Unit, Range),
    /// One string out of a closed set: `"isolated"`.
    Choice(String),
    List(Box<Type>),
    Optional(Box<Type>),
    /// At least two members, none of them a union.
    Union(Vec<Type>),
    /// Free field names, each value of one type.
    Map(Box<Type>),
    Record(RecordName),
    /// `{ train: Data<Text>, held_out: Data<Text> }`
    Fields(Vec<(String, Type)>),
    Tokenizer,
    Data(Kind),
    Model(Kind),
    Reward,
    Adapter,
    Report,
    Overlap,
    Files,
    /// A percentage of rows of a kind.
    Share(Kind),
    /// The type of `none` alone.
    None,
    /// What already has an error; it fits everywhere, so that no second error follows.
    Unknown,
}

/// A declared record: its name, and its place among all definitions of a compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordName {
    pub name: String,
    pub id: DefId,
}

/// A `fn`, `record` or `type` of a compilation, as a dense index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefId(pub u32);

/// What rows hold, or what a model has learnt to do; a signature may leave it open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Text,
    Chat,
    Prompt,
    Preference,
    Benchmark,
    Base,
    /// `<K>` of a signature, found from its arguments.
    Open(String),
    /// Could not be found, because of an error that was reported.
    Unknown,
}

/// Limits of a number, in millionths so that quantities compare exactly; floats compare as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Range {
    pub low: Option<Limit>,
    pub high: Option<Limit>,
}

/// One end of a range, with the text that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub text: String,
    pub millionths: i128,
    pub number: f64,
    pub bound: Bound,
}

impl Range {
    /// Whether a number lies inside.
    pub fn holds(&self, number: f64) -> bool {
        let above = |limit: &Limit| match limit.bound {
            Bound::Inclusive => number >= limit.number,
            Bound::Exclusive => number > limit.number,
        };
        let below = |limit: &Limit| match limit.bound {
            Bound::Inclusive => number <= limit.number,
            Bound::Exclusive => number < limit.number,
        };
        self.low.as_ref().is_none_or(above) && self.high.as_ref().is_none_or(below)
    }

    /// Whether an exact amount in millionths lies inside.
    pub fn holds_millionths(&self, amount: i128) -> bool {
        let above = |limit: &Limit| match limit.bound {
            Bound::Inclusive => amount >= limit.millionths,
            Bound::Exclusive => amount > limit.millionths,
        };
        let below = |limit: &Limit| match limit.bound {
            Bound::Inclusive => amount <= limit.millionths,
            Bound::Exclusive => amount < limit.millionths,
        };
        self.low.as_ref().is_none_or(above) && self.high.as_ref().is_none_or(below)
    }
}

impl Type {
    /// The members of a union, the type itself otherwise; `none` counts as a member of `T?`.
    pub fn members(&self) -> Vec<&Type> {
        match self {
            Type::Union(members) => members.iter().flat_map(Type::members).collect(),
            Type::Optional(inner) => {
                let mut members = inner.members();
                members.push(&Type::None);
                members
            }
            one => vec![one],
        }
    }

    /// Whether an artifact has this type.
    pub fn is_artifact(&self) -> bool {
        use Type::{Adapter, Data, Files, Model, Overlap, Report, Reward, Tokenizer};
        matches!(self, Tokenizer | Data(_) | Model(_) | Reward | Adapter | Report | Overlap | Files)
    }

    /// Whether work makes this: an artifact, or a record of nothing but artifacts.
    pub fn is_work(&self) -> bool {
        match self {
            Type::Fields(fields) => {
                !fields.is_empty() && fields.iter().all(|(_, ty)| ty.is_artifact())
            }
            other => other.is_artifact(),
        }
    }

    /// The type without its ranges, as an error shows what was due.
    pub fn without_ranges(&self) -> Type {
        let bare = |ty: &Type| Box::new(ty.without_ranges());
        match self {
            Type::Int(_) => Type::Int(Range::default()),
            Type::Float(_) => Type::Float(Range::default()),
            Type::Quantity(unit, _) => Type::Quantity(*unit, Range::default()),
            Type::List(inner) => Type::List(bare(inner)),
            Type::Optional(inner) => Type::Optional(bare(inner)),
            Type::Map(inner) => Type::Map(bare(inner)),
            Type::Union(members) => Type::Union(members.iter().map(Type::without_ranges).collect()),
            other => other.clone(),
        }
    }

    /// The type with `found` in place of its open kinds. A model whose kind is still open may be
    /// of either kind, and is shown so.
    pub fn with_kinds(&self, found: &impl Fn(&str) -> Option<Kind>) -> Type {
        let kind = |kind: &Kind| match kind {
            Kind::Open(name) => found(name).unwrap_or_else(|| kind.clone()),
            other => other.clone(),
        };
        let inside = |ty: &Type| Box::new(ty.with_kinds(found));
        match self {
            Type::Data(open) => Type::Data(kind(open)),
            Type::Model(open) => Type::Model(kind(open)),
            Type::Share(open) => Type::Share(kind(open)),
            Type::List(inner) => Type::List(inside(inner)),
            Type::Optional(inner) => Type::Optional(inside(inner)),
            Type::Map(inner) => Type::Map(inside(inner)),
            Type::Union(members) => {
                Type::Union(members.iter().map(|member| member.with_kinds(found)).collect())
            }
            Type::Fields(fields) => {
                let fields = fields.iter().map(|(name, ty)| (name.clone(), ty.with_kinds(found)));
                Type::Fields(fields.collect())
            }
            other => other.clone(),
        }
    }
}

impl Display for Type {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Type::Int(range) => write!(out, "Int{range}"),
            Type::Float(range) => write!(out, "Float{range}"),
            Type::Bool => out.write_str("Bool"),
            Type::String => out.write_str("String"),
            Type::Path => out.write_str("Path"),
            Type::Quantity(unit, range) => write!(out, "{}{range}", unit.type_name()),
            Type::Choice(text) => write!(out, "\"{text}\""),
            Type::List(inner) => write!(out, "[{inner}]"),
            Type::Optional(inner) => match **inner {
                Type::Union(_) => write!(out, "{inner} | none"),
                _ => write!(out, "{inner}?"),
            },
            Type::Union(members) => write_joined(out, members, " | "),
            Type::Map(inner) => write!(out, "Map<{inner}>"),
            Type::Record(record) => out.write_str(&record.name),
            Type::Fields(fields) if fields.is_empty() => out.write_str("{}"),
            Type::Fields(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
                write!(out, "{{ {} }}", fields.join(", "))
            }
            Type::Tokenizer => out.write_str("Tokenizer"),
            Type::Data(Kind::Open(_) | Kind::Unknown) => out.write_str("Data"),
            Type::Data(kind) => write!(out, "Data<{kind}>"),
            Type::Model(Kind::Open(_) | Kind::Unknown) => {
                out.write_str("Model<Base> | Model<Chat>")
            }
            Type::Model(kind) => write!(out, "Model<{kind}>"),
            Type::Reward => out.write_str("Reward"),
            Type::Adapter => out.write_str("Adapter"),
            Type::Report => out.write_str("Report"),
            Type::Overlap => out.write_str("Overlap"),
            Type::Files => out.write_str("Files"),
            Type::Share(Kind::Open(_) | Kind::Unknown) => out.write_str("Share"),
            Type::Share(kind) => write!(out, "Share<{kind}>"),
            Type::None => out.write_str("none"),
            Type::Unknown => out.write_str("?"),
        }
    }
}

fn write_joined(out: &mut Formatter<'_>, types: &[Type], between: &str) -> Result {
    for (at, ty) in types.iter().enumerate() {
        if at > 0 {
            out.write_str(between)?;
        }
        write!(out, "{ty}")?;
    }
    Ok(())
}

impl Display for Kind {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        out.write_str(match self {
            Kind::Text => "Text",
            Kind::Chat => "Chat",
            Kind::Prompt => "Prompt",
            Kind::Preference => "Preference",
            Kind::Benchmark => "Benchmark",
            Kind::Base => "Base",
            Kind::Open(name) => name,
            Kind::Unknown => "?",
        })
    }
}

/// As written in a type, parentheses included; nothing where there are no limits.
impl Display for Range {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match (&self.low, &self.high) {
            (None, None) => Ok(()),
            _ => write!(out, "({})", self.text()),
        }
    }
}

impl Range {
    /// As written in a type, without the parentheses: `1..`, `0..=1`, `>0`.
    pub fn text(&self) -> String {
        let low = self.low.as_ref().map_or(String::new(), |limit| match limit.bound {
            Bound::Inclusive => limit.text.clone(),
            Bound::Exclusive => format!(">{}", limit.text),
        });
        match (&self.low, &self.high) {
            (Some(Limit { bound: Bound::Exclusive, .. }), None) => low,
            (_, None) => format!("{low}.."),
            (_, Some(Limit { text, bound: Bound::Inclusive, .. })) => format!("{low}..={text}"),
            (_, Some(Limit { text, .. })) => format!("{low}..{text}"),
        }
    }
}
