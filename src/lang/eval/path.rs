//! Paths among values: a name, then fields, results and facts. Does not know how facts are found.

use crate::lang::ast::{Name, Path};
use crate::lang::check::known::{Data, Known};
use crate::lang::check::{Checker, Names};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::resolve::{Head, Meaning};
use crate::lang::source::Span;

impl Checker<'_> {
    /// The value of `a.b.c`.
    pub(in crate::lang) fn path(&mut self, path: &Path, names: Names<'_>) -> Known {
        let (mut value, taken) = match self.start(path, names) {
            Ok(start) => start,
            Err(fault) => return self.refuse(path.span, fault),
        };
        for at in taken..path.names.len() {
            value = self.member(value, path, at);
        }
        self.named(value, path.span)
    }

    /// `field` alone means `field: field`.
    pub(in crate::lang) fn pun(&mut self, name: &Name, names: Names<'_>) -> Known {
        self.path(&Path { names: vec![name.clone()], span: name.span }, names)
    }

    /// The value a path begins with, and how many of its names that takes.
    fn start(&mut self, path: &Path, names: Names<'_>) -> Result<(Known, usize), Diagnostic> {
        let name = &path.names[0];
        match names {
            Names::Fields(_, fields) => {
                let field = fields.get(&name.text).map(|field| (field.clone(), 1));
                field.ok_or_else(|| {
                    let near = nearest(&name.text, fields.keys().map(String::as_str));
                    say::unknown_name(name.span, &name.text, near, false)
                })
            }
            Names::File(file) => match self.program.head(file, path) {
                Ok(Head { meaning: Meaning::Binding(id), taken }) => Ok((self.value_of(id), taken)),
                Ok(_) => Ok((Known::unknown(path.span), path.names.len())),
                Err(fault) => {
                    let near = self.program.nearest_value(file, &name.text);
                    if let Some((_, Meaning::Binding(meant))) = near {
                        self.read.insert(meant);
                    }
                    Err(fault)
                }
            },
        }
    }

    /// Work is written where it is named: an error about it points at its use.
    fn named(&self, value: Known, span: Span) -> Known {
        match value.data {
            Data::Artifact { .. } | Data::Results(..) | Data::Unknown => Known { span, ..value },
            _ => value,
        }
    }

    /// One field, result or fact of a value.
    fn member(&mut self, value: Known, path: &Path, at: usize) -> Known {
        let name = &path.names[at];
        let fault = match &value.data {
            Data::Unknown => return value,
            Data::Record(record) => match record.fields.get(&name.text) {
                Some(field) => return field.clone(),
                None => {
                    let near = nearest(&name.text, record.fields.keys().map(String::as_str));
                    say::no_such_member(name.span, &before(path, at), &name.text, near)
                }
            },
            Data::Results(stage, ports) => {
                if let Some((port, ty)) = ports.iter().find(|(port, _)| *port == name.text) {
                    let (stage, port) = (*stage, port.as_str().into());
                    let data = Data::Artifact { stage, port, ty: ty.clone() };
                    return Known { data, span: value.span };
                }
                match self.fact(*stage, &name.text) {
                    Some(fact) => return fact,
                    None => {
                        let known = self.fact_names(*stage);
                        let ports = ports.iter().map(|(port, _)| port.as_str());
                        let near = nearest(&name.text, ports.chain(known.iter().copied()));
                        say::no_such_member(name.span, &before(path, at), &name.text, near)
                    }
                }
            }
            Data::Artifact { stage, .. } => match self.fact(*stage, &name.text) {
                Some(fact) => return fact,
                None => {
                    let known = self.fact_names(*stage);
                    let near = nearest(&name.text, known);
                    say::no_such_member(name.span, &before(path, at), &name.text, near)
                }
            },
            other => say::no_members(name.span, &before(path, at), &other.type_of()),
        };
        let span: Span = path.span;
        self.refuse(span, fault)
    }
}

/// The path up to one of its names.
fn before(path: &Path, at: usize) -> String {
    path.names[..at].iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".")
}
