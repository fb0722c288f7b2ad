//! Items: everything that stands at the left margin, and the bodies of functions. Knows which
//! keyword begins what; does not know which names an item brings into scope.

use super::expr::{args, broken as broken_expr, expr, result};
use super::log::{Fault, Wanted};
use super::recover::{fault, listed, or_broken, past_closer, skip_item};
use super::tokens::{Inside, Parsed, Tokens, keyword, name, symbol};
use super::types::{broken as broken_type, fields, generics, type_expr};
use crate::lang::ast::{
    Alias, Axis, Body, Expr, Function, Item, ItemKind, Let, Name, Output, Param, Record, Stage,
    Use, UseRoot,
};
use crate::lang::errors::syntax;
use crate::lang::lexer::{Keyword, Symbol, TokenKind};
use nom::combinator::{cut, opt};
use nom::sequence::preceded;
use nom::{Err, Parser};

const ITEM: Wanted = Wanted::Start("an item such as `let` or `stage`");

/// One item, or what could not be read up to the next one.
pub fn item(input: Tokens) -> (Tokens, Item) {
    let doc = input.take_docs();
    let (rest, kind) = match item_kind(input) {
        Ok((rest, kind)) => (rest, kind),
        Err(error) => {
            input.say(fault(error));
            (skip_item(input), ItemKind::Error)
        }
    };
    (rest, Item { doc, span: rest.span_from(input), kind })
}

fn item_kind(input: Tokens) -> Parsed<ItemKind> {
    let word = match input.kind() {
        TokenKind::Keyword(word) => word,
        TokenKind::Symbol(symbol) if symbol.closes() => {
            let fault = syntax::never_opened(input.span(), symbol.text());
            return Err(Err::Error(Fault::Said(Box::new(fault))));
        }
        _ => return Err(Err::Error(input.unexpected(ITEM))),
    };
    let after = input.advance();
    match word {
        Keyword::Use => use_item.map(ItemKind::Use).parse(after),
        Keyword::Param => param.map(ItemKind::Param).parse(after),
        Keyword::Let => let_item.map(ItemKind::Let).parse(after),
        Keyword::Stage => stage.map(ItemKind::Stage).parse(after),
        Keyword::Fn => function.map(ItemKind::Fn).parse(after),
        Keyword::Record => record.map(ItemKind::Record).parse(after),
        Keyword::Type => alias.map(ItemKind::Alias).parse(after),
        Keyword::Output => output.map(ItemKind::Output).parse(after),
        _ => Err(Err::Error(input.unexpected(ITEM))),
    }
}

/// `use std/llama2 as paper`; `./` looks beside this file, `../` one folder up.
fn use_item(input: Tokens) -> Parsed<Use> {
    let (mut rest, root) = match input.kind() {
        TokenKind::Symbol(Symbol::Dot) => (input.advance(), UseRoot::Here),
        TokenKind::Symbol(Symbol::DotDot) => (input.advance(), UseRoot::Up),
        _ => (input, UseRoot::Library),
    };
    if root != UseRoot::Library {
        rest = symbol(Symbol::Slash)(rest)?.0;
    }
    let (mut rest, first) = name(rest)?;
    let mut parts = vec![first];
    while rest.is(Symbol::Slash) {
        let (after, part) = name(rest.advance())?;
        parts.push(part);
        rest = after;
    }
    let (rest, alias) = opt(preceded(keyword(Keyword::As), cut(name))).parse(rest)?;
    Ok((rest, Use { root, parts, alias }))
}

/// `param seed: Int = 42`
fn param(input: Tokens) -> Parsed<Param> {
    let (rest, (name, _)) = (name, symbol(Symbol::Colon)).parse(input)?;
    let (rest, ty) = or_broken(type_expr, broken_type).parse(rest)?;
    let value = preceded(symbol(Symbol::Assign), or_broken(expr, broken_expr));
    let (rest, default) = opt(value).parse(rest)?;
    Ok((rest, Param { name, ty, default }))
}

/// `let tiny = llama2.architecture { … }`
fn let_item(input: Tokens) -> Parsed<Let> {
    let ty = opt(preceded(symbol(Symbol::Colon), cut(type_expr)));
    let (rest, (name, ty, _)) = (name, ty, symbol(Symbol::Assign)).parse(input)?;
    let (rest, value) = or_broken(expr, broken_expr).parse(rest)?;
    Ok((rest, Let { name, ty, value }))
}

/// `stage tuned[rank in ranks] = lora { … }`
fn stage(input: Tokens) -> Parsed<Stage> {
    let (rest, name) = name(input)?;
    let (rest, axes) = match rest.is(Symbol::OpenBracket) {
        true => axes(rest)?,
        false => (rest, Vec::new()),
    };
    let (rest, _) = symbol(Symbol::Assign)(rest)?;
    let (rest, work) = or_broken(expr, broken_expr).parse(rest)?;
    Ok((rest, Stage { name, axes, work }))
}

fn axes(input: Tokens) -> Parsed<Vec<Axis>> {
    let broken = |span| Axis { name: Name { text: String::new(), span }, list: broken_expr(span) };
    let (rest, (axes, _)) = listed(Symbol::OpenBracket, axis, broken)(input)?;
    Ok((rest, axes))
}

fn axis(input: Tokens) -> Parsed<Axis> {
    let (rest, (name, _, list)) = (name, keyword(Keyword::In), expr).parse(input)?;
    Ok((rest, Axis { name, list }))
}

/// `fn sft<K> { … } -> Model<Chat> facts { … }`, perhaps with a body.
fn function(input: Tokens) -> Parsed<Function> {
    let (rest, (name, generics, fields)) = (name, generics, fields).parse(input)?;
    let (rest, _) = symbol(Symbol::Arrow)(rest)?;
    let (rest, result) = or_broken(type_expr, broken_type).parse(rest)?;
    let (rest, facts) = opt(preceded(keyword(Keyword::Facts), cut(args))).parse(rest)?;
    let (rest, body) = match rest.is(Symbol::OpenBrace) {
        true => body.map(Some).parse(rest)?,
        false => (rest, None),
    };
    Ok((rest, Function { name, generics, fields, result, facts, body }))
}

/// `{ { let | stage } expr }`
fn body(input: Tokens) -> Parsed<Body> {
    let mut rest = input.advance().within(Symbol::CloseBrace, Inside::Body);
    let mut items = Vec::new();
    while (rest.is_keyword(Keyword::Let) || rest.is_keyword(Keyword::Stage)) && !rest.at_boundary()
    {
        let (after, item) = item(rest);
        items.push(item);
        rest = after;
    }
    let (rest, result) = body_result(rest);
    let rest = past_closer(rest, input, Symbol::CloseBrace);
    let span = rest.span_from(input);
    Ok((rest.surrounded_as(input), Body { items, result: Box::new(result), span }))
}

/// What a body ends with, and whatever stands between that and its closing brace.
fn body_result(input: Tokens) -> (Tokens, Expr) {
    if input.at_boundary() {
        return (input, broken_expr(input.span_from(input)));
    }
    let (rest, result) = match expr(input) {
        Ok(done) => done,
        Err(error) => {
            input.say(fault(error));
            let end = if input.is(Symbol::CloseBrace) { input } else { skip_body(input) };
            return (end, broken_expr(end.span_from(input)));
        }
    };
    if rest.is(Symbol::CloseBrace) || rest.at_boundary() {
        return (rest, result);
    }
    rest.say(rest.unexpected(Wanted::Symbol(Symbol::CloseBrace)));
    (skip_body(rest), result)
}

/// To the brace that closes a body.
fn skip_body(input: Tokens) -> Tokens {
    let mut rest = input;
    loop {
        rest = skip_item(rest);
        if rest.is(Symbol::CloseBrace) || rest.at_boundary() {
            return rest;
        }
    }
}

/// `record adamw { … }`
fn record(input: Tokens) -> Parsed<Record> {
    let (rest, (name, generics, fields)) = (name, generics, fields).parse(input)?;
    Ok((rest, Record { name, generics, fields }))
}

/// `type Length = Tokens | Steps`
fn alias(input: Tokens) -> Parsed<Alias> {
    let (rest, (name, generics, _)) = (name, generics, symbol(Symbol::Assign)).parse(input)?;
    let (rest, ty) = or_broken(type_expr, broken_type).parse(rest)?;
    Ok((rest, Alias { name, generics, ty }))
}

/// `output chat, tuned[rank: 8]`
fn output(input: Tokens) -> Parsed<Output> {
    let (mut rest, first) = result(input)?;
    let mut results = vec![first];
    while rest.is(Symbol::Comma) {
        let (after, next) = cut(result).parse(rest.advance())?;
        results.push(next);
        rest = after;
    }
    Ok((rest, Output { results }))
}
