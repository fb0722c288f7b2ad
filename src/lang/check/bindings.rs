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
use crate::lang::source::FileId;
use crate::lang::types::Type;
use crate::lang::value::{SINGLE_PORT, StageId};

impl<'a> Checker<'a> {
    /// The value of a binding whose needs are all known.
    pub(super) fn evaluate(&mut self, binding: BindingId) -> Known {
        let declared = self.program.binding(binding);
        match &declared.item.kind {
            ItemKind::Param(param) => self.param(binding, param, declared.file),
            ItemKind::Let(item) => self.let_value(item, declared.file),
            ItemKind::Stage(stage) => self.stage(binding, stage, declared.file),
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

    fn let_value(&mut self, item: &'a ast::Let, file: FileId) -> Known {
        if let Some((callee, args)) = call_of(&item.value) {
            let signature = self.callee(callee, Names::File(file));
            match signature {
                Some(signature) if signature.is_work() => {
                    self.look_at(args, Names::File(file));
                    let work = self.sources().text(item.value.span);
                    let (name, span) = (&item.name.text, item.name.span);
                    return self.refuse(span, say::let_runs_work(span, name, signature.name, work));
                }
                Some(_) => {}
                None => {
                    self.look_at(args, Names::File(file));
                    return Known::unknown(item.value.span);
                }
            }
        }
        let value = self.eval(&item.value, Names::File(file));
        let Some(written) = &item.ty else { return value };
        let ty = self.lower(written, file, &BTreeMap::new());
        let (at, declared) = (item.value.span, written.span);
        let slot = Slot { owner: None, name: &item.name.text, at, declared };
        self.accept(&value, &ty, &mut BTreeMap::new(), slot)
    }

    fn stage(&mut self, binding: BindingId, stage: &'a ast::Stage, file: FileId) -> Known {
        let id = self.stage_id(binding);
        let span = stage.name.span;
        if let Some(axis) = stage.axes.first() {
            return self.refuse(span, say::not_yet(axis.name.span, "sweeps"));
        }
        let names = Names::File(file);
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
        let work = self.work(signature, callee.span, args, names);
        let data = results(id, &work.result);
        self.stages[id.0 as usize].work = Some(with_ports(work, id, span));
        Known { data, span }
    }

    /// The number of a stage; an imported one gets it when it is first asked for.
    pub(super) fn stage_id(&mut self, binding: BindingId) -> StageId {
        if let Some(known) = self.stage_ids.get(&binding) {
            return *known;
        }
        let id = StageId(self.stages.len() as u32);
        let Declared { file, name, .. } = self.program.binding(binding);
        let name = format!("{}{}", self.prefix(file), name.text);
        self.stages.push(Made { binding, name, work: None });
        self.stage_ids.insert(binding, id);
        id
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
fn call_of(expr: &Expr) -> Option<(&Path, &Args)> {
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
fn with_ports<'a>(work: Work<'a>, stage: StageId, span: crate::lang::source::Span) -> Work<'a> {
    let Type::Fields(ports) = &work.result else { return work };
    let mut scope = (*work.fields).clone();
    for (port, ty) in ports {
        let data = Data::Artifact { stage, port: port.as_str().into(), ty: ty.clone() };
        scope.entry(port.clone()).or_insert(Known { data, span });
    }
    Work { scope: Rc::new(scope), ..work }
}
