//! `{{name}}` in the words of a `command`: filled in when the stage runs, so it must name an input
//! now. Does not know how it is filled in.

use std::collections::BTreeMap;

use super::known::{Data, Known};
use super::signature::Signature;
use super::state::Checker;
use crate::lang::errors::{nearest::nearest, semantics as say};
use crate::lang::source::Span;

/// The placeholder for the folder of results.
const OUT: &str = "out";

impl<'a> Checker<'a> {
    /// Checks the placeholders of `argv` against `inputs`, where a stage kind has both.
    pub(super) fn placeholders(
        &mut self,
        signature: &Signature<'a>,
        fields: &BTreeMap<String, Known>,
    ) {
        let field = |name: &str| fields.get(name).map(|known| &known.data);
        let (Some(Data::List(argv)), Some(Data::Record(inputs))) = (field("argv"), field("inputs"))
        else {
            return;
        };
        let mut known: Vec<&str> = inputs.fields.keys().map(String::as_str).collect();
        known.push(OUT);
        for word in &argv.items {
            let Data::Text { text, .. } = &word.data else { continue };
            for (braces, name) in placeholders(text) {
                if !known.contains(&name) {
                    let at = self.place_of(braces, word.span);
                    let near = nearest(name, known.iter().copied());
                    self.say(say::unknown_placeholder(at, signature.name, name, &known, near));
                }
            }
        }
    }

    /// Where a placeholder stands inside the literal that holds it.
    fn place_of(&self, braces: &str, word: Span) -> Span {
        match self.sources().text(word).find(braces) {
            None => word,
            Some(at) => {
                let start = word.start + at as u32;
                Span { start, end: start + braces.len() as u32, ..word }
            }
        }
    }
}

/// Every `{{name}}` of a text, with and without its braces.
fn placeholders(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest[start..].find("}}") else { break };
        let braces = &rest[start..start + length + 2];
        found.push((braces, braces[2..length].trim()));
        rest = &rest[start + length + 2..];
    }
    found
}
