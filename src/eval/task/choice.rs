//! Questions with choices, answered by likelihood: log p of each choice as the end of its prompt,
//! all its tokens summed. `acc` takes the likeliest, `acc_norm` the likeliest a character, the
//! first of equals; where several choices are right, `acc` is the share of probability that the
//! right ones have among all (TruthfulQA's mc2). Knows rows and log-likelihoods; does not know
//! which model they are of.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::posing::{Posing, Question};
use crate::eval::examinee::Examinee;
use crate::eval::finding::{self, Choice, Figure, Finding, Record, Said, Sample, Worth};
use crate::eval::metric::statistics::mean;
use crate::eval::prompt::{Pen, Sheet};
use crate::train::kernels::math;
use crate::train::model::endings::Likelihood;
use crate::train::progress::{Failure, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct OneOf {
    pub choices: Choices,
    /// An expression: the number of the right choice, the choice itself, or the truth of each.
    pub gold: Option<String>,
    /// Whether several may be right.
    pub several: bool,
}

/// Where choices come from.
#[derive(Clone, Debug)]
pub enum Choices {
    /// Templates, one a choice.
    Written(Vec<String>),
    /// An expression that gives a list.
    Listed(String),
}

/// The choices of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub texts: Vec<String>,
    pub right: Vec<bool>,
}

impl OneOf {
    /// The choices of a row, and which of them are right.
    pub fn options(&self, posing: &Posing, pen: &Pen, sheet: &Sheet) -> Result<Options, String> {
        let texts = self.texts(pen, sheet).map_err(|what| format!("`choices`: {what}"))?;
        if texts.len() < 2 || texts.iter().any(String::is_empty) {
            return Err(format!("`choices` gives {texts:?}, not two texts or more"));
        }
        let right = match (&self.gold, &posing.answer) {
            (Some(gold), _) => {
                let gold = pen.find(gold, sheet).map_err(|what| format!("`gold`: {what}"))?;
                truths(&gold, &texts)?
            }
            (None, Some(answer)) => {
                let answer =
                    pen.write(answer, sheet).map_err(|what| format!("`answer`: {what}"))?;
                truths(&Value::from(answer.trim()), &texts)?
            }
            (None, None) => return Err("neither `gold` nor `answer` tells what is right".into()),
        };
        if !self.several && right.iter().filter(|right| **right).count() > 1 {
            return Err("several choices are right; `any_of` is for such rows".into());
        }
        Ok(Options { texts, right })
    }

    fn texts(&self, pen: &Pen, sheet: &Sheet) -> Result<Vec<String>, String> {
        match &self.choices {
            Choices::Written(all) => all.iter().map(|one| pen.write(one, sheet)).collect(),
            Choices::Listed(expression) => {
                let found = pen.find(expression, sheet)?;
                let items = found.try_iter().ok().filter(|_| found.kind() != ValueKind::String);
                let items = items.ok_or_else(|| format!("`{found}` is no list"))?;
                Ok(items.map(|item| item.to_string()).collect())
            }
        }
    }

    /// What follows the prompt of an example: its answer, else its right choice.
    pub fn answer(&self, posing: &Posing, pen: &Pen, sheet: &Sheet) -> Result<String, String> {
        if let Some(answer) = &posing.answer {
            return pen.write(answer, sheet).map_err(|what| format!("`answer`: {what}"));
        }
        let Options { texts, right } = self.options(posing, pen, sheet)?;
        let at = right.iter().position(|right| *right).expect("a choice is right");
        Ok(texts[at].clone())
    }

    /// Asks every question.
    pub fn examine(
        &self,
        posing: &Posing,
        (questions, options): (&[Question], &[Options]),
        examinee: &Examinee,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let continuations = options.iter().map(|options| {
            options.texts.iter().map(|text| format!("{}{text}", posing.between)).collect()
        });
        let continuations = continuations.collect::<Vec<Vec<String>>>();
        let prompts = questions.iter().zip(&continuations);
        let prompts = prompts.map(|(one, ends)| (one.row, &*one.prompt, &**ends));
        let prompts = prompts.collect::<Vec<_>>();
        let (endings, cut) = examinee.endings(&prompts, posing.chat, threads)?;
        let mut found = examinee.score_endings(&endings, progress)?.into_iter();
        let choices = continuations.into_iter().map(|texts| {
            let choice = |(text, found): (String, Likelihood)| Choice {
                text,
                log_prob: -found.losses.into_iter().map(f64::from).sum::<f64>(),
                greedy: found.greedy,
            };
            texts.into_iter().zip(found.by_ref()).map(choice).collect()
        });
        let choices = choices.collect::<Vec<Vec<Choice>>>();
        let mut finding = self.finding(questions, options, &choices);
        finding.remarks.extend(examinee.remark(cut, questions.len()));
        finding.records = questions
            .iter()
            .zip(options.iter().zip(choices))
            .zip(&finding.rows)
            .map(|((question, (options, choices)), worth)| {
                Ok(Record {
                    row: question.columns.clone(),
                    prompt: examinee.shown(question.row, &question.prompt, posing.chat)?,
                    gold: right_texts(options).join(" | "),
                    said: Said::Choices(choices),
                    scores: vec![("acc".into(), *worth)],
                })
            })
            .collect::<Result<_, Failure>>()?;
        Ok(finding)
    }

    /// What the log-likelihoods of all choices come to.
    pub fn finding(
        &self,
        questions: &[Question],
        options: &[Options],
        choices: &[Vec<Choice>],
    ) -> Finding {
        let likelihoods = choices.iter().map(|all| all.iter().map(|one| one.log_prob).collect());
        let likelihoods = likelihoods.collect::<Vec<Vec<f64>>>();
        let both = || options.iter().zip(&likelihoods);
        let taken = both().map(|(_, of)| first_greatest(of));
        let taken = taken.collect::<Vec<_>>();
        let is_right = |options: &Options, at: usize| f64::from(u8::from(options.right[at]));
        let rows = match self.several {
            true => both().map(|(options, of)| right_share(of, &options.right)).collect(),
            false => {
                options.iter().zip(&taken).map(|(options, at)| is_right(options, *at)).collect()
            }
        };
        let rows: Vec<f64> = rows;
        let count = questions.len();
        let mut scores = vec![match self.several {
            true => Figure::new("acc", mean(&rows)),
            false => Figure::share("acc", mean(&rows), count),
        }];
        if !self.several {
            let a_character = |(options, of): (&Options, &Vec<f64>)| {
                let lengths = options.texts.iter().map(|text| text.chars().count() as f64);
                let each = of.iter().zip(lengths).map(|(of, length)| of / length);
                is_right(options, first_greatest(&each.collect::<Vec<_>>()))
            };
            let normed = both().map(a_character).collect::<Vec<_>>();
            scores.push(Figure::share("acc_norm", mean(&normed), count));
        }
        scores.push(Figure::count("questions", count));
        let show = |at: usize| Sample {
            question: questions[at].own.clone(),
            answer: options[at].texts[taken[at]].clone(),
            worth: Worth::Right(options[at].right[taken[at]]),
        };
        let samples = finding::shown(count).map(show).collect();
        Finding { scores, rows, samples, ..Finding::default() }
    }
}

/// The texts of what is right.
pub fn right_texts(options: &Options) -> Vec<&str> {
    let both = options.texts.iter().zip(&options.right);
    both.filter(|(_, right)| **right).map(|(text, _)| text.as_str()).collect()
}

/// Which choices are right, from what the recipe says of it.
fn truths(gold: &Value, texts: &[String]) -> Result<Vec<bool>, String> {
    let one = |right: usize| (0..texts.len()).map(|at| at == right).collect::<Vec<_>>();
    let found = match gold.kind() {
        ValueKind::Number => usize::try_from(gold.clone()).ok().filter(|at| *at < texts.len()),
        ValueKind::String => texts.iter().position(|text| Some(text.as_str()) == gold.as_str()),
        _ => {
            let items = gold.try_iter().map(|items| items.collect::<Vec<_>>()).unwrap_or_default();
            let truths = items.iter().map(Value::is_true).collect::<Vec<_>>();
            let fits = truths.len() == texts.len() && truths.contains(&true);
            return fits.then_some(truths).ok_or_else(|| {
                format!(
                    "`{gold}` does not say of each of {} choices whether it is right",
                    texts.len()
                )
            });
        }
    };
    found.map(one).ok_or_else(|| format!("`{gold}` is none of the choices {texts:?}"))
}

/// Where the greatest stands, the first of equals.
fn first_greatest(values: &[f64]) -> usize {
    let better = |best: usize, at: usize| if values[at] > values[best] { at } else { best };
    (1..values.len()).fold(0, better)
}

/// The share of probability of the right choices.
fn right_share(log_likelihoods: &[f64], right: &[bool]) -> f64 {
    let most = log_likelihoods[first_greatest(log_likelihoods)];
    let weights = log_likelihoods.iter().map(|one| math::exp_f64(one - most));
    let weights = weights.collect::<Vec<_>>();
    let of_right = weights.iter().zip(right).filter(|(_, right)| **right);
    of_right.map(|(weight, _)| weight).sum::<f64>() / weights.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::posing::tests::{bare, posing};
    use super::*;

    fn options(choices: Choices, gold: Option<&str>, row: &str) -> Result<Options, String> {
        let one_of = OneOf { choices, gold: gold.map(str::to_string), several: false };
        let sheet = Sheet::of(&serde_json::from_str(row).unwrap());
        one_of.options(&posing(), &Pen::default(), &sheet)
    }

    fn letters() -> Choices {
        Choices::Written(["A", "B"].map(str::to_string).to_vec())
    }

    #[test]
    fn what_is_right_is_a_number_a_choice_or_a_truth_of_each() {
        let listed = |of: &str| Choices::Listed(of.into());
        let right = |found: Result<Options, String>| found.unwrap().right;
        assert_eq!(right(options(letters(), Some("g"), r#"{"g":1}"#)), [false, true]);
        assert_eq!(right(options(letters(), Some("g"), r#"{"g":"B"}"#)), [false, true]);
        assert_eq!(right(options(letters(), None, r#"{"a":"A"}"#)), [true, false]);
        let found = options(listed("m | list"), Some("m.values()"), r#"{"m":{"x":0,"y":1}}"#);
        let texts = ["x", "y"].map(str::to_string).to_vec();
        assert_eq!(found, Ok(Options { texts, right: vec![false, true] }));
        for (choices, gold, row, message) in [
            (letters(), "g", r#"{"g":"C"}"#, "`C` is none of the choices [\"A\", \"B\"]"),
            (letters(), "g", r#"{"g":2}"#, "`2` is none of the choices [\"A\", \"B\"]"),
            (
                letters(),
                "g",
                r#"{"g":[0,0]}"#,
                "`[0, 0]` does not say of each of 2 choices whether it is right",
            ),
            (listed("m"), "g", r#"{"m":"ab"}"#, "`choices`: `ab` is no list"),
        ] {
            assert_eq!(options(choices, Some(gold), row).unwrap_err(), message);
        }
    }

    #[test]
    fn the_likeliest_counts_and_the_likeliest_a_character() {
        let one_of = OneOf { choices: letters(), gold: None, several: false };
        let texts = ["a", "four"].map(str::to_string).to_vec();
        let options = vec![Options { texts, right: vec![false, true] }];
        let question = bare(1);
        let choice = |log_prob| Choice { text: String::new(), log_prob, greedy: false };
        let choices = [[-2.0, -4.0].map(choice).to_vec()];
        let finding = one_of.finding(std::slice::from_ref(&question), &options, &choices);
        let values = finding.scores.iter().map(|figure| figure.value.unwrap());
        assert_eq!(values.collect::<Vec<_>>(), [0.0, 1.0, 1.0]);
        let any_of = OneOf { several: true, ..one_of };
        let finding = any_of.finding(&[question], &options, &choices);
        // Of numpy: e^-4 / (e^-2 + e^-4).
        assert!((finding.rows[0] - 0.11920292202211757).abs() < 1e-12, "{:?}", finding.rows);
    }

    #[test]
    fn the_first_of_equals_is_taken() {
        assert_eq!(first_greatest(&[-1.0, -1.0, -2.0]), 0);
    }
}
