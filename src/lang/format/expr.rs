//! The layout of expressions, types and fields. Knows the tree; does not know where lines break.

use super::layout::{Align, Block, Layout, Row};
use super::number::canonical;
use crate::lang::ast::{
    Args, Bound, Choice, Comment, Compare, Condition, Decl, DeclKind, Element, Entry, EntryKind,
    Expr, ExprKind, Fields, Name, Path, Range, TypeExpr, TypeKind,
};
use crate::lang::lexer::block_lines;
use crate::lang::source::Span;

/// The source that the tree came from; strings are printed as they stand there.
pub struct Origin<'t> {
    pub source: &'t str,
    pub comments: &'t [Comment],
}

impl<'t> Origin<'t> {
    /// An expression.
    pub fn expr(&self, expr: &'t Expr) -> Layout<'t> {
        match &expr.kind {
            ExprKind::Number(number) => Layout::text(canonical(number)),
            ExprKind::Text(text) if text.block => self.block_text(expr.span),
            ExprKind::Text(_) | ExprKind::Error => Layout::text(self.slice(expr.span)),
            ExprKind::Bool(value) => Layout::text(value.to_string()),
            ExprKind::None => Layout::text("none"),
            ExprKind::Paren(inner) => {
                Layout::Together(vec![Layout::text("("), self.expr(inner), Layout::text(")")])
            }
            ExprKind::List(elements) => {
                let rows = elements.iter().map(|element| self.element(element)).collect();
                Layout::Block(self.brackets(expr.span, rows))
            }
            ExprKind::Record(args) => self.args(args),
            ExprKind::Path(path) => Layout::text(path.text()),
            ExprKind::Call { callee, args } => {
                Layout::Together(vec![Layout::text(callee.text() + " "), self.args(args)])
            }
            ExprKind::Pick { from, choices, fields } => self.pick(from, choices, fields),
            ExprKind::Add(left, right) => self.joined(left, " + ", right),
            ExprKind::Mul(left, right) => self.joined(left, " * ", right),
            ExprKind::Of(left, right) => self.joined(left, " of ", right),
        }
    }

    fn joined(&self, left: &'t Expr, operator: &str, right: &'t Expr) -> Layout<'t> {
        Layout::Together(vec![self.expr(left), Layout::text(operator), self.expr(right)])
    }

    fn block_text(&self, span: Span) -> Layout<'t> {
        let inner = self.slice(span).trim_start_matches('"').trim_end_matches("\"\"\"");
        let fence = self.slice(span).strip_prefix("\"\"\"").and_then(|s| s.strip_suffix("\"\"\""));
        let lines = block_lines(fence.unwrap_or(inner));
        Layout::Lines(lines.into_iter().map(|(_, line)| line).collect())
    }

    fn pick(&self, from: &Path, choices: &'t [Choice], fields: &[Name]) -> Layout<'t> {
        let mut parts = vec![Layout::text(from.text() + "[")];
        for (index, choice) in choices.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let colon = if choice.value.is_some() { ": " } else { "" };
            parts.push(Layout::text(format!("{comma}{}{colon}", choice.name.text)));
            parts.extend(choice.value.as_ref().map(|value| self.expr(value)));
        }
        let fields: String = fields.iter().map(|field| format!(".{}", field.text)).collect();
        parts.push(Layout::text(format!("]{fields}")));
        Layout::Together(parts)
    }

    /// The braces of a call, or a record.
    pub fn args(&self, args: &'t Args) -> Layout<'t> {
        let rows = args.entries.iter().map(|entry| self.entry(entry)).collect();
        Layout::Block(self.braces(args.span, rows))
    }

    fn entry(&self, entry: &'t Entry) -> Row<'t> {
        let (key, value) = match &entry.kind {
            EntryKind::Spread(from) => {
                (None, Layout::Together(vec![Layout::text(".."), self.expr(from)]))
            }
            EntryKind::Field { name, value } => (Some(format!("{}:", name.text)), self.expr(value)),
            EntryKind::Pun(name) => (None, Layout::text(name.text.clone())),
            EntryKind::Error => (None, Layout::text(self.slice(entry.span))),
        };
        Row { doc: &[], span: entry.span, key, kind: "", value }
    }

    fn element(&self, element: &'t Element) -> Row<'t> {
        let value = self.expr(&element.value);
        let (start, value) = match element.spread {
            true => {
                let before = &self.source[..element.value.span.start as usize];
                let start = before.rfind("..").unwrap_or(before.len()) as u32;
                (start, Layout::Together(vec![Layout::text(".."), value]))
            }
            false => (element.value.span.start, value),
        };
        let span = Span { start, ..element.value.span };
        Row { doc: &[], span, key: None, kind: "", value }
    }

    /// A type.
    pub fn ty(&self, ty: &'t TypeExpr) -> Layout<'t> {
        match &ty.kind {
            TypeKind::Union(members) => self.list_of(members, " | "),
            TypeKind::Optional(inner) => Layout::Together(vec![self.ty(inner), Layout::text("?")]),
            TypeKind::Choice(_) | TypeKind::Error => Layout::text(self.slice(ty.span)),
            TypeKind::List(inner) => {
                Layout::Together(vec![Layout::text("["), self.ty(inner), Layout::text("]")])
            }
            TypeKind::Fields(fields) => self.fields(fields),
            TypeKind::Name { path, arguments, range } => {
                let mut parts = vec![Layout::text(path.text())];
                if !arguments.is_empty() {
                    parts.push(Layout::text("<"));
                    parts.push(self.list_of(arguments, ", "));
                    parts.push(Layout::text(">"));
                }
                parts.extend(range.as_ref().map(|range| Layout::text(range_text(range))));
                Layout::Together(parts)
            }
        }
    }

    fn list_of(&self, types: &'t [TypeExpr], separator: &str) -> Layout<'t> {
        let mut parts = Vec::new();
        for (index, ty) in types.iter().enumerate() {
            if index > 0 {
                parts.push(Layout::text(separator));
            }
            parts.push(self.ty(ty));
        }
        Layout::Together(parts)
    }

    /// Declared fields.
    pub fn fields(&self, fields: &'t Fields) -> Layout<'t> {
        let rows = fields.decls.iter().map(|decl| self.decl(decl)).collect();
        Layout::Block(self.braces(fields.span, rows))
    }

    fn decl(&self, decl: &'t Decl) -> Row<'t> {
        let (key, value) = match &decl.kind {
            DeclKind::Field { name, ty, default } => {
                (Some(format!("{}:", name.text)), self.with_default(ty, default.as_ref()))
            }
            DeclKind::Spread(path) => (None, Layout::text(format!("..{}", path.text()))),
            DeclKind::Require { condition, unless } => {
                let mut parts = vec![Layout::text("require "), self.condition(condition)];
                if let Some(unless) = unless {
                    parts.extend([Layout::text(" unless "), self.condition(unless)]);
                }
                (None, Layout::Together(parts))
            }
            DeclKind::Error => (None, Layout::text(self.slice(decl.span))),
        };
        Row { doc: &decl.doc, span: decl.span, key, kind: "", value }
    }

    fn condition(&self, condition: &'t Condition) -> Layout<'t> {
        let compare = format!(" {} ", compare_text(condition.compare));
        let parts = [self.expr(&condition.left), Layout::text(compare)];
        Layout::Together(parts.into_iter().chain([self.expr(&condition.right)]).collect())
    }

    /// `type` or `type = default`.
    pub fn with_default(&self, ty: &'t TypeExpr, default: Option<&'t Expr>) -> Layout<'t> {
        let mut parts = vec![self.ty(ty)];
        if let Some(default) = default {
            parts.extend([Layout::text(" = "), self.expr(default)]);
        }
        Layout::Together(parts)
    }

    /// A block in braces, broken where the source breaks it.
    pub fn braces(&self, span: Span, rows: Vec<Row<'t>>) -> Block<'t> {
        let broken = self.asks_for_lines(span, rows.is_empty());
        let (open, close, separator) = ("{", "}", ", ");
        Block { open, close, separator, span, broken, align: Align::Fields, rows }
    }

    fn brackets(&self, span: Span, rows: Vec<Row<'t>>) -> Block<'t> {
        Block { open: "[", close: "]", ..self.braces(span, rows) }
    }

    /// A line break after the bracket, or a comment between the brackets, asks for lines.
    fn asks_for_lines(&self, span: Span, empty: bool) -> bool {
        let inner = self.slice(span).get(1..).unwrap_or("");
        let first = inner.trim_start_matches([' ', '\t', '\r']);
        let at = self.comments.partition_point(|comment| comment.span.start < span.start);
        let commented = self.comments.get(at).is_some_and(|c| c.span.start < span.end);
        commented || (first.starts_with('\n') && !empty)
    }

    /// The source at a span.
    pub fn slice(&self, span: Span) -> &'t str {
        &self.source[span.start as usize..span.end as usize]
    }
}

fn range_text(range: &Range) -> String {
    let low = range.low.as_ref().map(|(number, bound)| (canonical(number), *bound));
    let high = range.high.as_ref().map(|(number, bound)| (canonical(number), *bound));
    let (low, above) = match low {
        Some((low, Bound::Exclusive)) => (format!(">{low}"), true),
        Some((low, Bound::Inclusive)) => (low, false),
        None => (String::new(), false),
    };
    match high {
        Some((high, Bound::Inclusive)) => format!("({low}..={high})"),
        Some((high, Bound::Exclusive)) if above => format!("({low}..<{high})"),
        Some((high, Bound::Exclusive)) => format!("({low}..{high})"),
        None if above => format!("({low})"),
        None => format!("({low}..)"),
    }
}

fn compare_text(compare: Compare) -> &'static str {
    match compare {
        Compare::Equal => "==",
        Compare::NotEqual => "!=",
        Compare::Less => "<",
        Compare::LessEqual => "<=",
        Compare::Greater => ">",
        Compare::GreaterEqual => ">=",
        Compare::Divides => "divides",
        Compare::Outside => "outside",
    }
}
