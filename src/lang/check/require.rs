//! `require`: what must agree among the fields of a call. Does not know where the fields came
//! from, but says it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::known::{Data, Known};
use super::signature::Signature;
use super::state::{Checker, Names, Reading};
use crate::lang::ast::{Compare, Condition, Expr, ExprKind};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::semantics as say;
use crate::lang::source::Span;
use crate::lang::types::{DefId, Type};
use crate::lang::value::{Quantity, SINGLE_PORT, StageId, Unit, Value};

/// The two sides of a condition, evaluated.
struct Sides<'a> {
    condition: &'a Condition,
    left: Known,
    right: Known,
}

impl<'a> Checker<'a> {
    /// Checks every `require` of a signature; one that reads an unknown value says nothing. A fact
    /// that an input does not have is `none` here.
    pub(super) fn require(
        &mut self,
        signature: &Signature<'a>,
        fields: &BTreeMap<String, Known>,
        callee: Span,
    ) {
        for require in &signature.requires {
            let names = Names::Fields(require.file, fields);
            if let Some(unless) = require.unless
                && self.condition(unless, names).1 != Some(false)
            {
                continue;
            }
            let (sides, holds) = self.condition(require.condition, names);
            if holds == Some(false) {
                let fault = self.broken(&sides, fields, callee);
                let place = self.sources().place(require.condition.left.span);
                let fault = fault.note(format!("required at {place}"));
                self.say(match require.unless {
                    Some(unless) => {
                        let unless = self.sources().text(unless.span());
                        fault.note(format!("not required where `{unless}`"))
                    }
                    None => fault,
                });
            }
        }
    }

    /// The sides of a condition, and whether it holds; nothing where that is unknown.
    fn condition(
        &mut self,
        condition: &'a Condition,
        names: Names<'_>,
    ) -> (Sides<'a>, Option<bool>) {
        let outside = condition.compare == Compare::Outside;
        let before = self.reading;
        self.reading = if outside { Reading::All } else { Reading::Agreed };
        let (left, right) = (self.eval(&condition.left, names), self.eval(&condition.right, names));
        self.reading = before;
        let holds = match condition.compare {
            Compare::Outside => Some(self.inside(&left, &right).is_none()),
            Compare::Equal => self.agree(&left, &right),
            Compare::NotEqual => self.agree(&left, &right).map(|same| !same),
            compare => holds(compare, &left, &right),
        };
        (Sides { condition, left, right }, holds)
    }

    /// Whether two values are one; artifacts also where two stages do the same work.
    fn agree(&self, left: &Known, right: &Known) -> Option<bool> {
        let same = left.same(right)?;
        Some(same || self.alike(left, right, 0))
    }

    /// Whether two artifacts are made by equal work from equal inputs.
    fn alike(&self, a: &Known, b: &Known, depth: usize) -> bool {
        let (
            Data::Artifact { stage: a, port: from_a, .. },
            Data::Artifact { stage: b, port: from_b, .. },
        ) = (&a.data, &b.data)
        else {
            return a.same(b) == Some(true);
        };
        if a == b || from_a != from_b || depth == DEEPEST_TWINS {
            return a == b && from_a == from_b;
        }
        let work = |stage: &StageId| self.stages[stage.0 as usize].work.as_ref();
        let (Some(a), Some(b)) = (work(a), work(b)) else { return false };
        let alike = |(a, b): (&Known, &Known)| match (&a.data, &b.data) {
            (Data::List(a), Data::List(b)) => {
                let mut pairs = a.items.iter().zip(&b.items);
                a.items.len() == b.items.len() && pairs.all(|(a, b)| self.alike(a, b, depth + 1))
            }
            _ => self.alike(a, b, depth + 1),
        };
        a.signature.id == b.signature.id && a.fields.values().zip(b.fields.values()).all(alike)
    }

    /// The first artifact on the left that is also on the right, from both places.
    fn inside(&self, left: &Known, right: &Known) -> Option<(Known, Known)> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        artifacts(left, &mut ours);
        artifacts(right, &mut theirs);
        let mut by_result: BTreeMap<(StageId, &str), &Known> = BTreeMap::new();
        let mut by_kind: BTreeMap<(DefId, &str), Vec<&Known>> = BTreeMap::new();
        for known in theirs {
            let Data::Artifact { stage, port, .. } = &known.data else { continue };
            by_result.entry((*stage, port)).or_insert(known);
            if let Some(work) = &self.stages[stage.0 as usize].work {
                by_kind.entry((work.signature.id, port)).or_default().push(known);
            }
        }
        ours.into_iter().find_map(|known| {
            let Data::Artifact { stage, port, .. } = &known.data else { return None };
            let same = by_result.get(&(*stage, &**port)).copied();
            let twin = || {
                let work = self.stages[stage.0 as usize].work.as_ref()?;
                let others = by_kind.get(&(work.signature.id, &**port))?;
                others.iter().copied().find(|other| self.alike(known, other, 0))
            };
            same.or_else(twin).map(|other| (known.clone(), other.clone()))
        })
    }

    fn broken(
        &self,
        sides: &Sides<'a>,
        fields: &BTreeMap<String, Known>,
        callee: Span,
    ) -> Diagnostic {
        let Sides { condition, left, right } = sides;
        let (a, b) = (self.written(&condition.left), self.written(&condition.right));
        let owner = self.sources().text(callee);
        let fault = match (condition.compare, &left.data, &right.data) {
            (Compare::Outside, ..) => {
                let Some((held_out, trained_on)) = self.inside(left, right) else {
                    unreachable!("the requirement is broken because there is one")
                };
                let name = self.result_name(&held_out);
                return say::trained_on_held_out(owner, &name, held_out.span, trained_on.span);
            }
            (Compare::Equal, Data::Artifact { ty: Type::Tokenizer, .. }, _) => {
                return self.tokenizers(sides, fields, callee);
            }
            (Compare::Equal, _, Data::Artifact { ty: Type::Model(_), .. }) => {
                match self.wrong_base(right, fields, callee) {
                    Some(fault) => return fault,
                    None => say::requirement(a, condition.compare, b),
                }
            }
            (
                Compare::Divides,
                Data::Quantity(context @ Quantity { unit: Unit::Tokens, .. }),
                Data::Quantity(batch),
            ) => say::batch_not_whole(b, *batch, *context),
            (Compare::Equal, _, Data::Bool(true)) => say::not_true(a),
            _ => say::requirement(a, condition.compare, b),
        };
        self.with_causes(fault, sides, callee)
    }

    /// Two tokenizers that are not one: of a reward model and what it judges, or of any two.
    fn tokenizers(
        &self,
        sides: &Sides<'a>,
        fields: &BTreeMap<String, Known>,
        callee: Span,
    ) -> Diagnostic {
        let Sides { condition, left, right } = sides;
        let owner = self.sources().text(callee);
        let field = |expr: &Expr| match &expr.kind {
            ExprKind::Path(path) => fields.get_key_value(&path.names[0].text),
            _ => None,
        };
        let is_reward = |side: &Option<(&String, &Known)>| {
            side.is_some_and(|(_, known)| known.data.type_of() == Type::Reward)
        };
        let (from, to) = (field(&condition.left), field(&condition.right));
        let (judge, other) = match (is_reward(&from), is_reward(&to)) {
            (true, false) => ((from, left), (to, right)),
            (false, true) => ((to, right), (from, left)),
            _ => {
                let (a, b) = (self.written(&condition.left), self.written(&condition.right));
                let fault = say::tokenizer_mismatch(owner, a, b).expected(
                    format!("Tokenizer `{}`", self.result_name(right)),
                    format!("Tokenizer `{}`", self.result_name(left)),
                );
                return self.with_causes(fault, sides, callee);
            }
        };
        let name = other.0.map_or("other", |(name, _)| name.as_str());
        let at = judge.0.map_or(callee, |(_, known)| known.span);
        let (due, found) = (self.result_name(other.1), self.result_name(judge.1));
        say::cannot_read(owner, (at, &found), (name, other.1.span))
            .expected(format!("Reward of `{due}`"), format!("Reward of `{found}`"))
    }

    /// A model that is not the one an adapter, or one of several, was trained on.
    fn wrong_base(
        &self,
        model: &Known,
        fields: &BTreeMap<String, Known>,
        callee: Span,
    ) -> Option<Diagnostic> {
        let mut all = Vec::new();
        fields.values().for_each(|known| artifacts(known, &mut all));
        let stray = all.into_iter().find_map(|known| {
            let Data::Artifact { ty: Type::Adapter, stage, port } = &known.data else {
                return None;
            };
            let base = self.facts.get(&(*stage, Rc::clone(port), "base".to_string()))?.as_ref()?;
            let place = self.sources().place(self.stages[stage.0 as usize].place).to_string();
            let is_other = self.agree(base, model) != Some(true);
            is_other.then(|| (self.result_name(known), self.result_name(base), place))
        });
        let (name, due, place) = stray?;
        let at = if model.span.file == callee.file { model.span } else { callee };
        let fault = say::wrong_base(at, &name, &due, &place);
        Some(fault.expected(due, self.result_name(model)))
    }

    fn written(&self, expr: &Expr) -> &'a str {
        self.sources().text(expr.span)
    }

    /// `world.corpus`, `round1/ppo`
    fn result_name(&self, known: &Known) -> String {
        let Data::Artifact { stage, port, .. } = &known.data else { return String::new() };
        let name = &self.stages[stage.0 as usize].name;
        match &**port {
            SINGLE_PORT => name.clone(),
            port => format!("{name}.{port}"),
        }
    }

    /// Both causes, where they were written; the one in this call first.
    fn with_causes(&self, mut fault: Diagnostic, sides: &Sides<'a>, callee: Span) -> Diagnostic {
        let Sides { condition, left, right } = sides;
        let is = |expr: &Expr, known: &Known| {
            let value = match &known.data {
                Data::Artifact { .. } => format!("`{}`", self.result_name(known)),
                _ => known.to_value().to_string(),
            };
            (known.span, format!("`{}` is {value}", self.written(expr)))
        };
        let mut causes = vec![is(&condition.left, left), is(&condition.right, right)];
        causes.retain(|(span, _)| *span != condition.left.span && *span != condition.right.span);
        let here = |span: Span| span.file == callee.file && span.start > callee.start;
        causes.sort_by_key(|(span, _)| (!here(*span), span.start));
        if causes.iter().all(|(span, _)| !here(*span)) {
            let text = match causes.len() {
                2 => "needs both to agree",
                _ => "needs this",
            };
            fault = fault.label(callee, text);
        }
        causes.into_iter().fold(fault, |fault, (span, text)| fault.label(span, text))
    }
}

/// Every artifact inside lists and shares.
fn artifacts<'k>(known: &'k Known, found: &mut Vec<&'k Known>) {
    match &known.data {
        Data::Artifact { .. } => found.push(known),
        Data::List(list) => list.items.iter().for_each(|item| artifacts(item, found)),
        Data::Share { of, .. } => artifacts(of, found),
        _ => {}
    }
}

/// Inputs of inputs of inputs: beyond this, equal work is not looked for.
const DEEPEST_TWINS: usize = 16;

/// Whether a comparison holds; nothing where a side is unknown, `none` or counts something else.
fn holds(compare: Compare, left: &Known, right: &Known) -> Option<bool> {
    match compare {
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
