//! Expressions: one arm for each form. Does not know calls from the inside, nor types.

use std::collections::BTreeMap;

use super::arithmetic::number_fault;
use super::number::literal;
use crate::lang::ast::{Args, Element, EntryKind, Expr, ExprKind, Text, TextPart};
use crate::lang::check::known::{Data, Known, TooLarge};
use crate::lang::check::{Checker, Names, Reading};
use crate::lang::errors::semantics as say;
use crate::lang::render::float_text;
use crate::lang::source::Span;
use crate::lang::types::Type;

/// Expressions inside one another, through the bodies of functions.
const DEEPEST: usize = 200;

/// Texts longer than this are no recipe's.
const LONGEST_TEXT: usize = 1 << 20;

impl<'a> Checker<'a> {
    /// The value of an expression; what is wrong is said and becomes unknown.
    pub(in crate::lang) fn eval(&mut self, expr: &'a Expr, names: Names<'_>) -> Known {
        if self.depth >= DEEPEST {
            let why = format!("expressions inside one another, more than {DEEPEST} deep");
            return self.refuse(expr.span, say::too_large(expr.span, &why));
        }
        self.depth += 1;
        let value = self.eval_within(expr, names);
        self.depth -= 1;
        value
    }

    fn eval_within(&mut self, expr: &'a Expr, names: Names<'_>) -> Known {
        let span = expr.span;
        let known = |data| Known { data, span };
        match &expr.kind {
            ExprKind::Error => Known::unknown(span),
            ExprKind::Number(number) => match literal(number) {
                Ok(data) => known(data),
                Err(fault) => self.refuse(span, number_fault(span, fault)),
            },
            ExprKind::Text(text) => self.text(text, span, names),
            ExprKind::Bool(flag) => known(Data::Bool(*flag)),
            ExprKind::None => known(Data::None),
            ExprKind::Paren(inner) => self.eval(inner, names),
            ExprKind::List(elements) => self.list(elements, span, names),
            ExprKind::Record(args) => self.bare_record(args, span, names),
            ExprKind::Path(path) => self.path(path, names),
            ExprKind::Call { callee, args } => self.call_for_value(callee, args, span, names),
            ExprKind::Pick { from, choices, fields } => {
                let picked = self.pick(from, choices, span, names);
                self.members(picked, from, fields, span)
            }
            ExprKind::Add(left, right) => {
                let (left, right) = (self.eval(left, names), self.eval(right, names));
                self.sum(span, &left, &right)
            }
            ExprKind::Mul(left, right) => {
                let (left, right) = (self.eval(left, names), self.eval(right, names));
                self.product(span, &left, &right)
            }
            ExprKind::Of(percent, of) => {
                let (share, of) = (self.eval(percent, names), self.eval(of, names));
                self.share(span, &share, of, percent.span)
            }
        }
    }

    fn text(&mut self, text: &'a Text, span: Span, names: Names<'_>) -> Known {
        let mut whole = String::new();
        for part in &text.parts {
            match part {
                TextPart::Literal(literal) => whole.push_str(literal),
                TextPart::Path(path) => {
                    let value = self.path(path, names);
                    match in_text(&value.data) {
                        Some(text) => whole.push_str(&text),
                        None if value.data.is_open() => return Known::unknown(span),
                        None => {
                            let ty = value.data.type_of();
                            return self.refuse(span, say::not_text(path.span, &path.text(), &ty));
                        }
                    }
                }
            }
            if whole.len() > LONGEST_TEXT {
                return self.refuse(span, say::too_large(span, "longer than a megabyte"));
            }
        }
        Known { data: Data::literal(&whole), span }
    }

    fn list(&mut self, elements: &'a [Element], span: Span, names: Names<'_>) -> Known {
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.eval(&element.value, names);
            match &value.data {
                _ if !element.spread => items.push(value),
                Data::List(list) => items.extend(list.items.iter().cloned()),
                Data::Sweep(sweep) => items.extend(sweep.made()),
                Data::None if self.reading != Reading::Strict => {}
                Data::Unknown => return Known::unknown(span),
                other => {
                    let ty = other.type_of();
                    return self.refuse(span, say::spread_of_no_list(element.value.span, &ty));
                }
            }
        }
        self.built(Data::list(items), span)
    }

    /// `{ … }` alone: exactly these fields.
    fn bare_record(&mut self, args: &'a Args, span: Span, names: Names<'_>) -> Known {
        let mut fields = BTreeMap::new();
        let mut own: BTreeMap<&str, Span> = BTreeMap::new();
        for entry in &args.entries {
            let (name, value) = match &entry.kind {
                EntryKind::Error => return Known::unknown(span),
                EntryKind::Spread(expr) => {
                    let Some(record) = self.spread(expr, names) else {
                        return Known::unknown(span);
                    };
                    for (name, value) in &record.fields {
                        if !own.contains_key(name.as_str()) {
                            fields.insert(name.clone(), value.clone());
                        }
                    }
                    continue;
                }
                EntryKind::Field { name, value } => (name, self.eval(value, names)),
                EntryKind::Pun(name) => (name, self.pun(name, names)),
            };
            match own.insert(&name.text, name.span) {
                Some(first) => self.say(say::duplicate_field(name.span, &name.text, first)),
                None => drop(fields.insert(name.text.clone(), value)),
            }
        }
        self.built(Data::record(None, fields), span)
    }

    /// The record behind `..`; nothing where that was refused.
    pub(in crate::lang) fn spread(
        &mut self,
        expr: &'a Expr,
        names: Names<'_>,
    ) -> Option<std::rc::Rc<crate::lang::check::known::Record>> {
        let value = self.eval(expr, names);
        match value.data {
            Data::Record(record) => Some(record),
            Data::Unknown => None,
            other => {
                let ty: Type = other.type_of();
                self.say(say::spread_of_no_record(expr.span, &ty));
                None
            }
        }
    }

    /// A list or record, unless it is too large.
    pub(in crate::lang) fn built(&mut self, data: Result<Data, TooLarge>, span: Span) -> Known {
        match data {
            Ok(data) => Known { data, span },
            Err(TooLarge(why)) => self.refuse(span, say::too_large(span, &why)),
        }
    }
}

/// A value inside `"${…}"`.
fn in_text(data: &Data) -> Option<String> {
    match data {
        Data::Int(number) => Some(number.to_string()),
        Data::Float(number) => Some(float_text(*number)),
        Data::Quantity(quantity) => Some(quantity.to_string()),
        Data::Text { text, .. } => Some(text.to_string()),
        Data::Path(path) => Some(path.written.clone()),
        _ => None,
    }
}
