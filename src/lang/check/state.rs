//! What the checker knows so far. Holds memories and the list of faults; does not decide anything.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::calls::Calls;
use super::known::Known;
use super::signature::Signature;
use crate::lang::ast::{self, Expr};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::resolve::{BindingId, Program};
use crate::lang::source::{FileId, Sources, Span};
use crate::lang::types::{DefId, Type};
use crate::lang::value::StageId;

/// The checker of one compilation.
pub struct Checker<'a> {
    pub program: &'a Program<'a>,
    pub(super) root: FileId,
    pub(super) bindings: Vec<Progress>,
    /// What `-p` gives to params of the root file.
    pub(super) overrides: BTreeMap<BindingId, &'a Override>,
    pub(super) signatures: BTreeMap<DefId, Rc<Signature<'a>>>,
    /// The stages: those of the root file first, then imported ones in the order they are
    /// asked for.
    pub(super) stages: Vec<Made<'a>>,
    pub(super) stage_ids: BTreeMap<BindingId, StageId>,
    pub(super) facts: BTreeMap<Wanted, Option<Known>>,
    /// Bindings that something reads, or most likely meant to.
    pub(in crate::lang) read: BTreeSet<BindingId>,
    /// The records whose defaults are being evaluated, innermost last.
    pub(super) building: Vec<DefId>,
    pub(super) faults: Vec<Diagnostic>,
    pub(super) calls: Calls,
    /// The order in which each body is evaluated; nothing where its items need each other.
    pub(super) orders: BTreeMap<DefId, Option<Rc<[usize]>>>,
    /// What uses of functions and sweeps stand for, by path.
    pub(super) named: Vec<(String, Known)>,
    /// The functions whose bodies are being evaluated, innermost last.
    pub(super) frames: Vec<DefId>,
    /// Stages and uses of functions so far.
    pub(super) steps: u64,
    /// A body is being checked by itself, with samples for its fields.
    pub(super) sampling: bool,
    /// Faults that are a body's own, whatever it is given.
    pub(super) told: BTreeSet<Told>,
    /// How facts are read where an expression stands.
    pub(in crate::lang) reading: Reading,
    /// Expressions inside one another, through functions.
    pub(in crate::lang) depth: usize,
}

/// A fact of a result: the stage, the port, the name of the fact.
pub(super) type Wanted = (StageId, Rc<str>, String);

/// A fault, known again: its id, place and sentence.
pub(super) type Told = (&'static str, Option<Span>, String);

/// How a fact of a list, or one that is not there, is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// In a recipe: it is an error.
    Strict,
    /// In a `require`: what all agree on, else `none`.
    Agreed,
    /// Around `outside`: those of all elements together.
    All,
}

/// `-p name=value`: the text, where it stands, and the expression it is if it is one.
#[derive(Debug)]
pub struct Override {
    pub text: String,
    pub span: Span,
    pub expr: Expr,
    pub faults: Vec<Diagnostic>,
}

/// How far a binding is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Untouched,
    /// Being prepared: meeting it again closes a circle.
    Open,
    Done(Known),
}

/// A stage that was checked.
#[derive(Clone, Debug)]
pub(super) struct Made<'a> {
    /// Its name in the text that makes it.
    pub place: Span,
    /// The path people type.
    pub name: String,
    /// Empty until the stage is checked, and where its call has errors that leave nothing to know.
    pub work: Option<Work<'a>>,
}

/// The call that a stage is.
#[derive(Clone, Debug)]
pub(super) struct Work<'a> {
    pub signature: Rc<Signature<'a>>,
    pub fields: Rc<BTreeMap<String, Known>>,
    /// What the facts see: the fields, and the results by name where there are several.
    pub scope: Rc<BTreeMap<String, Known>>,
    pub places: BTreeMap<String, Span>,
    /// The type of what it makes, every kind found.
    pub result: Type,
}

/// What names mean inside an expression.
#[derive(Clone, Copy)]
pub enum Names<'n> {
    /// Those of a file.
    File(FileId),
    /// The fields of a signature so far, and the ports of its result: a default, a `require` or a
    /// fact. Callables are those of the file that declares it.
    Fields(FileId, &'n BTreeMap<String, Known>),
    /// The axes of a sweep, then those of the file.
    Point(FileId, &'n BTreeMap<String, Known>),
    /// The fields, items and axes of a function; beyond them only what its file imports.
    Body(FileId, &'n BTreeMap<String, Known>),
}

impl Names<'_> {
    /// The file whose callables are in scope.
    pub fn file(&self) -> FileId {
        match self {
            Names::File(file)
            | Names::Fields(file, _)
            | Names::Point(file, _)
            | Names::Body(file, _) => *file,
        }
    }
}

impl<'a> Checker<'a> {
    /// A checker that has looked at nothing yet.
    pub fn new(
        program: &'a Program<'a>,
        root: FileId,
        overrides: BTreeMap<BindingId, &'a Override>,
    ) -> Self {
        Checker {
            program,
            root,
            bindings: vec![Progress::Untouched; program.bindings.len()],
            overrides,
            signatures: BTreeMap::new(),
            stages: Vec::new(),
            stage_ids: BTreeMap::new(),
            facts: BTreeMap::new(),
            read: BTreeSet::new(),
            building: Vec::new(),
            faults: Vec::new(),
            calls: Calls::of(program),
            orders: BTreeMap::new(),
            named: Vec::new(),
            frames: Vec::new(),
            steps: 0,
            sampling: false,
            told: BTreeSet::new(),
            reading: Reading::Strict,
            depth: 0,
        }
    }

    /// Notes a fault; the checker goes on.
    pub fn say(&mut self, fault: Diagnostic) {
        self.faults.push(fault);
    }

    /// Notes a fault and stands in for the value that it concerns.
    pub fn refuse(&mut self, span: Span, fault: Diagnostic) -> Known {
        self.say(fault);
        Known::unknown(span)
    }

    pub fn sources(&self) -> &'a Sources {
        self.program.sources
    }

    /// The tree of a file.
    pub fn tree(&self, file: FileId) -> &'a ast::File {
        &self.program.trees[file.0 as usize]
    }
}
