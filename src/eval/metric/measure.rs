//! How like an answer is to texts that are known, by one of several measures, in percent: each
//! answer by itself, or all of them together where the measure sums before it divides. Knows texts;
//! does not know tasks.

use super::bleu::{self, Bleu};
use super::chrf::{self, Chrf};
use super::resample;
use super::rouge::Summary;

/// One measure with its settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    Bleu(Bleu),
    Chrf(Chrf),
    Rouge(Rouge),
}

/// What of a text ROUGE counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rouge {
    pub of: Units,
    pub stemmed: bool,
    /// What parts sentences, besides the ends of lines.
    pub sentences: Option<String>,
    /// What its figure is called, where that is not what it is.
    pub name: Option<String>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Runs of so many words.
    Words(usize),
    /// The longest common subsequence of all words.
    Text,
    /// That of each sentence with all of the other text.
    Sentences,
}

/// Answers, each with its references, of which there is at least one.
pub type Pairs<'t> = [(&'t str, &'t [String])];

impl Measure {
    /// The name of its figure.
    pub fn name(&self) -> String {
        match self {
            Measure::Bleu(_) => "bleu".into(),
            Measure::Chrf(Chrf { words: false, .. }) => "chrf".into(),
            Measure::Chrf(_) => "chrf++".into(),
            Measure::Rouge(Rouge { name: Some(name), .. }) => name.clone(),
            Measure::Rouge(Rouge { of: Units::Words(n), .. }) => format!("rouge{n}"),
            Measure::Rouge(Rouge { of: Units::Text, .. }) => "rougeL".into(),
            Measure::Rouge(Rouge { of: Units::Sentences, .. }) => "rougeLsum".into(),
        }
    }

    /// An answer by itself against all of its references.
    pub fn of_one(&self, answer: &str, references: &[String]) -> f64 {
        let texts = references.iter().map(String::as_str).collect::<Vec<_>>();
        match self {
            Measure::Bleu(bleu) => bleu.of_one(answer, &texts),
            Measure::Chrf(chrf) => chrf.of_one(answer, &texts),
            Measure::Rouge(rouge) => {
                let answer = rouge.summary(answer);
                let each = texts.iter().map(|text| rouge.f1(&answer, &rouge.summary(text)));
                each.fold(0.0, f64::max)
            }
        }
    }

    /// Answers together: the counts of BLEU and chrF are summed before they are divided, ROUGE is a
    /// mean. With the 95 % interval of answers drawn again.
    pub fn of_all(&self, pairs: &Pairs<'_>, seed: u64) -> Option<(f64, Option<(f64, f64)>)> {
        match self {
            Measure::Bleu(bleu) => {
                let counts = counted(pairs, |answer, texts| bleu.counts(answer, texts));
                let sum = |rows: &mut dyn Iterator<Item = usize>| {
                    let none = bleu::Counts::default();
                    bleu.score(&rows.fold(none, |sum, row| sum.and(&counts[row]))).score
                };
                drawn(pairs.len(), seed, sum)
            }
            Measure::Chrf(chrf) => {
                let counts = counted(pairs, |answer, texts| chrf.counts(answer, texts));
                let sum = |rows: &mut dyn Iterator<Item = usize>| {
                    let none = chrf::Counts::default();
                    rows.fold(none, |sum, row| sum.and(&counts[row])).score()
                };
                drawn(pairs.len(), seed, sum)
            }
            Measure::Rouge(_) => {
                let each = pairs.iter().map(|(answer, texts)| self.of_one(answer, texts));
                let each = each.collect::<Vec<_>>();
                let mean = |rows: &mut dyn Iterator<Item = usize>| {
                    rows.map(|row| each[row]).sum::<f64>() / each.len() as f64
                };
                drawn(pairs.len(), seed, mean)
            }
        }
    }
}

impl Rouge {
    fn summary(&self, text: &str) -> Summary {
        match &self.sentences {
            Some(mark) => Summary::new(&text.replace(mark, "\n"), self.stemmed),
            None => Summary::new(text, self.stemmed),
        }
    }

    /// In percent.
    fn f1(&self, answer: &Summary, reference: &Summary) -> f64 {
        let score = match self.of {
            Units::Words(n) => answer.grams(reference, n),
            Units::Text => answer.sequence(reference),
            Units::Sentences => answer.lines(reference),
        };
        100.0 * score.f1()
    }
}

fn counted<T>(pairs: &Pairs<'_>, count: impl Fn(&str, &[&str]) -> T) -> Vec<T> {
    let one = |(answer, texts): &(&str, &[String])| {
        count(answer, &texts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    pairs.iter().map(one).collect()
}

/// A figure of all rows, and its interval.
fn drawn(
    count: usize,
    seed: u64,
    figure: impl Fn(&mut dyn Iterator<Item = usize>) -> f64,
) -> Option<(f64, Option<(f64, f64)>)> {
    let interval = resample::interval(count, seed, |rows| Some(figure(&mut rows.iter().copied())));
    (count > 0).then(|| (figure(&mut (0..count)), interval))
}

#[cfg(test)]
mod tests {
    use super::super::bleu::Smoothing;
    use super::super::tokens::Tokens;
    use super::*;

    fn bleu() -> Measure {
        Measure::Bleu(Bleu {
            tokens: Tokens::International,
            lowercase: false,
            smoothing: Smoothing::Exponential,
            effective_order: false,
        })
    }

    fn rouge(of: Units, sentences: Option<&str>) -> Measure {
        let sentences = sentences.map(str::to_string);
        Measure::Rouge(Rouge { of, stemmed: false, sentences, name: None })
    }

    #[test]
    fn counts_are_summed_and_means_are_not() {
        let texts = ["the cat sat on the mat", "a dog", "no"].map(|text| vec![text.to_string()]);
        let answers = ["the cat sat on a mat", "a dog", "yes"];
        let pairs = answers.iter().zip(&texts).map(|(answer, texts)| (*answer, &texts[..]));
        let pairs = pairs.collect::<Vec<_>>();
        let (together, interval) = bleu().of_all(&pairs, 1).unwrap();
        let each = pairs.iter().map(|(answer, texts)| bleu().of_one(answer, texts));
        assert_ne!(together, each.sum::<f64>() / 3.0);
        let (low, high) = interval.unwrap();
        assert!(low <= together && together <= high, "{low} {together} {high}");
        let (mean, _) = rouge(Units::Words(1), None).of_all(&pairs, 1).unwrap();
        // 5 of 6 words, 2 of 2, none.
        assert!((mean - 100.0 * (5.0 / 6.0 + 1.0) / 3.0).abs() < 1e-9, "{mean}");
        assert_eq!(bleu().of_all(&[], 1), None);
    }

    #[test]
    fn the_likest_reference_counts() {
        let texts = ["b c", "a b"].map(str::to_string);
        assert_eq!(rouge(Units::Text, None).of_one("a b", &texts), 100.0);
    }

    #[test]
    fn a_mark_can_part_sentences() {
        let text = ["c d . a b".to_string()];
        assert_eq!(rouge(Units::Sentences, Some(" . ")).of_one("a b . c d", &text), 100.0);
        assert_eq!(rouge(Units::Sentences, None).of_one("a b . c d", &text), 50.0);
        let names =
            [Units::Words(2), Units::Text, Units::Sentences].map(|of| rouge(of, None).name());
        assert_eq!(names, ["rouge2", "rougeL", "rougeLsum"]);
    }
}
