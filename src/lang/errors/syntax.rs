//! The sentences of the lexer and the parser. Does not know names, types or values.

use super::nearest::nearest;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::Span;

/// Every id that this file can say.
pub const ALL: &[&str] = &[
    BAD_NUMBER,
    BAD_STRING,
    PARENTHESES,
    RESERVED_WORD,
    STRANGE_CHARACTER,
    STRAY_DOC,
    TOO_DEEP,
    UNCLOSED,
    UNEXPECTED_TOKEN,
    UNKNOWN_UNIT,
];

const BAD_NUMBER: &str = "bad-number";
const BAD_STRING: &str = "bad-string";
const PARENTHESES: &str = "parentheses";
const RESERVED_WORD: &str = "reserved-word";
const STRANGE_CHARACTER: &str = "strange-character";
const STRAY_DOC: &str = "stray-doc";
const TOO_DEEP: &str = "too-deep";
const UNCLOSED: &str = "unclosed";
const UNEXPECTED_TOKEN: &str = "unexpected-token";
const UNKNOWN_UNIT: &str = "unknown-unit";

/// `1_ `, `1__0`
pub fn stray_underscore(span: Span) -> Diagnostic {
    Diagnostic::error(BAD_NUMBER, "an underscore in a number stands between two digits")
        .label(span, "this one does not")
}

/// `12x`, `4Ki tokens`
pub fn unknown_suffix(span: Span, digits: &str, suffix: &str, known: &[&str]) -> Diagnostic {
    let fault = Diagnostic::error(BAD_NUMBER, format!("no number ends in `{suffix}`"))
        .label(span, format!("suffixes: {}", known.join(" ")));
    if matches!(suffix, "Ki" | "Mi" | "Gi" | "Ti") {
        return fault.note("multiples of 1024 exist for bytes only: `KiB MiB GiB TiB`");
    }
    if crate::lang::lexer::plural(suffix).is_some() {
        return fault.hint(Some(format!("{digits} {suffix}")));
    }
    fault.hint(nearest(suffix, known.iter().copied()).map(|near| format!("{digits}{near}")))
}

/// A string that its line, or a block that the file or the next item, ends before its quotes do.
pub fn unterminated(span: Span, block: bool) -> Diagnostic {
    let start = span.start + if block { 3 } else { 1 };
    let open = Span { end: start, ..span };
    let end = Span { start: span.end, ..span };
    let fault = Diagnostic::error(BAD_STRING, "this string has no closing quote");
    if block {
        fault.label(open, "opened here").label(end, "no `\"\"\"` before this place")
    } else {
        let fault = fault.label(open, "opened here").label(end, "no `\"` before the line ends");
        fault.note("a string of several lines stands between `\"\"\"`")
    }
}

/// `'text'`, `“text”`
pub fn other_quotes(span: Span, inner: &str) -> Diagnostic {
    let pasteable = !inner.contains(['"', '\\']);
    Diagnostic::error(BAD_STRING, "strings stand in double quotes")
        .label(span, "these quotes are others")
        .hint(pasteable.then(|| format!("\"{inner}\"")))
}

/// `"""text`
pub fn text_after_fence(span: Span) -> Diagnostic {
    Diagnostic::error(BAD_STRING, "the text of a block begins on the line after its `\"\"\"`")
        .label(span, "this stands on the same line")
}

/// `\d`
pub fn unknown_escape(span: Span, escaped: char) -> Diagnostic {
    let escaped = escaped.escape_debug();
    Diagnostic::error(BAD_STRING, format!("`\\{escaped}` is not an escape"))
        .label(span, "escapes: \\\" \\\\ \\n \\t")
        .note("a backslash itself is written twice")
}

/// `${1}`
pub fn bad_interpolation(span: Span) -> Diagnostic {
    Diagnostic::error(BAD_STRING, "`${` is followed by a name and `}`")
        .label(span, "no name, or no `}`")
        .note("`${name}` and `${record.field}` are filled in when the recipe is checked")
}

/// Characters outside the language.
pub fn strange_characters(span: Span, text: &str) -> Diagnostic {
    let fault = Diagnostic::error(STRANGE_CHARACTER, format!("`{text}` has no meaning here"))
        .label(span, "not part of the language");
    match text.chars().next() {
        Some('#') => fault.note("a comment begins with `//`"),
        Some('\'' | '“' | '”' | '‘' | '’') => {
            fault.note("strings stand in double quotes: `\"…\"`")
        }
        Some(';') => fault.note("a comma or a new line separates"),
        Some('-') => fault.note("there are no negative numbers and no subtraction"),
        _ => fault,
    }
}

/// Something was due and something else stands there; `after` is the token before.
pub fn unexpected(found: Span, wanted: &str, after: Option<&str>, stands: &str) -> Diagnostic {
    let message = match after {
        Some(after) => format!("expected {wanted} after {after}"),
        None => format!("expected {wanted}"),
    };
    Diagnostic::error(UNEXPECTED_TOKEN, message).label(found, stands)
}

/// `{ lr = 1e-3 }`
pub fn assigned_field(sign: Span, field: &str, pasteable: Option<String>) -> Diagnostic {
    Diagnostic::error(UNEXPECTED_TOKEN, format!("expected `:` after `{field}`"))
        .label(sign, "`=` gives a value to a `let`, not to a field")
        .hint(pasteable)
}

/// A bracket that another bracket, an item or the end of the file came before.
pub fn unclosed(open: Span, bracket: &str, closer: &str, noticed: Span, why: &str) -> Diagnostic {
    Diagnostic::error(UNCLOSED, format!("`{bracket}` is never closed"))
        .label(open, "opened here")
        .label(noticed, format!("expected `{closer}` before {why}"))
}

/// A bracket that closes nothing.
pub fn never_opened(span: Span, closer: &str) -> Diagnostic {
    Diagnostic::error(UNCLOSED, format!("`{closer}` closes nothing"))
        .label(span, "no bracket is open here that it could close")
}

/// A word of the language where a name is due.
pub fn reserved_word(span: Span, word: &str, for_later: bool) -> Diagnostic {
    let why = if for_later { "kept for later editions of the language" } else { "a keyword" };
    Diagnostic::error(RESERVED_WORD, format!("`{word}` cannot be a name"))
        .label(span, format!("`{word}` is {why}"))
}

/// `64 examples`
pub fn unknown_unit(span: Span, number: &str, unit: &str, counts: &[&str]) -> Diagnostic {
    let fault = Diagnostic::error(UNKNOWN_UNIT, format!("`{unit}` is not a unit"))
        .label(span, format!("units: {}", counts.join(" ")));
    let row = ["example", "sample", "instance", "record", "line", "item", "sentence", "document"];
    if row.contains(&unit.trim_end_matches('s')) {
        return fault.note("a row of a batch is a `sequence`; packed, it holds several examples");
    }
    fault.hint(nearest(unit, counts.iter().copied()).map(|near| format!("{number} {near}")))
}

/// `sft(init: base)`
pub fn parentheses(open: Span, callee: &str, pasteable: Option<String>) -> Diagnostic {
    Diagnostic::error(PARENTHESES, format!("expected `{{` after `{callee}`"))
        .label(open, "fields stand in braces")
        .hint(pasteable)
}

/// Nesting beyond what any recipe needs.
pub fn too_deep(span: Span, limit: usize) -> Diagnostic {
    Diagnostic::error(TOO_DEEP, format!("this is nested more than {limit} levels deep"))
        .label(span, "the innermost level that is read")
        .note("give parts of it a name with `let`")
}

/// `///` above nothing that could carry it.
pub fn stray_doc(span: Span, of_file: bool) -> Diagnostic {
    let fault = Diagnostic::error(STRAY_DOC, "this text documents nothing");
    if of_file {
        fault.label(span, "`//!` documents the file, and stands at its top")
    } else {
        fault.label(span, "`///` stands above an item or a field; a comment begins with `//`")
    }
}
