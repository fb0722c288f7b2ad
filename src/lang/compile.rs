//! Text → checked module: parse, resolve, check, in that order, all faults in one list. Does not
//! read files: the door has put the recipe and its imports among the sources.

use std::collections::{BTreeMap, BTreeSet};

use super::ast;
use super::check::{Override, check};
use super::diagnostic::{Diagnostic, Severity};
use super::errors::{nearest::nearest, semantics as say};
use super::parser::{parse, parse_expression};
use super::resolve::{BindingId, Program};
use super::source::{FileId, Source, Sources, Span};
use super::stdlib;
use super::value::Module;

/// Compiles a recipe. `overrides` are `-p name=value`; each becomes a source of its own, so that
/// an error can point into it. The module is whole only where no fault is an error.
pub fn compile(
    sources: &mut Sources,
    root: FileId,
    overrides: &[(String, String)],
) -> (Module, Vec<Diagnostic>) {
    stdlib::add_to(sources);
    let mut trees = Vec::new();
    let mut faults = Vec::new();
    for (file, source) in sources.iter() {
        let (tree, said) = parse(file, &source.text);
        trees.push(tree);
        faults.extend(said);
    }
    let first_override = FileId(trees.len() as u32);
    let given: Vec<(&str, Override)> =
        overrides.iter().map(|(name, text)| (name.as_str(), read(sources, name, text))).collect();
    trees.resize_with(trees.len() + given.len(), ast::File::default);
    let whole = faults.iter().all(|fault| fault.labels.iter().all(|at| at.span.file != root));
    let (program, said) = Program::new(sources, &trees);
    faults.extend(said);
    let overrides = params(&program, root, &given, &mut faults);
    let (module, said) = check(&program, root, overrides, whole);
    faults.extend(said);
    let reached = program.reached(root);
    let concerns = |file: FileId| reached.contains(&file) || file >= first_override;
    faults.retain(|fault| fault.labels.first().is_none_or(|label| concerns(label.span.file)));
    (module, in_order(faults, root))
}

fn read(sources: &mut Sources, name: &str, text: &str) -> Override {
    let file = sources.add(Source::new(format!("-p {name}"), text));
    let (expr, faults) = parse_expression(file, text);
    let span = Span { file, start: 0, end: text.len() as u32 };
    Override { text: text.to_string(), span, expr, faults }
}

/// The params of the root file that overrides mean; the last one of a name counts.
fn params<'a>(
    program: &Program<'a>,
    root: FileId,
    given: &'a [(&str, Override)],
    faults: &mut Vec<Diagnostic>,
) -> BTreeMap<BindingId, &'a Override> {
    let mut known: BTreeMap<&str, BindingId> = BTreeMap::new();
    for (at, declared) in program.bindings.iter().enumerate() {
        if declared.file == root && matches!(declared.item.kind, ast::ItemKind::Param(_)) {
            known.entry(&declared.name.text).or_insert(BindingId(at as u32));
        }
    }
    let mut overrides = BTreeMap::new();
    for (name, given) in given {
        match known.get(name) {
            Some(binding) => drop(overrides.insert(*binding, given)),
            None => {
                let near = nearest(name, known.keys().copied());
                faults.push(say::unknown_param(given.span, name, near, &given.text));
            }
        }
    }
    overrides
}

/// Each fault once, the root file's first, top to bottom.
fn in_order(mut faults: Vec<Diagnostic>, root: FileId) -> Vec<Diagnostic> {
    let place = |fault: &Diagnostic| {
        let span = fault.labels.first().map(|label| label.span);
        span.map(|span| (span.file != root, span.file, span.start))
    };
    let mut seen = BTreeSet::new();
    faults.retain(|fault| seen.insert((fault.id, place(fault), fault.message.clone())));
    faults.sort_by_key(|fault| (fault.severity == Severity::Warning, place(fault)));
    faults
}
