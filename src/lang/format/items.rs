//! The layout of a file: its items, and `use` in order. Does not know where lines break.

use super::expr::Origin;
use super::layout::{Align, Block, Layout, Row};
use super::printer::Printer;
use crate::lang::ast::{
    Body, Expr, File, Function, Item, ItemKind, Name, Output, Stage, TypeExpr, Use, UseRoot,
};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::source::FileId;

/// The canonical text of a recipe, or why it cannot be read.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let (file, faults) = crate::lang::parser::parse(FileId(0), text);
    if !faults.is_empty() {
        return Err(faults);
    }
    let origin = Origin { source: text, comments: &file.comments };
    let rows = origin.file(&file);
    let done = end_of_doc(text, file.doc.len());
    Ok(Printer::new(text, &file.comments, &rows).file(&file.doc, done, &rows))
}

/// Where the last of so many `//!` lines ends.
fn end_of_doc(text: &str, lines: usize) -> u32 {
    let is_doc = |line: &&str| line.trim_start_matches('\u{feff}').trim_start().starts_with("//!");
    let last = text.lines().filter(is_doc).nth(lines.saturating_sub(1)).filter(|_| lines > 0);
    last.map_or(0, |line| (line.as_ptr() as usize - text.as_ptr() as usize + line.len()) as u32)
}

impl<'t> Origin<'t> {
    fn file(&self, file: &'t File) -> Vec<Row<'t>> {
        let mut rows = Vec::new();
        let mut items = file.items.as_slice();
        while let Some((first, rest)) = items.split_first() {
            let run = self.run_of_uses(items);
            if run > 1 {
                rows.push(sorted_uses(&items[..run]));
                items = &items[run..];
            } else {
                rows.push(self.item(first));
                items = rest;
            }
        }
        rows
    }

    /// How many `use` stand line under line from here, with nothing but them on their lines.
    fn run_of_uses(&self, items: &[Item]) -> usize {
        let plain = |item: &Item, first: bool| {
            let after = &self.source[item.span.end as usize..];
            let line = after.split('\n').next().unwrap_or("");
            matches!(item.kind, ItemKind::Use(_))
                && (first || (item.doc.is_empty() && self.comment_free(item)))
                && (line.trim().is_empty() || line.trim().starts_with("///"))
        };
        let mut run = 0;
        for (index, item) in items.iter().enumerate() {
            let below = index == 0 || {
                let gap = items[index - 1].span.end as usize..item.span.start as usize;
                self.source[gap].matches('\n').count() == 1
            };
            if !below || !plain(item, index == 0) {
                break;
            }
            run += 1;
        }
        run
    }

    fn comment_free(&self, item: &Item) -> bool {
        let inside = |start: u32| item.span.start <= start && start < item.span.end;
        !self.comments.iter().any(|comment| inside(comment.span.start))
    }

    fn item(&self, item: &'t Item) -> Row<'t> {
        let (kind, key, value) = match &item.kind {
            ItemKind::Use(used) => ("use", None, Layout::text(use_text(used))),
            ItemKind::Param(param) => {
                let value = self.with_default(&param.ty, param.default.as_ref());
                ("param", Some(format!("param {}:", param.name.text)), value)
            }
            ItemKind::Let(binding) => {
                let head = self.let_head(&binding.name, binding.ty.as_ref());
                self.equals("let", head, self.expr(&binding.value))
            }
            ItemKind::Stage(stage) => {
                self.equals("stage", self.stage_head(stage), self.expr(&stage.work))
            }
            ItemKind::Alias(alias) => {
                let head = format!("type {}{}", alias.name.text, generics_text(&alias.generics));
                self.equals("type", Layout::text(head), self.ty(&alias.ty))
            }
            ItemKind::Record(record) => {
                let generics = generics_text(&record.generics);
                let head = Layout::text(format!("record {}{generics} ", record.name.text));
                ("record", None, Layout::Together(vec![head, self.fields(&record.fields)]))
            }
            ItemKind::Fn(function) => ("fn", None, self.function(function)),
            ItemKind::Output(output) => ("output", None, Layout::text(self.output_text(output))),
            ItemKind::Error => ("", None, Layout::text(self.slice(item.span))),
        };
        Row { doc: &item.doc, span: item.span, key, kind, value }
    }

    /// `head = value`, with the head as a key where it stands on one line.
    fn equals(
        &self,
        kind: &'static str,
        head: Layout<'t>,
        value: Layout<'t>,
    ) -> (&'static str, Option<String>, Layout<'t>) {
        match head.on_one_line() {
            Some(key) => (kind, Some(key), Layout::Together(vec![Layout::text("= "), value])),
            None => (kind, None, Layout::Together(vec![head, Layout::text(" = "), value])),
        }
    }

    fn let_head(&self, name: &Name, ty: Option<&'t TypeExpr>) -> Layout<'t> {
        let mut parts = vec![Layout::text(format!("let {}", name.text))];
        if let Some(ty) = ty {
            parts.extend([Layout::text(": "), self.ty(ty)]);
        }
        Layout::Together(parts)
    }

    fn stage_head(&self, stage: &'t Stage) -> Layout<'t> {
        let mut parts = vec![Layout::text(format!("stage {}", stage.name.text))];
        for (index, axis) in stage.axes.iter().enumerate() {
            let before = if index > 0 { ", " } else { "[" };
            parts.push(Layout::text(format!("{before}{} in ", axis.name.text)));
            parts.push(self.expr(&axis.list));
        }
        if !stage.axes.is_empty() {
            parts.push(Layout::text("]"));
        }
        Layout::Together(parts)
    }

    fn function(&self, function: &'t Function) -> Layout<'t> {
        let generics = generics_text(&function.generics);
        let mut parts = vec![
            Layout::text(format!("fn {}{generics} ", function.name.text)),
            self.fields(&function.fields),
            Layout::text(" -> "),
            self.ty(&function.result),
        ];
        if let Some(facts) = &function.facts {
            parts.extend([Layout::text(" facts "), self.args(facts)]);
        }
        if let Some(body) = &function.body {
            parts.extend([Layout::text(" "), Layout::Block(self.body(body))]);
        }
        Layout::Together(parts)
    }

    fn body(&self, body: &'t Body) -> Block<'t> {
        let mut rows: Vec<Row> = body.items.iter().map(|item| self.item(item)).collect();
        rows.push(self.result(&body.result));
        Block { separator: " ", align: Align::Items, ..self.braces(body.span, rows) }
    }

    /// On one line if it fits, otherwise one path a line.
    fn output_text(&self, output: &'t Output) -> String {
        let results = output.results.iter();
        let results: Vec<String> = results
            .map(|result| {
                let line = self.expr(result).on_one_line();
                line.unwrap_or_else(|| self.slice(result.span).to_string())
            })
            .collect();
        let line = format!("output {}", results.join(", "));
        match line.chars().count() <= 100 {
            true => line,
            false => format!("output {}", results.join(",\n    ")),
        }
    }

    fn result(&self, result: &'t Expr) -> Row<'t> {
        Row { doc: &[], span: result.span, key: None, kind: "", value: self.expr(result) }
    }
}

/// One row for a run of `use`: the library first, then this folder, then the one above.
fn sorted_uses(items: &[Item]) -> Row<'_> {
    let uses = items.iter().filter_map(|item| match &item.kind {
        ItemKind::Use(used) => Some(used),
        _ => None,
    });
    let mut uses: Vec<(u8, String)> = uses.map(|used| (rank(used.root), use_text(used))).collect();
    uses.sort();
    let lines: Vec<String> = uses.into_iter().map(|(_, text)| text).collect();
    let span = items[0].span.to(items[items.len() - 1].span);
    let value = Layout::text(lines.join("\n"));
    Row { doc: &items[0].doc, span, key: None, kind: "use", value }
}

fn rank(root: UseRoot) -> u8 {
    match root {
        UseRoot::Library => 0,
        UseRoot::Here => 1,
        UseRoot::Up => 2,
    }
}

fn use_text(used: &Use) -> String {
    let root = match used.root {
        UseRoot::Library => "",
        UseRoot::Here => "./",
        UseRoot::Up => "../",
    };
    let parts: Vec<&str> = used.parts.iter().map(|part| part.text.as_str()).collect();
    let alias = used.alias.as_ref().map_or(String::new(), |name| format!(" as {}", name.text));
    format!("use {root}{}{alias}", parts.join("/"))
}

fn generics_text(generics: &[Name]) -> String {
    if generics.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = generics.iter().map(|name| name.text.as_str()).collect();
    format!("<{}>", names.join(", "))
}
