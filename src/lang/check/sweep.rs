//! Sweeps: one stage for each combination of values, and the picks that choose among them. Does
//! not know what a stage does.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::bindings::call_of;
use super::known::{Data, Known, Sweep};
use super::state::{Checker, Names};
use crate::lang::ast::{self, Axis, Choice};
use crate::lang::errors::semantics as say;
use crate::lang::source::Span;
use crate::lang::value::{SINGLE_PORT, StageId};

impl<'a> Checker<'a> {
    /// One stage for each combination, the last axis running fastest.
    pub(super) fn sweep(&mut self, stage: &'a ast::Stage, names: Names<'_>, path: &str) -> Known {
        let span = stage.name.span;
        let Some(axes) = self.axes(stage, names) else { return Known::unknown(span) };
        let points = axes.iter().fold(1u64, |all, axis| all.saturating_mul(axis.len() as u64));
        let callee = call_of(&stage.work).map(|(callee, _)| callee);
        let callee = callee.and_then(|path| self.program.callable(names.file(), path).ok()?);
        let weight = callee.map_or(1, |callee| self.calls.weight(callee).max(1));
        if self.too_many(span, &stage.name.text, points.saturating_mul(weight)) {
            return Known::unknown(span);
        }
        let mut locals = match names {
            Names::File(_) => BTreeMap::new(),
            Names::Fields(_, outer) | Names::Point(_, outer) | Names::Body(_, outer) => {
                outer.clone()
            }
        };
        let mut made = Vec::with_capacity(points as usize);
        for point in 0..points {
            let values = values_at(&axes, point);
            let mut texts = Vec::with_capacity(axes.len());
            for (axis, value) in stage.axes.iter().zip(&values) {
                texts.push(format!("{}: {}", axis.name.text, value.to_value()));
                locals.insert(axis.name.text.clone(), value.clone());
            }
            let names = match names {
                Names::Body(file, _) => Names::Body(file, &locals),
                other => Names::Point(other.file(), &locals),
            };
            let path = format!("{path}[{}]", texts.join(", "));
            made.push((values, self.one_stage(stage, names, path, None)));
        }
        let axes = stage.axes.iter().map(|axis| axis.name.text.clone()).collect();
        let data = Data::Sweep(Rc::new(Sweep { axes, points: made }));
        let value = Known { data, span };
        self.named.push((path.to_string(), value.clone()));
        value
    }

    /// The values of every axis; nothing where one is refused.
    fn axes(&mut self, stage: &'a ast::Stage, names: Names<'_>) -> Option<Vec<Vec<Known>>> {
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        let mut all = Vec::with_capacity(stage.axes.len());
        for axis in &stage.axes {
            let name = &axis.name;
            let own = match names {
                Names::Body(file, _) => self.program.module_named(file, &name.text),
                other => self.program.declared_here(other.file(), &name.text),
            };
            if let Some(first) = seen.insert(&name.text, name.span).or(own) {
                self.say(say::name_taken(name.span, &name.text, first));
            }
            all.push(self.axis(axis, names));
        }
        all.into_iter().collect()
    }

    fn axis(&mut self, axis: &'a Axis, names: Names<'_>) -> Option<Vec<Known>> {
        let list = self.eval(&axis.list, names);
        let name = &axis.name.text;
        let items = match &list.data {
            Data::List(list) => list.items.clone(),
            Data::Unknown => return None,
            other => {
                self.say(say::axis_of_no_list(axis.list.span, name, &other.type_of()));
                return None;
            }
        };
        if items.is_empty() {
            self.say(say::empty_axis(axis.list.span, name));
            return None;
        }
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        for item in &items {
            match &item.data {
                Data::Unknown => return None,
                Data::Some(_) => {}
                data if data.is_axis_value() => {
                    let text = item.to_value().to_string();
                    if let Some(first) = seen.insert(text.clone(), item.span) {
                        self.say(say::point_taken(item.span, name, &text, first));
                        return None;
                    }
                }
                other => {
                    self.say(say::no_axis_value(item.span, name, &other.type_of()));
                    return None;
                }
            }
        }
        Some(items)
    }

    /// `x[k: 8]`: one point, or the list of those that agree.
    pub(in crate::lang) fn pick(
        &mut self,
        from: &'a ast::Path,
        choices: &'a [Choice],
        span: Span,
        names: Names<'_>,
    ) -> Known {
        let value = self.path(from, names);
        let wanted: Vec<(&ast::Name, Known)> = choices
            .iter()
            .map(|choice| match &choice.value {
                Some(value) => (&choice.name, self.eval(value, names)),
                None => (&choice.name, self.pun(&choice.name, names)),
            })
            .collect();
        let sweep = match &value.data {
            Data::Sweep(sweep) => Rc::clone(sweep),
            Data::Unknown => return Known::unknown(span),
            _ => return self.refuse(span, say::pick_of_no_sweep(from.span, &from.text())),
        };
        let mut left: Vec<&(Vec<Known>, Known)> = sweep.points.iter().collect();
        let mut axes: Vec<usize> = (0..sweep.axes.len()).collect();
        for (name, value) in &wanted {
            let Some(axis) = sweep.axes.iter().position(|axis| *axis == name.text) else {
                let fault = say::no_such_axis(name.span, &from.text(), &name.text, &sweep.axes);
                return self.refuse(span, fault);
            };
            if value.data.is_open() || left.iter().any(|point| point.0[axis].data.is_open()) {
                return Known::unknown(span);
            }
            let found: Vec<_> =
                left.iter().copied().filter(|point| equal(&point.0[axis], value)).collect();
            if found.is_empty() {
                let mut known: Vec<String> = Vec::new();
                for point in left {
                    let text = point.0[axis].to_value().to_string();
                    if !known.contains(&text) {
                        known.push(text);
                    }
                }
                let fault = say::no_such_point(value.span, &from.text(), &name.text, &known);
                return self.refuse(span, fault);
            }
            left = found;
            axes.retain(|other| *other != axis);
        }
        if axes.is_empty() {
            return Known { span, ..left[0].1.clone() };
        }
        let rest = |(values, made): &(Vec<Known>, Known)| {
            (axes.iter().map(|axis| values[*axis].clone()).collect(), made.clone())
        };
        let points = left.into_iter().map(rest).collect();
        let axes = axes.iter().map(|axis| sweep.axes[*axis].clone()).collect();
        Known { data: Data::Sweep(Rc::new(Sweep { axes, points })), span }
    }
}

/// The values of a point, counted through with the last axis fastest.
fn values_at(axes: &[Vec<Known>], mut point: u64) -> Vec<Known> {
    let mut values = Vec::with_capacity(axes.len());
    for axis in axes.iter().rev() {
        let length = axis.len() as u64;
        values.push(axis[(point % length) as usize].clone());
        point /= length;
    }
    values.reverse();
    values
}

/// Whether two axis values are one: `1` and `1.0` are.
fn equal(a: &Known, b: &Known) -> bool {
    match (&a.data, &b.data) {
        (Data::Int(int), Data::Float(float)) | (Data::Float(float), Data::Int(int)) => {
            *int as f64 == *float
        }
        _ => a.to_value() == b.to_value(),
    }
}

/// One result that a value stands for: its field where it is a record's, the stage and the port.
pub(in crate::lang) struct Flat {
    pub field: Option<String>,
    pub stage: StageId,
    pub port: Option<String>,
}

/// All results that a value stands for.
pub(in crate::lang) fn flat(value: &Known) -> Vec<Flat> {
    match &value.data {
        Data::Artifact { stage, port, .. } => {
            let port = Some(port.to_string()).filter(|port| port != SINGLE_PORT);
            vec![Flat { field: None, stage: *stage, port }]
        }
        Data::Results(stage, _) => vec![Flat { field: None, stage: *stage, port: None }],
        Data::Record(record) => {
            let fields = record.fields.iter();
            let field = |(name, value): (&String, &Known)| {
                let results = flat(value).into_iter();
                let name = name.clone();
                results.map(move |one| Flat { field: Some(name.clone()), ..one })
            };
            fields.flat_map(field).collect()
        }
        Data::List(list) => list.items.iter().flat_map(flat).collect(),
        Data::Sweep(sweep) => sweep.points.iter().flat_map(|(_, made)| flat(made)).collect(),
        _ => Vec::new(),
    }
}
