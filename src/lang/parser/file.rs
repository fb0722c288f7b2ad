//! The front of the parser: a whole file, or one expression. Knows that reading never stops at a
//! fault; does not know where the text came from.

use super::expr::{broken, expr};
use super::items::item;
use super::log::{Log, Wanted};
use super::recover::fault;
use super::tokens::Tokens;
use crate::lang::ast::{Expr, File};
use crate::lang::diagnostic::Diagnostic;
use crate::lang::lexer::{Lexed, scan};
use crate::lang::source::FileId;

/// Reads a recipe of less than 4 GiB. The faults stand in the order of the text.
pub fn parse(file: FileId, text: &str) -> (File, Vec<Diagnostic>) {
    let mut lexed = scan(file, text);
    let log = Log::new(text, &lexed);
    let mut rest = Tokens::new(&lexed, &log);
    let mut tree = File { doc: rest.take_file_docs(), ..File::default() };
    while !rest.at_end() {
        let (after, item) = item(rest);
        tree.items.push(item);
        rest = after;
    }
    let faults = log.close();
    tree.comments = std::mem::take(&mut lexed.comments);
    (tree, in_order(lexed, faults))
}

/// Reads one expression that is the whole text, as after `-p name=`.
pub fn parse_expression(file: FileId, text: &str) -> (Expr, Vec<Diagnostic>) {
    let lexed = scan(file, text);
    let log = Log::new(text, &lexed);
    let input = Tokens::new(&lexed, &log);
    let value = match expr(input) {
        Ok((rest, value)) => {
            if !rest.at_end() {
                rest.say(rest.unexpected(Wanted::Phrase("nothing more")));
            }
            value
        }
        Err(error) => {
            input.say(fault(error));
            broken(input.span())
        }
    };
    let faults = log.close();
    (value, in_order(lexed, faults))
}

fn in_order(lexed: Lexed, said: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut faults = lexed.faults;
    faults.extend(said);
    faults.sort_by_key(|fault| fault.labels.first().map_or(0, |label| label.span.start));
    faults
}
