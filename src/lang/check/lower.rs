//! Written types → types: names looked up, aliases opened, kinds put in. Does not know values.

use std::collections::BTreeMap;

use super::state::Checker;
use crate::lang::ast::{self, ItemKind, Name, Path, TypeExpr, TypeKind};
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::resolve::Declared;
use crate::lang::source::FileId;
use crate::lang::types::{Kind, Limit, Range, RecordName, Type};
use crate::lang::value::Unit;

/// What the names between `<` and `>` stand for.
pub(super) type Kinds = BTreeMap<String, Kind>;

/// More aliases inside one another than any library needs; beyond it they go in a circle.
const MOST_ALIASES: usize = 32;

const BUILT_IN: &[&str] = &[
    "Int",
    "Float",
    "Bool",
    "String",
    "Path",
    "Tokens",
    "Steps",
    "Epochs",
    "Sequences",
    "Pairs",
    "Prompts",
    "Rows",
    "Bytes",
    "Duration",
    "Percent",
    "Map",
    "Tokenizer",
    "Data",
    "Model",
    "Reward",
    "Adapter",
    "Report",
    "Overlap",
    "Files",
    "Share",
];

const KINDS: &[(&str, Kind)] = &[
    ("Text", Kind::Text),
    ("Chat", Kind::Chat),
    ("Prompt", Kind::Prompt),
    ("Preference", Kind::Preference),
    ("Benchmark", Kind::Benchmark),
    ("Base", Kind::Base),
];

/// Where a type is written: the file, the kinds in scope, and how many aliases deep.
#[derive(Clone, Copy)]
struct Place<'k> {
    file: FileId,
    kinds: &'k Kinds,
    aliases: usize,
}

impl Checker<'_> {
    /// The type that an expression of a type means; an unknown part is reported and
    /// fits everywhere.
    pub(super) fn lower(&mut self, ty: &TypeExpr, file: FileId, kinds: &Kinds) -> Type {
        self.lower_in(ty, Place { file, kinds, aliases: 0 })
    }

    fn lower_in(&mut self, ty: &TypeExpr, place: Place<'_>) -> Type {
        match &ty.kind {
            TypeKind::Error => Type::Unknown,
            TypeKind::Choice(text) => Type::Choice(text.clone()),
            TypeKind::List(inner) => Type::List(Box::new(self.lower_in(inner, place))),
            TypeKind::Optional(inner) => match self.lower_in(inner, place) {
                already @ Type::Optional(_) => already,
                inner => Type::Optional(Box::new(inner)),
            },
            TypeKind::Union(members) => {
                let mut all = Vec::new();
                for member in members {
                    match self.lower_in(member, place) {
                        Type::Union(inner) => all.extend(inner),
                        one => all.push(one),
                    }
                }
                Type::Union(all)
            }
            TypeKind::Fields(fields) => self.lower_fields(fields, place),
            TypeKind::Name { path, arguments, range } => {
                self.lower_name(path, arguments, range.as_deref(), place)
            }
        }
    }

    fn lower_fields(&mut self, fields: &ast::Fields, place: Place<'_>) -> Type {
        let mut all: Vec<(String, Type)> = Vec::new();
        for decl in &fields.decls {
            match &decl.kind {
                ast::DeclKind::Field { name, ty, default } => {
                    if let Some(default) = default {
                        self.say(say::default_in_type(default.span, &name.text));
                    }
                    let ty = self.lower_in(ty, place);
                    all.push((name.text.clone(), ty));
                }
                ast::DeclKind::Spread(path) => self.say(say::only_fields_in_type(path.span)),
                ast::DeclKind::Require { condition, .. } => {
                    self.say(say::only_fields_in_type(condition.span()));
                }
                ast::DeclKind::Error => {}
            }
        }
        Type::Fields(all)
    }

    fn lower_name(
        &mut self,
        path: &Path,
        arguments: &[TypeExpr],
        range: Option<&ast::Range>,
        place: Place<'_>,
    ) -> Type {
        let name = path.text();
        let limits = range.map(|range| self.range(range)).unwrap_or_default();
        if let Some(number) = number_type(&name, limits) {
            self.expect_arguments(path, arguments, 0);
            return number;
        }
        if let Some(range) = range {
            self.say(say::range_of_no_number(range.span, &name));
        }
        if name == "Map" {
            self.expect_arguments(path, arguments, 1);
            let inner = arguments.first().map_or(Type::Unknown, |ty| self.lower_in(ty, place));
            return Type::Map(Box::new(inner));
        }
        let of_kind = match name.as_str() {
            "Data" => Some(Type::Data as fn(Kind) -> Type),
            "Model" => Some(Type::Model as fn(Kind) -> Type),
            "Share" => Some(Type::Share as fn(Kind) -> Type),
            _ => None,
        };
        if let Some(of_kind) = of_kind {
            self.expect_arguments(path, arguments, 1);
            let kind = arguments.first().map_or(Kind::Unknown, |ty| self.kind(ty, place));
            return of_kind(kind);
        }
        if let Some(plain) = plain_type(&name) {
            self.expect_arguments(path, arguments, 0);
            return plain;
        }
        self.lower_declared(path, arguments, place)
    }

    fn expect_arguments(&mut self, path: &Path, arguments: &[TypeExpr], wanted: usize) {
        if arguments.len() != wanted {
            self.say(say::type_arguments(path.span, &path.text(), wanted, arguments.len()));
        }
    }

    fn lower_declared(&mut self, path: &Path, arguments: &[TypeExpr], place: Place<'_>) -> Type {
        let id = match self.program.type_named(place.file, path) {
            Ok(Some(id)) => id,
            Ok(None) => return Type::Unknown,
            Err(fault) => {
                let near = nearest(&path.text(), BUILT_IN.iter().copied());
                let fault = if near.is_some() { fault.hint(near.map(String::from)) } else { fault };
                self.say(fault);
                return Type::Unknown;
            }
        };
        let Declared { file, name, item } = self.program.definition(id);
        match &item.kind {
            ItemKind::Record(record) => {
                self.expect_arguments(path, arguments, record.generics.len());
                Type::Record(RecordName { name: name.text.clone(), id })
            }
            ItemKind::Alias(alias) => {
                self.expect_arguments(path, arguments, alias.generics.len());
                if place.aliases == MOST_ALIASES {
                    self.say(say::circular_type(name.span, &name.text));
                    return Type::Unknown;
                }
                let given = arguments.iter().map(|ty| self.kind(ty, place)).collect::<Vec<_>>();
                let kinds = named_kinds(&alias.generics, given);
                self.lower_in(&alias.ty, Place { file, kinds: &kinds, aliases: place.aliases + 1 })
            }
            _ => Type::Unknown,
        }
    }

    fn kind(&mut self, ty: &TypeExpr, place: Place<'_>) -> Kind {
        let TypeKind::Name { path, arguments, range: None } = &ty.kind else {
            if !matches!(ty.kind, TypeKind::Error) {
                self.say(say::unknown_kind(ty.span, self.sources().text(ty.span), None));
            }
            return Kind::Unknown;
        };
        self.expect_arguments(path, arguments, 0);
        let name = path.text();
        if let Some(kind) = place.kinds.get(&name) {
            return kind.clone();
        }
        if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) {
            return kind.clone();
        }
        let near = nearest(&name, KINDS.iter().map(|(known, _)| *known));
        self.say(say::unknown_kind(ty.span, &name, near));
        Kind::Unknown
    }

    fn range(&mut self, range: &ast::Range) -> Range {
        let low = range.low.as_ref().and_then(|(number, bound)| self.limit(number, *bound));
        let high = range.high.as_ref().and_then(|(number, bound)| self.limit(number, *bound));
        Range { low, high }
    }

    fn limit(&mut self, number: &ast::Number, bound: ast::Bound) -> Option<Limit> {
        let text = self.sources().text(number.span).to_string();
        match crate::lang::eval::number::plain(number) {
            Some((number, millionths)) => Some(Limit { text, millionths, number, bound }),
            None => {
                self.say(say::bad_limit(number.span, &text));
                None
            }
        }
    }

    /// The kinds of a signature, still open.
    pub(super) fn open_kinds(generics: &[Name]) -> Kinds {
        let open = generics.iter().map(|name| Kind::Open(name.text.clone())).collect();
        named_kinds(generics, open)
    }
}

fn named_kinds(names: &[Name], kinds: Vec<Kind>) -> Kinds {
    let padded = kinds.into_iter().chain(std::iter::repeat(Kind::Unknown));
    names.iter().map(|name| name.text.clone()).zip(padded).collect()
}

fn number_type(name: &str, range: Range) -> Option<Type> {
    let unit = match name {
        "Int" => return Some(Type::Int(range)),
        "Float" => return Some(Type::Float(range)),
        "Tokens" => Unit::Tokens,
        "Steps" => Unit::Steps,
        "Epochs" => Unit::Epochs,
        "Sequences" => Unit::Sequences,
        "Pairs" => Unit::Pairs,
        "Prompts" => Unit::Prompts,
        "Rows" => Unit::Rows,
        "Bytes" => Unit::Bytes,
        "Duration" => Unit::Duration,
        "Percent" => Unit::Percent,
        _ => return None,
    };
    Some(Type::Quantity(unit, range))
}

fn plain_type(name: &str) -> Option<Type> {
    Some(match name {
        "Bool" => Type::Bool,
        "String" => Type::String,
        "Path" => Type::Path,
        "Tokenizer" => Type::Tokenizer,
        "Reward" => Type::Reward,
        "Adapter" => Type::Adapter,
        "Report" => Type::Report,
        "Overlap" => Type::Overlap,
        "Files" => Type::Files,
        _ => return None,
    })
}
