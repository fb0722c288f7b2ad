//! What goes wrong while reading, and what is gathered about it. Does not know the grammar, nor how
//! reading goes on after a fault.

use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::syntax;
use crate::lang::lexer::{Doc, Keyword, Lexed, Symbol};
use std::cell::{Cell, RefCell};

/// Why a parser could not go on.
pub enum Fault {
    /// Not this token; `wanted` ends the sentence "expected …".
    Unexpected {
        at: usize,
        wanted: Wanted,
    },
    Said(Box<Diagnostic>),
}

/// What was due.
#[derive(Clone, Copy)]
pub enum Wanted {
    Symbol(Symbol),
    Keyword(Keyword),
    Phrase(&'static str),
    /// Something that begins at the faulty token, whatever stands before it.
    Start(&'static str),
}

/// What is gathered while reading: faults, and which docs have found their item.
pub struct Log<'a> {
    pub source: &'a str,
    faults: RefCell<Vec<Diagnostic>>,
    docs: &'a [Doc],
    taken: RefCell<Vec<bool>>,
    unclosed_at: Cell<Option<usize>>,
}

impl<'a> Log<'a> {
    /// Nothing gathered yet.
    pub fn new(source: &'a str, lexed: &'a Lexed) -> Log<'a> {
        Log {
            source,
            faults: RefCell::default(),
            docs: &lexed.docs,
            taken: RefCell::new(vec![false; lexed.docs.len()]),
            unclosed_at: Cell::new(None),
        }
    }

    /// Every fault said, and one for each doc that documents nothing.
    pub fn close(self) -> Vec<Diagnostic> {
        let mut faults = self.faults.into_inner();
        let untaken = self.docs.iter().zip(self.taken.into_inner()).filter(|(_, taken)| !taken);
        faults.extend(untaken.map(|(doc, _)| syntax::stray_doc(doc.span, doc.of_file)));
        faults
    }

    /// One more fault.
    pub fn say(&self, diagnostic: Diagnostic) {
        self.faults.borrow_mut().push(diagnostic);
    }

    /// How many faults were said so far.
    pub fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Takes back what was said since there were `count`.
    pub fn take_back(&self, count: usize) {
        self.faults.borrow_mut().truncate(count);
    }

    /// Takes the docs that stand before the tokens from one to below another.
    pub fn take_docs(&self, from: usize, below: usize, of_file: bool) -> Vec<String> {
        let first = self.docs.partition_point(|doc| doc.before < from);
        let last = self.docs.partition_point(|doc| doc.before < below).max(first);
        let mut taken = self.taken.borrow_mut();
        let wanted = (first..last).filter(|at| self.docs[*at].of_file == of_file);
        let take = |at: usize| {
            taken[at] = true;
            self.docs[at].text.clone()
        };
        wanted.map(take).collect()
    }

    /// Whether this is the first bracket found to be missing at a token.
    pub fn first_unclosed(&self, at: usize) -> bool {
        self.unclosed_at.replace(Some(at)) != Some(at)
    }
}
