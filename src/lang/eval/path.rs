//! Paths among values: a name, then fields, results and facts. Does not know how facts are found.

use std::collections::BTreeMap;

use crate::lang::ast::{Name, Path};
use crate::lang::check::known::{Data, Known};
use crate::lang::check::{Checker, Names, Reading};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::resolve::{Head, Meaning};
use crate::lang::source::{FileId, Span};

impl Checker<'_> {
    /// The value of `a.b.c`.
    pub(in crate::lang) fn path(&mut self, path: &Path, names: Names<'_>) -> Known {
        let (mut value, taken) = match self.start(path, names) {
            Ok(start) => start,
            Err(fault) => return self.refuse(path.span, fault),
        };
        for at in taken..path.names.len() {
            value = self.member(value, path, at, path.span);
        }
        match names {
            // What a signature reads was written in the recipe, and is shown there.
            Names::Fields(..) => value,
            _ => named(value, path.span),
        }
    }

    /// `field` alone means `field: field`.
    pub(in crate::lang) fn pun(&mut self, name: &Name, names: Names<'_>) -> Known {
        self.path(&Path { names: vec![name.clone()], span: name.span }, names)
    }

    /// Fields, results and facts of what was picked from a sweep.
    pub(in crate::lang) fn members(
        &mut self,
        mut value: Known,
        from: &Path,
        fields: &[Name],
        span: Span,
    ) -> Known {
        let names = [from.names.as_slice(), fields].concat();
        let whole = Path { names, span };
        for at in from.names.len()..whole.names.len() {
            value = self.member(value, &whole, at, span);
        }
        named(value, span)
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
            Names::Point(_, locals) | Names::Body(_, locals) if locals.contains_key(&name.text) => {
                Ok((locals[&name.text].clone(), 1))
            }
            Names::Body(file, locals) => self.imported(file, path, locals),
            Names::File(file) | Names::Point(file, _) => self.declared(file, path),
        }
    }

    /// A name of a file, or of what it imports.
    fn declared(&mut self, file: FileId, path: &Path) -> Result<(Known, usize), Diagnostic> {
        match self.program.head(file, path) {
            Ok(Head { meaning: Meaning::Binding(id), taken }) => Ok((self.value_of(id), taken)),
            Ok(_) => Ok((Known::unknown(path.span), path.names.len())),
            Err(fault) => {
                let near = self.program.nearest_value(file, &path.names[0].text);
                if let Some((_, Meaning::Binding(meant))) = near {
                    self.read.insert(meant);
                }
                Err(fault)
            }
        }
    }

    /// A body sees what its file imports, not what its file declares.
    fn imported(
        &mut self,
        file: FileId,
        path: &Path,
        locals: &BTreeMap<String, Known>,
    ) -> Result<(Known, usize), Diagnostic> {
        let name = &path.names[0];
        if self.program.module_named(file, &name.text).is_some() {
            return self.declared(file, path);
        }
        match self.program.declared_here(file, &name.text) {
            Some(declared) => Err(say::outside_name(name.span, &name.text, declared)),
            None => {
                let near = nearest(&name.text, locals.keys().map(String::as_str));
                Err(say::unknown_in_body(name.span, &name.text, near))
            }
        }
    }

    /// One field, result or fact of a value.
    fn member(&mut self, value: Known, path: &Path, at: usize, span: Span) -> Known {
        let name = &path.names[at];
        let missing = |known: Vec<&str>| {
            let near = nearest(&name.text, known);
            say::no_such_member(name.span, &before(path, at), &name.text, near)
        };
        let fault = match &value.data {
            Data::Unknown => return value,
            Data::Record(record) => match record.fields.get(&name.text) {
                Some(field) => return field.clone(),
                None if self.reading == Reading::All => return Known { data: Data::None, span },
                None => missing(record.fields.keys().map(String::as_str).collect()),
            },
            Data::Results(stage, ports) => {
                if let Some((port, ty)) = ports.iter().find(|(port, _)| *port == name.text) {
                    let (stage, port) = (*stage, port.as_str().into());
                    let data = Data::Artifact { stage, port, ty: ty.clone() };
                    return Known { data, span: value.span };
                }
                match self.fact(*stage, "", &name.text) {
                    Some(fact) => return fact,
                    None => {
                        let mut known = self.fact_names(*stage);
                        known.extend(ports.iter().map(|(port, _)| port.as_str()));
                        missing(known)
                    }
                }
            }
            Data::Artifact { stage, port, .. } => match self.fact(*stage, port, &name.text) {
                Some(fact) => return fact,
                None if self.reading != Reading::Strict => {
                    return Known { data: Data::None, span: value.span };
                }
                None => missing(self.fact_names(*stage)),
            },
            Data::Share { of, .. } => return self.member((**of).clone(), path, at, span),
            Data::List(list) if self.reading != Reading::Strict => {
                return self.member_of_all(&list.items, path, at, span);
            }
            Data::Sweep(sweep) if self.reading != Reading::Strict => {
                return self.member_of_all(&sweep.made(), path, at, span);
            }
            Data::Sweep(_) => say::member_of_sweep(name.span, &before(path, at), &name.text),
            Data::None if self.reading != Reading::Strict => return value,
            other => say::no_members(name.span, &before(path, at), &other.type_of()),
        };
        self.refuse(span, fault)
    }

    /// The same fact of several values: what all agree on, or all together.
    fn member_of_all(&mut self, items: &[Known], path: &Path, at: usize, span: Span) -> Known {
        let facts: Vec<Known> =
            items.iter().map(|item| self.member(item.clone(), path, at, span)).collect();
        if self.reading == Reading::All {
            return self.built(Data::list(facts), span);
        }
        let Some(first) = facts.first() else { return Known { data: Data::None, span } };
        for other in &facts[1..] {
            match first.same(other) {
                Some(true) => {}
                // The one that differs is the cause.
                Some(false) => return Known { data: Data::None, span: other.span },
                None => return Known::unknown(span),
            }
        }
        first.clone()
    }
}

/// Work is written where it is named: an error about it points at its use.
fn named(value: Known, span: Span) -> Known {
    match value.data {
        Data::Artifact { .. } | Data::Results(..) | Data::Unknown | Data::Sweep(_) => {
            Known { span, ..value }
        }
        _ => value,
    }
}

/// The path up to one of its names.
fn before(path: &Path, at: usize) -> String {
    path.names[..at].iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".")
}
