//! `require`: what must agree among the fields of a call. Does not know where the fields came
//! from, but says it.

use std::collections::BTreeMap;

use super::known::{Data, Known};
use super::signature::{Require, Signature};
use super::state::{Checker, Names};
use crate::lang::ast::{Compare, Expr};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::semantics as say;
use crate::lang::source::Span;
use crate::lang::types::Type;
use crate::lang::value::{Quantity, Unit, Value};

impl<'a> Checker<'a> {
    /// Checks every `require` of a signature; one that reads an unknown value says nothing.
    pub(super) fn require(
        &mut self,
        signature: &Signature<'a>,
        fields: &BTreeMap<String, Known>,
        callee: Span,
    ) {
        for require in &signature.requires {
            let names = Names::Fields(require.file, fields);
            let left = self.eval(require.left, names);
            let right = self.eval(require.right, names);
            if holds(require.compare, &left, &right) == Some(false) {
                let fault = self.broken(require, &left, &right, callee);
                self.say(self.with_causes(fault, require, &left, &right, callee));
            }
        }
    }

    fn broken(
        &self,
        require: &Require<'_>,
        left: &Known,
        right: &Known,
        callee: Span,
    ) -> Diagnostic {
        let (a, b) = (self.written(require.left), self.written(require.right));
        match (require.compare, &left.data, &right.data) {
            (Compare::Equal, Data::Artifact { ty: Type::Tokenizer, .. }, _) => {
                let owner = self.sources().text(callee);
                let fault = say::tokenizer_mismatch(owner, a, b);
                fault.expected(
                    format!("Tokenizer `{}`", self.stage_name(right)),
                    format!("Tokenizer `{}`", self.stage_name(left)),
                )
            }
            (
                Compare::Divides,
                Data::Quantity(context @ Quantity { unit: Unit::Tokens, .. }),
                Data::Quantity(batch),
            ) => say::batch_not_whole(b, *batch, *context),
            _ => say::requirement(a, require.compare, b),
        }
    }

    fn written(&self, expr: &Expr) -> &'a str {
        self.sources().text(expr.span)
    }

    fn stage_name(&self, known: &Known) -> String {
        match &known.data {
            Data::Artifact { stage, .. } => self.stages[stage.0 as usize].name.clone(),
            _ => String::new(),
        }
    }

    /// Both causes, where they were written; the one in this call first.
    fn with_causes(
        &self,
        mut fault: Diagnostic,
        require: &Require<'_>,
        left: &Known,
        right: &Known,
        callee: Span,
    ) -> Diagnostic {
        let is = |expr: &Expr, known: &Known| {
            let value = match &known.data {
                Data::Artifact { .. } => format!("`{}`", self.stage_name(known)),
                _ => known.to_value().to_string(),
            };
            (known.span, format!("`{}` is {value}", self.written(expr)))
        };
        let mut causes = vec![is(require.left, left), is(require.right, right)];
        let here = |span: Span| span.file == callee.file && span.start > callee.start;
        causes.sort_by_key(|(span, _)| (!here(*span), span.start));
        if causes.iter().all(|(span, _)| span.file != callee.file) {
            fault = fault.label(callee, "needs both to agree");
        }
        for (span, text) in causes {
            fault = fault.label(span, text);
        }
        let place = self.sources().place(require.left.span);
        fault.note(format!("required at {place}"))
    }
}

/// Whether a comparison holds; nothing where a side is unknown, `none` or counts something else.
fn holds(compare: Compare, left: &Known, right: &Known) -> Option<bool> {
    match compare {
        Compare::Equal => left.same(right),
        Compare::NotEqual => left.same(right).map(|same| !same),
        Compare::Divides => {
            let (Some(divisor), Some(whole)) = (amount(left)?.1, amount(right)?.1) else {
                return None;
            };
            (unit(left) == unit(right)).then(|| divisor != 0 && whole % divisor == 0)
        }
        _ if unit(left) != unit(right) => None,
        _ => {
            let order = order(left, right)?;
            Some(match compare {
                Compare::Less => order.is_lt(),
                Compare::LessEqual => order.is_le(),
                Compare::Greater => order.is_gt(),
                _ => order.is_ge(),
            })
        }
    }
}

fn unit(known: &Known) -> Option<Unit> {
    match known.data {
        Data::Quantity(quantity) => Some(quantity.unit),
        _ => None,
    }
}

fn order(left: &Known, right: &Known) -> Option<std::cmp::Ordering> {
    match (amount(left)?, amount(right)?) {
        ((_, Some(a)), (_, Some(b))) => Some(a.cmp(&b)),
        ((a, _), (b, _)) => a.partial_cmp(&b),
    }
}

/// A number as a float and, where it is exact, in millionths.
fn amount(known: &Known) -> Option<(f64, Option<i128>)> {
    match known.to_value() {
        Value::Int(number) => Some((number as f64, Some(i128::from(number) * 1_000_000))),
        Value::Float(number) => Some((number, None)),
        Value::Quantity(quantity) => Some((quantity.as_f64(), Some(quantity.millionths))),
        _ => None,
    }
}
