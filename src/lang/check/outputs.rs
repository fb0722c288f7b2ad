//! A whole recipe: every binding of the root file, its outputs, what nothing reads, and the module
//! that other rooms receive. Does not know how one binding is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::known::{Data, Known, results_as_record};
use super::order::{Need, unread_axes};
use super::state::{Checker, Made, Names, Override, Wanted, Work};
use super::{Flat, flat};
use crate::lang::ast::{Expr, ExprKind, Item, ItemKind, Name};
use crate::lang::diagnostic::{Diagnostic, Severity};
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::resolve::{BindingId, Head, Meaning, Program};
use crate::lang::source::{FileId, Span};
use crate::lang::types::{DefId, Type};
use crate::lang::value::{Module, Output, SINGLE_PORT, Stage, StageId, Value, WITH_BASE};

/// Checks and evaluates a root file. `whole` says that the file was read without faults, so that
/// what nothing reads can be told.
pub fn check<'a>(
    program: &'a Program<'a>,
    root: FileId,
    overrides: BTreeMap<BindingId, &'a Override>,
    whole: bool,
) -> (Module, Vec<Diagnostic>) {
    let mut checker = Checker::new(program, root, overrides);
    let own = checker.own_bindings();
    for binding in &own {
        checker.reserve(*binding);
    }
    checker.definitions();
    for binding in &own {
        checker.prepare(*binding);
    }
    let outputs = checker.outputs(&own);
    if whole {
        checker.unused(&own, &outputs);
    }
    checker.paths_are_unique();
    checker.find_bases();
    let module = checker.module(outputs.into_iter().map(|(output, _)| output).collect());
    (module, checker.faults)
}

impl<'a> Checker<'a> {
    fn own_bindings(&self) -> Vec<BindingId> {
        let all = self.program.bindings.iter().enumerate();
        let own = all.filter(|(_, declared)| declared.file == self.root);
        own.map(|(at, _)| BindingId(at as u32)).collect()
    }

    /// Looks at every declaration of the user's files, whether it is used or not.
    fn definitions(&mut self) {
        let reached = self.program.reached(self.root);
        for (at, declared) in self.program.definitions.iter().enumerate() {
            let users = declared.file == self.root || !self.program.in_library(declared.file);
            if !users || !reached.contains(&declared.file) {
                continue;
            }
            match &declared.item.kind {
                ItemKind::Fn(function) if function.body.is_some() => {
                    self.function(DefId(at as u32), function);
                }
                ItemKind::Fn(_) if !self.program.in_library(declared.file) => {
                    self.say(say::not_built_in(declared.name.span, &declared.name.text));
                }
                ItemKind::Alias(alias) => {
                    let kinds = Self::open_kinds(&alias.generics);
                    self.lower(&alias.ty, declared.file, &kinds);
                }
                _ => {
                    self.signature(DefId(at as u32));
                }
            }
        }
    }

    /// What `output` names, with the binding behind each; every stage where nothing is named.
    fn outputs(&mut self, own: &[BindingId]) -> Vec<(Output, BindingId)> {
        let items = self.tree(self.root).items.iter();
        let named: Vec<&'a Expr> = items.flat_map(outputs_of).collect();
        if !named.is_empty() {
            return named.into_iter().flat_map(|result| self.output(result)).collect();
        }
        let mut all = Vec::new();
        for binding in own {
            let declared = self.program.binding(*binding);
            if matches!(declared.item.kind, ItemKind::Stage(_)) {
                let value = self.value_of(*binding);
                all.extend(outputs_called(&declared.name.text, &value, *binding));
            }
        }
        all
    }

    /// A stage, a use of a function, a sweep or one of its points; perhaps one result of it.
    fn output(&mut self, result: &'a Expr) -> Vec<(Output, BindingId)> {
        let (path, picked) = match &result.kind {
            ExprKind::Path(path) => (path, None),
            ExprKind::Pick { from, choices, fields } => (from, Some((choices, fields))),
            _ => return Vec::new(),
        };
        let (binding, taken) = match self.program.head(self.root, path) {
            Ok(Head { meaning: Meaning::Binding(binding), taken }) => (binding, taken),
            Ok(_) => return Vec::new(),
            Err(fault) => {
                self.say(fault);
                return Vec::new();
            }
        };
        self.prepare(binding);
        self.read.insert(binding);
        let declared = self.program.binding(binding);
        if !matches!(declared.item.kind, ItemKind::Stage(_)) {
            self.say(say::not_a_stage(path.span, &path.text(), declared.name.span));
            return Vec::new();
        }
        let names = Names::File(self.root);
        let (value, fields) = match picked {
            Some((choices, fields)) => (self.pick(path, choices, result.span, names), &fields[..]),
            None => (self.value_of(binding), &path.names[taken..]),
        };
        let Some(value) = self.result_of(value, fields, &declared.name.text) else {
            return Vec::new();
        };
        outputs_called(self.sources().text(result.span), &value, binding)
    }

    /// A result of a stage or of a use of a function; facts are none.
    fn result_of(&mut self, value: Known, fields: &[Name], owner: &str) -> Option<Known> {
        let Some((name, rest)) = fields.split_first() else { return Some(value) };
        let record = match &value.data {
            Data::Unknown => return None,
            Data::Results(stage, ports) => results_as_record(*stage, ports, value.span),
            _ => value,
        };
        let results = match &record.data {
            Data::Record(record) => record.fields.iter().collect(),
            _ => BTreeMap::new(),
        };
        match results.get(&name.text).copied() {
            Some(found) => self.result_of(found.clone(), rest, &name.text),
            None => {
                let near = nearest(&name.text, results.keys().map(|name| name.as_str()));
                self.say(say::no_such_member(name.span, owner, &name.text, near));
                None
            }
        }
    }

    /// No two stages have one path.
    fn paths_are_unique(&mut self) {
        let mut places: BTreeMap<&str, Span> = BTreeMap::new();
        let mut faults = Vec::new();
        for made in &self.stages {
            if let Some(first) = places.insert(&made.name, made.place)
                && first != made.place
            {
                faults.push(say::name_taken(made.place, &made.name, first));
            }
        }
        self.faults.extend(faults);
    }

    /// Params and lets of the root file that nothing reads, and stages that no output needs. A
    /// file without stages is for others to read.
    fn unused(&mut self, own: &[BindingId], outputs: &[(Output, BindingId)]) {
        if self.stages.is_empty() && self.named.is_empty() {
            return;
        }
        for binding in own {
            let needs = self.needs(*binding).into_iter().map(|(need, _)| need);
            self.read.extend(needs.filter(|need| need != binding));
        }
        let needed = self.needed(outputs);
        // Where something is wrong, more may be needed than is seen.
        let sound = self.faults.iter().all(|fault| fault.severity != Severity::Error);
        for binding in own {
            let declared = self.program.binding(*binding);
            let (name, span) = (declared.name.text.as_str(), declared.name.span);
            if let ItemKind::Stage(stage) = &declared.item.kind {
                self.faults.extend(unread_axes(stage));
            }
            let at_fault = |fault: &Diagnostic| fault.labels.iter().any(|label| label.span == span);
            match declared.item.kind {
                ItemKind::Stage(_) if sound && !needed.contains(binding) => {
                    self.say(say::unneeded_stage(span, name));
                }
                ItemKind::Stage(_) => {}
                _ if self.read.contains(binding) || self.faults.iter().any(at_fault) => {}
                _ => self.say(say::unused(span, name)),
            }
        }
    }

    /// Every binding that some output needs, directly or not.
    fn needed(&self, outputs: &[(Output, BindingId)]) -> BTreeSet<BindingId> {
        let mut open: Vec<BindingId> = outputs.iter().map(|(_, binding)| *binding).collect();
        let mut needed = BTreeSet::new();
        while let Some(binding) = open.pop() {
            if needed.insert(binding) {
                open.extend(self.needs(binding).into_iter().map(|(need, _): Need| need));
            }
        }
        needed
    }

    fn module(&self, outputs: Vec<Output>) -> Module {
        let stages = self.stages.iter().enumerate();
        let stages = stages.map(|(at, made)| self.plain_stage(StageId(at as u32), made)).collect();
        let reached = self.program.reached(self.root);
        let files = self.sources().iter().filter(|(file, _)| reached.contains(file));
        let files = files.map(|(_, source)| (source.path.clone(), source.text.clone())).collect();
        let named = self.named.iter().flat_map(|(path, value)| names_of(path, value)).collect();
        Module { doc: self.tree(self.root).doc.clone(), stages, outputs, named, files }
    }

    fn plain_stage(&self, id: StageId, made: &Made<'a>) -> Stage {
        let place = self.sources().place(made.place);
        let mut stage = Stage {
            id,
            name: made.name.clone(),
            kind: String::new(),
            params: BTreeMap::new(),
            places: BTreeMap::new(),
            place,
            ports: Vec::new(),
        };
        if let Some(work) = &made.work {
            stage.kind = self.kind_name(work);
            let fields = work.fields.iter();
            let value = |(name, known): (&String, &Known)| (name.clone(), self.lowered(known));
            stage.params = fields.map(value).collect();
            let places = work.places.iter();
            let place = |(name, span): (&String, &_)| (name.clone(), self.sources().place(*span));
            stage.places = places.map(place).collect();
            stage.ports = ports(work);
        }
        stage
    }

    /// Finds the base of every adapter, which goes with it wherever it is used.
    fn find_bases(&mut self) {
        for stage in (0..self.stages.len()).map(|at| StageId(at as u32)) {
            let work = self.stages[stage.0 as usize].work.as_ref();
            for (port, ty) in work.map(ports).unwrap_or_default() {
                if self.has_base(stage, &ty) {
                    self.fact(stage, &port, "base");
                }
            }
        }
    }

    /// Whether a result is of use with its base alone: an adapter, or a reward model that is one
    /// since its own signature names a base.
    fn has_base(&self, stage: StageId, ty: &Type) -> bool {
        match ty {
            Type::Adapter => true,
            Type::Reward => self.fact_names(stage).contains(&"base"),
            _ => false,
        }
    }

    /// A plain value for other rooms; an adapter comes with its base.
    fn lowered(&self, known: &Known) -> Value {
        match &known.data {
            Data::Artifact { ty, stage, port } if self.has_base(*stage, ty) => {
                let wanted: Wanted = (*stage, Rc::clone(port), "base".to_string());
                let base = self.facts.get(&wanted).cloned().flatten();
                let base = base.map_or(Value::None, |base| base.to_value());
                let pair = [("adapter", known.to_value()), ("base", base)];
                let fields = pair.map(|(name, value)| (name.to_string(), value)).into();
                Value::Record { name: Some(WITH_BASE.to_string()), fields }
            }
            Data::List(list) => {
                Value::List(list.items.iter().map(|item| self.lowered(item)).collect())
            }
            Data::Sweep(sweep) => {
                Value::List(sweep.made().iter().map(|item| self.lowered(item)).collect())
            }
            Data::Record(record) => Value::Record {
                name: record.name.as_ref().map(|name| name.name.clone()),
                fields: record
                    .fields
                    .iter()
                    .map(|(name, known)| (name.clone(), self.lowered(known)))
                    .collect(),
            },
            _ => known.to_value(),
        }
    }

    /// `pretrain`, or `smallworld.generate` where the name alone is not in scope everywhere.
    fn kind_name(&self, work: &Work<'a>) -> String {
        let signature = &work.signature;
        if self.program.in_prelude(signature.file) {
            return signature.name.to_string();
        }
        let path = &self.sources().get(signature.file).path;
        let module = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".recipe");
        format!("{module}.{}", signature.name)
    }
}

fn outputs_of(item: &Item) -> &[Expr] {
    match &item.kind {
        ItemKind::Output(output) => &output.results,
        _ => &[],
    }
}

/// An output for each result of a value.
fn outputs_called(name: &str, value: &Known, binding: BindingId) -> Vec<(Output, BindingId)> {
    let output = |one: Flat| Output { name: name.to_string(), stage: one.stage, port: one.port };
    flat(value).into_iter().map(|one| (output(one), binding)).collect()
}

/// The names of a use of a function or of a sweep: the path, and `path.field` of its results.
fn names_of(path: &str, value: &Known) -> Vec<Output> {
    let mut all = Vec::new();
    for Flat { field, stage, port } in flat(value) {
        if let Some(field) = field.filter(|_| matches!(value.data, Data::Record(_))) {
            all.push(Output { name: format!("{path}.{field}"), stage, port: port.clone() });
        }
        all.push(Output { name: path.to_string(), stage, port });
    }
    all
}

fn ports(work: &Work<'_>) -> Vec<(String, Type)> {
    match &work.result {
        Type::Fields(ports) => ports.clone(),
        ty => vec![(SINGLE_PORT.to_string(), ty.clone())],
    }
}
