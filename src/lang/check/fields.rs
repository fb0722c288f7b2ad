//! The fields of a call: what is given, what spreads bring, what defaults fill in. Does not know
//! what the call makes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::known::Known;
use super::lower::Kinds;
use super::mismatch::Slot;
use super::signature::{Field, Signature};
use super::state::{Checker, Names};
use crate::lang::ast::{Args, Entry, EntryKind, Name};
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::resolve::Meaning;
use crate::lang::source::Span;

/// Every field of a call, checked, with the place its value came from.
#[derive(Debug, Default)]
pub(super) struct Filled {
    pub fields: BTreeMap<String, Known>,
    pub places: BTreeMap<String, Span>,
    pub kinds: Kinds,
}

/// A value that a call gives to a field.
struct Given {
    value: Known,
    /// Where it stands in the call: the value, the name alone, or the spread.
    at: Span,
    /// The name, where it was given by name.
    name: Option<Span>,
}

/// What is given, before it is checked.
#[derive(Default)]
struct Call<'c> {
    given: BTreeMap<String, Given>,
    /// Fields that a misspelt name most likely means.
    meant: Vec<&'c str>,
    /// Something was not understood, so that nothing can be called missing.
    partial: bool,
}

impl<'a> Checker<'a> {
    /// Checks the fields of a call in their declared order, defaults included.
    pub(super) fn fill(
        &mut self,
        signature: &Rc<Signature<'a>>,
        callee: Span,
        args: &'a Args,
        names: Names<'_>,
    ) -> Filled {
        let call = self.gather(signature, args, names);
        let mut filled = Filled::default();
        let mut missing = Vec::new();
        for field in &signature.fields {
            let known = match call.given.get(field.name) {
                Some(given) => self.given(signature, field, given, &mut filled),
                None if call.meant.contains(&field.name) => Known::unknown(callee),
                None if field.default.is_some() => {
                    self.default(signature, field, callee, &mut filled)
                }
                None => {
                    missing.push(field.name);
                    Known::unknown(callee)
                }
            };
            filled.places.insert(field.name.to_string(), known.span);
            filled.fields.insert(field.name.to_string(), known);
        }
        if !missing.is_empty() && !call.partial {
            let owner = format!("`{}`", signature.name);
            self.say(say::missing_fields(callee, &owner, &missing));
        }
        filled
    }

    fn gather(
        &mut self,
        signature: &'_ Rc<Signature<'a>>,
        args: &'a Args,
        names: Names<'_>,
    ) -> Call<'a> {
        let mut call = Call::default();
        for entry in &args.entries {
            match &entry.kind {
                EntryKind::Error => call.partial = true,
                EntryKind::Spread(expr) => match self.spread(expr, names) {
                    None => call.partial = true,
                    Some(record) => {
                        for (name, value) in &record.fields {
                            self.spread_field(signature, args, &mut call, name, value, expr.span);
                        }
                    }
                },
                EntryKind::Field { name, value } if signature.field(&name.text).is_some() => {
                    let at = value.span;
                    let value = self.eval(value, names);
                    self.named_field(&mut call, name, value, at);
                }
                EntryKind::Pun(name) if signature.field(&name.text).is_some() => {
                    let value = self.pun(name, names);
                    self.named_field(&mut call, name, value, name.span);
                }
                EntryKind::Field { name, .. } | EntryKind::Pun(name) => {
                    self.unknown_field(signature, args, &mut call, entry, name, names);
                }
            }
        }
        call
    }

    fn spread_field(
        &mut self,
        signature: &Rc<Signature<'a>>,
        args: &Args,
        call: &mut Call<'a>,
        name: &str,
        value: &Known,
        at: Span,
    ) {
        if signature.field(name).is_none() {
            let near = meant(signature, args, name);
            call.meant.extend(near);
            let fault = say::unused_field(at, signature.name, name, value.span);
            return self.say(fault.hint(near.map(str::to_string)));
        }
        let by_name = call.given.get(name).is_some_and(|given| given.name.is_some());
        if !by_name {
            let given = Given { value: value.clone(), at, name: None };
            call.given.insert(name.to_string(), given);
        }
    }

    fn named_field(&mut self, call: &mut Call<'a>, name: &Name, value: Known, at: Span) {
        if let Some(Given { name: Some(first), .. }) = call.given.get(&name.text) {
            let fault = say::duplicate_field(name.span, &name.text, *first);
            return self.say(fault);
        }
        call.given.insert(name.text.clone(), Given { value, at, name: Some(name.span) });
    }

    fn unknown_field(
        &mut self,
        signature: &Rc<Signature<'a>>,
        args: &Args,
        call: &mut Call<'a>,
        entry: &'a Entry,
        name: &Name,
        names: Names<'_>,
    ) {
        let near = meant(signature, args, &name.text);
        call.meant.extend(near);
        let hint = match &entry.kind {
            EntryKind::Field { value, .. } => {
                self.eval(value, names);
                let value = self.sources().text(value.span);
                near.filter(|_| !value.contains('\n')).map(|near| format!("{near}: {value}"))
            }
            _ => {
                self.read_if_value(name, near, names);
                near.map(str::to_string)
            }
        };
        let place = self.sources().place(signature.place);
        let fault = say::unknown_field(name.span, signature.name, &name.text, &place);
        self.say(fault.hint(hint));
    }

    /// `sede` alone: the value of that name, or of the field it means, counts as read.
    fn read_if_value(&mut self, name: &Name, near: Option<&str>, names: Names<'_>) {
        let (Names::File(file) | Names::Point(file, _)) = names else { return };
        for name in [Some(name.text.as_str()), near].into_iter().flatten() {
            if let Some((_, Meaning::Binding(meant))) = self.program.nearest_value(file, name) {
                self.read.insert(meant);
            }
        }
    }

    fn given(
        &mut self,
        signature: &Signature<'a>,
        field: &Field<'a>,
        given: &Given,
        filled: &mut Filled,
    ) -> Known {
        let owner = Some(signature.name);
        let slot = Slot { owner, name: field.name, at: given.at, declared: field.place };
        self.accept(&given.value, &field.ty, &mut filled.kinds, slot)
    }

    fn default(
        &mut self,
        signature: &Signature<'a>,
        field: &Field<'a>,
        callee: Span,
        filled: &mut Filled,
    ) -> Known {
        let Some(default) = field.default else { return Known::unknown(callee) };
        if let Some((input, fact)) = self.absent_fact(default, &filled.fields) {
            let given = filled.fields[&input.text].data.type_of();
            let fault = say::no_default(callee, signature.name, field.name, &input.text, &given);
            return self.refuse(
                callee,
                if fact.text == "template" {
                    fault
                } else {
                    say::no_fact_for_default(
                        callee,
                        signature.name,
                        field.name,
                        &input.text,
                        &fact.text,
                    )
                },
            );
        }
        let value = self.eval(default, Names::Fields(field.file, &filled.fields));
        let owner = Some(signature.name);
        let slot = Slot { owner, name: field.name, at: default.span, declared: field.place };
        self.accept(&value, &field.ty, &mut filled.kinds, slot)
    }
}

/// The field that a wrong name most likely means, among those not given: by what other tools call
/// it, or by its letters.
fn meant<'a>(signature: &Signature<'a>, args: &Args, name: &str) -> Option<&'a str> {
    let given = |field: &&Field<'_>| {
        args.entries.iter().any(|entry| match &entry.kind {
            EntryKind::Field { name, .. } | EntryKind::Pun(name) => name.text == field.name,
            EntryKind::Spread(_) | EntryKind::Error => false,
        })
    };
    let open: Vec<&Field<'a>> = signature.fields.iter().filter(|field| !given(field)).collect();
    let elsewhere = open.iter().find(|field| field.elsewhere.iter().any(|other| other == name));
    let by_letters = || nearest(name, open.iter().map(|field| field.name));
    elsewhere.map(|field| field.name).or_else(by_letters)
}
