//! Types, ranges and declared fields. Does not know which types exist.

use super::expr::expr;
use super::log::Wanted;
use super::recover::{enclosed, listed, nested};
use super::tokens::{Parsed, Tokens, keyword, name, path, symbol, word};
use crate::lang::ast::{
    Bound, Compare, Condition, Decl, DeclKind, Fields, Name, Number, Range, TextPart, TypeExpr,
    TypeKind,
};
use crate::lang::lexer::{Keyword, Symbol, TokenKind};
use crate::lang::source::Span;
use nom::combinator::{cut, opt};
use nom::sequence::preceded;
use nom::{Err, Parser};

/// A type that could not be read.
pub fn broken(span: Span) -> TypeExpr {
    TypeExpr { span, kind: TypeKind::Error }
}

/// `one { "|" one }`
pub fn type_expr(input: Tokens) -> Parsed<TypeExpr> {
    let (rest, mut members) = nested(separated(Symbol::Pipe, one)).parse(input)?;
    let ty = match members.len() {
        1 => members.remove(0),
        _ => TypeExpr { span: rest.span_from(input), kind: TypeKind::Union(members) },
    };
    Ok((rest, ty))
}

/// At least one, with a sign between; after the sign another one must follow.
fn separated<'a, T>(
    sign: Symbol,
    member: fn(Tokens<'a>) -> Parsed<'a, T>,
) -> impl FnMut(Tokens<'a>) -> Parsed<'a, Vec<T>> {
    move |input| {
        let (mut rest, first) = member(input)?;
        let mut members = vec![first];
        while rest.is(sign) {
            let (after, next) = cut(member).parse(rest.advance())?;
            members.push(next);
            rest = after;
        }
        Ok((rest, members))
    }
}

fn one(input: Tokens) -> Parsed<TypeExpr> {
    let (rest, kind) = match input.kind() {
        TokenKind::Text(text) => {
            let plain = match text.parts.as_slice() {
                [] => Some(String::new()),
                [TextPart::Literal(choice)] => Some(choice.clone()),
                _ => None,
            };
            let wanted = Wanted::Phrase("a choice without `${…}`");
            let plain = plain.ok_or_else(|| Err::Failure(input.unexpected(wanted)))?;
            (input.advance(), TypeKind::Choice(plain))
        }
        TokenKind::Symbol(Symbol::OpenBracket) => {
            let list = enclosed(Symbol::OpenBracket, type_expr);
            list.map(|ty| TypeKind::List(Box::new(ty))).parse(input)?
        }
        TokenKind::Symbol(Symbol::OpenBrace) => fields.map(TypeKind::Fields).parse(input)?,
        TokenKind::Name(_) | TokenKind::Reserved(_) => named(input)?,
        _ => return Err(Err::Error(input.unexpected(Wanted::Phrase("a type")))),
    };
    let ty = TypeExpr { span: rest.span_from(input), kind };
    if !rest.is(Symbol::Question) {
        return Ok((rest, ty));
    }
    let rest = rest.advance();
    Ok((rest, TypeExpr { span: rest.span_from(input), kind: TypeKind::Optional(Box::new(ty)) }))
}

/// `path [ "<" type { "," type } ">" ] [ range ]`
fn named(input: Tokens) -> Parsed<TypeKind> {
    let (rest, path) = path(input)?;
    let (rest, arguments) = match rest.is(Symbol::Less) {
        true => angled(rest, type_expr)?,
        false => (rest, Vec::new()),
    };
    let (rest, range) = match rest.is(Symbol::OpenParen) && rest.inline() {
        true => range.map(Box::new).map(Some).parse(rest)?,
        false => (rest, None),
    };
    Ok((rest, TypeKind::Name { path, arguments, range }))
}

/// `"<" NAME { "," NAME } ">"`, or nothing.
pub fn generics(input: Tokens) -> Parsed<Vec<Name>> {
    match input.is(Symbol::Less) {
        true => angled(input, name),
        false => Ok((input, Vec::new())),
    }
}

fn angled<'a, T>(input: Tokens<'a>, member: fn(Tokens<'a>) -> Parsed<'a, T>) -> Parsed<'a, Vec<T>> {
    let (rest, (_, members, _)) =
        (symbol(Symbol::Less), cut(separated(Symbol::Comma, member)), cut(symbol(Symbol::Greater)))
            .parse(input)?;
    Ok((rest, members))
}

/// `(>0)`, `(1..)`, `(0..=1)`, `(>0..<100)`
fn range(input: Tokens) -> Parsed<Range> {
    let (rest, (low, high)) = enclosed(Symbol::OpenParen, bounds).parse(input)?;
    Ok((rest, Range { low, high, span: rest.span_from(input) }))
}

type Edge = Option<(Number, Bound)>;

fn bounds(input: Tokens) -> Parsed<(Edge, Edge)> {
    let (rest, (above, low)) = (opt(symbol(Symbol::Greater)), opt(number)).parse(input)?;
    let low = match (above, low) {
        (Some(_), None) => return Err(Err::Failure(rest.unexpected(Wanted::Phrase("a number")))),
        (Some(_), Some(number)) => Some((number, Bound::Exclusive)),
        (None, low) => low.map(|number| (number, Bound::Inclusive)),
    };
    let bound = match rest.kind() {
        TokenKind::Symbol(Symbol::DotDotEqual) => Bound::Inclusive,
        TokenKind::Symbol(Symbol::DotDot | Symbol::DotDotLess) => Bound::Exclusive,
        _ if above.is_some() => return Ok((rest, (low, None))),
        _ => return Err(Err::Failure(rest.unexpected(Wanted::Symbol(Symbol::DotDot)))),
    };
    let must = !rest.is(Symbol::DotDot) || low.is_none();
    let (rest, high) = match must {
        true => cut(number).map(Some).parse(rest.advance())?,
        false => opt(number).parse(rest.advance())?,
    };
    Ok((rest, (low, high.map(|number| (number, bound)))))
}

fn number(input: Tokens) -> Parsed<Number> {
    match input.kind() {
        TokenKind::Number(number) => Ok((input.advance(), number.clone())),
        _ => Err(Err::Error(input.unexpected(Wanted::Phrase("a number")))),
    }
}

/// `{ decl … }`
pub fn fields(input: Tokens) -> Parsed<Fields> {
    let broken = |span| Decl { doc: Vec::new(), span, kind: DeclKind::Error };
    let (rest, (decls, span)) = listed(Symbol::OpenBrace, decl, broken)(input)?;
    Ok((rest, Fields { decls, span }))
}

fn decl(input: Tokens) -> Parsed<Decl> {
    let doc = input.take_docs();
    let (rest, kind) = if input.is(Symbol::DotDot) {
        preceded(symbol(Symbol::DotDot), path).map(DeclKind::Spread).parse(input)?
    } else if input.is_keyword(Keyword::Require) && !input.at_field() {
        require(input.advance())?
    } else {
        field(input)?
    };
    Ok((rest, Decl { doc, span: rest.span_from(input), kind }))
}

/// `WORD ":" type [ "=" expr ]`
fn field(input: Tokens) -> Parsed<DeclKind> {
    if input.kind().word().is_none() {
        return Err(Err::Error(input.unexpected(Wanted::Start("a field"))));
    }
    let (rest, name) = word(input)?;
    let (rest, _) = symbol(Symbol::Colon)(rest)?;
    let (rest, ty) = type_expr(rest)?;
    let (rest, default) = opt(preceded(symbol(Symbol::Assign), cut(expr))).parse(rest)?;
    Ok((rest, DeclKind::Field { name, ty, default }))
}

/// `require` is already read.
fn require(input: Tokens) -> Parsed<DeclKind> {
    let (rest, holds) = condition(input)?;
    let unless = preceded(keyword(Keyword::Unless), cut(condition));
    let (rest, unless) = opt(unless).parse(rest)?;
    Ok((rest, DeclKind::Require { condition: holds, unless }))
}

fn condition(input: Tokens) -> Parsed<Condition> {
    let (rest, (left, compare, right)) = (expr, compare, cut(expr)).parse(input)?;
    Ok((rest, Condition { left, compare, right }))
}

fn compare(input: Tokens) -> Parsed<Compare> {
    let compare = match input.kind() {
        TokenKind::Symbol(Symbol::Same) => Compare::Equal,
        TokenKind::Symbol(Symbol::Different) => Compare::NotEqual,
        TokenKind::Symbol(Symbol::Less) => Compare::Less,
        TokenKind::Symbol(Symbol::LessEqual) => Compare::LessEqual,
        TokenKind::Symbol(Symbol::Greater) => Compare::Greater,
        TokenKind::Symbol(Symbol::GreaterEqual) => Compare::GreaterEqual,
        TokenKind::Keyword(Keyword::Divides) => Compare::Divides,
        TokenKind::Keyword(Keyword::Outside) => Compare::Outside,
        _ => {
            let wanted = Wanted::Phrase("a comparison such as `<=` or `divides`");
            return Err(Err::Error(input.unexpected(wanted)));
        }
    };
    Ok((input.advance(), compare))
}
