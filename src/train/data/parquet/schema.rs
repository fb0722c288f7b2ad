//! How columns make a record: the tree of a schema with the levels at which optional and repeated
//! fields are there (Melnik and others, "Dremel: interactive analysis of web-scale
//! datasets", 2010). Knows levels; does not know files.

use std::collections::VecDeque;
use std::ops::Range;

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

use super::columns::Cell;

/// A field of a record.
pub struct Node {
    pub name: String,
    /// An optional field is there from this definition level on.
    optional: Option<i16>,
    /// The columns below it.
    pub leaves: Range<usize>,
    kind: Kind,
}

enum Kind {
    /// Nobody looks at it.
    Unread,
    Leaf,
    Group(Vec<Node>),
    /// Holds an element from definition level `def` on; repetition level `rep` begins the next.
    List {
        def: i16,
        rep: i16,
        element: Box<Node>,
    },
}

/// Levels of the fields around a field.
#[derive(Clone, Copy)]
struct Levels {
    rep: i16,
    def: i16,
}

/// The fields of a schema, in order; those that are `unread` may be of any kind.
pub fn fields(root: &Type, unread: &[String]) -> Result<Vec<Node>, String> {
    let mut leaves = 0;
    let field = |field: &TypePtr| match unread.iter().find(|name| *name == field.name()) {
        None => node(field, Levels { rep: 0, def: 0 }, &mut leaves),
        Some(name) => {
            let start = leaves;
            leaves += count(field);
            let (name, leaves) = (name.clone(), start..leaves);
            Ok(Node { name, optional: None, leaves, kind: Kind::Unread })
        }
    };
    root.get_fields().iter().map(field).collect()
}

/// The columns below a field.
fn count(field: &Type) -> usize {
    match field.is_primitive() {
        true => 1,
        false => field.get_fields().iter().map(|field| count(field)).sum(),
    }
}

fn group(of: &Type, levels: Levels, leaves: &mut usize) -> Result<Vec<Node>, String> {
    of.get_fields().iter().map(|field| node(field, levels, leaves)).collect()
}

fn node(field: &Type, mut levels: Levels, leaves: &mut usize) -> Result<Node, String> {
    let start = *leaves;
    let name = field.name().to_owned();
    let mut optional = None;
    let kind = match repetition(field) {
        // A repeated field by itself is a list of its own type.
        Repetition::REPEATED => list(field, false, levels, leaves)?,
        repetition => {
            if repetition == Repetition::OPTIONAL {
                levels.def += 1;
                optional = Some(levels.def);
            }
            kind(field, levels, leaves)?
        }
    };
    Ok(Node { name, optional, leaves: start..*leaves, kind })
}

/// A field without regard to whether it is optional or repeated.
fn kind(field: &Type, levels: Levels, leaves: &mut usize) -> Result<Kind, String> {
    if field.is_primitive() {
        *leaves += 1;
        return Ok(Kind::Leaf);
    }
    let basic = field.get_basic_info();
    let converted = basic.converted_type();
    if matches!(converted, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
        || basic.logical_type_ref() == Some(&LogicalType::Map)
    {
        return Err(format!("field `{}` is a map, which is not read", field.name()));
    }
    if converted == ConvertedType::LIST || basic.logical_type_ref() == Some(&LogicalType::List) {
        return match field.get_fields() {
            [inner] if repetition(inner) == Repetition::REPEATED => {
                list(inner, wraps(field, inner), levels, leaves)
            }
            _ => Err(format!("field `{}` is a list without elements", field.name())),
        };
    }
    Ok(Kind::Group(group(field, levels, leaves)?))
}

/// A list of a repeated field, or of the one field within it.
fn list(
    repeated: &Type,
    wrapped: bool,
    levels: Levels,
    leaves: &mut usize,
) -> Result<Kind, String> {
    let levels = Levels { rep: levels.rep + 1, def: levels.def + 1 };
    let element = match wrapped {
        true => node(&repeated.get_fields()[0], levels, leaves)?,
        false => {
            let start = *leaves;
            let kind = kind(repeated, levels, leaves)?;
            let name = repeated.name().to_owned();
            Node { name, optional: None, leaves: start..*leaves, kind }
        }
    };
    Ok(Kind::List { def: levels.def, rep: levels.rep, element: Box::new(element) })
}

/// Whether the repeated field only wraps the element; older writers repeat the element itself, and
/// the format's rules for them go by names.
fn wraps(list: &Type, repeated: &Type) -> bool {
    let legacy = repeated.name() == "array" || repeated.name() == format!("{}_tuple", list.name());
    !repeated.is_primitive() && repeated.get_fields().len() == 1 && !legacy
}

/// The root alone has none.
fn repetition(field: &Type) -> Repetition {
    let basic = field.get_basic_info();
    if basic.has_repetition() { basic.repetition() } else { Repetition::REQUIRED }
}

/// The cells of one record, by column.
pub type Cells = Vec<VecDeque<Cell>>;

impl Node {
    /// Whether somebody looks at the field.
    pub fn is_read(&self) -> bool {
        !matches!(self.kind, Kind::Unread)
    }

    /// Takes the field of a record out of its cells.
    pub fn take(&self, cells: &mut Cells) -> Result<Value, String> {
        if !self.is_read() {
            return Ok(Value::Null);
        }
        let def = self.next(cells)?.def;
        if self.optional.is_some_and(|there| def < there) {
            self.skip(cells)?;
            return Ok(Value::Null);
        }
        match &self.kind {
            Kind::Leaf | Kind::Unread => self.pop(self.leaves.start, cells).map(|cell| cell.value),
            Kind::Group(fields) => {
                let take = |field: &Node| Ok((field.name.clone(), field.take(cells)?));
                let fields: Map<String, Value> =
                    fields.iter().map(take).collect::<Result<_, String>>()?;
                Ok(Value::Object(fields))
            }
            Kind::List { def: there, .. } if def < *there => {
                self.skip(cells)?;
                Ok(Value::Array(Vec::new()))
            }
            Kind::List { rep, element, .. } => {
                let mut values = vec![element.take(cells)?];
                while self.next(cells).is_ok_and(|cell| cell.rep >= *rep) {
                    values.push(element.take(cells)?);
                }
                Ok(Value::Array(values))
            }
        }
    }

    fn next<'c>(&self, cells: &'c Cells) -> Result<&'c Cell, String> {
        let next = cells.get(self.leaves.start).and_then(VecDeque::front);
        next.ok_or_else(|| disagree(&self.name))
    }

    fn pop(&self, leaf: usize, cells: &mut Cells) -> Result<Cell, String> {
        cells[leaf].pop_front().ok_or_else(|| disagree(&self.name))
    }

    /// Each column below has one cell for a field that is not there.
    fn skip(&self, cells: &mut Cells) -> Result<(), String> {
        self.leaves.clone().try_for_each(|leaf| self.pop(leaf, cells).map(|_| ()))
    }
}

fn disagree(field: &str) -> String {
    format!("the columns of field `{field}` do not fit together")
}
