//! The input that nom's combinators walk over, and the terminals. Knows
//! tokens; does not know the grammar.

use super::log::{Fault, Log, Wanted};
use crate::lang::ast::{Name, Path};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::syntax;
use crate::lang::lexer::{Keyword, Lexed, Position, Symbol, Token, TokenKind};
use crate::lang::source::Span;
use nom::error::{ErrorKind, ParseError};
use nom::{Err, IResult};

/// Brackets, operators and types may nest so deep; whoever walks the tree may then recurse.
pub const DEPTH_LIMIT: usize = 32;

/// What a parser of this room returns.
pub type Parsed<'a, T> = IResult<Tokens<'a>, T, Fault>;

/// What directly surrounds the next token; it decides whether a word may follow a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    Brackets,
    Body,
    Item,
}

/// A place in the token sequence, and what is known there of the brackets around it.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    all: &'a [Token],
    at: usize,
    pub depth: usize,
    pub inside: Inside,
    pub enclosing: Closers,
    pub log: &'a Log<'a>,
}

/// The closing brackets that some open bracket waits for.
#[derive(Clone, Copy, Default)]
pub struct Closers {
    brace: bool,
    bracket: bool,
    paren: bool,
}

impl<'a> ParseError<Tokens<'a>> for Fault {
    fn from_error_kind(input: Tokens<'a>, _kind: ErrorKind) -> Fault {
        Fault::Unexpected { at: input.at, wanted: Wanted::Phrase("something else") }
    }

    fn append(_input: Tokens<'a>, _kind: ErrorKind, other: Fault) -> Fault {
        other
    }
}

impl Closers {
    /// The same, waiting for one more.
    pub fn with(mut self, closer: Symbol) -> Closers {
        match closer {
            Symbol::CloseBrace => self.brace = true,
            Symbol::CloseBracket => self.bracket = true,
            _ => self.paren = true,
        }
        self
    }

    /// Whether some open bracket waits for this one.
    pub fn has(self, closer: Symbol) -> bool {
        match closer {
            Symbol::CloseBrace => self.brace,
            Symbol::CloseBracket => self.bracket,
            Symbol::CloseParen => self.paren,
            _ => false,
        }
    }
}

impl<'a> Tokens<'a> {
    /// The beginning of a file.
    pub fn new(lexed: &'a Lexed, log: &'a Log<'a>) -> Tokens<'a> {
        let enclosing = Closers::default();
        Tokens { all: &lexed.tokens, at: 0, depth: 0, inside: Inside::Item, enclosing, log }
    }

    /// One level deeper.
    pub fn deeper(self) -> Tokens<'a> {
        Tokens { depth: self.depth + 1, ..self }
    }

    /// Within brackets that wait for `closer`.
    pub fn within(self, closer: Symbol, inside: Inside) -> Tokens<'a> {
        Tokens { enclosing: self.enclosing.with(closer), inside, ..self }
    }

    /// At the same token, surrounded as `outer` is.
    pub fn surrounded_as(self, outer: Tokens<'a>) -> Tokens<'a> {
        Tokens { at: self.at, ..outer }
    }

    /// Whether this is further on than `other`.
    pub fn is_after(&self, other: Tokens<'a>) -> bool {
        self.at > other.at
    }

    /// The next token.
    pub fn token(&self) -> &'a Token {
        &self.all[self.at]
    }

    /// The kind of the next token.
    pub fn kind(&self) -> &'a TokenKind {
        &self.token().kind
    }

    /// Where the next token stands.
    pub fn span(&self) -> Span {
        self.token().span
    }

    /// The token after the next.
    fn second(&self) -> &'a Token {
        &self.all[(self.at + 1).min(self.all.len() - 1)]
    }

    /// The token that was read last.
    pub fn previous(&self) -> Option<&'a Token> {
        self.all.get(self.at.checked_sub(1)?)
    }

    /// From `start` to the end of what was read last.
    pub fn span_from(&self, start: Tokens<'a>) -> Span {
        match self.previous() {
            Some(last) if self.at > start.at => start.span().to(last.span),
            _ => Span { end: start.span().start, ..start.span() },
        }
    }

    /// Whether the next token is this sign.
    pub fn is(&self, symbol: Symbol) -> bool {
        matches!(self.kind(), TokenKind::Symbol(found) if *found == symbol)
    }

    /// Whether the next token is this keyword.
    pub fn is_keyword(&self, keyword: Keyword) -> bool {
        matches!(self.kind(), TokenKind::Keyword(found) if *found == keyword)
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        matches!(self.kind(), TokenKind::End)
    }

    /// Whether the next token stands on the line of the one before.
    pub fn inline(&self) -> bool {
        self.token().position == Position::Inline
    }

    /// Whether the next two tokens are a word and `:`.
    pub fn at_field(&self) -> bool {
        let colon = matches!(self.second().kind, TokenKind::Symbol(Symbol::Colon));
        self.kind().word().is_some() && colon
    }

    /// Whether an item keyword begins an item here; `column` decides how far left it must stand.
    pub fn at_item(&self, column: Position) -> bool {
        let begins = matches!(self.kind(), TokenKind::Keyword(keyword) if keyword.begins_item());
        begins && self.token().position >= column && !self.at_field()
    }

    /// Whether whatever is open must end here: at the end, or where a keyword in the first column
    /// begins an item.
    pub fn at_boundary(&self) -> bool {
        self.at_end() || self.at_item(Position::FirstColumn)
    }

    /// Past the next token; the last one is never passed.
    pub fn advance(mut self) -> Tokens<'a> {
        self.at = (self.at + 1).min(self.all.len() - 1);
        self
    }

    /// The docs above the next token.
    pub fn take_docs(&self) -> Vec<String> {
        self.log.take_docs(self.at, self.at + 1, false)
    }

    /// The docs of the file, which stand before everything else.
    pub fn take_file_docs(&self) -> Vec<String> {
        self.log.take_docs(0, 1, true)
    }

    /// Docs of what is passed over are not missed.
    pub fn drop_docs(&self, until: Tokens<'a>) {
        self.log.take_docs(self.at, until.at, false);
    }

    /// A fault at the next token.
    pub fn unexpected(&self, wanted: Wanted) -> Fault {
        Fault::Unexpected { at: self.at, wanted }
    }

    /// Says a fault, unless the lexer has already reported the token it stands at.
    pub fn say(&self, fault: Fault) {
        match fault {
            Fault::Said(diagnostic) => self.log.say(*diagnostic),
            Fault::Unexpected { at, .. } if matches!(self.all[at].kind, TokenKind::Broken) => {}
            Fault::Unexpected { at, wanted } => {
                self.log.say(Tokens { at, ..*self }.diagnose(wanted));
            }
        }
    }

    fn diagnose(&self, wanted: Wanted) -> Diagnostic {
        let (wanted, starts) = match wanted {
            Wanted::Symbol(symbol) => (format!("`{}`", symbol.text()), false),
            Wanted::Keyword(keyword) => (format!("`{}`", keyword.text()), false),
            Wanted::Phrase(phrase) => (phrase.to_string(), self.after_separator()),
            Wanted::Start(phrase) => (phrase.to_string(), true),
        };
        let stands = format!("{} stands here", self.kind().describe());
        let Some(last) = self.previous().filter(|_| !starts) else {
            return syntax::unexpected(self.span(), &wanted, None, &stands);
        };
        let after = match &last.kind {
            TokenKind::Text(_) => "the string".to_string(),
            TokenKind::Broken => "this".to_string(),
            _ => format!("`{}`", self.source_text(last.span)),
        };
        if self.inline() && !self.at_end() {
            return syntax::unexpected(self.span(), &wanted, Some(&after), &stands);
        }
        let end = Span { start: last.span.end, ..last.span };
        let ends = if self.at_end() { "the file ends here" } else { "the line ends here" };
        syntax::unexpected(end, &wanted, Some(&after), ends)
    }

    /// Whether an entry of a list begins here.
    fn after_separator(&self) -> bool {
        let separates = |symbol: Symbol| symbol == Symbol::Comma || symbol.closer().is_some();
        let before = self.previous().map(|token| &token.kind);
        !self.at_end() && matches!(before, Some(TokenKind::Symbol(s)) if separates(*s))
    }

    /// The text at a span of this file.
    pub fn source_text(&self, span: Span) -> &'a str {
        &self.log.source[span.start as usize..span.end as usize]
    }

    /// Says that the bracket at `open` is not closed where it had to be, once a place.
    pub fn say_unclosed(&self, open: &Token) {
        if !self.log.first_unclosed(self.at) {
            return;
        }
        let TokenKind::Symbol(bracket) = open.kind else { return };
        let Some(closer) = bracket.closer() else { return };
        let why = match self.kind() {
            TokenKind::End => "the end of the file".to_string(),
            TokenKind::Keyword(keyword) if self.at_boundary() => {
                format!("the next `{}`", keyword.text())
            }
            other => other.describe(),
        };
        let (bracket, closer) = (bracket.text(), closer.text());
        let end = self.previous().filter(|_| self.at_end()).map(|last| last.span.end);
        let noticed = end.map_or(self.span(), |end| Span { start: end, end, ..open.span });
        self.log.say(syntax::unclosed(open.span, bracket, closer, noticed, &why));
    }
}

/// Exactly this sign.
pub fn symbol<'a>(wanted: Symbol) -> impl Fn(Tokens<'a>) -> Parsed<'a, Span> {
    move |input| match input.is(wanted) {
        true => Ok((input.advance(), input.span())),
        false => Err(Err::Error(input.unexpected(Wanted::Symbol(wanted)))),
    }
}

/// Exactly this keyword.
pub fn keyword<'a>(wanted: Keyword) -> impl Fn(Tokens<'a>) -> Parsed<'a, Span> {
    move |input| match input.is_keyword(wanted) {
        true => Ok((input.advance(), input.span())),
        false => Err(Err::Error(input.unexpected(Wanted::Keyword(wanted)))),
    }
}

/// A name; a keyword in its place is told so.
pub fn name(input: Tokens) -> Parsed<Name> {
    let for_later = match input.kind() {
        TokenKind::Name(_) => return word(input),
        TokenKind::Reserved(_) => true,
        TokenKind::Keyword(_) if input.inline() => false,
        _ => return Err(Err::Error(input.unexpected(Wanted::Phrase("a name")))),
    };
    let word = input.kind().word().unwrap_or_default();
    let fault = syntax::reserved_word(input.span(), word, for_later);
    Err(Err::Error(Fault::Said(Box::new(fault))))
}

/// A name, or a keyword where only a name can stand.
pub fn word(input: Tokens) -> Parsed<Name> {
    match input.kind().word() {
        Some(text) => Ok((input.advance(), Name { text: text.to_string(), span: input.span() })),
        None => Err(Err::Error(input.unexpected(Wanted::Phrase("a name")))),
    }
}

/// `a.b.c`; after a dot any word is a name.
pub fn path(input: Tokens) -> Parsed<Path> {
    let (mut rest, first) = name(input)?;
    let mut names = vec![first];
    while rest.is(Symbol::Dot) {
        let after = rest.advance();
        if !after.inline() {
            return Err(Err::Failure(after.unexpected(Wanted::Phrase("a name"))));
        }
        let (next, name) = word(after)?;
        names.push(name);
        rest = next;
    }
    Ok((rest, Path { names, span: rest.span_from(input) }))
}
