//! ROUGE (Lin, 2004) as the package rouge-score computes it: runs of n words that answer and
//! reference share, or their longest common subsequence, as precision, recall and F1. Words are
//! runs of `a`–`z` and digits after lower-casing, on request without their endings. Knows texts;
//! does not know whose they are.

use super::grams::Grams;
use super::porter;

/// Shorter words keep their endings.
const SHORT: usize = 3;

/// A text cut into words, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    lines: Vec<Vec<String>>,
    words: Vec<String>,
}

/// How much of the answer is in the reference, and of the reference in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    pub precision: f64,
    pub recall: f64,
}

impl Score {
    /// `shared` words or runs out of so many.
    fn of(shared: usize, answer: usize, reference: usize) -> Score {
        let share = |of: usize| shared as f64 / of.max(1) as f64;
        Score { precision: share(answer), recall: share(reference) }
    }

    /// The harmonic mean of both.
    pub fn f1(&self) -> f64 {
        let Score { precision, recall } = self;
        match precision + recall {
            0.0 => 0.0,
            sum => 2.0 * precision * recall / sum,
        }
    }
}

impl Summary {
    /// A line is a sentence; `stemmed` takes endings off words of more than three letters.
    pub fn new(text: &str, stemmed: bool) -> Summary {
        let lines = text.split('\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| words(line, stemmed)).collect::<Vec<_>>();
        Summary { words: lines.concat(), lines }
    }

    /// ROUGE-n of this answer.
    pub fn grams(&self, reference: &Summary, n: usize) -> Score {
        let (ours, theirs) = (Grams::of(&self.words, n), Grams::of(&reference.words, n));
        Score::of(ours.shared(&theirs), ours.count(), theirs.count())
    }

    /// ROUGE-L: the longest common subsequence of all words.
    pub fn sequence(&self, reference: &Summary) -> Score {
        let longest = Subsequence::new(&reference.words, &self.words).length;
        Score::of(longest, self.words.len(), reference.words.len())
    }

    /// ROUGE-Lsum: for each line of the reference the words that any line of the answer has in
    /// common with it, in order; a word counts no more often than both texts have it.
    pub fn lines(&self, reference: &Summary) -> Score {
        let mut hits = Vec::new();
        for line in &reference.lines {
            let mut hit = vec![false; line.len()];
            for own in &self.lines {
                Subsequence::new(line, own).mark(&mut hit);
            }
            hits.extend(line.iter().zip(hit).filter(|(_, hit)| *hit).map(|(word, _)| word));
        }
        let hits = hits.into_iter().cloned().collect::<Vec<_>>();
        // Both texts hold every hit at least once; what they hold in common bounds how often.
        let shared = Grams::of(&hits, 1).shared(&Grams::of(&self.words, 1));
        Score::of(shared, self.words.len(), reference.words.len())
    }
}

fn words(text: &str, stemmed: bool) -> Vec<String> {
    let text = text.to_lowercase();
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let words = text.split(|c| !inside(c)).filter(|word| !word.is_empty());
    let stem = |word: &str| match stemmed && word.len() > SHORT {
        true => porter::stem(word),
        false => word.to_string(),
    };
    words.map(stem).collect()
}

/// The longest common subsequence of two texts, and the way back through its table: one bit a pair
/// of words.
struct Subsequence<'t> {
    reference: &'t [String],
    answer: &'t [String],
    length: usize,
    /// Of each pair of words that differ: whether the way goes on with the answer's word before.
    left: Vec<u64>,
}

impl<'t> Subsequence<'t> {
    fn new(reference: &'t [String], answer: &'t [String]) -> Subsequence<'t> {
        let (width, bits) = (answer.len(), reference.len() * answer.len());
        let mut left = vec![0; bits.div_ceil(64)];
        let (mut above, mut row) = (vec![0usize; width + 1], vec![0; width + 1]);
        for (i, word) in reference.iter().enumerate() {
            for (j, own) in answer.iter().enumerate() {
                row[j + 1] = match word == own {
                    true => above[j] + 1,
                    false => row[j].max(above[j + 1]),
                };
                let bit = i * width + j;
                left[bit / 64] |= u64::from(row[j] > above[j + 1]) << (bit % 64);
            }
            std::mem::swap(&mut above, &mut row);
        }
        Subsequence { reference, answer, length: above[width], left }
    }

    /// Marks the words of the reference that are in it.
    fn mark(&self, hit: &mut [bool]) {
        let (mut i, mut j) = (self.reference.len(), self.answer.len());
        while i > 0 && j > 0 {
            let bit = (i - 1) * self.answer.len() + j - 1;
            if self.reference[i - 1] == self.answer[j - 1] {
                hit[i - 1] = true;
                (i, j) = (i - 1, j - 1);
            } else if self.left[bit / 64] >> (bit % 64) & 1 == 1 {
                j -= 1;
            } else {
                i -= 1;
            }
        }
    }
}
