//! Numbers: digits, a suffix glued on, a count after a space. Does not know how big a number may
//! be, nor which unit a field wants.

use crate::lang::ast::{Name, Number, Suffix};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::errors::syntax;
use crate::lang::source::{FileId, Span};
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{char, one_of, satisfy};
use nom::combinator::{opt, recognize, verify};
use nom::sequence::preceded;
use nom::{IResult, Parser};

const SUFFIXES: &[(&str, Suffix)] = &[
    ("k", Suffix::Kilo),
    ("M", Suffix::Mega),
    ("B", Suffix::Giga),
    ("T", Suffix::Tera),
    ("%", Suffix::Percent),
    ("kB", Suffix::KB),
    ("MB", Suffix::MB),
    ("GB", Suffix::GB),
    ("TB", Suffix::TB),
    ("KiB", Suffix::KiB),
    ("MiB", Suffix::MiB),
    ("GiB", Suffix::GiB),
    ("TiB", Suffix::TiB),
    ("s", Suffix::Seconds),
    ("min", Suffix::Minutes),
    ("h", Suffix::Hours),
    ("d", Suffix::Days),
];

const COUNTS: &[(&str, &str)] = &[
    ("token", "tokens"),
    ("step", "steps"),
    ("epoch", "epochs"),
    ("sequence", "sequences"),
    ("pair", "pairs"),
    ("prompt", "prompts"),
    ("row", "rows"),
];

/// What numbers count, in the plural.
pub fn counts() -> impl Iterator<Item = &'static str> {
    COUNTS.iter().map(|(_, plural)| *plural)
}

/// The plural of a count written in either form; `None` if it is no count.
pub fn plural(word: &str) -> Option<&'static str> {
    let found = COUNTS.iter().find(|(one, many)| *one == word || *many == word);
    found.map(|(_, many)| *many)
}

impl Suffix {
    /// The suffix as written.
    pub fn text(self) -> &'static str {
        let found = SUFFIXES.iter().find(|(_, suffix)| *suffix == self);
        found.expect("every suffix is in the table").0
    }
}

/// The pieces of a number as they stand in the text.
pub struct RawNumber<'a> {
    digits: &'a str,
    glued: &'a str,
    count: Option<&'a str>,
}

/// `4_096`, `1.5`, `1e-3`, `10%`, `2M tokens`.
pub fn number(input: &str) -> IResult<&str, RawNumber<'_>> {
    let fraction = (char('.'), digits);
    let exponent = (one_of("eE"), opt(one_of("+-")), digits);
    let (rest, (digits, glued, count)) = (
        recognize((digits, opt(fraction), opt(exponent))),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '%'),
        opt(preceded(take_while1(|c| c == ' ' || c == '\t'), count)),
    )
        .parse(input)?;
    Ok((rest, RawNumber { digits, glued, count }))
}

fn digits(input: &str) -> IResult<&str, &str> {
    let more = take_while(|c: char| c.is_ascii_digit() || c == '_');
    recognize((satisfy(|c| c.is_ascii_digit()), more)).parse(input)
}

fn count(input: &str) -> IResult<&str, &str> {
    verify(super::scan::word, |word: &str| plural(word).is_some()).parse(input)
}

impl RawNumber<'_> {
    /// The number at byte `start`, and what is wrong with it. A faulty suffix is left out.
    pub fn decode(&self, span: Span) -> (Number, Option<Diagnostic>) {
        let suffix = SUFFIXES.iter().find(|(text, _)| *text == self.glued);
        let digits_end = span.start + self.digits.len() as u32;
        let glued = Span { start: digits_end, end: digits_end + self.glued.len() as u32, ..span };
        let fault = if self.digits.contains("__") || self.digits.ends_with('_') {
            Some(syntax::stray_underscore(Span { end: digits_end, ..span }))
        } else if suffix.is_none() && !self.glued.is_empty() {
            let suffixes: Vec<&str> = SUFFIXES.iter().map(|(text, _)| *text).collect();
            Some(syntax::unknown_suffix(glued, self.digits, self.glued, &suffixes))
        } else {
            None
        };
        let number = Number {
            span,
            digits: self.digits.replace('_', "").replace('E', "e"),
            suffix: suffix.map(|(_, suffix)| *suffix),
            count: self.count.map(|word| count_name(word, span.file, span.end)),
        };
        (number, fault)
    }
}

fn count_name(word: &str, file: FileId, end: u32) -> Name {
    let start = end - word.len() as u32;
    Name { text: word.to_string(), span: Span { file, start, end } }
}
