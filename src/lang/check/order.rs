//! Which binding needs which: what an expression reads, in the order it must be known. Walks with
//! an explicit stack, so that a chain may be as long as it likes. Does not evaluate anything.

use super::known::Known;
use super::state::{Checker, Progress};
use crate::lang::ast::{
    Args, Axis, EntryKind, Expr, ExprKind, ItemKind, Name, Path, Stage, TextPart,
};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::semantics as say;
use crate::lang::resolve::{BindingId, Head, Meaning};
use crate::lang::source::Span;

/// A binding that another one reads, and the place that reads it.
pub(super) type Need = (BindingId, Span);

/// One binding being prepared: what it needs, and how many of those are done.
struct Step {
    binding: BindingId,
    needs: Vec<Need>,
    next: usize,
}

impl Checker<'_> {
    /// What a binding reads directly.
    pub(super) fn needs(&self, binding: BindingId) -> Vec<Need> {
        let declared = self.program.binding(binding);
        let mut needs = Vec::new();
        let mut see = |mention: Mention<'_>| match mention {
            Mention::Value(path) => {
                let head = self.program.head(declared.file, path);
                if let Ok(Head { meaning: Meaning::Binding(other), .. }) = head {
                    needs.push((other, path.span));
                }
            }
            Mention::Callee(path) => {
                let callee = self.program.callable(declared.file, path).ok().flatten();
                let read = callee.map(|callee| self.calls.reads(callee));
                needs.extend(read.into_iter().flatten().map(|other| (*other, path.span)));
            }
        };
        if !self.overrides.contains_key(&binding) {
            mentions(&declared.item.kind, &mut see);
        }
        needs
    }

    /// Evaluates a binding after everything it needs. A circle is reported once, and what lies on
    /// it becomes unknown.
    pub(super) fn prepare(&mut self, root: BindingId) {
        let mut open = Vec::new();
        self.open(root, &mut open);
        while let Some(step) = open.last_mut() {
            let Some((need, _)) = step.needs.get(step.next).copied() else {
                let binding = step.binding;
                open.pop();
                if let Progress::Open = self.bindings[binding.0 as usize] {
                    let value = self.evaluate(binding);
                    self.bindings[binding.0 as usize] = Progress::Done(value);
                }
                continue;
            };
            step.next += 1;
            match self.bindings[need.0 as usize] {
                Progress::Untouched => self.open(need, &mut open),
                Progress::Open => self.close_circle(need, &open),
                Progress::Done(_) => {}
            }
        }
    }

    fn open(&mut self, binding: BindingId, open: &mut Vec<Step>) {
        if let Progress::Untouched = self.bindings[binding.0 as usize] {
            self.bindings[binding.0 as usize] = Progress::Open;
            open.push(Step { binding, needs: self.needs(binding), next: 0 });
        }
    }

    fn close_circle(&mut self, first: BindingId, open: &[Step]) {
        let start = open.iter().position(|step| step.binding == first);
        let circle = &open[start.expect("an open binding is on the stack")..];
        let name = |binding| self.program.binding(binding).name.text.clone();
        let arrow = |step: &Step| {
            let (need, span) = step.needs[step.next - 1];
            (name(step.binding), name(need), span)
        };
        self.say(say::cycle(&circle.iter().map(arrow).collect::<Vec<_>>()));
        for step in circle {
            let span = self.program.binding(step.binding).name.span;
            self.bindings[step.binding.0 as usize] = Progress::Done(Known::unknown(span));
        }
    }

    /// The value of a binding that was prepared.
    pub(in crate::lang) fn value_of(&self, binding: BindingId) -> Known {
        match &self.bindings[binding.0 as usize] {
            Progress::Done(known) => known.clone(),
            _ => Known::unknown(self.program.binding(binding).name.span),
        }
    }
}

/// What an expression speaks of.
pub(super) enum Mention<'m> {
    /// A path among values.
    Value(&'m Path),
    /// What a call calls.
    Callee(&'m Path),
}

/// Axes that a stage does not read: all that they sweep over would be the same.
pub(super) fn unread_axes(stage: &Stage) -> Vec<Diagnostic> {
    let mut read = paths_in(&stage.work);
    read.extend(stage.axes.iter().flat_map(|axis| paths_in(&axis.list)));
    let is_read = |axis: &&Axis| read.iter().any(|path| path.names[0].text == axis.name.text);
    let unread = stage.axes.iter().filter(|axis| !is_read(axis));
    unread.map(|axis| say::unused(axis.name.span, &axis.name.text)).collect()
}

/// Every path among values in an expression.
pub(super) fn paths_in(expr: &Expr) -> Vec<Path> {
    let mut paths = Vec::new();
    mentioned(expr, &mut |mention| {
        if let Mention::Value(path) = mention {
            paths.push(path.clone());
        }
    });
    paths
}

/// What the expressions of a param, let or stage speak of.
pub(super) fn mentions(item: &ItemKind, see: &mut dyn FnMut(Mention<'_>)) {
    match item {
        ItemKind::Param(param) => {
            param.default.iter().for_each(|default| mentioned(default, see));
        }
        ItemKind::Let(item) => mentioned(&item.value, see),
        ItemKind::Stage(stage) => {
            mentioned(&stage.work, see);
            stage.axes.iter().for_each(|axis| mentioned(&axis.list, see));
        }
        _ => {}
    }
}

/// What an expression speaks of. Nesting is limited by the parser, so recursion is safe here.
pub(super) fn mentioned(expr: &Expr, see: &mut dyn FnMut(Mention<'_>)) {
    match &expr.kind {
        ExprKind::Path(path) => see(Mention::Value(path)),
        ExprKind::Paren(inner) => mentioned(inner, see),
        ExprKind::List(elements) => {
            elements.iter().for_each(|element| mentioned(&element.value, see));
        }
        ExprKind::Record(args) => mentioned_in_args(args, see),
        ExprKind::Call { callee, args } => {
            see(Mention::Callee(callee));
            mentioned_in_args(args, see);
        }
        ExprKind::Pick { from, choices, .. } => {
            see(Mention::Value(from));
            for choice in choices {
                match &choice.value {
                    Some(value) => mentioned(value, see),
                    None => alone(&choice.name, see),
                }
            }
        }
        ExprKind::Add(left, right) | ExprKind::Mul(left, right) | ExprKind::Of(left, right) => {
            mentioned(left, see);
            mentioned(right, see);
        }
        ExprKind::Text(text) => text.parts.iter().for_each(|part| match part {
            TextPart::Path(path) => see(Mention::Value(path)),
            TextPart::Literal(_) => {}
        }),
        ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::None | ExprKind::Error => {}
    }
}

/// A name that stands for the value of that name.
fn alone(name: &Name, see: &mut dyn FnMut(Mention<'_>)) {
    see(Mention::Value(&Path { names: vec![name.clone()], span: name.span }));
}

/// What the entries of braces speak of.
pub(super) fn mentioned_in_args(args: &Args, see: &mut dyn FnMut(Mention<'_>)) {
    for entry in &args.entries {
        match &entry.kind {
            EntryKind::Spread(value) | EntryKind::Field { value, .. } => mentioned(value, see),
            EntryKind::Pun(name) => alone(name, see),
            EntryKind::Error => {}
        }
    }
}
