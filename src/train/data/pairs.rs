//! Preferences as pairs of encoded texts, each proved fit to learn from: both answers whole within
//! the context, each with its `eos`, and not the same. Every faulty pair is told by its row. Knows
//! rows and a template; does not know rewards.

use std::path::PathBuf;

use super::batch::Rows;
use super::chat::ChatFormat;
use super::pack::{Example, IGNORE, Row};
use super::rows::{Preference, read_rows};
use super::tokenizer::Tokenizer;
use crate::train::progress::Failure;

/// Two answers to a prompt, encoded with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    pub chosen: Example,
    pub rejected: Example,
    pub rating: Option<u8>,
    pub chosen_safe: Option<bool>,
    pub rejected_safe: Option<bool>,
}

/// Faults that are told one by one; the rest are counted.
const TOLD: usize = 20;

/// The pairs of files, in order.
pub fn pairs(
    paths: &[&PathBuf],
    tokenizer: &Tokenizer,
    format: &ChatFormat,
    longest: usize,
) -> Result<Vec<Pair>, Failure> {
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        for (row, preference) in (1..).zip(read_rows::<Preference>(path)?) {
            match pair(row, &preference, tokenizer, format, longest) {
                Ok(pair) => pairs.push(pair),
                Err(Failure::Input { message, .. }) => faults.push(message),
                Err(other) => return Err(other),
            }
        }
    }
    if faults.is_empty() {
        return Ok(pairs);
    }
    let count = faults.len();
    faults.truncate(TOLD);
    if count > TOLD {
        faults.push(format!("and {} more", count - TOLD));
    }
    Err(Failure::input(format!("{count} pairs cannot be learned from: {}", faults.join("; ")))
        .remedy("remove these rows, or raise `context` where answers are too long"))
}

/// One pair by the number of its row, or why nothing can be learned from it.
pub fn pair(
    row: usize,
    preference: &Preference,
    tokenizer: &Tokenizer,
    format: &ChatFormat,
    longest: usize,
) -> Result<Pair, Failure> {
    let Preference { prompt, chosen, rejected, rating, chosen_safe, rejected_safe, .. } =
        preference;
    let [chosen, rejected] =
        [chosen, rejected].map(|answer| format.reply(tokenizer, row, prompt, answer));
    let (chosen, rejected) = (chosen?, rejected?);
    let tokens = chosen.tokens.len().max(rejected.tokens.len());
    if tokens > longest {
        return Err(Failure::input(format!(
            "row {row} is {tokens} tokens long, more than the context of {longest}"
        )));
    }
    if chosen.tokens == rejected.tokens {
        return Err(Failure::input(format!("row {row}: the two answers are equal")));
    }
    if rating.is_some_and(|rating| !(1..=4).contains(&rating)) {
        return Err(Failure::input(format!("row {row}: the rating is not 1, 2, 3 or 4")));
    }
    let (rating, chosen_safe, rejected_safe) = (*rating, *chosen_safe, *rejected_safe);
    Ok(Pair { chosen, rejected, rating, chosen_safe, rejected_safe })
}

/// One row a pair, in two segments that do not see each other.
#[derive(Debug)]
pub struct PairRows(pub Vec<Pair>);

impl Rows for PairRows {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn tokens(&self, row: usize) -> usize {
        self.0[row].chosen.tokens.len() + self.0[row].rejected.tokens.len()
    }

    fn row(&self, row: usize) -> Row {
        let Pair { chosen, rejected, .. } = &self.0[row];
        let (first, both) = (chosen.tokens.len(), self.tokens(row));
        let targets = [targets(chosen), targets(rejected)].concat();
        let tokens = [&chosen.tokens[..], &rejected.tokens].concat();
        Row { tokens, targets, segments: vec![0..first, first..both] }
    }
}

/// What each token must predict of an answer.
fn targets(example: &Example) -> Vec<u32> {
    let next = example.tokens.iter().zip(&example.learned).skip(1);
    let next = next.map(|(token, learned)| if *learned { *token } else { IGNORE });
    next.chain([IGNORE]).collect()
}
