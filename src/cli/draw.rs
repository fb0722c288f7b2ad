//! Draws diagnostics for people: a frame a fault, with both causes in it. Knows source text and
//! columns; does not know where the drawing is shown, nor what any fault means.

use crate::lang::diagnostic::{Diagnostic, Label, Severity};
use crate::lang::source::{FileId, Sources};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use std::fmt::Write;

const WIDTH: usize = 100;

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[34m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Every diagnostic, with a blank line between two.
pub fn draw(sources: &Sources, diagnostics: &[Diagnostic], color: bool) -> String {
    let drawn = diagnostics.iter().map(|diagnostic| draw_one(sources, diagnostic, color));
    drawn.collect::<Vec<_>>().join("\n")
}

fn draw_one(sources: &Sources, diagnostic: &Diagnostic, color: bool) -> String {
    let pen = Pen { color };
    let (word, paint) = match diagnostic.severity {
        Severity::Error => ("error", RED),
        Severity::Warning => ("warning", YELLOW),
    };
    let head = pen.paint(paint, &format!("{word}[{}]", diagnostic.id));
    let mut out = format!("{head}: {}\n", diagnostic.message);
    let margin = frame(&mut out, sources, diagnostic, pen, paint);
    if let (Some(expected), Some(found)) = (&diagnostic.expected, &diagnostic.found) {
        let blank = " ".repeat(margin);
        writeln!(out, "{blank}= expected  {expected}\n{blank}=    found  {found}").ok();
    }
    if !diagnostic.notes.is_empty() || diagnostic.hint.is_some() {
        out.push('\n');
    }
    for note in &diagnostic.notes {
        writeln!(out, "{}: {note}", pen.paint(CYAN, "note")).ok();
    }
    if let Some(hint) = &diagnostic.hint {
        writeln!(out, "{}: {hint}", pen.paint(CYAN, "help")).ok();
    }
    out
}

/// The labelled lines, file by file, the fault's own file first. Returns the width of the margin.
fn frame(
    out: &mut String,
    sources: &Sources,
    diagnostic: &Diagnostic,
    pen: Pen,
    paint: &str,
) -> usize {
    let Some(primary) = diagnostic.labels.first() else { return 3 };
    let lines = labelled_lines(sources, &diagnostic.labels);
    let widest = lines.iter().map(|line| line.number.to_string().len()).max().unwrap_or(1);
    let margin = " ".repeat(widest + 2);
    let mut file = None;
    for line in &lines {
        if file != Some(line.file) {
            let corner = if file.is_none() { '╭' } else { '├' };
            let place = if file.is_none() { primary } else { &line.labels[0] };
            let source = sources.get(line.file);
            let (row, column) = source.line_column(place.span.start);
            writeln!(out, "{margin}{corner}─[{}:{row}:{column}]", source.path).ok();
            file = Some(line.file);
        }
        let paint = if line.labels.contains(primary) { paint } else { BLUE };
        let missing = widest - line.number.to_string().len();
        for row in snippet(sources, line) {
            writeln!(out, "{}{}", " ".repeat(missing), pen.paint_marks(paint, &row)).ok();
        }
    }
    writeln!(out, "{margin}╰────").ok();
    margin.len()
}

/// A line of source with the labels that begin on it.
struct LabelledLine {
    file: FileId,
    number: usize,
    labels: Vec<Label>,
}

fn labelled_lines(sources: &Sources, labels: &[Label]) -> Vec<LabelledLine> {
    let mut lines: Vec<LabelledLine> = Vec::new();
    for label in labels {
        let file = label.span.file;
        let number = sources.get(file).line_column(label.span.start).0;
        match lines.iter_mut().find(|line| (line.file, line.number) == (file, number)) {
            Some(line) => line.labels.push(label.clone()),
            None => lines.push(LabelledLine { file, number, labels: vec![label.clone()] }),
        }
    }
    let first = lines.first().map(|line| line.file);
    lines.sort_by_key(|line| (Some(line.file) != first, line.file, line.number));
    lines
}

/// One line as miette draws it, without its frame; a lone label stands beside its mark.
fn snippet(sources: &Sources, line: &LabelledLine) -> Vec<String> {
    let source = sources.get(line.file);
    let end = |label: &Label| {
        let rest = &source.text[label.span.start as usize..label.span.end as usize];
        label.span.start as usize + rest.lines().next().unwrap_or("").len()
    };
    let spans = line.labels.iter().map(|label| {
        let text = Some(label.text.clone()).filter(|text| !text.is_empty());
        let start = label.span.start as usize;
        LabeledSpan::new(text, start, (end(label) - start).max(1))
    });
    let start =
        source.text[..line.labels[0].span.start as usize].rfind('\n').map_or(0, |at| at + 1);
    let text = format!("{} ", source.line(line.number));
    let snippet = Snippet { text, start, number: line.number, labels: spans.collect() };
    let theme = GraphicalTheme::unicode_nocolor();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_context_lines(0);
    let mut drawn = String::new();
    let done = handler.without_syntax_highlighting().render_report(&mut drawn, &snippet);
    assert!(done.is_ok(), "drawing into memory does not fail");
    let rows = drawn.lines().skip_while(|row| !row.trim_start().starts_with('╭')).skip(1);
    let rows = rows.take_while(|row| !row.trim_start().starts_with('╰'));
    beside_mark(rows.map(|row| row.trim_end().to_string()).collect(), &line.labels)
}

fn beside_mark(mut rows: Vec<String>, labels: &[Label]) -> Vec<String> {
    let [label] = labels else { return rows };
    if rows.len() == 3 && rows[1].chars().count() + 1 + label.text.chars().count() <= WIDTH {
        rows.truncate(2);
        rows[1] = format!("{} {}", rows[1], label.text);
    }
    rows
}

/// What miette is told: a line, where it stands, and the marks in it. The line ends in a blank, so
/// that its end can be marked.
#[derive(Debug)]
struct Snippet {
    text: String,
    start: usize,
    number: usize,
    labels: Vec<LabeledSpan>,
}

impl SourceCode for Snippet {
    fn read_span<'a>(
        &'a self,
        _span: &SourceSpan,
        _lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = SourceSpan::from((self.start, self.text.len()));
        let line = self.number - 1;
        Ok(Box::new(MietteSpanContents::new(self.text.as_bytes(), span, line, 0, 1)))
    }
}

impl std::fmt::Display for Snippet {
    fn fmt(&self, _out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::error::Error for Snippet {}

impl miette::Diagnostic for Snippet {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

#[derive(Clone, Copy)]
struct Pen {
    color: bool,
}

impl Pen {
    fn paint(self, paint: &str, text: &str) -> String {
        if self.color { format!("{paint}{text}{PLAIN}") } else { text.to_string() }
    }

    /// Paints what stands right of the margin of a row of marks.
    fn paint_marks(self, paint: &str, row: &str) -> String {
        match row.split_once('·') {
            Some((margin, marks)) if margin.trim().is_empty() => {
                format!("{margin}·{}", self.paint(paint, marks))
            }
            _ => row.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sources, draw};
    use crate::lang::diagnostic::Diagnostic;
    use crate::lang::source::{Source, Span};

    const PICTURE: &str = "\
error[wrong-unit]: `batch` of `sft` counts sequences
    ╭─[a.recipe:10:8]
 10 │ batch: 64 pairs
    ·        ────┬─── here
    ├─[std/train.recipe:2:5]
  2 │     batch: Sequences
    ·     ──┬── declared here
    ╰────
    = expected  Sequences
    =    found  Pairs

note: a pair is two rows
help: batch: 64 sequences
";

    #[test]
    fn causes_in_two_files_share_a_frame() {
        let mut sources = Sources::default();
        let file = sources.add(Source::new("a.recipe", "\n".repeat(9) + "batch: 64 pairs\n"));
        let library = sources.add(Source::new("std/train.recipe", "fn\n    batch: Sequences\n"));
        let fault = Diagnostic::error("wrong-unit", "`batch` of `sft` counts sequences")
            .label(Span { file, start: 16, end: 24 }, "here")
            .label(Span { file: library, start: 7, end: 12 }, "declared here")
            .expected("Sequences", "Pairs")
            .note("a pair is two rows")
            .hint(Some("batch: 64 sequences".to_string()));
        assert_eq!(draw(&sources, std::slice::from_ref(&fault), false), PICTURE);
        let colored = draw(&sources, &[fault], true);
        assert!(colored.starts_with("\x1b[1;31merror[wrong-unit]\x1b[0m: "));
    }

    #[test]
    fn a_warning_says_so_and_needs_no_place() {
        let warning = Diagnostic::warning("unused", "`width` has no effect");
        let drawn = draw(&Sources::default(), &[warning], false);
        assert_eq!(drawn, "warning[unused]: `width` has no effect\n");
    }
}
