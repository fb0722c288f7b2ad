//! Who calls whom: functions that reach themselves, the values of other files that bodies read, and
//! how many stages one use makes. Looks at text alone; does not know fields or values.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::order::{Mention, mentioned, mentions};
use crate::lang::ast::{self, DeclKind, Expr, ItemKind};
use crate::lang::resolve::{BindingId, Declared, Head, Meaning, Program};
use crate::lang::source::Span;
use crate::lang::types::DefId;

/// What is known of every `fn`, `record` and `type` before anything is evaluated; by [`DefId`].
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: Vec<Reach>,
}

/// What one definition leads to, by itself and through what it calls.
#[derive(Clone, Debug, Default)]
struct Reach {
    /// Values of other files.
    reads: BTreeSet<BindingId>,
    /// Stages and uses of functions that one use makes, sweeps not counted.
    weight: u64,
    /// A call that leads back here, for a function with a body.
    circle: Option<Span>,
}

/// What one definition mentions itself.
#[derive(Default)]
struct Own {
    calls: Vec<(DefId, Span)>,
    reads: BTreeSet<BindingId>,
}

impl Calls {
    /// Looks at all definitions.
    pub fn of(program: &Program<'_>) -> Calls {
        let own: Vec<Own> =
            program.definitions.iter().map(|declared| mentioned_by(program, *declared)).collect();
        let mut graph = DiGraph::<(), ()>::new();
        for _ in &own {
            graph.add_node(());
        }
        for (at, mentioned) in own.iter().enumerate() {
            for (callee, _) in &mentioned.calls {
                graph.update_edge(NodeIndex::new(at), NodeIndex::new(callee.0 as usize), ());
            }
        }
        let mut calls = Calls { known: vec![Reach::default(); own.len()] };
        // Callees come before their callers.
        for circle in kosaraju_scc(&graph) {
            calls.add(program, &own, &circle.iter().map(|node| node.index()).collect());
        }
        calls
    }

    fn add(&mut self, program: &Program<'_>, own: &[Own], circle: &BTreeSet<usize>) {
        let mut reads = BTreeSet::new();
        for at in circle {
            reads.extend(own[*at].reads.iter().copied());
            for (callee, _) in &own[*at].calls {
                reads.extend(self.known[callee.0 as usize].reads.iter().copied());
            }
        }
        for at in circle {
            let body = body_of(program.definitions[*at]);
            let back = own[*at].calls.iter().find(|(to, _)| circle.contains(&(to.0 as usize)));
            let weights = own[*at].calls.iter().map(|(to, _)| self.known[to.0 as usize].weight);
            let inside = weights.fold(0, u64::saturating_add);
            let stages = body.map_or(0, |body| {
                body.items.iter().filter(|item| matches!(item.kind, ItemKind::Stage(_))).count()
            });
            let reach = Reach {
                reads: reads.clone(),
                weight: inside.saturating_add(stages as u64 + u64::from(body.is_some())),
                circle: back.filter(|_| body.is_some()).map(|(_, span)| *span),
            };
            self.known[*at] = reach;
        }
    }

    /// The values of other files that must be known before a call.
    pub fn reads(&self, callee: DefId) -> &BTreeSet<BindingId> {
        &self.known[callee.0 as usize].reads
    }

    /// Stages and uses of functions that one use makes, sweeps not counted.
    pub fn weight(&self, callee: DefId) -> u64 {
        self.known[callee.0 as usize].weight
    }

    /// The call by which a function reaches itself.
    pub fn circle(&self, callee: DefId) -> Option<Span> {
        self.known[callee.0 as usize].circle
    }
}

fn body_of(declared: Declared<'_>) -> Option<&ast::Body> {
    match &declared.item.kind {
        ItemKind::Fn(function) => function.body.as_ref(),
        _ => None,
    }
}

fn mentioned_by(program: &Program<'_>, declared: Declared<'_>) -> Own {
    let mut own = Own::default();
    let (fields, body) = match &declared.item.kind {
        ItemKind::Fn(function) => (&function.fields, function.body.as_ref()),
        ItemKind::Record(record) => (&record.fields, None),
        _ => return own,
    };
    let mut expressions: Vec<&Expr> = Vec::new();
    for decl in &fields.decls {
        match &decl.kind {
            DeclKind::Field { default, .. } => expressions.extend(default),
            DeclKind::Require { condition, unless } => {
                for condition in std::iter::once(condition).chain(unless) {
                    expressions.extend([&condition.left, &condition.right]);
                }
            }
            DeclKind::Spread(path) => {
                let record = program.type_named(declared.file, path).ok().flatten();
                own.calls.extend(record.map(|record| (record, path.span)));
            }
            DeclKind::Error => {}
        }
    }
    let mut see = |mention: Mention<'_>, in_body: bool| match mention {
        Mention::Callee(path) => {
            let callee = program.callable(declared.file, path).ok().flatten();
            own.calls.extend(callee.map(|callee| (callee, path.span)));
        }
        Mention::Value(path) if in_body && path.names.len() > 1 => {
            if let Ok(Head { meaning: Meaning::Binding(read), taken: 2.. }) =
                program.head(declared.file, path)
            {
                own.reads.insert(read);
            }
        }
        Mention::Value(_) => {}
    };
    expressions.into_iter().for_each(|expr| mentioned(expr, &mut |it| see(it, false)));
    if let Some(body) = body {
        body.items.iter().for_each(|item| mentions(&item.kind, &mut |it| see(it, true)));
        mentioned(&body.result, &mut |it| see(it, true));
    }
    own
}

/// Items of a body, each after those it reads, else as they are written; or the items that read
/// each other in a circle.
pub(super) fn order(body: &ast::Body) -> Result<Vec<usize>, Vec<usize>> {
    let needs = needs_in(body);
    let mut order = Vec::with_capacity(needs.len());
    let mut opened = vec![false; needs.len()];
    let mut done = vec![false; needs.len()];
    for root in 0..needs.len() {
        let mut open: Vec<(usize, usize)> = Vec::new();
        if !opened[root] {
            opened[root] = true;
            open.push((root, 0));
        }
        while let Some((at, next)) = open.last_mut() {
            let (item, need) = (*at, needs[*at].get(*next).copied());
            *next += 1;
            match need {
                None => {
                    done[item] = true;
                    order.push(item);
                    open.pop();
                }
                Some(need) if !opened[need] => {
                    opened[need] = true;
                    open.push((need, 0));
                }
                Some(need) if !done[need] => {
                    let start = open.iter().position(|(at, _)| *at == need).unwrap_or(0);
                    return Err(open[start..].iter().map(|(at, _)| *at).collect());
                }
                Some(_) => {}
            }
        }
    }
    Ok(order)
}

/// The items of the same body that each item reads, as they are first written.
fn needs_in(body: &ast::Body) -> Vec<Vec<usize>> {
    let named = body.items.iter().enumerate();
    let names: BTreeMap<&str, usize> =
        named.filter_map(|(at, it)| Some((name(it)?.text.as_str(), at))).collect();
    let needs = |item: &ast::Item| {
        let mut found = BTreeSet::new();
        mentions(&item.kind, &mut |mention| {
            if let Mention::Value(path) = mention {
                found.extend(names.get(path.names[0].text.as_str()));
            }
        });
        found.into_iter().collect()
    };
    body.items.iter().map(needs).collect()
}

/// The name that an item of a body declares.
pub(super) fn name(item: &ast::Item) -> Option<&ast::Name> {
    match &item.kind {
        ItemKind::Let(item) => Some(&item.name),
        ItemKind::Stage(stage) => Some(&stage.name),
        _ => None,
    }
}
