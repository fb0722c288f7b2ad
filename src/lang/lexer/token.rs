//! What a token is. Does not know how it was read, nor what may follow it.

use crate::lang::ast::{Number, Text};
use crate::lang::source::Span;

/// One word, number, string or sign, and where it stands in its line.
#[derive(Clone, Debug)]
pub struct Token {
    pub kind: TokenKind,
    pub span: Span,
    pub position: Position,
}

/// Line breaks are no tokens; this is all that is kept of layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    Inline,
    FirstOnLine,
    FirstColumn,
}

#[derive(Clone, Debug)]
pub enum TokenKind {
    Name(String),
    Keyword(Keyword),
    /// A word kept for later editions of the language.
    Reserved(String),
    Number(Number),
    Text(Text),
    Symbol(Symbol),
    /// Characters that belong to no token; already reported.
    Broken,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    Use,
    Param,
    Let,
    Stage,
    Fn,
    Record,
    Type,
    Output,
    Require,
    As,
    In,
    Of,
    Divides,
    Outside,
    Unless,
    Facts,
    True,
    False,
    None,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("use", Keyword::Use),
    ("param", Keyword::Param),
    ("let", Keyword::Let),
    ("stage", Keyword::Stage),
    ("fn", Keyword::Fn),
    ("record", Keyword::Record),
    ("type", Keyword::Type),
    ("output", Keyword::Output),
    ("require", Keyword::Require),
    ("as", Keyword::As),
    ("in", Keyword::In),
    ("of", Keyword::Of),
    ("divides", Keyword::Divides),
    ("outside", Keyword::Outside),
    ("unless", Keyword::Unless),
    ("facts", Keyword::Facts),
    ("true", Keyword::True),
    ("false", Keyword::False),
    ("none", Keyword::None),
];

const RESERVED: &[&str] = &["match", "if", "for", "where", "test", "assert"];

impl Keyword {
    /// The word as written.
    pub fn text(self) -> &'static str {
        let found = KEYWORDS.iter().find(|(_, keyword)| *keyword == self);
        found.expect("every keyword is in the table").0
    }

    /// Whether the word begins an item.
    pub fn begins_item(self) -> bool {
        use Keyword::*;
        matches!(self, Use | Param | Let | Stage | Fn | Record | Type | Output)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symbol {
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    OpenParen,
    CloseParen,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Assign,
    Same,
    Different,
    Colon,
    Comma,
    Dot,
    DotDot,
    DotDotEqual,
    DotDotLess,
    Plus,
    Star,
    Slash,
    Pipe,
    Question,
    Arrow,
}

/// Every sign; where one begins another, the longer stands first.
pub const SYMBOLS: &[(&str, Symbol)] = &[
    ("..=", Symbol::DotDotEqual),
    ("..<", Symbol::DotDotLess),
    ("..", Symbol::DotDot),
    ("->", Symbol::Arrow),
    ("==", Symbol::Same),
    ("!=", Symbol::Different),
    ("<=", Symbol::LessEqual),
    (">=", Symbol::GreaterEqual),
    ("{", Symbol::OpenBrace),
    ("}", Symbol::CloseBrace),
    ("[", Symbol::OpenBracket),
    ("]", Symbol::CloseBracket),
    ("(", Symbol::OpenParen),
    (")", Symbol::CloseParen),
    ("<", Symbol::Less),
    (">", Symbol::Greater),
    ("=", Symbol::Assign),
    (":", Symbol::Colon),
    (",", Symbol::Comma),
    (".", Symbol::Dot),
    ("+", Symbol::Plus),
    ("*", Symbol::Star),
    ("/", Symbol::Slash),
    ("|", Symbol::Pipe),
    ("?", Symbol::Question),
];

impl Symbol {
    /// The sign as written.
    pub fn text(self) -> &'static str {
        let found = SYMBOLS.iter().find(|(_, symbol)| *symbol == self);
        found.expect("every sign is in the table").0
    }

    /// What closes this bracket, if it is an opening one.
    pub fn closer(self) -> Option<Symbol> {
        match self {
            Symbol::OpenBrace => Some(Symbol::CloseBrace),
            Symbol::OpenBracket => Some(Symbol::CloseBracket),
            Symbol::OpenParen => Some(Symbol::CloseParen),
            _ => None,
        }
    }

    /// Whether this sign closes a bracket.
    pub fn closes(self) -> bool {
        matches!(self, Symbol::CloseBrace | Symbol::CloseBracket | Symbol::CloseParen)
    }
}

impl TokenKind {
    /// A word is a keyword, kept for later, or a name.
    pub fn of_word(word: &str) -> TokenKind {
        if let Some((_, keyword)) = KEYWORDS.iter().find(|(text, _)| *text == word) {
            TokenKind::Keyword(*keyword)
        } else if RESERVED.contains(&word) {
            TokenKind::Reserved(word.to_string())
        } else {
            TokenKind::Name(word.to_string())
        }
    }

    /// The text of a word of any kind.
    pub fn word(&self) -> Option<&str> {
        match self {
            TokenKind::Name(text) | TokenKind::Reserved(text) => Some(text),
            TokenKind::Keyword(keyword) => Some(keyword.text()),
            _ => None,
        }
    }

    /// How an error names this token.
    pub fn describe(&self) -> String {
        match self {
            TokenKind::Number(_) => "a number".to_string(),
            TokenKind::Text(_) => "a string".to_string(),
            TokenKind::Symbol(symbol) => format!("`{}`", symbol.text()),
            TokenKind::Broken => "something unreadable".to_string(),
            TokenKind::End => "the end of the file".to_string(),
            word => format!("`{}`", word.word().unwrap_or_default()),
        }
    }
}
