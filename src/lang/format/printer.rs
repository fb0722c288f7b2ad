//! Layout → text: where lines break, what is aligned, where comments and blank lines go. Does not
//! know the language; it sees rows, keys and brackets.

use super::layout::{Align, Block, Layout, Placed, Row, lead};
use crate::lang::ast::Comment;

const WIDTH: usize = 100;
const INDENT: usize = 4;

/// Prints the rows of a file.
pub struct Printer<'t> {
    source: &'t str,
    comments: Vec<Placed<'t>>,
    /// How many comments have been printed.
    printed: usize,
    out: String,
    indent: usize,
    /// Up to where the source has been printed.
    done: u32,
}

/// How far the value of a row stands from its left edge.
type Column = Option<usize>;

impl<'t> Printer<'t> {
    /// Ready to print rows of this source, with its comments.
    pub fn new(source: &'t str, comments: &'t [Comment], rows: &[Row]) -> Printer<'t> {
        let comments = super::layout::place(comments, rows);
        Printer { source, comments, printed: 0, out: String::new(), indent: 0, done: 0 }
    }

    /// The whole file; `done` is where its own documentation ends.
    pub fn file(mut self, doc: &[String], done: u32, rows: &[Row]) -> String {
        self.done = done;
        doc.iter().for_each(|line| self.line(&marked("//!", line)));
        self.rows(rows, Align::Items, self.source.len() as u32 + 1);
        self.out
    }

    /// Rows one below the other, and the comments up to `close`.
    fn rows(&mut self, rows: &[Row], align: Align, close: u32) {
        let columns = self.columns(rows, align);
        for (index, (row, column)) in rows.iter().zip(columns).enumerate() {
            self.comments_until(row.span.start);
            self.blank_line(row.span.start);
            self.row(row, column);
            self.done = self.done.max(row.span.end);
            let next = rows.get(index + 1).map_or(close, |next| next.span.start);
            self.trailing_comment(row.span.end, next);
        }
        self.comments_until(close.saturating_sub(1));
    }

    fn row(&mut self, row: &Row, column: Column) {
        row.doc.iter().for_each(|line| self.line(&marked("///", line)));
        self.start_line();
        if let Some(key) = &row.key {
            let width = column.unwrap_or(0).max(key.chars().count());
            self.out.push_str(&format!("{key:width$} "));
        }
        self.layout(&row.value, 0);
        self.out.push('\n');
    }

    /// Prints a layout after which `tail` more characters must stand on the same line.
    fn layout(&mut self, layout: &Layout, tail: usize) {
        match layout {
            Layout::Text(text) => self.out.push_str(text),
            Layout::Lines(lines) => self.lines(lines),
            Layout::Together(parts) => {
                for (index, part) in parts.iter().enumerate() {
                    let (width, breaks) = lead(&parts[index + 1..]);
                    self.layout(part, width + if breaks { 0 } else { tail });
                }
            }
            Layout::Block(block) => match layout.on_one_line() {
                Some(text) if self.column() + text.chars().count() + tail <= WIDTH => {
                    self.out.push_str(&text);
                }
                Some(text) if block.rows.is_empty() => self.out.push_str(&text),
                _ => self.block(block),
            },
        }
    }

    fn block(&mut self, block: &Block) {
        self.out.push_str(block.open);
        self.out.push('\n');
        self.indent += INDENT;
        self.done = self.done.max(block.span.start + 1);
        self.rows(&block.rows, block.align, block.span.end);
        self.indent -= INDENT;
        self.start_line();
        self.out.push_str(block.close);
        self.done = self.done.max(block.span.end);
    }

    fn lines(&mut self, lines: &[&str]) {
        self.out.push_str("\"\"\"\n");
        self.indent += INDENT;
        lines.iter().for_each(|line| self.line(line));
        self.start_line();
        self.indent -= INDENT;
        self.out.push_str("\"\"\"");
    }

    /// The comments before a place, each on its own line.
    fn comments_until(&mut self, end: u32) {
        while let Some(comment) = self.comments.get(self.printed).filter(|c| c.start <= end) {
            let Placed { text, start, end } = *comment;
            self.blank_line(start);
            self.line(&format!("//{text}"));
            self.done = self.done.max(end);
            self.printed += 1;
        }
    }

    /// A comment on the line on which a row ends stays there.
    fn trailing_comment(&mut self, row_end: u32, next: u32) {
        let Some(Placed { text, start, end }) = self.comments.get(self.printed).copied() else {
            return;
        };
        let between = self.source.get(row_end as usize..start as usize);
        if start < next && between.is_some_and(|between| !between.contains('\n')) {
            self.out.pop();
            self.out.push_str(&format!(" //{text}\n"));
            self.done = self.done.max(end);
            self.printed += 1;
        }
    }

    /// A blank line, if the source has one before `next` and something stands above.
    fn blank_line(&mut self, next: u32) {
        let first = self.out.is_empty() || ends_with_opening(&self.out);
        if !first && self.blank_between(self.done, next) {
            self.out.push('\n');
        }
    }

    /// Whether a line between two places is blank, up to documentation.
    fn blank_between(&self, from: u32, to: u32) -> bool {
        let Some(gap) = self.source.get(from as usize..to as usize) else { return false };
        let gap = gap.find("///").map_or(gap, |doc| &gap[..doc]);
        let breaks: Vec<&str> = gap.split('\n').collect();
        let inner = breaks.get(1..breaks.len().saturating_sub(1)).unwrap_or(&[]);
        inner.iter().any(|line| line.trim().is_empty())
    }

    /// The column of each row's value.
    fn columns(&self, rows: &[Row], align: Align) -> Vec<Column> {
        let mut columns = vec![None; rows.len()];
        let mut start = 0;
        while start < rows.len() {
            let mut end = start + 1;
            while end < rows.len() && self.joined(&rows[end - 1], &rows[end], align) {
                end += 1;
            }
            let keys = rows[start..end].iter().filter_map(|row| row.key.as_ref());
            let width = keys.map(|key| key.chars().count()).max();
            let fits = |row: &Row| align == Align::Fields || self.fits_from(row, width);
            if rows[start..end].iter().all(fits) {
                columns[start..end].fill(width);
            }
            start = end;
        }
        columns
    }

    /// Whether two neighbours belong to one run.
    fn joined(&self, above: &Row, below: &Row, align: Align) -> bool {
        match align {
            Align::Fields => !self.parted(above.span.end, below.span.start),
            Align::Items => {
                let gap = self.source.get(above.span.end as usize..below.span.start as usize);
                let adjacent = gap.is_some_and(|gap| gap.matches('\n').count() <= 1);
                let single = |row: &Row| row.key.is_some() && self.fits_from(row, None);
                let alike = above.kind == below.kind && single(above) && single(below);
                let at = self.comments.partition_point(|c| c.start < below.span.start);
                let hoisted = self.comments.get(at).is_some_and(|c| c.start == below.span.start);
                adjacent && alike && !hoisted
            }
        }
    }

    /// Whether a blank line will be printed between two places.
    fn parted(&self, from: u32, to: u32) -> bool {
        let mut from = from;
        let first = self.comments.partition_point(|comment| comment.start < from);
        for comment in self.comments[first..].iter().take_while(|comment| comment.start <= to) {
            if self.blank_between(from, comment.start) {
                return true;
            }
            from = from.max(comment.end);
        }
        self.blank_between(from, to)
    }

    /// Whether a row stands on one line with its value in a column.
    fn fits_from(&self, row: &Row, column: Column) -> bool {
        let Some(value) = row.value.on_one_line() else { return false };
        let key = row.key.as_ref().map_or(0, |key| key.chars().count() + 1);
        let left = key.max(column.map_or(0, |column| column + 1));
        self.indent + left + value.chars().count() <= WIDTH
    }

    /// A whole line; an empty one stays empty.
    fn line(&mut self, text: &str) {
        if !text.is_empty() {
            self.start_line();
            self.out.push_str(text);
        }
        self.out.push('\n');
    }

    fn start_line(&mut self) {
        self.out.push_str(&" ".repeat(self.indent));
    }

    fn column(&self) -> usize {
        let start = self.out.rfind('\n').map_or(0, |at| at + 1);
        self.out[start..].chars().count()
    }
}

fn marked(mark: &str, line: &str) -> String {
    if line.is_empty() { mark.to_string() } else { format!("{mark} {line}") }
}

/// Whether the last line printed opens a block.
fn ends_with_opening(out: &str) -> bool {
    out.ends_with("{\n") || out.ends_with("[\n")
}
