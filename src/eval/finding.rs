//! What one model shows on one task: figures, figures by group, and a few answers to read. Knows
//! numbers and their names; does not know how they came about or how they are written down.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::exact;
use super::metric::perplexity::Cost;
use super::metric::resample;
use super::metric::statistics::{self, Change};
use crate::train::data::rows::Benchmark;

/// A named figure. One that does not exist, such as a mean over no rows, has no value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    #[serde(with = "exact")]
    pub value: Option<f64>,
    /// The 95 % interval of a share.
    #[serde(with = "exact")]
    pub interval: Option<(f64, f64)>,
    /// Whether it is a difference, which is written with its sign.
    pub signed: bool,
    /// Whether it only says of how many things others are.
    pub counts: bool,
    /// Whether more of it is better, where one can say.
    pub higher_is_better: Option<bool>,
}

/// The figure that says which share of a task's rows training data does not have.
pub const CLEAN_ROWS: &str = "clean_rows";

/// Figures in the order in which they should be read; the first is the headline.
pub type Scores = Vec<Figure>;

/// One model on one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub scores: Scores,
    /// What each row adds to the headline, for paired differences between models; empty where the
    /// headline is no mean over rows.
    #[serde(with = "exact")]
    pub rows: Vec<f64>,
    pub breakdowns: Vec<Breakdown>,
    pub samples: Vec<Sample>,
    /// Every row as it was asked and answered; empty where that is not told.
    pub records: Vec<Record>,
    /// What a reader must know before believing the figures.
    pub remarks: Vec<String>,
    /// Rows that were asked.
    pub asked: RowsAsked,
    /// What the model is, whatever it is called.
    pub card: Card,
}

/// How many rows of a task were asked, of how many that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsAsked {
    pub rows: usize,
    pub of: usize,
}

/// What tells a reader which model it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Those of an adapter left out.
    pub parameters: u64,
    /// What learning it takes; of what is not one model nothing is told.
    pub learning: Option<Learning>,
    /// How the matrices are stored: `float32`.
    pub dtype: String,
    /// Whether it was asked under an adapter.
    pub adapter: bool,
    /// blake3 of the vocabulary and its rules.
    pub tokenizer: String,
    pub bos: (String, u32),
    pub eos: (String, u32),
    pub chat_template: Option<String>,
    /// The most tokens of a text.
    pub context: usize,
}

/// What it takes to learn a model: all of it, or the adapter it was asked under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learning {
    /// Numbers that are learnt, and their bytes in f32.
    pub numbers: u64,
    pub bytes: u64,
    /// Bytes at the peak of a step on one row that fills the context, as the ledger says, with
    /// moments of 32 bits and all activations kept.
    pub peak: u64,
}

/// The headline group by group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// What tells the groups apart: `rating`.
    pub by: String,
    pub groups: Vec<Group>,
}

/// The rows of one group, and the share among them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub rows: usize,
    pub share: Figure,
    /// Of the share as a mean over the rows.
    #[serde(with = "exact")]
    pub standard_error: Option<f64>,
    /// The group of the breakdown before this one that holds all of its rows, where one does.
    pub within: Option<String>,
}

/// An answer shown for people to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub question: String,
    pub answer: String,
    pub worth: Worth,
}

/// What a shown answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Worth {
    Right(bool),
    /// Whether it keeps to what was asked for earlier.
    Kept(bool),
    /// σ(score) of the judge.
    Reward(#[serde(with = "exact")] f64),
}

/// One row as it was asked and answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The columns of the row.
    pub row: Benchmark,
    /// What the model was given, special tokens of a template written out.
    pub prompt: String,
    /// What would be right, as the row says it.
    pub gold: String,
    pub said: Said,
    /// What the row adds to each figure that is a mean over rows; the names of figures.
    #[serde(with = "exact")]
    pub scores: Vec<(String, f64)>,
}

/// What a model had to say to a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// Its answers, and what was read off each: a number, a letter, or all of it.
    Answers(Vec<Answered>),
    /// How likely it holds each text that could follow.
    Choices(Vec<Choice>),
    /// What it gives to each answer.
    Scores(#[serde(with = "exact")] Vec<(String, f64)>),
    /// How surprised it is by the prompt.
    Text(Cost),
}

/// An answer, and what of it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    pub text: String,
    pub read: String,
}

impl Answered {
    /// An answer of which all counts.
    pub fn whole(text: &str) -> Answered {
        Answered { text: text.into(), read: text.into() }
    }
}

impl Record {
    /// Of the row, of the prompt and of what would be right, as lm-evaluation-harness hashes them.
    pub fn hashes(&self) -> [String; 3] {
        let row = serde_json::to_string_pretty(&self.row).expect("string keys");
        [&row, &self.prompt, &self.gold].map(|text| sha256(text))
    }
}

/// The hexadecimal SHA-256 of a text.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text that could follow the prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub text: String,
    #[serde(with = "exact")]
    pub log_prob: f64,
    /// Whether it is what the model itself would say.
    pub greedy: bool,
}

/// Answers that a report shows of each model and task, spread over the rows.
const SHOWN: usize = 4;

impl Group {
    /// Of what each row adds to the headline, which is a share or a plain mean.
    pub fn of(name: impl Into<String>, headline: &Figure, rows: &[f64]) -> Group {
        let (mean, count) = (statistics::mean(rows), rows.len());
        let share = match headline.interval {
            Some(_) => Figure::share(&headline.name, mean, count),
            None => Figure { value: mean, ..headline.clone() },
        };
        let standard_error = statistics::standard_error(rows);
        Group { name: name.into(), rows: count, share, standard_error, within: None }
    }
}

impl Figure {
    /// A plain figure.
    pub fn new(name: impl Into<String>, value: impl Into<Option<f64>>) -> Figure {
        Figure {
            name: name.into(),
            value: value.into(),
            interval: None,
            signed: false,
            counts: false,
            higher_is_better: None,
        }
    }

    /// The same, of which more is better.
    pub fn higher(self) -> Figure {
        Figure { higher_is_better: Some(true), ..self }
    }

    /// The same, of which less is better.
    pub fn lower(self) -> Figure {
        Figure { higher_is_better: Some(false), ..self }
    }

    /// How many there are.
    pub fn count(name: impl Into<String>, count: usize) -> Figure {
        Figure { counts: true, ..Figure::new(name, count as f64) }
    }

    /// A share of `of` independent things, with its interval. More of it is better.
    pub fn share(name: impl Into<String>, share: Option<f64>, of: usize) -> Figure {
        let interval = share.and_then(|share| statistics::wilson(share, of));
        Figure { interval, ..Figure::new(name, share).higher() }
    }
}

impl Finding {
    /// The figures that compare this model with the one before it, after the headline: the mean
    /// difference row by row, its standard error, and how often one as large comes about when each
    /// row's results are exchanged between the two by chance.
    pub fn compare(&mut self, before: Option<&Finding>, seed: u64) {
        if self.rows.is_empty() {
            return;
        }
        let change = before.and_then(|before| statistics::change(&before.rows, &self.rows));
        let mean = change.map(|change: Change| change.mean);
        let error = change.and_then(|change| change.standard_error);
        let chance =
            before.and_then(|before| resample::p_value_of_means(&before.rows, &self.rows, seed));
        let figures = [
            Figure { signed: true, ..Figure::new("change", mean) },
            Figure::new("change_se", error),
            Figure::new("change_p", chance),
        ];
        self.scores.splice(1..1, figures);
    }

    /// One hash of all rows as the model was asked them; none where rows are not told.
    pub fn hash(&self) -> Option<String> {
        let all = self.records.iter().flat_map(Record::hashes).collect::<String>();
        (!self.records.is_empty()).then(|| sha256(&all))
    }

    /// The standard error of a figure that is a mean over rows, where rows are told.
    pub fn standard_error(&self, figure: &str) -> Option<f64> {
        let is_headline = self.scores.first().is_some_and(|first| first.name == figure);
        if is_headline && !self.rows.is_empty() {
            return statistics::standard_error(&self.rows);
        }
        let of = |record: &Record| record.scores.iter().find(|(name, _)| name == figure).cloned();
        let values = self.records.iter().filter_map(of).map(|(_, value)| value);
        statistics::standard_error(&values.collect::<Vec<_>>())
    }
}

/// Which of so many rows are shown.
pub fn shown(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).step_by(rows.div_ceil(SHOWN).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rows: &[f64]) -> Finding {
        let headline = Figure::share("exact_match", statistics::mean(rows), rows.len());
        let scores = vec![headline, Figure::count("questions", rows.len())];
        Finding { scores, rows: rows.to_vec(), ..Finding::default() }
    }

    #[test]
    fn a_model_is_compared_with_the_one_before_it() {
        let (mut first, mut second) = (finding(&[0.0, 1.0, 0.0]), finding(&[1.0, 1.0, 0.0]));
        second.compare(Some(&first), 1);
        first.compare(None, 1);
        let values = |finding: &Finding| {
            finding.scores.iter().map(|figure| figure.value).collect::<Vec<_>>()
        };
        let names = second.scores.iter().map(|figure| &figure.name).collect::<Vec<_>>();
        assert_eq!(names, ["exact_match", "change", "change_se", "change_p", "questions"]);
        assert_eq!(values(&first), [Some(1.0 / 3.0), None, None, None, Some(3.0)]);
        let (change, error) = (second.scores[1].value.unwrap(), second.scores[2].value.unwrap());
        assert!((change - 1.0 / 3.0).abs() < 1e-12 && (error - 1.0 / 3.0).abs() < 1e-12);
        // One row alone differs: exchanged or not, the difference is as large.
        assert_eq!(second.scores[3].value, Some(1.0));
    }

    #[test]
    fn what_is_no_mean_over_rows_is_not_compared() {
        let mut finding = Finding { scores: vec![Figure::count("n", 1)], ..Finding::default() };
        let before = finding.clone();
        finding.compare(Some(&before), 1);
        assert_eq!(finding, before);
    }

    #[test]
    fn a_finding_is_read_back_to_the_bit() {
        let mut finding = finding(&[0.1, 1.0 / 3.0, -0.0]);
        finding.scores.push(Figure::new("perplexity", f64::INFINITY));
        finding.rows.push(f64::from_bits(0x7ff8_0000_0000_0001));
        let groups = vec![Group::of("a", &Figure::share("accuracy", Some(0.3), 7), &[0.0, 1.0])];
        finding.breakdowns = vec![Breakdown { by: "kind".into(), groups }];
        let worth = Worth::Reward(0.7);
        finding.samples = vec![Sample { question: "?".into(), answer: "\"".into(), worth }];
        let choice = Choice { text: " A".into(), log_prob: -1.0 / 7.0, greedy: true };
        finding.records = vec![Record {
            row: serde_json::from_str(r#"{"b":1.5,"a":[null]}"#).unwrap(),
            prompt: "<s>é".into(),
            gold: "A".into(),
            said: Said::Choices(vec![choice]),
            scores: vec![("acc".into(), 1.0)],
        }];
        let bytes = serde_json::to_vec(&finding).unwrap();
        let back: Finding = serde_json::from_slice(&bytes).unwrap();
        let bits = |rows: &[f64]| rows.iter().map(|row| row.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back.rows), bits(&finding.rows));
        // NaN is equal to nothing, itself included.
        assert_eq!(Finding { rows: Vec::new(), ..back }, Finding { rows: Vec::new(), ..finding });
    }

    #[test]
    fn shown_rows_are_spread() {
        assert_eq!(shown(10).collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert_eq!(shown(2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(shown(0).count(), 0);
    }
}
