//! What one model shows on one task: figures, figures by group, and a few answers to read. Knows
//! numbers and their names; does not know how they came about or how they are written down.

use super::metric::statistics::{self, Change};

/// A named figure. One that does not exist, such as a mean over no rows, has no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub name: String,
    pub value: Option<f64>,
    /// The 95 % interval of a share.
    pub interval: Option<(f64, f64)>,
    /// Whether it is a difference, which is written with its sign.
    pub signed: bool,
}

/// Figures in the order in which they should be read; the first is the headline.
pub type Scores = Vec<Figure>;

/// One model on one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    pub scores: Scores,
    /// What each row adds to the headline, for paired differences between models; empty where the
    /// headline is no mean over rows.
    pub rows: Vec<f64>,
    pub breakdowns: Vec<Breakdown>,
    pub samples: Vec<Sample>,
    /// What a reader must know before believing the figures.
    pub remarks: Vec<String>,
}

/// The headline group by group.
#[derive(Clone, Debug, PartialEq)]
pub struct Breakdown {
    /// What tells the groups apart: `rating`.
    pub by: &'static str,
    pub groups: Vec<Group>,
}

/// The rows of one group, and the share among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub name: String,
    pub rows: usize,
    pub share: Figure,
}

/// An answer shown for people to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub question: String,
    pub answer: String,
    pub worth: Worth,
}

/// What a shown answer is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Worth {
    Right(bool),
    /// Whether it keeps to what was asked for earlier.
    Kept(bool),
    /// σ(score) of the judge.
    Reward(f64),
}

/// Answers that a report shows of each model and task, spread over the rows.
const SHOWN: usize = 4;

impl Figure {
    /// A plain figure.
    pub fn new(name: impl Into<String>, value: impl Into<Option<f64>>) -> Figure {
        Figure { name: name.into(), value: value.into(), interval: None, signed: false }
    }

    /// How many there are.
    pub fn count(name: impl Into<String>, count: usize) -> Figure {
        Figure::new(name, count as f64)
    }

    /// A share of `of` independent things, with its interval.
    pub fn share(name: impl Into<String>, share: Option<f64>, of: usize) -> Figure {
        let interval = share.and_then(|share| statistics::wilson(share, of));
        Figure { interval, ..Figure::new(name, share) }
    }
}

impl Finding {
    /// The figures that compare this model with the one before it, after the headline.
    pub fn compare(&mut self, before: Option<&Finding>) {
        if self.rows.is_empty() {
            return;
        }
        let change = before.and_then(|before| statistics::change(&before.rows, &self.rows));
        let mean = change.map(|change: Change| change.mean);
        let error = change.and_then(|change| change.standard_error);
        let figures = [
            Figure { signed: true, ..Figure::new("change", mean) },
            Figure::new("change_se", error),
        ];
        self.scores.splice(1..1, figures);
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
        second.compare(Some(&first));
        first.compare(None);
        let values = |finding: &Finding| {
            finding.scores.iter().map(|figure| figure.value).collect::<Vec<_>>()
        };
        let names = second.scores.iter().map(|figure| &figure.name).collect::<Vec<_>>();
        assert_eq!(names, ["exact_match", "change", "change_se", "questions"]);
        assert_eq!(values(&first), [Some(1.0 / 3.0), None, None, Some(3.0)]);
        let (change, error) = (second.scores[1].value.unwrap(), second.scores[2].value.unwrap());
        assert!((change - 1.0 / 3.0).abs() < 1e-12 && (error - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_mean_over_rows_is_not_compared() {
        let mut finding = Finding { scores: vec![Figure::count("n", 1)], ..Finding::default() };
        let before = finding.clone();
        finding.compare(Some(&before));
        assert_eq!(finding, before);
    }

    #[test]
    fn shown_rows_are_spread() {
        assert_eq!(shown(10).collect::<Vec<_>>(), [0, 3, 6, 9]);
        assert_eq!(shown(2).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(shown(0).count(), 0);
    }
}
