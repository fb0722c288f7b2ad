//! Functions with a body: checked once by itself with samples for its fields, and evaluated at each
//! use, where its stages get their paths. Does not know what its calls do.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::calls::{name, order};
use super::known::Known;
use super::lower::Kinds;
use super::mismatch::Slot;
use super::order::{Mention, mentioned, mentions, unread_axes};
use super::signature::Signature;
use super::state::{Checker, Names, Told};
use crate::lang::ast::{self, Args, DeclKind, ItemKind};
use crate::lang::diagnostic::{Diagnostic, Label, Severity};
use crate::lang::errors::semantics as say;
use crate::lang::source::Span;
use crate::lang::types::{DefId, Kind};

/// Stages and uses of functions beyond which a plan is no plan.
const MOST_STAGES: u64 = 1_000_000;

/// Functions inside one another: deeper than any paper's pipeline.
const DEEPEST_FUNCTIONS: usize = 48;

impl<'a> Checker<'a> {
    /// One use of a function with a body; its stages stand under `path`.
    pub(super) fn use_of(
        &mut self,
        signature: &Rc<Signature<'a>>,
        callee: Span,
        args: &'a Args,
        names: Names<'_>,
        path: &str,
    ) -> Known {
        let weight = self.calls.weight(signature.id);
        if self.too_many(callee, signature.name, weight) {
            return Known::unknown(callee);
        }
        if self.frames.len() >= DEEPEST_FUNCTIONS {
            let why = format!("functions inside one another, more than {DEEPEST_FUNCTIONS} deep");
            return self.refuse(callee, say::too_large(callee, &why));
        }
        self.building.push(signature.id);
        let mut filled = self.fill(signature, callee, args, names);
        self.require(signature, &filled.fields, callee);
        self.building.pop();
        self.steps += 1;
        let said = self.faults.len();
        self.frames.push(signature.id);
        let reading = std::mem::replace(&mut self.reading, super::Reading::Strict);
        let value = self.body(signature, filled.fields, &mut filled.kinds, path);
        self.reading = reading;
        self.frames.pop();
        self.told_inside(said, signature.name, callee);
        value
    }

    /// Whether so many stages more are beyond all plans; the function or sweep is then named.
    pub(super) fn too_many(&mut self, at: Span, name: &str, more: u64) -> bool {
        let beyond = self.steps.saturating_add(more) > MOST_STAGES;
        if beyond {
            self.say(say::too_many_stages(at, name, MOST_STAGES));
        }
        beyond
    }

    /// Evaluates the items of a body and what it gives.
    fn body(
        &mut self,
        signature: &Rc<Signature<'a>>,
        mut locals: BTreeMap<String, Known>,
        kinds: &mut Kinds,
        path: &str,
    ) -> Known {
        let (Some(body), Some(ty)) = (signature.body, &signature.result) else {
            return Known::unknown(signature.place);
        };
        let Some(order) = self.order_of(signature.id, body) else {
            return Known::unknown(body.span);
        };
        for at in order.iter() {
            let item = &body.items[*at];
            let scope = Names::Body(signature.file, &locals);
            let (name, value) = match &item.kind {
                ItemKind::Let(item) => (&item.name, self.let_value(item, scope)),
                ItemKind::Stage(stage) => {
                    let path = format!("{path}/{}", stage.name.text);
                    (&stage.name, self.stage(stage, scope, path, None))
                }
                _ => continue,
            };
            locals.insert(name.text.clone(), value);
        }
        let result = self.eval(&body.result, Names::Body(signature.file, &locals));
        let owner = Some(signature.name);
        let (at, declared) = (body.result.span, signature.place);
        self.accept(&result, ty, kinds, Slot { owner, name: "result", at, declared })
    }

    /// The order of a body's items; a circle is reported once.
    fn order_of(&mut self, id: DefId, body: &'a ast::Body) -> Option<Rc<[usize]>> {
        if let Some(known) = self.orders.get(&id) {
            return known.clone();
        }
        let found = match order(body) {
            Ok(order) => Some(order.into()),
            Err(circle) => {
                let names: Vec<&ast::Name> =
                    circle.iter().filter_map(|at| name(&body.items[*at])).collect();
                let next = names.iter().cycle().skip(1);
                let arrows = names.iter().zip(next);
                let arrow = |(one, next): (&&ast::Name, &&ast::Name)| {
                    (one.text.clone(), next.text.clone(), one.span)
                };
                self.say(say::cycle(&arrows.map(arrow).collect::<Vec<_>>()));
                None
            }
        };
        self.orders.insert(id, found.clone());
        found
    }

    /// Faults of a body at one of its uses: those that it has by itself are told already, the
    /// others name the use.
    fn told_inside(&mut self, said: usize, name: &str, at: Span) {
        for mut fault in self.faults.split_off(said) {
            if self.sampling || self.told.contains(&told(&fault)) {
                continue;
            }
            let text = format!("in this use of `{name}`");
            fault.labels.push(Label { span: at, text });
            self.faults.push(fault);
        }
    }

    /// Checks a function with a body by itself, whether it is used or not.
    pub(super) fn function(&mut self, id: DefId, function: &'a ast::Function) {
        let signature = self.signature(id);
        let Some(body) = signature.body else { return };
        if let Some(span) = self.calls.circle(id) {
            return self.say(say::recursion(span, signature.name));
        }
        if let Some(facts) = &function.facts {
            self.say(say::not_yet(facts.span, "facts of a function with a body"));
        }
        self.names_of(&signature, body);
        for read in self.calls.reads(id).clone() {
            self.prepare(read);
        }
        let before = (self.stages.len(), self.named.len(), self.steps);
        let said = self.faults.len();
        let fields = signature.fields.iter();
        let fields = fields.map(|field| {
            let ty = field.ty.with_kinds(&|_| Some(Kind::Unknown));
            (field.name.to_string(), self.sample(&ty, field.name, field.place, 0))
        });
        let locals = fields.collect();
        let generics = function.generics.iter();
        let mut kinds: Kinds =
            generics.map(|generic| (generic.text.clone(), Kind::Unknown)).collect();
        self.sampling = true;
        self.body(&signature, locals, &mut kinds, "");
        self.sampling = false;
        let own: Vec<Told> = self.faults[said..].iter().map(told).collect();
        self.told.extend(own);
        self.stages.truncate(before.0);
        self.named.truncate(before.1);
        self.steps = before.2;
        self.facts.retain(|(stage, ..), _| (stage.0 as usize) < before.0);
        if self.faults[said..].iter().all(|fault| fault.severity != Severity::Error) {
            self.unread(&signature, function, body);
        }
    }

    /// No name of a body has two meanings.
    fn names_of(&mut self, signature: &Signature<'a>, body: &'a ast::Body) {
        let fields = signature.fields.iter().map(|field| (field.name, field.place));
        let mut known: BTreeMap<&str, Span> = fields.collect();
        for name in body.items.iter().filter_map(name) {
            let module = self.program.module_named(signature.file, &name.text);
            match known.get(name.text.as_str()).copied().or(module) {
                Some(first) => self.say(say::name_taken(name.span, &name.text, first)),
                None => drop(known.insert(&name.text, name.span)),
            }
        }
        for item in &body.items {
            let ItemKind::Stage(stage) = &item.kind else { continue };
            for axis in &stage.axes {
                if let Some(first) = known.get(axis.name.text.as_str()) {
                    self.say(say::name_taken(axis.name.span, &axis.name.text, *first));
                }
            }
        }
    }

    /// Fields, values and stages that the result does not need.
    fn unread(
        &mut self,
        signature: &Signature<'a>,
        function: &'a ast::Function,
        body: &'a ast::Body,
    ) {
        let items: BTreeMap<&str, &ItemKind> = body
            .items
            .iter()
            .filter_map(|item| Some((name(item)?.text.as_str(), &item.kind)))
            .collect();
        let mut read = std::collections::BTreeSet::new();
        let mut open = Vec::new();
        mentioned(&body.result, &mut |mention| names_in(&mention, &mut open));
        for decl in &function.fields.decls {
            let mut see = |mention: Mention<'_>| names_in(&mention, &mut open);
            match &decl.kind {
                DeclKind::Field { default: Some(default), .. } => mentioned(default, &mut see),
                DeclKind::Require { condition, unless } => {
                    for condition in std::iter::once(condition).chain(unless) {
                        mentioned(&condition.left, &mut see);
                        mentioned(&condition.right, &mut see);
                    }
                }
                _ => {}
            }
        }
        while let Some(next) = open.pop() {
            if read.insert(next.clone())
                && let Some(item) = items.get(next.as_str())
            {
                mentions(item, &mut |mention| names_in(&mention, &mut open));
            }
        }
        let fields = signature.fields.iter().map(|field| (field.name, field.place));
        let own = body.items.iter().filter_map(name).map(|name| (name.text.as_str(), name.span));
        for (name, span) in fields.chain(own) {
            if !read.contains(name) {
                self.say(say::unused(span, name));
            }
        }
        for item in &body.items {
            if let ItemKind::Stage(stage) = &item.kind {
                self.faults.extend(unread_axes(stage));
            }
        }
    }
}

fn names_in(mention: &Mention<'_>, names: &mut Vec<String>) {
    if let Mention::Value(path) = mention {
        names.push(path.names[0].text.clone());
    }
}

fn told(fault: &Diagnostic) -> Told {
    (fault.id, fault.labels.first().map(|label| label.span), fault.message.clone())
}
