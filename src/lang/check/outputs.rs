//! A whole recipe: every binding of the root file, its outputs, what nothing reads, and the module
//! that other rooms receive. Does not know how one binding is checked.

use std::collections::{BTreeMap, BTreeSet};

use super::known::values;
use super::order::Need;
use super::state::{Checker, Made, Override, Work};
use crate::lang::ast::{Item, ItemKind, Path};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::resolve::{BindingId, Head, Meaning, Program};
use crate::lang::source::FileId;
use crate::lang::types::{DefId, Type};
use crate::lang::value::{Module, Output, SINGLE_PORT, Stage, StageId};

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
        if matches!(program.binding(*binding).item.kind, ItemKind::Stage(_)) {
            checker.stage_id(*binding);
        }
    }
    let stages = checker.stages.len();
    checker.definitions();
    for binding in &own {
        checker.prepare(*binding);
    }
    let outputs = checker.outputs(stages);
    if whole {
        checker.unused(&own, &outputs);
    }
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
                    self.say(say::not_yet(declared.name.span, "functions with a body"));
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
    fn outputs(&mut self, stages: usize) -> Vec<(Output, BindingId)> {
        let program = self.program;
        let items = self.tree(self.root).items.iter();
        let paths: Vec<&'a Path> = items.flat_map(output_paths).collect();
        if paths.is_empty() {
            let all = self.stages[..stages].iter().enumerate();
            let whole = |(at, made): (usize, &Made<'a>)| {
                let name = program.binding(made.binding).name.text.clone();
                (Output { name, stage: StageId(at as u32), port: None }, made.binding)
            };
            return all.map(whole).collect();
        }
        paths.into_iter().filter_map(|path| self.output(path)).collect()
    }

    fn output(&mut self, path: &'a Path) -> Option<(Output, BindingId)> {
        let (binding, taken) = match self.program.head(self.root, path) {
            Ok(Head { meaning: Meaning::Binding(binding), taken }) => (binding, taken),
            Ok(_) => return None,
            Err(fault) => {
                self.say(fault);
                return None;
            }
        };
        self.prepare(binding);
        self.read.insert(binding);
        let declared = self.program.binding(binding);
        if !matches!(declared.item.kind, ItemKind::Stage(_)) {
            self.say(say::not_a_stage(path.span, &path.text(), declared.name.span));
            return None;
        }
        let stage = self.stage_id(binding);
        let port = match path.names.get(taken) {
            None => None,
            Some(port) => {
                let work = self.stages[stage.0 as usize].work.as_ref()?;
                let ports: Vec<String> = ports(work).into_iter().map(|(port, _)| port).collect();
                let last = path.names.len() == taken + 1;
                if !last || !ports.contains(&port.text) || port.text == SINGLE_PORT {
                    let near = nearest(&port.text, ports.iter().map(String::as_str));
                    let near = near.filter(|near| *near != SINGLE_PORT);
                    let owner = declared.name.text.as_str();
                    self.say(say::no_such_member(port.span, owner, &port.text, near));
                    return None;
                }
                Some(port.text.clone())
            }
        };
        Some((Output { name: path.text(), stage, port }, binding))
    }

    /// Params and lets of the root file that nothing reads, and stages that no output needs. A
    /// file without stages is for others to read.
    fn unused(&mut self, own: &[BindingId], outputs: &[(Output, BindingId)]) {
        if self.stages.is_empty() {
            return;
        }
        for binding in own {
            let needs = self.needs(*binding).into_iter().map(|(need, _)| need);
            self.read.extend(needs.filter(|need| need != binding));
        }
        let needed = self.needed(outputs);
        for binding in own {
            let declared = self.program.binding(*binding);
            let (name, span) = (declared.name.text.as_str(), declared.name.span);
            let at_fault = |fault: &Diagnostic| fault.labels.iter().any(|label| label.span == span);
            match declared.item.kind {
                ItemKind::Stage(_) if !needed.contains(binding) => {
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
        Module { doc: self.tree(self.root).doc.clone(), stages, outputs, files }
    }

    fn plain_stage(&self, id: StageId, made: &Made<'a>) -> Stage {
        let place = self.sources().place(self.program.binding(made.binding).name.span);
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
            stage.params = values(&work.fields);
            let places = work.places.iter();
            let place = |(name, span): (&String, &_)| (name.clone(), self.sources().place(*span));
            stage.places = places.map(place).collect();
            stage.ports = ports(work);
        }
        stage
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

fn output_paths(item: &Item) -> &[Path] {
    match &item.kind {
        ItemKind::Output(output) => &output.paths,
        _ => &[],
    }
}

fn ports(work: &Work<'_>) -> Vec<(String, Type)> {
    match &work.result {
        Type::Fields(ports) => ports.clone(),
        ty => vec![(SINGLE_PORT.to_string(), ty.clone())],
    }
}
