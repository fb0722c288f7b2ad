//! The syntax tree, typed. Knows the grammar; does not know what any name means. Nodes that could
//! not be read are `Error` nodes, so that the rest of the file is still understood.

use super::source::Span;

/// A parsed file. `comments` holds every `//` comment in order, for the formatter.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub doc: Vec<String>,
    pub items: Vec<Item>,
    pub comments: Vec<Comment>,
}

#[derive(Clone, Debug)]
pub struct Comment {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Item {
    /// The lines of `///` above, without the marker.
    pub doc: Vec<String>,
    pub span: Span,
    pub kind: ItemKind,
}

#[derive(Clone, Debug)]
pub enum ItemKind {
    Use(Use),
    Param(Param),
    Let(Let),
    Stage(Stage),
    Fn(Function),
    Record(Record),
    Alias(Alias),
    Output(Output),
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// `a.b.c`; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub names: Vec<Name>,
    pub span: Span,
}

impl Path {
    pub fn text(&self) -> String {
        self.names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// Where a `use` looks: the library, beside this file, or one folder up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseRoot {
    Library,
    Here,
    Up,
}

/// `use std/llama2`, `use ./models as firm`. The bound name is the alias or the last part.
#[derive(Clone, Debug)]
pub struct Use {
    pub root: UseRoot,
    pub parts: Vec<Name>,
    pub alias: Option<Name>,
}

#[derive(Clone, Debug)]
pub struct Param {
    pub name: Name,
    pub ty: TypeExpr,
    pub default: Option<Expr>,
}

#[derive(Clone, Debug)]
pub struct Let {
    pub name: Name,
    pub ty: Option<TypeExpr>,
    pub value: Expr,
}

/// `stage x[k in list] = callee { … }`. The parser accepts any expression after `=`; the checker
/// says `unnamed-work` or the like where it is no call.
#[derive(Clone, Debug)]
pub struct Stage {
    pub name: Name,
    pub axes: Vec<Axis>,
    pub work: Expr,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub name: Name,
    pub list: Expr,
}

/// With a body a user's own stage kind or function; without one a signature that Rust implements.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: Name,
    pub generics: Vec<Name>,
    pub fields: Fields,
    pub result: TypeExpr,
    pub facts: Option<Args>,
    pub body: Option<Body>,
}

#[derive(Clone, Debug)]
pub struct Body {
    pub items: Vec<Item>,
    pub result: Box<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub name: Name,
    pub generics: Vec<Name>,
    pub fields: Fields,
}

#[derive(Clone, Debug)]
pub struct Alias {
    pub name: Name,
    pub generics: Vec<Name>,
    pub ty: TypeExpr,
}

#[derive(Clone, Debug)]
pub struct Output {
    /// Paths and picks, nothing else.
    pub results: Vec<Expr>,
}

/// The braces of a `record`, a signature or a structural record type.
#[derive(Clone, Debug)]
pub struct Fields {
    pub decls: Vec<Decl>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Decl {
    pub doc: Vec<String>,
    pub span: Span,
    pub kind: DeclKind,
}

#[derive(Clone, Debug)]
pub enum DeclKind {
    Field {
        name: Name,
        ty: TypeExpr,
        default: Option<Expr>,
    },
    /// `..training`: take in the fields of another record.
    Spread(Path),
    Require {
        condition: Condition,
        unless: Option<Condition>,
    },
    Error,
}

/// `context <= init.context`
#[derive(Clone, Debug)]
pub struct Condition {
    pub left: Expr,
    pub compare: Compare,
    pub right: Expr,
}

impl Condition {
    pub fn span(&self) -> Span {
        self.left.span.to(self.right.span)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Divides,
    /// An artifact is not among those of a list.
    Outside,
}

#[derive(Clone, Debug)]
pub struct TypeExpr {
    pub span: Span,
    pub kind: TypeKind,
}

#[derive(Clone, Debug)]
pub enum TypeKind {
    /// `A | B`, at least two.
    Union(Vec<TypeExpr>),
    /// `T?`
    Optional(Box<TypeExpr>),
    /// `"isolated"`: a choice.
    Choice(String),
    List(Box<TypeExpr>),
    Fields(Fields),
    Name {
        path: Path,
        arguments: Vec<TypeExpr>,
        range: Option<Box<Range>>,
    },
    Error,
}

/// `(1..)`, `(0..=1)`, `(>0)`.
#[derive(Clone, Debug)]
pub struct Range {
    pub low: Option<(Number, Bound)>,
    pub high: Option<(Number, Bound)>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Inclusive,
    Exclusive,
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub span: Span,
    pub kind: ExprKind,
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Number(Number),
    Text(Text),
    Bool(bool),
    None,
    Paren(Box<Expr>),
    List(Vec<Element>),
    /// `{ … }` alone: a record that has exactly its fields.
    Record(Args),
    Path(Path),
    Call {
        callee: Path,
        args: Args,
    },
    /// `x[k: 8].field`
    Pick {
        from: Path,
        choices: Vec<Choice>,
        fields: Vec<Name>,
    },
    Add(Box<Expr>, Box<Expr>),
    Mul(Box<Expr>, Box<Expr>),
    /// `90% of data`
    Of(Box<Expr>, Box<Expr>),
    Error,
}

/// A literal number: exactly what was written, with what it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    pub span: Span,
    /// Digits without underscores, before any suffix: `1.5`, `1e-3`.
    pub digits: String,
    /// `k M B T`, `%`, `kB … TiB`, `s min h d`, glued on.
    pub suffix: Option<Suffix>,
    /// `tokens steps epochs sequences pairs prompts rows`, as written, perhaps singular or unknown.
    pub count: Option<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    Kilo,
    Mega,
    Giga,
    Tera,
    Percent,
    KB,
    MB,
    GB,
    TB,
    KiB,
    MiB,
    GiB,
    TiB,
    Seconds,
    Minutes,
    Hours,
    Days,
}

/// A string, escapes resolved; `${path}` parts stand apart.
#[derive(Clone, Debug)]
pub struct Text {
    pub parts: Vec<TextPart>,
    /// Written as a `"""` block.
    pub block: bool,
}

#[derive(Clone, Debug)]
pub enum TextPart {
    Literal(String),
    Path(Path),
}

#[derive(Clone, Debug)]
pub struct Element {
    pub spread: bool,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub struct Args {
    pub entries: Vec<Entry>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub span: Span,
    pub kind: EntryKind,
}

#[derive(Clone, Debug)]
pub enum EntryKind {
    Spread(Expr),
    Field {
        name: Name,
        value: Expr,
    },
    /// `field` alone: `field: field`.
    Pun(Name),
    Error,
}

#[derive(Clone, Debug)]
pub struct Choice {
    pub name: Name,
    pub value: Option<Expr>,
}
