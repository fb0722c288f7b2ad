//! A task that a recipe declares: rows, how they become prompts, and how answers are scored. Knows
//! which part does what; does not know which model answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::choice::{OneOf, Options, right_texts};
use super::posing::{Examples, Pool, Posing, Question};
use super::programs::Programs;
use super::written::{Known, Written};
use crate::eval::about::About;
use crate::eval::examinee::Examinee;
use crate::eval::finding::{Breakdown, Finding, Group};
use crate::eval::prompt::{Pen, Sheet};
use crate::eval::sandbox::Sandbox;
use crate::train::data::rows::{Benchmark, read_rows};
use crate::train::progress::{Failure, Launcher, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub name: String,
    pub data: PathBuf,
    pub posing: Posing,
    pub score: Score,
    /// Whoever compares two reports must know that they asked the same.
    pub version: u64,
    pub source: String,
}

/// How answers are scored.
#[derive(Clone, Debug)]
pub enum Score {
    Choice(OneOf),
    Programs(Programs),
    Written(Written),
}

/// A task with its prompts written.
#[derive(Debug)]
pub struct Exam {
    pub questions: Vec<Question>,
    gold: Gold,
}

/// What would be right, question by question.
#[derive(Debug)]
enum Gold {
    Choice(Vec<Options>),
    /// The row's own tests, where they are run.
    Tests(Box<Sandbox>),
    Written(Vec<Known>),
}

impl Asked {
    /// Writes the prompts of numbered rows, with errors that name row and column.
    /// Programs are run by `untrusted`, which is tried first.
    pub fn exam(
        &self,
        rows: &[(usize, Benchmark)],
        seed: u64,
        untrusted: Option<&Launcher>,
    ) -> Result<Exam, Failure> {
        let Asked { posing, score, .. } = self;
        let answer = |pen: &Pen, sheet: &Sheet| match score {
            Score::Choice(one_of) => one_of.answer(posing, pen, sheet),
            Score::Programs(programs) => programs.answer(posing, pen, sheet),
            Score::Written(written) => written.answer(posing, pen, sheet),
        };
        let questions = posing.questions(rows, &self.pool()?, &answer, seed)?;
        let pen = Pen::default();
        let gold = match score {
            Score::Choice(one_of) => {
                let options = |one: &Question| one_of.options(posing, &pen, &one.sheet);
                Gold::Choice(each(&questions, options)?)
            }
            Score::Programs(programs) => Gold::Tests(Box::new(programs.sandbox(untrusted)?)),
            Score::Written(written) => {
                let known = |one: &Question| written.known(posing, &pen, &one.sheet);
                Gold::Written(each(&questions, known)?)
            }
        };
        Ok(Exam { questions, gold })
    }

    /// What every row says by itself, without examples: its prompt, and what would be right.
    pub fn said(&self) -> Result<Vec<(String, Vec<String>)>, Failure> {
        let posing = Posing { shots: 0, ..self.posing.clone() };
        let none = |_: &Pen, _: &Sheet| Err("nothing is an example here".into());
        let (rows, pool) = (read_rows(&self.data)?, Pool { rows: Vec::new(), is_own: false });
        let rows = (1..).zip(rows).collect::<Vec<_>>();
        let questions = posing.questions(&rows, &pool, &none, 0)?;
        let pen = Pen::default();
        let right = each(&questions, |one: &Question| self.right(&posing, &pen, &one.sheet))?;
        Ok(questions.into_iter().map(|one| one.own).zip(right).collect())
    }

    fn right(&self, posing: &Posing, pen: &Pen, sheet: &Sheet) -> Result<Vec<String>, String> {
        match (&self.score, &posing.answer) {
            (Score::Choice(one_of), _) => {
                let options = one_of.options(posing, pen, sheet)?;
                Ok(right_texts(&options).into_iter().map(str::to_string).collect())
            }
            (Score::Programs(programs), Some(_)) => Ok(vec![programs.answer(posing, pen, sheet)?]),
            (Score::Programs(_), None) => Ok(Vec::new()),
            (Score::Written(written), _) => written.accepted(posing, pen, sheet),
        }
    }

    fn pool(&self) -> Result<Pool, Failure> {
        Ok(match &self.posing.examples {
            Examples::Rows(path) if self.posing.shots > 0 => {
                Pool { rows: read_rows(path)?, is_own: *path == self.data }
            }
            _ => Pool { rows: Vec::new(), is_own: false },
        })
    }

    /// Asks every question.
    pub fn examine(
        &self,
        exam: &Exam,
        examinee: &Examinee,
        (seed, threads): (u64, usize),
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let questions = &exam.questions[..];
        let mut finding = match (&self.score, &exam.gold) {
            (Score::Choice(one_of), Gold::Choice(options)) => {
                one_of.examine(&self.posing, (questions, options), examinee, threads, progress)?
            }
            (Score::Programs(programs), Gold::Tests(sandbox)) => {
                let given = (questions, &**sandbox);
                programs.examine(&self.posing, given, examinee, (seed, threads), progress)?
            }
            (Score::Written(written), Gold::Written(known)) => {
                written.examine(&self.posing, (questions, known), examinee, seed, progress)?
            }
            _ => unreachable!("an exam is scored as it was written"),
        };
        finding.breakdowns = self.breakdowns(questions, &finding);
        Ok(finding)
    }

    /// The headline group by group.
    fn breakdowns(&self, questions: &[Question], finding: &Finding) -> Vec<Breakdown> {
        let by = |(at, by): (usize, &String)| {
            let mut rows = BTreeMap::<&str, Vec<f64>>::new();
            let mut within = BTreeMap::<&str, BTreeSet<&str>>::new();
            for (one, worth) in questions.iter().zip(&finding.rows) {
                let name = one.groups[at].as_str();
                rows.entry(name).or_default().push(*worth);
                let before = at.checked_sub(1).map(|before| one.groups[before].as_str());
                within.entry(name).or_default().extend(before);
            }
            let group = |(name, rows): (&str, Vec<f64>)| {
                let mut around = within[name].iter();
                let within =
                    around.next().filter(|_| around.len() == 0).map(|name| name.to_string());
                Group { within, ..Group::of(name, &finding.scores[0], &rows) }
            };
            Breakdown { by: by.clone(), groups: rows.into_iter().map(group).collect() }
        };
        self.posing.groups.iter().enumerate().map(by).collect()
    }

    /// How freely answers are drawn, and how many to a row.
    pub fn drawing(&self) -> Option<(f64, usize)> {
        match &self.score {
            Score::Choice(_) => None,
            Score::Programs(programs) => Some((programs.temperature, programs.samples)),
            Score::Written(written) => Some((written.temperature, written.samples)),
        }
    }

    /// What a reader of the report should know of it.
    pub fn about(&self) -> About {
        let output_type = match &self.score {
            Score::Choice(_) => "multiple_choice",
            Score::Programs(_) | Score::Written(_) => "generate_until",
        };
        let drawing = self.drawing();
        let (version, source) = (self.version, self.source.clone());
        let shots = self.posing.shots;
        About { kind: "task", output_type, version, shots, drawing, source }
    }
}

/// What `find` says of each question, with errors that name its row.
fn each<T>(
    questions: &[Question],
    find: impl Fn(&Question) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let found = questions
        .iter()
        .map(|one| find(one).map_err(|what| Failure::input(format!("row {}: {what}", one.row))));
    found.collect()
}
