//! Signatures: the fields of a `record` or `fn`, those taken in with `..training` among them. Does
//! not know what is given to them.

use std::rc::Rc;

use super::lower::Kinds;
use super::state::Checker;
use crate::lang::ast::{self, Args, Body, Condition, Decl, DeclKind, Expr, ItemKind};
use crate::lang::errors::semantics as say;
use crate::lang::resolve::Declared;
use crate::lang::source::{FileId, Span};
use crate::lang::types::{DefId, Type};

/// What a `record` or `fn` takes, and what a `fn` gives.
#[derive(Debug)]
pub(super) struct Signature<'a> {
    pub id: DefId,
    pub name: &'a str,
    pub file: FileId,
    pub place: Span,
    pub fields: Vec<Field<'a>>,
    pub requires: Vec<Require<'a>>,
    /// Nothing for a record.
    pub result: Option<Type>,
    pub facts: Option<&'a Args>,
    /// A user's function has one; without it, Rust does the work.
    pub body: Option<&'a Body>,
}

/// A declared field. A default reads the fields before it.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub name: &'a str,
    pub place: Span,
    pub ty: Type,
    pub default: Option<&'a Expr>,
    /// The file of the declaration, whose callables a default may use.
    pub file: FileId,
    /// Names that other tools give this field.
    pub elsewhere: Vec<String>,
}

/// `require left divides right unless …`
#[derive(Debug)]
pub(super) struct Require<'a> {
    pub condition: &'a Condition,
    pub unless: Option<&'a Condition>,
    pub file: FileId,
}

/// `..` inside `..` deeper than this goes in a circle.
const MOST_SPREADS: usize = 16;

impl Signature<'_> {
    pub fn field(&self, name: &str) -> Option<&Field<'_>> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether only a stage may call it: it makes an artifact, or a value about artifacts that its
    /// body makes.
    pub fn is_work(&self) -> bool {
        let mut items = self.body.iter().flat_map(|body| &body.items);
        self.result.as_ref().is_some_and(Type::is_work)
            || items.any(|item| matches!(item.kind, ItemKind::Stage(_)))
    }
}

impl<'a> Checker<'a> {
    /// The signature of a `record` or `fn`, read once.
    pub(super) fn signature(&mut self, id: DefId) -> Rc<Signature<'a>> {
        if let Some(known) = self.signatures.get(&id) {
            return Rc::clone(known);
        }
        let Declared { file, name, item } = self.program.definition(id);
        let mut signature = Signature {
            id,
            name: &name.text,
            file,
            place: name.span,
            fields: Vec::new(),
            requires: Vec::new(),
            result: None,
            facts: None,
            body: None,
        };
        match &item.kind {
            ItemKind::Fn(function) => {
                let kinds = Self::open_kinds(&function.generics);
                self.declare(&mut signature, &function.fields, file, &kinds, 0);
                signature.result = Some(self.lower(&function.result, file, &kinds));
                signature.facts = function.facts.as_ref();
                signature.body = function.body.as_ref();
            }
            ItemKind::Record(record) => {
                if let Some(generic) = record.generics.first() {
                    self.say(say::not_yet(generic.span, "records with `<…>`"));
                }
                let kinds = Self::open_kinds(&record.generics);
                self.declare(&mut signature, &record.fields, file, &kinds, 0);
            }
            _ => {}
        }
        let signature = Rc::new(signature);
        self.signatures.insert(id, Rc::clone(&signature));
        signature
    }

    fn declare(
        &mut self,
        signature: &mut Signature<'a>,
        fields: &'a ast::Fields,
        file: FileId,
        kinds: &Kinds,
        depth: usize,
    ) {
        let mut own: Vec<&'a ast::Name> = Vec::new();
        for decl in &fields.decls {
            match &decl.kind {
                DeclKind::Field { name, ty, default } => {
                    if let Some(first) = own.iter().find(|own| own.text == name.text) {
                        self.say(say::duplicate_field(name.span, &name.text, first.span));
                        continue;
                    }
                    own.push(name);
                    let ty = self.lower(ty, file, kinds);
                    let taken = signature.fields.iter().position(|f| f.name == name.text);
                    let before = taken.map(|at| signature.fields.remove(at));
                    let mut elsewhere = elsewhere(&decl.doc);
                    elsewhere.extend(before.into_iter().flat_map(|field| field.elsewhere));
                    let (name, place) = (name.text.as_str(), name.span);
                    let default = default.as_ref();
                    signature.fields.push(Field { name, place, ty, default, file, elsewhere });
                }
                DeclKind::Spread(path) => self.take_in(signature, decl, path, file, depth),
                DeclKind::Require { condition, unless } => {
                    let unless = unless.as_ref();
                    signature.requires.push(Require { condition, unless, file });
                }
                DeclKind::Error => {}
            }
        }
    }

    fn take_in(
        &mut self,
        signature: &mut Signature<'a>,
        decl: &'a Decl,
        path: &'a ast::Path,
        file: FileId,
        depth: usize,
    ) {
        let id = match self.program.type_named(file, path) {
            Ok(Some(id)) => id,
            Ok(None) => return,
            Err(fault) => return self.say(fault),
        };
        let Declared { file, name, item } = self.program.definition(id);
        match &item.kind {
            _ if depth == MOST_SPREADS => self.say(say::circular_type(decl.span, &name.text)),
            ItemKind::Record(record) => {
                let kinds = Self::open_kinds(&record.generics);
                self.declare(signature, &record.fields, file, &kinds, depth + 1);
            }
            _ => self.say(say::takes_in_no_record(decl.span, &name.text)),
        }
    }
}

/// The names after `Elsewhere:` in a doc comment, up to the full stop.
pub(crate) fn elsewhere(doc: &[String]) -> Vec<String> {
    let text = doc.join(" ");
    let Some((_, names)) = text.split_once("Elsewhere:") else { return Vec::new() };
    let names = names.split('.').next().unwrap_or_default();
    let names = names.split(',').map(|name| name.trim().to_string());
    names.filter(|name| !name.is_empty()).collect()
}
