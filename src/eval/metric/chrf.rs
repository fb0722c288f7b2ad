//! chrF and chrF++ (Popović, 2015 and 2017) as sacreBLEU computes them: the F-score of n-grams of
//! one to six characters, blanks left out, and for chrF++ of one and two words as well. Precision
//! and recall are averaged over the orders that both texts have; recall counts β² = 4 times. Knows
//! texts; does not know whose they are.

use super::blanks::{is_blank, words};
use super::grams::Grams;

/// The longest n-grams of characters.
const CHARACTERS: usize = 6;
/// The longest n-grams of words that chrF++ counts.
const WORDS: usize = 2;
/// β².
const RECALL: f64 = 4.0;

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chrf {
    /// Whether words count too, which makes it chrF++.
    pub words: bool,
    pub lowercase: bool,
}

/// What one answer adds to the score of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([Order; CHARACTERS + WORDS]);

/// n-grams of one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Order {
    answer: usize,
    reference: usize,
    shared: usize,
}

impl Counts {
    /// Both together.
    pub fn and(mut self, other: &Counts) -> Counts {
        for (ours, theirs) in self.0.iter_mut().zip(&other.0) {
            ours.answer += theirs.answer;
            ours.reference += theirs.reference;
            ours.shared += theirs.shared;
        }
        self
    }

    /// The score of summed counts, in percent.
    pub fn score(&self) -> f64 {
        let in_both = self.0.iter().filter(|order| order.answer > 0 && order.reference > 0);
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
        for order in in_both {
            precision += order.shared as f64 / order.answer as f64;
            recall += order.shared as f64 / order.reference as f64;
            orders += 1.0;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / orders, recall / orders);
        100.0 * ((1.0 + RECALL) * precision * recall / (RECALL * precision + recall))
    }
}

/// A text cut both ways.
struct Cut {
    characters: Vec<char>,
    words: Vec<String>,
}

impl Chrf {
    /// An answer against the one of its references that it is likest to; there is at least one.
    pub fn counts(&self, answer: &str, references: &[&str]) -> Counts {
        let answer = self.cut(answer);
        let each = references.iter().map(|reference| against(&answer, &self.cut(reference)));
        let better = |best: Counts, next: Counts| {
            if next.score() > best.score() { next } else { best }
        };
        each.reduce(better).expect("an answer has a reference")
    }

    /// The score of one answer.
    pub fn of_one(&self, answer: &str, references: &[&str]) -> f64 {
        self.counts(answer, references).score()
    }

    fn cut(&self, text: &str) -> Cut {
        let text = if self.lowercase { text.to_lowercase() } else { text.to_string() };
        let characters = text.chars().filter(|c| !is_blank(*c)).collect();
        let words = if self.words { words(&text).flat_map(parted).collect() } else { Vec::new() };
        Cut { characters, words }
    }
}

fn against(answer: &Cut, reference: &Cut) -> Counts {
    let mut orders = [Order::default(); CHARACTERS + WORDS];
    for (n, order) in (1..=CHARACTERS).zip(&mut orders) {
        *order = Order::of(&answer.characters, &reference.characters, n);
    }
    for (n, order) in (1..=WORDS).zip(&mut orders[CHARACTERS..]) {
        *order = Order::of(&answer.words, &reference.words, n);
    }
    Counts(orders)
}

impl Order {
    /// An order that the reference does not have does not count against the answer.
    fn of<T: Ord>(answer: &[T], reference: &[T], n: usize) -> Order {
        let (ours, theirs) = (Grams::of(answer, n), Grams::of(reference, n));
        let answer = if theirs.count() == 0 { 0 } else { ours.count() };
        Order { answer, reference: theirs.count(), shared: ours.shared(&theirs) }
    }
}

/// A word without the mark at its end, or else at its beginning, and that mark.
fn parted(word: &str) -> Vec<String> {
    let is_mark = |c: char| c.is_ascii_punctuation();
    let last = word.chars().next_back().map_or(0, char::len_utf8);
    let cut = match word {
        _ if word.len() == last => None,
        _ if word.ends_with(is_mark) => Some(word.len() - last),
        _ if word.starts_with(is_mark) => Some(1),
        _ => None,
    };
    match cut.map(|at| word.split_at(at)) {
        Some((a, b)) => vec![a.into(), b.into()],
        None => vec![word.into()],
    }
}
