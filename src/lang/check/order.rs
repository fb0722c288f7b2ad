//! Which binding needs which: what an expression reads, in the order it must be known. Walks with
//! an explicit stack, so that a chain may be as long as it likes. Does not evaluate anything.

use super::known::Known;
use super::state::{Checker, Progress};
use crate::lang::ast::{Args, EntryKind, Expr, ExprKind, ItemKind, Path, TextPart};
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
        let mut paths = Vec::new();
        match &declared.item.kind {
            ItemKind::Param(param) if !self.overrides.contains_key(&binding) => {
                param.default.iter().for_each(|default| collect(default, &mut paths));
            }
            ItemKind::Let(item) => collect(&item.value, &mut paths),
            ItemKind::Stage(stage) => {
                collect(&stage.work, &mut paths);
                stage.axes.iter().for_each(|axis| collect(&axis.list, &mut paths));
            }
            _ => {}
        }
        let mut needs = Vec::new();
        for path in paths {
            let head = self.program.head(declared.file, &path);
            if let Ok(Head { meaning: Meaning::Binding(other), .. }) = head {
                needs.push((other, path.span));
            }
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

/// Every path among values in an expression.
pub(super) fn paths_in(expr: &Expr) -> Vec<Path> {
    let mut paths = Vec::new();
    collect(expr, &mut paths);
    paths
}

/// Nesting is limited by the parser, so recursion is safe here.
fn collect(expr: &Expr, paths: &mut Vec<Path>) {
    match &expr.kind {
        ExprKind::Path(path) => paths.push(path.clone()),
        ExprKind::Paren(inner) => collect(inner, paths),
        ExprKind::List(elements) => {
            elements.iter().for_each(|element| collect(&element.value, paths));
        }
        ExprKind::Record(args) | ExprKind::Call { args, .. } => collect_args(args, paths),
        ExprKind::Pick { from, choices, .. } => {
            paths.push(from.clone());
            choices.iter().flat_map(|choice| &choice.value).for_each(|value| collect(value, paths));
        }
        ExprKind::Add(left, right) | ExprKind::Mul(left, right) | ExprKind::Of(left, right) => {
            collect(left, paths);
            collect(right, paths);
        }
        ExprKind::Text(text) => paths.extend(text.parts.iter().filter_map(|part| match part {
            TextPart::Path(path) => Some(path.clone()),
            TextPart::Literal(_) => None,
        })),
        ExprKind::Number(_) | ExprKind::Bool(_) | ExprKind::None | ExprKind::Error => {}
    }
}

fn collect_args(args: &Args, paths: &mut Vec<Path>) {
    for entry in &args.entries {
        match &entry.kind {
            EntryKind::Spread(value) | EntryKind::Field { value, .. } => collect(value, paths),
            EntryKind::Pun(name) => {
                paths.push(Path { names: vec![name.clone()], span: name.span });
            }
            EntryKind::Error => {}
        }
    }
}
