//! What is wrong with a recipe, as data. Does not know terminals: a door draws it.

use super::source::Span;

/// Whether the recipe cannot be built, or only deserves a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// A place and what is to be said of it. The first label of a diagnostic marks the fault itself,
/// the others its causes elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// One fault: a word-id, one lowercase sentence without a stop, labels on every cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// A word such as `unknown-field`: stable, so that it may be searched for.
    pub id: &'static str,
    pub severity: Severity,
    pub message: String,
    pub labels: Vec<Label>,
    /// The type or value that was due, drawn aligned with `found`.
    pub expected: Option<String>,
    pub found: Option<String>,
    pub notes: Vec<String>,
    /// Text that may be pasted into the recipe; given only where it is certainly right.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn error(id: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            id,
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            expected: None,
            found: None,
            notes: Vec::new(),
            hint: None,
        }
    }

    pub fn warning(id: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(id, message) }
    }

    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    pub fn expected(mut self, expected: impl Into<String>, found: impl Into<String>) -> Diagnostic {
        self.expected = Some(expected.into());
        self.found = Some(found.into());
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    pub fn hint(mut self, hint: Option<String>) -> Diagnostic {
        self.hint = hint;
        self
    }
}
