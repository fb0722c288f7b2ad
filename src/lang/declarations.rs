//! What a file declares, in the words it was written in: for `doc`, and for the test that compares
//! signatures with the code behind them. Does not know what anything evaluates to.

use super::ast::{self, Decl, DeclKind, File, Item, ItemKind, Name};
use super::check::elsewhere;
use super::parser::parse;
use super::source::{FileId, Place, Source, Sources, Span};
use super::stdlib;

/// One declaration: a stage kind, a record, a type or a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// `std/train`
    pub module: String,
    pub name: String,
    pub form: Form,
    pub place: Place,
    /// The lines of `///` above.
    pub doc: Vec<String>,
    /// The declaration as it is written, without its doc lines' markers changed.
    pub text: String,
    /// `K`, for `fn sft<K>`.
    pub generics: Vec<String>,
    /// The fields in order, those taken in with `..` among them.
    pub fields: Vec<FieldDeclaration>,
    /// `context <= init.context`
    pub requires: Vec<String>,
    /// The type of the result, for a `fn`; the type itself for a `type` or an annotated value.
    pub result: Option<String>,
}

/// What kind of item declares a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Fn,
    Record,
    Type,
    Let,
    Param,
    Stage,
}

/// A declared field, as written.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDeclaration {
    pub name: String,
    pub ty: String,
    pub default: Option<String>,
    pub doc: Vec<String>,
    /// What other tools call it.
    pub elsewhere: Vec<String>,
    /// The record it is taken in from.
    pub from: Option<String>,
}

/// Everything that the standard library declares, module by module.
pub fn library() -> Vec<Declaration> {
    let mut sources = Sources::default();
    stdlib::add_to(&mut sources);
    declarations(&sources)
}

/// Everything that the given files declare, file by file.
pub fn declarations(sources: &Sources) -> Vec<Declaration> {
    let trees: Vec<File> =
        sources.iter().map(|(file, source)| parse(file, &source.text).0).collect();
    let reader = Reader { sources, trees: &trees };
    let files = trees.iter().enumerate();
    files
        .flat_map(|(file, tree)| {
            let source = sources.get(FileId(file as u32));
            let reader = &reader;
            tree.items.iter().filter_map(move |item| reader.declaration(source, item))
        })
        .collect()
}

/// Reads declarations off the trees.
struct Reader<'a> {
    sources: &'a Sources,
    trees: &'a [File],
}

impl Reader<'_> {
    fn declaration(&self, source: &Source, item: &Item) -> Option<Declaration> {
        let (form, name, generics, fields, result) = match &item.kind {
            ItemKind::Fn(it) => {
                (Form::Fn, &it.name, &it.generics[..], Some(&it.fields), Some(it.result.span))
            }
            ItemKind::Record(it) => {
                (Form::Record, &it.name, &it.generics[..], Some(&it.fields), None)
            }
            ItemKind::Alias(it) => (Form::Type, &it.name, &it.generics[..], None, Some(it.ty.span)),
            ItemKind::Let(it) => {
                (Form::Let, &it.name, &[][..], None, it.ty.as_ref().map(|ty| ty.span))
            }
            ItemKind::Param(it) => (Form::Param, &it.name, &[][..], None, Some(it.ty.span)),
            ItemKind::Stage(it) => (Form::Stage, &it.name, &[][..], None, None),
            ItemKind::Use(_) | ItemKind::Output(_) | ItemKind::Error => return None,
        };
        let mut declaration = Declaration {
            module: source.path.trim_end_matches(".recipe").to_string(),
            name: name.text.clone(),
            form,
            place: self.sources.place(name.span),
            doc: item.doc.clone(),
            text: self.sources.text(item.span).to_string(),
            generics: generics.iter().map(|generic: &Name| generic.text.clone()).collect(),
            fields: Vec::new(),
            requires: Vec::new(),
            result: result.map(|span| self.words(span)),
        };
        if let Some(fields) = fields {
            self.add_fields(&mut declaration, fields, None, 0);
        }
        Some(declaration)
    }

    fn add_fields(
        &self,
        declaration: &mut Declaration,
        fields: &ast::Fields,
        from: Option<&str>,
        depth: usize,
    ) {
        for decl in &fields.decls {
            match &decl.kind {
                DeclKind::Field { name, ty, default } => {
                    let field = FieldDeclaration {
                        name: name.text.clone(),
                        ty: self.words(ty.span),
                        default: default.as_ref().map(|default| self.words(default.span)),
                        doc: decl.doc.clone(),
                        elsewhere: elsewhere(&decl.doc),
                        from: from.map(str::to_string),
                    };
                    add_field(&mut declaration.fields, field);
                }
                DeclKind::Spread(path) => {
                    let name = &path.names.last().expect("a path has a name").text;
                    if let Some(record) = self.record(name).filter(|_| depth < 16) {
                        self.add_fields(declaration, &record.fields, Some(name), depth + 1);
                    }
                }
                DeclKind::Require { .. } => declaration.requires.push(self.requirement(decl)),
                DeclKind::Error => {}
            }
        }
    }

    fn requirement(&self, decl: &Decl) -> String {
        self.words(decl.span).trim_start_matches("require").trim().to_string()
    }

    fn record(&self, name: &str) -> Option<&ast::Record> {
        let items = self.trees.iter().flat_map(|tree| &tree.items);
        items.into_iter().find_map(|item| match &item.kind {
            ItemKind::Record(record) if record.name.text == name => Some(record),
            _ => None,
        })
    }

    /// Written text on one line.
    fn words(&self, span: Span) -> String {
        self.sources.text(span).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A later field of the same name gives an earlier one a new default or type, and keeps its doc
/// where it has none of its own.
fn add_field(fields: &mut Vec<FieldDeclaration>, mut field: FieldDeclaration) {
    if let Some(at) = fields.iter().position(|earlier| earlier.name == field.name) {
        let earlier = fields.remove(at);
        if field.doc.is_empty() {
            field.doc = earlier.doc;
        }
        field.elsewhere.extend(earlier.elsewhere);
    }
    fields.push(field);
}
