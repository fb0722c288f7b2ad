//! Facts: what is known of an artifact before it is made, computed when somebody asks. Chains of
//! stages are walked with an explicit stack. Does not know how an expression is evaluated.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::known::{Data, Known};
use super::order::paths_in;
use super::state::{Checker, Names, Wanted, Work};
use crate::lang::ast::{Args, EntryKind, Expr, ExprKind, Name};
use crate::lang::source::FileId;
use crate::lang::value::StageId;

/// Where a fact comes from.
enum Origin<'a> {
    Absent,
    Unknown,
    Value(Known),
    /// `..init`: the same fact of another stage.
    Of(StageId, Rc<str>),
    Expr(&'a Expr, Scope),
    Field(&'a Name, Scope),
}

/// The names that a `facts` entry sees.
struct Scope {
    file: FileId,
    fields: Rc<BTreeMap<String, Known>>,
}

impl<'a> Checker<'a> {
    /// A fact of what a stage makes; nothing where it has no such fact.
    pub(in crate::lang) fn fact(
        &mut self,
        stage: StageId,
        port: &str,
        name: &str,
    ) -> Option<Known> {
        let asked: Wanted = (stage, port.into(), name.to_string());
        let mut open = vec![asked.clone()];
        while let Some(wanted) = open.last() {
            let wanted = wanted.clone();
            if self.facts.contains_key(&wanted) {
                open.pop();
                continue;
            }
            let found = match self.origin(&wanted) {
                Origin::Absent => None,
                Origin::Unknown => Some(self.unknown_fact(&wanted)),
                Origin::Value(known) => Some(known),
                Origin::Field(name, scope) => {
                    Some(self.pun(name, Names::Fields(scope.file, &scope.fields)))
                }
                Origin::Of(stage, port) => {
                    let other = (stage, port, wanted.2.clone());
                    match self.facts.get(&other) {
                        Some(known) => known.clone(),
                        None => {
                            open.push(other);
                            continue;
                        }
                    }
                }
                Origin::Expr(expr, scope) => {
                    let needs = self.facts_needed(&wanted, expr, &scope.fields);
                    if !needs.is_empty() {
                        open.extend(needs);
                        continue;
                    }
                    let circle = self.unknown_fact(&wanted);
                    self.facts.insert(wanted.clone(), Some(circle));
                    Some(self.eval(expr, Names::Fields(scope.file, &scope.fields)))
                }
            };
            self.facts.insert(wanted, found);
        }
        self.facts[&asked].clone()
    }

    fn unknown_fact(&self, wanted: &Wanted) -> Known {
        Known::unknown(self.stages[wanted.0.0 as usize].place)
    }

    /// The last entry that gives a fact, as the last spread or field counts. An entry named as a
    /// port holds the facts of that port alone, which go before those of the stage.
    fn origin(&mut self, (stage, port, wanted): &Wanted) -> Origin<'a> {
        let Some(work) = self.stages[stage.0 as usize].work.clone() else {
            return Origin::Unknown;
        };
        let Some(facts) = work.signature.facts else { return Origin::Absent };
        let of_port = facts.entries.iter().find_map(|entry| match &entry.kind {
            EntryKind::Field { name, value: Expr { kind: ExprKind::Record(args), .. } }
                if name.text == **port =>
            {
                Some(args)
            }
            _ => None,
        });
        for args in of_port.into_iter().chain([facts]) {
            match self.origin_in(args, &work, wanted) {
                Origin::Absent => {}
                found => return found,
            }
        }
        Origin::Absent
    }

    fn origin_in(&mut self, facts: &'a Args, work: &Work<'a>, wanted: &str) -> Origin<'a> {
        let file = work.signature.file;
        let scope = || Scope { file, fields: Rc::clone(&work.scope) };
        for entry in facts.entries.iter().rev() {
            match &entry.kind {
                EntryKind::Field { name, value } if name.text == *wanted => {
                    return Origin::Expr(value, scope());
                }
                EntryKind::Pun(name) if name.text == *wanted => {
                    return Origin::Field(name, scope());
                }
                EntryKind::Spread(expr) => {
                    let source = self.eval(expr, Names::Fields(file, &work.scope));
                    match source.data {
                        Data::Unknown => return Origin::Unknown,
                        Data::Artifact { stage, port, .. } => return Origin::Of(stage, port),
                        Data::Results(stage, _) => return Origin::Of(stage, "".into()),
                        Data::Record(record) => {
                            if let Some(known) = record.fields.get(wanted) {
                                return Origin::Value(known.clone());
                            }
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Origin::Absent
    }

    /// The facts of earlier stages that an expression reads and that are not known yet.
    fn facts_needed(
        &self,
        (stage, ..): &Wanted,
        expr: &'a Expr,
        fields: &BTreeMap<String, Known>,
    ) -> Vec<Wanted> {
        let mut needs = Vec::new();
        for path in paths_in(expr) {
            let [field, fact, ..] = path.names.as_slice() else { continue };
            let Some(known) = fields.get(&field.text) else { continue };
            for (other, port) in makers(&known.data) {
                let wanted = (other, port, fact.text.clone());
                if wanted.0 != *stage && !self.facts.contains_key(&wanted) {
                    needs.push(wanted);
                }
            }
        }
        needs
    }

    /// The fact that a default reads, where the artifact given has no such fact: the field and
    /// the fact.
    pub(super) fn absent_fact(
        &mut self,
        default: &'a Expr,
        fields: &BTreeMap<String, Known>,
    ) -> Option<(&'a Name, &'a Name)> {
        let ExprKind::Path(path) = &default.kind else { return None };
        let [field, fact, ..] = path.names.as_slice() else { return None };
        let (stage, port) = maker(&fields.get(&field.text)?.data)?;
        self.fact(stage, &port, &fact.text).is_none().then_some((field, fact))
    }

    /// The names of the facts that a stage's signature writes itself.
    pub(in crate::lang) fn fact_names(&self, stage: StageId) -> Vec<&'a str> {
        let work = self.stages[stage.0 as usize].work.as_ref();
        let facts = work.and_then(|work: &Work<'a>| work.signature.facts);
        let entries = facts.map_or(&[][..], |facts| &facts.entries);
        let name = |kind: &'a EntryKind| match kind {
            EntryKind::Field { name, .. } | EntryKind::Pun(name) => Some(name.text.as_str()),
            EntryKind::Spread(_) | EntryKind::Error => None,
        };
        entries.iter().filter_map(|entry| name(&entry.kind)).collect()
    }
}

/// The stages and ports whose facts a value, or each of a list, has.
fn makers(data: &Data) -> Vec<(StageId, Rc<str>)> {
    match data {
        Data::List(list) => list.items.iter().filter_map(|item| maker(&item.data)).collect(),
        one => maker(one).into_iter().collect(),
    }
}

/// The stage and port whose facts a value has.
fn maker(data: &Data) -> Option<(StageId, Rc<str>)> {
    match data {
        Data::Artifact { stage, port, .. } => Some((*stage, Rc::clone(port))),
        Data::Results(stage, _) => Some((*stage, "".into())),
        _ => None,
    }
}
