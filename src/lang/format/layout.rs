//! What is to be printed, before it is known where lines break. Does not know the tree it was made
//! from, nor how wide a line may be.

use crate::lang::ast::Comment;
use crate::lang::source::Span;

/// A piece of text that may or may not stand on one line.
pub enum Layout<'t> {
    Text(String),
    /// The lines of a `"""` block, without their indent.
    Lines(Vec<&'t str>),
    Block(Block<'t>),
    Together(Vec<Layout<'t>>),
}

/// Rows between brackets: all on one line, or one on each.
pub struct Block<'t> {
    pub open: &'static str,
    pub close: &'static str,
    /// Between rows that stand on one line.
    pub separator: &'static str,
    /// From the opening bracket past the closing one.
    pub span: Span,
    /// The source asks for one row a line.
    pub broken: bool,
    pub align: Align,
    pub rows: Vec<Row<'t>>,
}

/// Which neighbours share a column for their values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// All rows between two blank lines, as fields do.
    Fields,
    /// Neighbours of one kind that stand on one line each, as items do.
    Items,
}

/// One entry, field, element or item.
pub struct Row<'t> {
    pub doc: &'t [String],
    pub span: Span,
    /// What stands left of the shared column.
    pub key: Option<String>,
    /// Items align with others of their kind only.
    pub kind: &'static str,
    pub value: Layout<'t>,
}

/// A comment, and where it is printed: at its own place, or above the row in whose midst it stood.
#[derive(Clone, Copy)]
pub struct Placed<'t> {
    pub text: &'t str,
    pub start: u32,
    pub end: u32,
}

impl Layout<'_> {
    /// A word of text.
    pub fn text(text: impl Into<String>) -> Self {
        Layout::Text(text.into())
    }

    /// All on one line, if nothing forbids it.
    pub fn on_one_line(&self) -> Option<String> {
        match self {
            Layout::Text(text) => Some(text.clone()),
            Layout::Lines(_) => None,
            Layout::Together(parts) => parts.iter().map(Layout::on_one_line).collect(),
            Layout::Block(block) => block.on_one_line(),
        }
    }

    /// Characters that must stand on the current line, and whether a break may follow them.
    pub fn lead(&self) -> (usize, bool) {
        match self {
            Layout::Text(text) => (text.chars().count(), false),
            Layout::Lines(_) => (3, true),
            Layout::Block(block) if block.rows.is_empty() => (2, false),
            Layout::Block(_) => (1, true),
            Layout::Together(parts) => lead(parts),
        }
    }

    /// The spans of the outermost blocks.
    fn blocks(&self) -> Vec<Span> {
        match self {
            Layout::Block(block) => vec![block.span],
            Layout::Together(parts) => parts.iter().flat_map(Layout::blocks).collect(),
            Layout::Text(_) | Layout::Lines(_) => Vec::new(),
        }
    }

    fn for_each_row(&self, visit: &mut impl FnMut(&Row)) {
        match self {
            Layout::Block(block) => block.rows.iter().for_each(|row| row.for_each(visit)),
            Layout::Together(parts) => parts.iter().for_each(|part| part.for_each_row(visit)),
            Layout::Text(_) | Layout::Lines(_) => {}
        }
    }
}

/// As [`Layout::lead`], of parts that stand together.
pub fn lead(parts: &[Layout]) -> (usize, bool) {
    let mut width = 0;
    for part in parts {
        let (more, breaks) = part.lead();
        width += more;
        if breaks {
            return (width, true);
        }
    }
    (width, false)
}

impl Block<'_> {
    fn on_one_line(&self) -> Option<String> {
        if self.rows.is_empty() {
            return (!self.broken).then(|| format!("{}{}", self.open, self.close));
        }
        if self.broken || self.rows.iter().any(|row| !row.doc.is_empty()) {
            return None;
        }
        let rows: Option<Vec<String>> = self.rows.iter().map(Row::on_one_line).collect();
        let blank = if self.open == "{" { " " } else { "" };
        let rows = rows?.join(self.separator);
        Some(format!("{}{blank}{rows}{blank}{}", self.open, self.close))
    }
}

impl Row<'_> {
    /// Key and value on one line, not aligned.
    pub fn on_one_line(&self) -> Option<String> {
        let value = self.value.on_one_line()?;
        Some(match &self.key {
            Some(key) => format!("{key} {value}"),
            None => value,
        })
    }

    fn for_each(&self, visit: &mut impl FnMut(&Row)) {
        visit(self);
        self.value.for_each_row(visit);
    }

    /// Whether a place lies in this row but in none of its blocks.
    fn holds(&self, at: u32) -> bool {
        let within = |span: &Span| span.start <= at && at < span.end;
        within(&self.span) && !self.value.blocks().iter().any(within)
    }
}

/// Comments in the order in which they are printed.
pub fn place<'t>(comments: &'t [Comment], rows: &[Row]) -> Vec<Placed<'t>> {
    let own = |comment: &'t Comment| {
        let Span { start, end, .. } = comment.span;
        Placed { text: &comment.text, start, end }
    };
    let mut placed: Vec<Placed> = comments.iter().map(own).collect();
    let mut hoist = |row: &Row| {
        let from = comments.partition_point(|comment| comment.span.start < row.span.start);
        let to = comments.partition_point(|comment| comment.span.start < row.span.end);
        for at in (from..to).filter(|at| row.holds(comments[*at].span.start)) {
            (placed[at].start, placed[at].end) = (row.span.start, row.span.start);
        }
    };
    rows.iter().for_each(|row| row.for_each(&mut hoist));
    placed.sort_by_key(|comment| comment.start);
    placed
}
