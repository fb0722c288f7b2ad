//! Strings: where they end, their escapes, `${path}`, and the indent of `"""` blocks. Does not
//! know what a path means, and leaves `{{…}}` to whoever fills it in when a stage runs.

use crate::lang::ast::{Name, Path, Text, TextPart};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::syntax;
use crate::lang::source::{FileId, Span};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while};
use nom::character::complete::{anychar, char, none_of};
use nom::combinator::{not, opt, recognize};
use nom::multi::{many0_count, separated_list1};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

const FENCE: &str = "\"\"\"";

/// A string between its quotes, as it stands in the text.
pub struct RawText<'a> {
    inner: &'a str,
    block: bool,
    closed: bool,
}

/// `"…"` on one line, or a block.
pub fn text(input: &str) -> IResult<&str, RawText<'_>> {
    alt((block, line)).parse(input)
}

fn line(input: &str) -> IResult<&str, RawText<'_>> {
    let (rest, _) = char('"').parse(input)?;
    let escape = preceded(char('\\'), none_of("\n")).map(|_| ());
    let plain = none_of("\"\\\n").map(|_| ());
    let (after, inner) = recognize(many0_count(alt((escape, plain)))).parse(rest)?;
    let (after, quote) = opt(char('"')).parse(after)?;
    if quote.is_some() {
        return Ok((after, RawText { inner, block: false, closed: true }));
    }
    let (after, inner) = take_while(|c| c != '\n').parse(rest)?;
    Ok((after, RawText { inner, block: false, closed: false }))
}

fn block(input: &str) -> IResult<&str, RawText<'_>> {
    let (rest, _) = tag(FENCE).parse(input)?;
    let escape = preceded(char('\\'), anychar);
    let plain = preceded(not(tag(FENCE)), anychar);
    let (after, inner) = recognize(many0_count(alt((escape, plain)))).parse(rest)?;
    let (after, fence) = opt(tag(FENCE)).parse(after)?;
    if fence.is_some() {
        return Ok((after, RawText { inner, block: true, closed: true }));
    }
    let end = next_item(rest);
    Ok((&rest[end..], RawText { inner: &rest[..end], block: true, closed: false }))
}

/// Where a block that is never closed is taken to end: before the next item in the first column.
fn next_item(text: &str) -> usize {
    let mut breaks = text.match_indices('\n').map(|(at, _)| at + 1);
    let begins_item = |at: &usize| {
        let word = super::scan::word(&text[*at..]).map_or("", |(_, word)| word);
        matches!(super::TokenKind::of_word(word), super::TokenKind::Keyword(k) if k.begins_item())
    };
    breaks.find(begins_item).unwrap_or(text.len())
}

impl RawText<'_> {
    /// The string that occupies `span`, and what is wrong with it.
    pub fn decode(&self, span: Span) -> (Text, Vec<Diagnostic>) {
        let mut reader = Reader { file: span.file, parts: Vec::new(), faults: Vec::new() };
        let quote = if self.block { FENCE.len() } else { 1 } as u32;
        if !self.closed {
            reader.faults.push(syntax::unterminated(span, self.block));
        }
        if self.block {
            self.decode_block(span.start + quote, &mut reader);
        } else {
            reader.read(self.inner, span.start + quote);
        }
        (Text { parts: reader.parts, block: self.block }, reader.faults)
    }

    fn decode_block(&self, start: u32, reader: &mut Reader) {
        let first = self.inner.lines().next().unwrap_or("");
        if !first.trim().is_empty() {
            let end = start + first.trim_end().len() as u32;
            reader.faults.push(syntax::text_after_fence(Span { file: reader.file, start, end }));
        }
        for (index, (offset, line)) in block_lines(self.inner).into_iter().enumerate() {
            if index > 0 {
                reader.push('\n');
            }
            reader.read(line, start + offset as u32);
        }
    }
}

/// The lines of a block between its fences, without their common indent, each with its offset.
/// The breaks after the opening and before the closing fence are not part of the text.
pub fn block_lines<'a>(inner: &'a str) -> Vec<(usize, &'a str)> {
    let mut lines = Vec::new();
    let mut offset = 0;
    for line in inner.split('\n') {
        lines.push((offset, line.strip_suffix('\r').unwrap_or(line)));
        offset += line.len() + 1;
    }
    if lines.last().is_some_and(|(_, line)| line.trim().is_empty()) {
        lines.pop();
    }
    let lines = lines.get(1..).unwrap_or(&[]);
    let full = lines.iter().map(|(_, line)| *line).filter(|line| !line.trim().is_empty());
    let indent = full.map(|line| line.len() - line.trim_start_matches([' ', '\t']).len()).min();
    let indent = indent.unwrap_or(0);
    let without_indent = |line: &(usize, &'a str)| match line.1.get(indent..) {
        Some(text) if !text.trim().is_empty() => (line.0 + indent, text),
        _ => (line.0, ""),
    };
    lines.iter().map(without_indent).collect()
}

/// Collects the parts of one string.
struct Reader {
    file: FileId,
    parts: Vec<TextPart>,
    faults: Vec<Diagnostic>,
}

/// The pieces of which the inside of a string consists.
enum Piece<'a> {
    Plain(&'a str),
    Escape(char),
    Path(Vec<&'a str>),
    /// `${` that begins no path.
    Dollar,
}

fn piece(input: &str) -> IResult<&str, Piece<'_>> {
    let names = separated_list1(char('.'), super::scan::word);
    alt((
        delimited(tag("${"), names, char('}')).map(Piece::Path),
        tag("${").map(|_| Piece::Dollar),
        preceded(char('\\'), anychar).map(Piece::Escape),
        plain.map(Piece::Plain),
    ))
    .parse(input)
}

fn plain(input: &str) -> IResult<&str, &str> {
    let dollar = (char('$'), not(char('{'))).map(|_| ());
    recognize((alt((dollar, none_of("\\$").map(|_| ()))), take_while(|c| c != '\\' && c != '$')))
        .parse(input)
}

impl Reader {
    fn read(&mut self, text: &str, start: u32) {
        let mut rest = text;
        while let Ok((after, piece)) = piece(rest) {
            let at = start + (text.len() - rest.len()) as u32;
            let span =
                Span { file: self.file, start: at, end: at + (rest.len() - after.len()) as u32 };
            self.take(piece, span);
            rest = after;
        }
        rest.chars().for_each(|c| self.push(c));
    }

    fn take(&mut self, piece: Piece, span: Span) {
        match piece {
            Piece::Plain(text) => text.chars().for_each(|c| self.push(c)),
            Piece::Escape('n') => self.push('\n'),
            Piece::Escape('t') => self.push('\t'),
            Piece::Escape(quoted @ ('"' | '\\')) => self.push(quoted),
            Piece::Escape(other) => self.faults.push(syntax::unknown_escape(span, other)),
            Piece::Dollar => self.faults.push(syntax::bad_interpolation(span)),
            Piece::Path(words) => self.parts.push(TextPart::Path(path(&words, span))),
        }
    }

    fn push(&mut self, c: char) {
        match self.parts.last_mut() {
            Some(TextPart::Literal(text)) => text.push(c),
            _ => self.parts.push(TextPart::Literal(c.to_string())),
        }
    }
}

/// The path of `${a.b}`, whose span includes the braces.
fn path(words: &[&str], span: Span) -> Path {
    let mut start = span.start + 2;
    let mut names = Vec::new();
    for word in words {
        let end = start + word.len() as u32;
        names.push(Name { text: word.to_string(), span: Span { start, end, ..span } });
        start = end + 1;
    }
    Path { names, span: Span { start: span.start + 2, end: span.end - 1, ..span } }
}
