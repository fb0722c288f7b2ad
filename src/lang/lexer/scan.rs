//! The loop over a file: blanks, comments and lexemes in turn. Never fails: what belongs to no
//! token is reported and passed over. Does not know which tokens may follow each other.

use super::number::{RawNumber, number};
use super::text::{RawText, text};
use super::token::{Position, SYMBOLS, Symbol, Token, TokenKind};
use crate::lang::ast::Comment;
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::syntax;
use crate::lang::source::{FileId, Span};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, satisfy};
use nom::combinator::{not, peek, recognize};
use nom::error::{Error, ErrorKind};
use nom::multi::many1_count;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

/// A file as tokens, the last of which is `End`.
pub struct Lexed {
    pub tokens: Vec<Token>,
    pub docs: Vec<Doc>,
    pub comments: Vec<Comment>,
    pub faults: Vec<Diagnostic>,
}

/// A line of documentation: of the file (`//!`), or of what the token `before` begins (`///`).
pub struct Doc {
    pub text: String,
    pub span: Span,
    pub of_file: bool,
    pub before: usize,
}

/// Reads a whole file, of less than 4 GiB.
pub fn scan(file: FileId, source: &str) -> Lexed {
    let lexed =
        Lexed { tokens: Vec::new(), docs: Vec::new(), comments: Vec::new(), faults: Vec::new() };
    let mut rest = source.strip_prefix('\u{feff}').unwrap_or(source);
    let last_end = source.len() - rest.len();
    let mut scanner = Scanner { file, source, last_end, lexed };
    while let Ok((after, lexeme)) = preceded(blank, lexeme).parse(rest) {
        let start = rest.len() - rest.trim_start_matches(is_blank).len();
        let start = source.len() - rest.len() + start;
        let end = source.len() - after.len();
        scanner.take(lexeme, start, end);
        scanner.last_end = end;
        rest = after;
    }
    let end = scanner.span(source.len(), source.len());
    scanner.lexed.tokens.push(Token {
        kind: TokenKind::End,
        span: end,
        position: Position::FirstColumn,
    });
    scanner.lexed
}

enum Lexeme<'a> {
    Comment(&'a str),
    Doc(&'a str),
    FileDoc(&'a str),
    Word(&'a str),
    Number(RawNumber<'a>),
    Text(RawText<'a>),
    Symbol(Symbol),
    /// Other quotes than `"`.
    Quoted(&'a str),
    Strange(&'a str),
}

fn lexeme(input: &str) -> IResult<&str, Lexeme<'_>> {
    let doc = (tag("///"), not(char('/')));
    alt((
        preceded(tag("//!"), to_line_end).map(Lexeme::FileDoc),
        preceded(doc, to_line_end).map(Lexeme::Doc),
        preceded(tag("//"), to_line_end).map(Lexeme::Comment),
        word.map(Lexeme::Word),
        number.map(Lexeme::Number),
        text.map(Lexeme::Text),
        symbol.map(Lexeme::Symbol),
        quoted.map(Lexeme::Quoted),
        strange.map(Lexeme::Strange),
    ))
    .parse(input)
}

/// `[A-Za-z_][A-Za-z0-9_]*`
pub fn word(input: &str) -> IResult<&str, &str> {
    let first = satisfy(|c| c.is_ascii_alphabetic() || c == '_');
    recognize((first, take_while(|c: char| c.is_ascii_alphanumeric() || c == '_'))).parse(input)
}

fn symbol(input: &str) -> IResult<&str, Symbol> {
    let found = SYMBOLS.iter().find(|(text, _)| input.starts_with(text));
    match found {
        Some((text, symbol)) => Ok((&input[text.len()..], *symbol)),
        None => Err(nom::Err::Error(Error { input, code: ErrorKind::Tag })),
    }
}

fn quoted(input: &str) -> IResult<&str, &str> {
    let between = |open, close| {
        delimited(char(open), take_while(move |c| c != close && c != '\n'), char(close))
    };
    alt((between('\'', '\''), between('“', '”'), between('‘', '’'))).parse(input)
}

/// Characters that begin no token, as many as stand together.
fn strange(input: &str) -> IResult<&str, &str> {
    let known = alt((
        take_while1(is_blank).map(|_| ()),
        word.map(|_| ()),
        number.map(|_| ()),
        char('"').map(|_| ()),
        quoted.map(|_| ()),
        symbol.map(|_| ()),
    ));
    recognize(many1_count((not(peek(known)), anychar))).parse(input)
}

fn blank(input: &str) -> IResult<&str, &str> {
    take_while(is_blank).parse(input)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn to_line_end(input: &str) -> IResult<&str, &str> {
    take_while(|c| c != '\n').map(str::trim_end).parse(input)
}

struct Scanner<'a> {
    file: FileId,
    source: &'a str,
    /// Where the previous lexeme ended.
    last_end: usize,
    lexed: Lexed,
}

impl Scanner<'_> {
    fn take(&mut self, lexeme: Lexeme, start: usize, end: usize) {
        let span = self.span(start, end);
        let kind = match lexeme {
            Lexeme::Comment(text) => return self.comment(text, span),
            Lexeme::Doc(text) => return self.doc(text, span, false),
            Lexeme::FileDoc(text) => return self.doc(text, span, true),
            Lexeme::Word(word) => TokenKind::of_word(word),
            Lexeme::Symbol(symbol) => TokenKind::Symbol(symbol),
            Lexeme::Number(raw) => {
                let (number, fault) = raw.decode(span);
                self.lexed.faults.extend(fault);
                TokenKind::Number(number)
            }
            Lexeme::Text(raw) => {
                let (text, faults) = raw.decode(span);
                self.lexed.faults.extend(faults);
                TokenKind::Text(text)
            }
            Lexeme::Quoted(inner) => {
                self.lexed.faults.push(syntax::other_quotes(span, inner));
                TokenKind::Broken
            }
            Lexeme::Strange(text) => {
                self.lexed.faults.push(syntax::strange_characters(span, text));
                TokenKind::Broken
            }
        };
        let position = self.position(start);
        self.lexed.tokens.push(Token { kind, span, position });
    }

    fn comment(&mut self, text: &str, span: Span) {
        self.lexed.comments.push(Comment { text: text.to_string(), span });
    }

    fn doc(&mut self, text: &str, span: Span, of_file: bool) {
        let text = text.strip_prefix(' ').unwrap_or(text).to_string();
        let before = self.lexed.tokens.len();
        self.lexed.docs.push(Doc { text, span, of_file, before });
    }

    /// Judged by the blanks before a token; a comment always ends with its line.
    fn position(&self, start: usize) -> Position {
        let blank = &self.source[self.last_end..start];
        let first = matches!(&self.source[..self.last_end], "" | "\u{feff}");
        if blank.ends_with('\n') || (first && blank.is_empty()) {
            Position::FirstColumn
        } else if first || blank.contains('\n') {
            Position::FirstOnLine
        } else {
            Position::Inline
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }
}
