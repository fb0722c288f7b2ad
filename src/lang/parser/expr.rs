//! Expressions. Does not know types: `2 + "a"` is a sum like any other.

use super::log::{Fault, Wanted};
use super::recover::{enclosed, listed, nested};
use super::tokens::{DEPTH_LIMIT, Inside, Parsed, Tokens, name, path, symbol, word};
use crate::lang::ast::{
    Args, Choice, Element, Entry, EntryKind, Expr, ExprKind, Name, Number, Path,
};
use crate::lang::errors::syntax;
use crate::lang::lexer::{Keyword, Symbol, TokenKind, counts};
use crate::lang::source::Span;
use nom::combinator::{cut, opt};
use nom::sequence::preceded;
use nom::{Err, Parser};

/// An expression that could not be read.
pub fn broken(span: Span) -> Expr {
    Expr { span, kind: ExprKind::Error }
}

/// `product { "+" product }`
pub fn expr(input: Tokens) -> Parsed<Expr> {
    nested(|input| chain(input, product, Symbol::Plus, ExprKind::Add)).parse(input)
}

fn product(input: Tokens) -> Parsed<Expr> {
    chain(input, share, Symbol::Star, ExprKind::Mul)
}

/// Operands joined from left to right; each operator counts as a level.
fn chain<'a>(
    input: Tokens<'a>,
    operand: fn(Tokens<'a>) -> Parsed<'a, Expr>,
    operator: Symbol,
    join: fn(Box<Expr>, Box<Expr>) -> ExprKind,
) -> Parsed<'a, Expr> {
    let (mut rest, mut left) = operand(input)?;
    let mut level = input.depth;
    while rest.is(operator) {
        level += 1;
        if level > DEPTH_LIMIT {
            let fault = syntax::too_deep(rest.span(), DEPTH_LIMIT);
            return Err(Err::Failure(Fault::Said(Box::new(fault))));
        }
        let (after, right) = cut(operand).parse(rest.advance())?;
        let span = left.span.to(right.span);
        left = Expr { span, kind: join(Box::new(left), Box::new(right)) };
        rest = after;
    }
    Ok((rest, left))
}

/// `atom [ "of" atom ]`; `of:` names the field that comes next.
fn share(input: Tokens) -> Parsed<Expr> {
    let (rest, part) = atom(input)?;
    if !rest.is_keyword(Keyword::Of) || rest.at_field() {
        return Ok((rest, part));
    }
    let (rest, whole) = cut(atom).parse(rest.advance())?;
    let span = part.span.to(whole.span);
    Ok((rest, Expr { span, kind: ExprKind::Of(Box::new(part), Box::new(whole)) }))
}

fn atom(input: Tokens) -> Parsed<Expr> {
    let (rest, kind) = match input.kind() {
        TokenKind::Number(number) => counted(input, number),
        TokenKind::Text(text) => Ok((input.advance(), ExprKind::Text(text.clone()))),
        TokenKind::Keyword(Keyword::True) => Ok((input.advance(), ExprKind::Bool(true))),
        TokenKind::Keyword(Keyword::False) => Ok((input.advance(), ExprKind::Bool(false))),
        TokenKind::Keyword(Keyword::None) => Ok((input.advance(), ExprKind::None)),
        TokenKind::Symbol(Symbol::OpenParen) => {
            enclosed(Symbol::OpenParen, expr).map(|e| ExprKind::Paren(Box::new(e))).parse(input)
        }
        TokenKind::Symbol(Symbol::OpenBracket) => list.map(ExprKind::List).parse(input),
        TokenKind::Symbol(Symbol::OpenBrace) => args.map(ExprKind::Record).parse(input),
        TokenKind::Name(_) => named(input),
        TokenKind::Reserved(_) => name(input).map(|(rest, _)| (rest, ExprKind::Error)),
        _ => Err(Err::Error(input.unexpected(Wanted::Phrase("a value")))),
    }?;
    Ok((rest, Expr { span: rest.span_from(input), kind }))
}

/// A number; a word after it on the same line can only be meant as its unit.
fn counted<'a>(input: Tokens<'a>, number: &Number) -> Parsed<'a, ExprKind> {
    let rest = input.advance();
    let mut number = number.clone();
    match rest.kind() {
        TokenKind::Name(unit)
            if rest.inline()
                && number.count.is_none()
                && rest.inside != Inside::Body
                && !rest.at_field() =>
        {
            let known: Vec<&str> = counts().collect();
            let written = input.source_text(number.span);
            rest.log.say(syntax::unknown_unit(rest.span(), written, unit, &known));
            number.count = Some(Name { text: unit.clone(), span: rest.span() });
            number.span = number.span.to(rest.span());
            Ok((rest.advance(), ExprKind::Number(number)))
        }
        _ => Ok((rest, ExprKind::Number(number))),
    }
}

/// `[ [ ".." ] expr … ]`
fn list(input: Tokens) -> Parsed<Vec<Element>> {
    let broken = |span| Element { spread: false, value: broken(span) };
    let (rest, (elements, _)) = listed(Symbol::OpenBracket, element, broken)(input)?;
    Ok((rest, elements))
}

fn element(input: Tokens) -> Parsed<Element> {
    let (rest, (spread, value)) = (opt(symbol(Symbol::DotDot)), expr).parse(input)?;
    Ok((rest, Element { spread: spread.is_some(), value }))
}

/// `{ entry … }`
pub fn args(input: Tokens) -> Parsed<Args> {
    let (rest, (entries, span)) = listed(Symbol::OpenBrace, entry, broken_entry)(input)?;
    Ok((rest, Args { entries, span }))
}

fn broken_entry(span: Span) -> Entry {
    Entry { span, kind: EntryKind::Error }
}

/// `..expr`, `field: expr`, or `field` alone.
fn entry(input: Tokens) -> Parsed<Entry> {
    let (rest, kind) = if input.is(Symbol::DotDot) {
        preceded(symbol(Symbol::DotDot), expr).map(EntryKind::Spread).parse(input)?
    } else if input.at_field() {
        let (rest, (name, _, value)) = (word, symbol(Symbol::Colon), field_value).parse(input)?;
        (rest, EntryKind::Field { name, value })
    } else {
        let (rest, field) = name(input).map_err(|error| match input.kind().word() {
            Some(_) => error,
            None => Err::Error(input.unexpected(Wanted::Start("a field"))),
        })?;
        match rest.is(Symbol::Assign) && rest.inline() {
            true => assigned(rest, field)?,
            false => (rest, EntryKind::Pun(field)),
        }
    };
    Ok((rest, Entry { span: rest.span_from(input), kind }))
}

/// What stands after `field:`; a next field on the next line shows that it is missing.
fn field_value(input: Tokens) -> Parsed<Expr> {
    if !input.inline() && input.at_field() {
        return Err(Err::Error(input.unexpected(Wanted::Phrase("a value"))));
    }
    expr(input)
}

/// `field = value`: said, and read as it was meant.
fn assigned(input: Tokens, name: Name) -> Parsed<EntryKind> {
    let (rest, value) = cut(expr).parse(input.advance())?;
    let pasteable = format!("{}: {}", name.text, input.source_text(value.span));
    let pasteable = Some(pasteable).filter(|text| !text.contains('\n'));
    input.log.say(syntax::assigned_field(input.span(), &name.text, pasteable));
    Ok((rest, EntryKind::Field { name, value }))
}

/// What `output` names: a path, or a pick from a sweep.
pub fn result(input: Tokens) -> Parsed<Expr> {
    let (rest, path) = path(input)?;
    let (rest, kind) = match rest.is(Symbol::OpenBracket) && rest.inline() {
        true => pick(rest, path)?,
        false => (rest, ExprKind::Path(path)),
    };
    Ok((rest, Expr { span: rest.span_from(input), kind }))
}

/// A path, and what stands on its line: a call's braces, or a sweep's brackets.
fn named(input: Tokens) -> Parsed<ExprKind> {
    let (rest, path) = path(input)?;
    match rest.kind() {
        TokenKind::Symbol(Symbol::OpenBrace) if rest.inline() => {
            let (rest, args) = nested(args).parse(rest)?;
            Ok((rest, ExprKind::Call { callee: path, args }))
        }
        TokenKind::Symbol(Symbol::OpenBracket) if rest.inline() => pick(rest, path),
        TokenKind::Symbol(Symbol::OpenParen) if rest.inline() => parenthesised(rest, path),
        _ => Ok((rest, ExprKind::Path(path))),
    }
}

/// `[k: 8].field`
fn pick(input: Tokens, from: Path) -> Parsed<ExprKind> {
    let broken =
        |span| Choice { name: Name { text: String::new(), span }, value: Some(broken(span)) };
    let (mut rest, (choices, _)) = listed(Symbol::OpenBracket, choice, broken)(input)?;
    let mut fields = Vec::new();
    while rest.is(Symbol::Dot) && rest.inline() {
        let (after, field) = cut(word).parse(rest.advance())?;
        fields.push(field);
        rest = after;
    }
    Ok((rest, ExprKind::Pick { from, choices, fields }))
}

fn choice(input: Tokens) -> Parsed<Choice> {
    let value = opt(preceded(symbol(Symbol::Colon), cut(expr)));
    let (rest, (name, value)) = (name, value).parse(input)?;
    Ok((rest, Choice { name, value }))
}

/// `sft(init: base)`: said once, and read as the call it was meant to be.
fn parenthesised(input: Tokens, callee: Path) -> Parsed<ExprKind> {
    let said = input.log.count();
    let (rest, (entries, span)) =
        nested(listed(Symbol::OpenParen, entry, broken_entry)).parse(input)?;
    let named =
        |entry: &Entry| matches!(entry.kind, EntryKind::Spread(_) | EntryKind::Field { .. });
    let sound = input.log.count() == said && entries.iter().all(named);
    input.log.take_back(said);
    let inner = input.source_text(span).trim_start_matches('(').trim_end_matches(')').trim();
    let pasteable = match inner {
        "" => format!("{} {{}}", callee.text()),
        inner => format!("{} {{ {inner} }}", callee.text()),
    };
    let pasteable = Some(pasteable).filter(|text| sound && !text.contains('\n'));
    input.log.say(syntax::parentheses(input.span(), &callee.text(), pasteable));
    Ok((rest, ExprKind::Call { callee, args: Args { entries, span } }))
}
