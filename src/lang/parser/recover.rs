//! How reading goes on after a fault: bracketed lists that skip to their next separator, depth that
//! is limited. Knows brackets, separators and item boundaries; does not know what a list holds.

use super::log::{Fault, Wanted};
use super::tokens::{DEPTH_LIMIT, Inside, Parsed, Tokens};
use crate::lang::errors::syntax;
use crate::lang::lexer::{Position, Symbol, TokenKind};
use crate::lang::source::Span;
use nom::{Err, Parser};

/// The fault inside nom's wrapper.
pub fn fault(error: Err<Fault>) -> Fault {
    match error {
        Err::Error(fault) | Err::Failure(fault) => fault,
        Err::Incomplete(_) => unreachable!("no parser here streams"),
    }
}

/// Runs a parser one level deeper.
pub fn nested<'a, T>(
    mut parser: impl Parser<Tokens<'a>, Output = T, Error = Fault>,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, T> {
    move |input| {
        if input.depth == DEPTH_LIMIT {
            let fault = syntax::too_deep(input.span(), DEPTH_LIMIT);
            return Err(Err::Failure(Fault::Said(Box::new(fault))));
        }
        let (rest, output) = parser.parse(input.deeper())?;
        Ok((rest.surrounded_as(input), output))
    }
}

/// `open entry SEP entry … close`, with its span. An entry that cannot be read becomes `broken`;
/// a list that is not closed ends where it must. Once its bracket is there it never fails.
pub fn listed<'a, T>(
    open: Symbol,
    mut entry: impl Parser<Tokens<'a>, Output = T, Error = Fault>,
    broken: impl Fn(Span) -> T,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, (Vec<T>, Span)> {
    let closer = open.closer().expect("a list begins with an opening bracket");
    move |input| {
        let (after, _) = super::tokens::symbol(open)(input)?;
        let mut rest = after.within(closer, Inside::Brackets);
        let mut entries = Vec::new();
        loop {
            rest = stray_closers(rest, input, closer);
            if rest.is(closer) || ends_list(rest, input) {
                break;
            }
            match entry.parse(rest) {
                Ok((after, value)) => {
                    entries.push(value);
                    rest = separated(after, closer);
                }
                Err(error) => {
                    rest.say(fault(error));
                    let end = skip_entry(rest);
                    entries.push(broken(end.span_from(rest)));
                    rest = past_comma(end);
                }
            }
        }
        let rest = past_closer(rest, input, closer);
        let span = rest.span_from(input);
        Ok((rest.surrounded_as(input), (entries, span)))
    }
}

/// Past the bracket that closes what `open` began; says so if it is missing.
pub fn past_closer<'a>(rest: Tokens<'a>, open: Tokens<'a>, closer: Symbol) -> Tokens<'a> {
    if rest.is(closer) {
        return rest.advance();
    }
    rest.say_unclosed(open.token());
    rest
}

/// Passes brackets that close nothing.
fn stray_closers<'a>(mut rest: Tokens<'a>, open: Tokens<'a>, closer: Symbol) -> Tokens<'a> {
    while let TokenKind::Symbol(symbol) = rest.kind() {
        if !symbol.closes() || *symbol == closer || open.enclosing.has(*symbol) {
            break;
        }
        rest.log.say(syntax::never_opened(rest.span(), symbol.text()));
        rest = rest.advance();
    }
    rest
}

/// Whether a list must end here though its bracket is missing.
fn ends_list(rest: Tokens, open: Tokens) -> bool {
    let closes_outer =
        matches!(rest.kind(), TokenKind::Symbol(symbol) if open.enclosing.has(*symbol));
    rest.at_boundary() || closes_outer
}

/// After an entry: past its comma, or at a token that a new line or a bracket sets apart. Anything
/// else is said, and passed unless it is plainly the next entry.
fn separated(rest: Tokens, closer: Symbol) -> Tokens {
    let closing = matches!(rest.kind(), TokenKind::Symbol(symbol) if symbol.closes());
    if rest.is(Symbol::Comma) || !rest.inline() || rest.at_end() || closing {
        return past_comma(rest);
    }
    let wanted = match closer {
        Symbol::CloseBrace => "`,`, `}` or a new line",
        Symbol::CloseBracket => "`,`, `]` or a new line",
        _ => "`,` or `)`",
    };
    rest.say(rest.unexpected(Wanted::Phrase(wanted)));
    if rest.at_field() { rest } else { past_comma(skip_entry(rest)) }
}

fn past_comma(rest: Tokens) -> Tokens {
    if rest.is(Symbol::Comma) { rest.advance() } else { rest }
}

/// From the start of what could not be read to the next separator, closing bracket or boundary
/// outside the brackets opened on the way. Passes at least one token, unless a list must end there.
fn skip_entry(start: Tokens) -> Tokens {
    skip(start, |rest| rest.is(Symbol::Comma) || !rest.inline())
}

/// From the start of an item that could not be read to the next one, or to a word in the first
/// column, which was perhaps meant as one.
pub fn skip_item(start: Tokens) -> Tokens {
    skip(start, |rest| {
        let word = rest.token().position == Position::FirstColumn && rest.kind().word().is_some();
        word || rest.at_item(Position::FirstOnLine)
    })
}

fn skip<'a>(start: Tokens<'a>, stops: impl Fn(Tokens<'a>) -> bool) -> Tokens<'a> {
    let mut rest = start;
    let mut open: Vec<Symbol> = Vec::new();
    while !rest.at_boundary() || !rest.is_after(start) {
        if open.is_empty() && rest.is_after(start) && stops(rest) {
            break;
        }
        if let TokenKind::Symbol(symbol) = rest.kind() {
            if let Some(closer) = symbol.closer() {
                open.push(closer);
            } else if symbol.closes() {
                match open.iter().rposition(|closer| closer == symbol) {
                    Some(at) => open.truncate(at),
                    None if start.enclosing.has(*symbol) => break,
                    None => {}
                }
            }
        }
        if rest.at_end() {
            break;
        }
        rest = rest.advance();
    }
    start.drop_docs(rest);
    rest
}

/// A parser between an opening and a closing bracket that is no list.
pub fn enclosed<'a, T>(
    open: Symbol,
    mut inner: impl Parser<Tokens<'a>, Output = T, Error = Fault>,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, T> {
    let closer = open.closer().expect("a bracket that opens");
    move |input| {
        let (after, _) = super::tokens::symbol(open)(input)?;
        let (rest, output) = inner.parse(after.within(closer, Inside::Brackets))?;
        let outside = rest.surrounded_as(input);
        if rest.is(closer) {
            return Ok((outside.advance(), output));
        }
        if ends_list(rest, input) || !rest.inline() {
            rest.say_unclosed(input.token());
            return Ok((outside, output));
        }
        Err(Err::Failure(rest.unexpected(Wanted::Symbol(closer))))
    }
}

/// The value of an item: what cannot be read is said, passed over and `broken`.
pub fn or_broken<'a, T>(
    mut parser: impl Parser<Tokens<'a>, Output = T, Error = Fault>,
    broken: impl Fn(Span) -> T,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, T> {
    move |input| match parser.parse(input) {
        Ok(done) => Ok(done),
        Err(error) => {
            input.say(fault(error));
            let starts_next = input.at_boundary() || input.at_item(Position::FirstOnLine);
            let end = if starts_next { input } else { skip_item(input) };
            Ok((end, broken(end.span_from(input))))
        }
    }
}
