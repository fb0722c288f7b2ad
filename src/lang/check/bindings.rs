//! Params, lets and stages: one binding at a time, when everything it reads is known. Does not
//! know in which order that is.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::known::{Data, Known};
use super::mismatch::Slot;
use super::state::{Checker, Made, Names, Override, Work};
use crate::lang::ast::{self, Args, Expr, ExprKind, ItemKind, Path};
use crate::lang::errors::semantics as say;
use crate::lang::resolve::{BindingId, Declared};
use crate::lang::source::{FileId, Span};
use crate::lang::types::Type;
use crate::lang::value::{SINGLE_PORT, StageId};

impl<'a> Checker<'a> {
    /// The value of a binding whose needs are all known.
    pub(super) fn evaluate(&mut self, binding: BindingId) -> Known {
        let declared = self.program.binding(binding);
        match &declared.item.kind {
            ItemKind::Param(param) => self.param(binding, param, declared.file),
            ItemKind::Let(item) => self.let_value(item, Names::File(declared.file)),
            ItemKind::Stage(stage) => {
                let path = self.path_of(declared);
                let reserved = self.stage_ids.get(&binding).copied();
                self.stage(stage, Names::File(declared.file), path, reserved)
            }
            _ => Known::unknown(declared.name.span),
        }
    }

    fn param(&mut self, binding: BindingId, param: &'a ast::Param, file: FileId) -> Known {
        let ty = self.lower(&param.ty, file, &BTreeMap::new());
        let declared = param.ty.span;
        let name = param.name.text.as_str();
        if let Some(given) = self.overrides.get(&binding).copied() {
            let slot = Slot { owner: None, name, at: given.span, declared };
            return self.overridden(given, &ty, slot);
        }
        let Some(default) = &param.default else {
            let span = param.name.span;
            return self.refuse(span, say::param_not_given(span, name, &ty));
        };
        let value = self.eval(default, Names::File(file));
        let slot = Slot { owner: None, name, at: default.span, declared };
        self.accept(&value, &ty, &mut BTreeMap::new(), slot)
    }

    /// What `-p` gives: an expression without names, or bare text where text is taken.
    fn overridden(&mut self, given: &'a Override, ty: &Type, slot: Slot<'_>) -> Known {
        let said = self.faults.len();
        let nothing = BTreeMap::new();
        let value = match given.faults.as_slice() {
            [] => self.eval(&given.expr, Names::Fields(given.span.file, &nothing)),
            faults => {
                self.faults.extend_from_slice(faults);
                Known::unknown(given.span)
            }
        };
        let value = self.accept(&value, ty, &mut BTreeMap::new(), slot);
        let takes_text = ty
            .members()
            .into_iter()
            .any(|member| matches!(member, Type::String | Type::Path | Type::Choice(_)));
        if !value.data.is_unknown() || !takes_text || given.text.starts_with('"') {
            return value;
        }
        self.faults.truncate(said);
        let bare = Known { data: Data::literal(&given.text), span: given.span };
        self.accept(&bare, ty, &mut BTreeMap::new(), slot)
    }

    pub(super) fn let_value(&mut self, item: &'a ast::Let, names: Names<'_>) -> Known {
        if let Some((callee, args)) = call_of(&item.value) {
            let signature = self.callee(callee, names);
            match signature {
                Some(signature) if signature.is_work() => {
                    self.look_at(args, names);
                    let work = self.sources().text(item.value.span);
                    let (name, span) = (&item.name.text, item.name.span);
                    return self.refuse(span, say::let_runs_work(span, name, signature.name, work));
                }
                Some(_) => {}
                None => {
                    self.look_at(args, names);
                    return Known::unknown(item.value.span);
                }
            }
        }
        let value = self.eval(&item.value, names);
        let Some(written) = &item.ty else { return value };
        let ty = self.lower(written, names.file(), &BTreeMap::new());
        let (at, declared) = (item.value.span, written.span);
        let slot = Slot { owner: None, name: &item.name.text, at, declared };
        self.accept(&value, &ty, &mut BTreeMap::new(), slot)
    }

    /// A stage, or one of each point of a sweep; `reserved` is its number if it has one already.
    pub(super) fn stage(
        &mut self,
        stage: &'a ast::Stage,
        names: Names<'_>,
        path: String,
        reserved: Option<StageId>,
    ) -> Known {
        match stage.axes.is_empty() {
            true => self.one_stage(stage, names, path, reserved),
            false => self.sweep(stage, names, &path),
        }
    }

    /// The work or the use of a function behind one path.
    pub(super) fn one_stage(
        &mut self,
        stage: &'a ast::Stage,
        names: Names<'_>,
        path: String,
        reserved: Option<StageId>,
    ) -> Known {
        let span = stage.name.span;
        let Some((callee, args)) = call_of(&stage.work) else {
            if !matches!(stage.work.kind, ExprKind::Error) {
                self.eval(&stage.work, names);
                let work = stage.work.span;
                self.say(say::stage_without_work(work, span, &stage.name.text, None));
            }
            return Known::unknown(span);
        };
        let Some(signature) = self.callee(callee, names) else {
            self.look_at(args, names);
            return Known::unknown(span);
        };
        if !signature.is_work() {
            self.look_at(args, names);
            let written = self.sources().text(stage.work.span);
            let at = callee.span;
            self.say(say::stage_without_work(at, span, &stage.name.text, Some(written)));
            return Known::unknown(span);
        }
        if signature.body.is_some() {
            let value = self.use_of(&signature, callee.span, args, names, &path);
            let value = Known { span, ..value };
            self.named.push((path, value.clone()));
            return value;
        }
        let work = self.work(signature, callee.span, args, names);
        let id = reserved.unwrap_or_else(|| self.new_stage(span, path));
        let data = results(id, &work.result);
        self.stages[id.0 as usize].work = Some(with_ports(work, id, span));
        Known { data, span }
    }

    /// A number for a stage whose work is still to be told.
    pub(super) fn new_stage(&mut self, place: Span, name: String) -> StageId {
        let id = StageId(self.stages.len() as u32);
        self.steps += 1;
        self.stages.push(Made { place, name, work: None });
        id
    }

    /// Gives a stage of the root file its number before anything is evaluated, so that the module
    /// lists it where it stands; what stands for many stages gets none.
    pub(super) fn reserve(&mut self, binding: BindingId) {
        let declared = self.program.binding(binding);
        let ItemKind::Stage(stage) = &declared.item.kind else { return };
        let callee = call_of(&stage.work).map(|(callee, _)| callee);
        let callee = callee.and_then(|path| self.program.callable(declared.file, path).ok()?);
        let function = callee.map(|id| &self.program.definition(id).item.kind);
        let many = matches!(function, Some(ItemKind::Fn(function)) if function.body.is_some());
        if stage.axes.is_empty() && !many {
            let path = self.path_of(declared);
            let id = self.new_stage(declared.name.span, path);
            self.stage_ids.insert(binding, id);
        }
    }

    /// The path of a stage of a file.
    fn path_of(&self, declared: Declared<'a>) -> String {
        format!("{}{}", self.prefix(declared.file), declared.name.text)
    }

    /// What stands before the names of an imported file's stages: its path as seen from the
    /// root file's folder.
    fn prefix(&self, file: FileId) -> String {
        let path = &self.sources().get(file).path;
        let root = &self.sources().get(self.root).path;
        if file == self.root {
            return String::new();
        }
        let folder = crate::lang::resolve::folder(root);
        let beside = path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/');
        format!("{}/", beside.trim_end_matches(".recipe"))
    }
}

/// A call, through any parentheses.
pub(super) fn call_of(expr: &Expr) -> Option<(&Path, &Args)> {
    match &expr.kind {
        ExprKind::Paren(inner) => call_of(inner),
        ExprKind::Call { callee, args } => Some((callee, args)),
        _ => None,
    }
}

/// What a stage's name stands for.
fn results(stage: StageId, result: &Type) -> Data {
    match result {
        Type::Fields(ports) => Data::Results(stage, ports.clone().into()),
        ty => Data::Artifact { stage, port: SINGLE_PORT.into(), ty: ty.clone() },
    }
}

/// Adds the results of a stage to what its facts see.
fn with_ports<'a>(work: Work<'a>, stage: StageId, span: Span) -> Work<'a> {
    let Type::Fields(ports) = &work.result else { return work };
    let mut scope = (*work.fields).clone();
    for (port, ty) in ports {
        let data = Data::Artifact { stage, port: port.as_str().into(), ty: ty.clone() };
        scope.entry(port.clone()).or_insert(Known { data, span });
    }
    Work { scope: Rc::new(scope), ..work }
}
