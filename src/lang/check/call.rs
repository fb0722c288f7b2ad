//! Calls: a record is built, a pure function computed, work is left to stages. Does not know where
//! the fields of a call come from.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::fields::Filled;
use super::known::{Data, Known};
use super::signature::Signature;
use super::state::{Checker, Names, Work};
use crate::lang::ast::{Args, ItemKind, Path};
use crate::lang::errors::semantics as say;
use crate::lang::eval::built_in;
use crate::lang::source::Span;
use crate::lang::types::{Kind, RecordName, Type};

/// Defaults that call records whose defaults call records: deeper than this goes in a circle.
const DEEPEST_DEFAULTS: usize = 64;

impl<'a> Checker<'a> {
    /// What a callee is declared as; nothing where that is refused or already was.
    pub(super) fn callee(&mut self, callee: &Path, names: Names<'_>) -> Option<Rc<Signature<'a>>> {
        let id = match self.program.callable(names.file(), callee) {
            Ok(id) => id?,
            Err(fault) => {
                self.say(fault);
                return None;
            }
        };
        let declared = self.program.definition(id);
        if let ItemKind::Fn(function) = &declared.item.kind {
            // What nothing implements, or never ends, is refused once, where it is declared.
            let built_in = self.program.in_library(declared.file);
            if self.calls.circle(id).is_some() || (function.body.is_none() && !built_in) {
                return None;
            }
        }
        Some(self.signature(id))
    }

    /// A call inside an expression: it makes a value, or it is refused.
    pub(in crate::lang) fn call_for_value(
        &mut self,
        callee: &'a Path,
        args: &'a Args,
        span: Span,
        names: Names<'_>,
    ) -> Known {
        let Some(signature) = self.callee(callee, names) else {
            self.look_at(args, names);
            return Known::unknown(span);
        };
        if signature.is_work() {
            self.look_at(args, names);
            let at = callee.span.to(args.span);
            return self.refuse(span, say::unnamed_work(at, &callee.text(), makes(&signature)));
        }
        if self.building.len() >= DEEPEST_DEFAULTS {
            return self.refuse(span, say::circular_default(signature.place, signature.name));
        }
        if signature.body.is_some() {
            return Known { span, ..self.use_of(&signature, callee.span, args, names, "") };
        }
        self.building.push(signature.id);
        let filled = self.fill(&signature, callee.span, args, names);
        self.require(&signature, &filled.fields, callee.span);
        self.building.pop();
        match signature.result {
            None => self.record(&signature, filled, span),
            Some(_) => self.compute(&signature, &filled.fields, span),
        }
    }

    fn record(&mut self, signature: &Signature<'a>, filled: Filled, span: Span) -> Known {
        let name = RecordName { name: signature.name.to_string(), id: signature.id };
        self.built(Data::record(Some(name), filled.fields), span)
    }

    fn compute(
        &mut self,
        signature: &Signature<'a>,
        fields: &BTreeMap<String, Known>,
        span: Span,
    ) -> Known {
        if fields.values().any(|field| field.data.is_open()) {
            return Known::unknown(span);
        }
        let Some(function) = built_in::find(signature.name) else {
            return self.refuse(span, say::not_built_in(signature.place, signature.name));
        };
        match function(fields) {
            Some(data) => Known { data, span },
            None => self.refuse(span, say::overflow(span)),
        }
    }

    /// The call that a stage is, checked.
    pub(super) fn work(
        &mut self,
        signature: Rc<Signature<'a>>,
        callee: Span,
        args: &'a Args,
        names: Names<'_>,
    ) -> Work<'a> {
        let filled = self.fill(&signature, callee, args, names);
        self.require(&signature, &filled.fields, callee);
        self.placeholders(&signature, &filled.fields);
        let found = |name: &str| Some(filled.kinds.get(name).cloned().unwrap_or(Kind::Unknown));
        let result = signature.result.as_ref().map_or(Type::Unknown, |ty| ty.with_kinds(&found));
        let fields = Rc::new(filled.fields);
        let scope = Rc::clone(&fields);
        Work { signature, fields, scope, places: filled.places, result }
    }

    /// Evaluates what a refused call was given, for the errors in it.
    pub(super) fn look_at(&mut self, args: &'a Args, names: Names<'_>) {
        use crate::lang::ast::EntryKind;
        for entry in &args.entries {
            match &entry.kind {
                EntryKind::Spread(value) | EntryKind::Field { value, .. } => {
                    self.eval(value, names);
                }
                EntryKind::Pun(name) => {
                    self.pun(name, names);
                }
                EntryKind::Error => {}
            }
        }
    }
}

/// What a stage kind does, for the label at a call that has no name.
fn makes(signature: &Signature<'_>) -> &'static str {
    match signature.result {
        Some(Type::Model(_)) => "this trains a model",
        Some(Type::Report) => "this measures models",
        Some(Type::Overlap) => "this compares data",
        Some(Type::Tokenizer) => "this trains a tokenizer",
        _ => "this runs work",
    }
}
