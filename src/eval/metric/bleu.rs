//! BLEU (Papineni et al., 2002), with the tokens, the smoothing and the corner cases of sacreBLEU:
//!
//! ```text
//! BLEU = BP · exp( Σ_n ln p_n / N )      BP = exp(1 − ref / sys) where sys < ref, else 1
//! ```
//!
//! p_n is the share of the answer's n-grams that a reference has, each counted as often as the
//! reference with most of them has it; of several references the length nearest to the answer's
//! counts. Knows texts; does not know whose they are.

use super::blanks::{is_blank, words};
use super::grams::Grams;
use super::tokens::Tokens;
use crate::train::kernels::math;

/// The longest n-grams that count.
pub const ORDER: usize = 4;

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bleu {
    pub tokens: Tokens,
    pub lowercase: bool,
    pub smoothing: Smoothing,
    /// Whether orders longer than the answer are left out, as single sentences need.
    pub effective_order: bool,
}

/// What stands for a precision of zero, which would make all of BLEU zero (Chen and Cherry, 2014).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smoothing {
    None,
    /// So many matches in place of none.
    Floor(f64),
    /// So many added to matches and n-grams of every order above the first.
    AddK(f64),
    /// Half a match, then a quarter, and so on for each order without one.
    Exponential,
}

/// What one answer adds to the score of a corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub length: usize,
    pub reference_length: usize,
    pub matches: [usize; ORDER],
    pub totals: [usize; ORDER],
}

/// A score with what it is made of, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    pub score: f64,
    pub precisions: [f64; ORDER],
    pub brevity: f64,
}

impl Counts {
    /// Both together.
    pub fn and(mut self, other: &Counts) -> Counts {
        self.length += other.length;
        self.reference_length += other.reference_length;
        for n in 0..ORDER {
            self.matches[n] += other.matches[n];
            self.totals[n] += other.totals[n];
        }
        self
    }

    fn brevity(&self) -> f64 {
        match (self.length, self.reference_length) {
            (system, reference) if system >= reference => 1.0,
            (0, _) => 0.0,
            (system, reference) => math::exp_f64(1.0 - reference as f64 / system as f64),
        }
    }
}

impl Bleu {
    /// An answer against its references, of which there is at least one.
    pub fn counts(&self, answer: &str, references: &[&str]) -> Counts {
        let answer = self.tokenised(answer);
        let answer = words(&answer).collect::<Vec<_>>();
        let references = references.iter().map(|text| self.tokenised(text)).collect::<Vec<_>>();
        let references = references.iter().map(|text| words(text).collect::<Vec<_>>());
        let references = references.collect::<Vec<_>>();
        let lengths = references.iter().map(Vec::len);
        let nearest = lengths.min_by_key(|length| (length.abs_diff(answer.len()), *length));
        let mut counts = Counts {
            length: answer.len(),
            reference_length: nearest.expect("an answer has a reference"),
            ..Counts::default()
        };
        for n in 1..=ORDER {
            let ours = Grams::of(&answer, n);
            let theirs = references.iter().map(|words| Grams::of(words, n)).reduce(Grams::or);
            counts.totals[n - 1] = ours.count();
            counts.matches[n - 1] = theirs.map_or(0, |theirs| ours.shared(&theirs));
        }
        counts
    }

    fn tokenised(&self, text: &str) -> String {
        let text = if self.lowercase { text.to_lowercase() } else { text.to_string() };
        self.tokens.cut(text.trim_end_matches(is_blank))
    }

    /// The score of summed counts.
    pub fn score(&self, counts: &Counts) -> Score {
        let brevity = counts.brevity();
        let mut precisions = [0.0; ORDER];
        if counts.matches == [0; ORDER] {
            return Score { score: 0.0, precisions, brevity };
        }
        let (mut orders, mut halved) = (ORDER, 1.0);
        for (n, precision) in precisions.iter_mut().enumerate() {
            let added = match self.smoothing {
                Smoothing::AddK(k) if n > 0 => k,
                _ => 0.0,
            };
            let (matches, total) =
                (counts.matches[n] as f64 + added, counts.totals[n] as f64 + added);
            if total == 0.0 {
                break;
            }
            if self.effective_order {
                orders = n + 1;
            }
            *precision = match self.smoothing {
                _ if matches > 0.0 => 100.0 * matches / total,
                Smoothing::Exponential => {
                    halved *= 2.0;
                    100.0 / (halved * total)
                }
                Smoothing::Floor(floor) => 100.0 * floor / total,
                Smoothing::None | Smoothing::AddK(_) => 0.0,
            };
        }
        Score { score: brevity * geometric_mean(&precisions[..orders]), precisions, brevity }
    }

    /// The score of one answer.
    pub fn of_one(&self, answer: &str, references: &[&str]) -> f64 {
        self.score(&self.counts(answer, references)).score
    }
}

/// exp of the mean logarithm; zero where one is zero.
fn geometric_mean(values: &[f64]) -> f64 {
    if values.contains(&0.0) {
        return 0.0;
    }
    let logarithms = values.iter().map(|value| math::ln_f64(*value)).sum::<f64>();
    math::exp_f64(logarithms / values.len() as f64)
}
