//! Programs that a model writes, run against the tests of their rows: whether they pass, and
//! pass@k. Knows rows, texts and verdicts; does not know which model wrote a program, or what
//! confines it.

use std::collections::BTreeMap;

use super::posing::{Posing, Question};
use super::written::{Said, up_to};
use crate::eval::examinee::{Examinee, Manner};
use crate::eval::finding::{self, Answered, Figure, Finding, Record, Sample, Worth};
use crate::eval::metric::pass::pass_at;
use crate::eval::metric::statistics::mean;
use crate::eval::prompt::{Pen, Sheet};
use crate::eval::sandbox::{Limits, Ran, Sandbox, Verdict};
use crate::train::data::rows::Benchmark;
use crate::train::kernels::sample::Sampling;
use crate::train::progress::{Failure, Launcher, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Programs {
    /// A template of the whole program, over the columns of the row and [`ANSWER`].
    pub program: String,
    /// Texts that end an answer, and are no part of it.
    pub stop: Vec<String>,
    pub max_answer: usize,
    pub temperature: f64,
    pub top_p: f64,
    /// Programs a row.
    pub samples: usize,
    /// For which k there is a pass@k; the least is the headline.
    pub k: Vec<usize>,
    /// The seconds that a program may compute.
    pub timeout_seconds: u64,
    /// Whether the recipe lets them run.
    pub allowed: bool,
}

/// The name by which a template sees what the model wrote.
pub const ANSWER: &str = "answer";

impl Programs {
    /// What cannot be, before any model is asked.
    pub fn check(&self) -> Result<(), Failure> {
        if !self.allowed {
            return Err(Failure::input(NOT_IN_RECIPE).remedy(ALLOW_IN_RECIPE));
        }
        match beyond(&self.k, self.samples) {
            Some(fact) => {
                Err(Failure::input(fact).remedy("name each `k`, and set `samples` to the largest"))
            }
            None => Ok(()),
        }
    }

    /// A sandbox for them, where the user allows that they run.
    pub fn sandbox(&self, untrusted: Option<&Launcher>) -> Result<Sandbox, Failure> {
        self.check()?;
        let launcher = untrusted.ok_or_else(|| Failure::input(NOT_ALLOWED).remedy(ALLOW))?;
        Sandbox::open(launcher)
    }

    /// What follows the prompt of an example.
    pub fn answer(&self, posing: &Posing, pen: &Pen, sheet: &Sheet) -> Result<String, String> {
        let answer = posing.answer.as_ref().ok_or("no `answer` tells what would be right")?;
        pen.write(answer, sheet).map_err(|what| format!("`answer`: {what}"))
    }

    /// Asks every question, and runs what is answered.
    pub fn examine(
        &self,
        posing: &Posing,
        (questions, sandbox): (&[Question], &Sandbox),
        examinee: &Examinee,
        (seed, threads): (u64, usize),
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let Programs { samples, max_answer, temperature, top_p, .. } = *self;
        let (temperature, top_p) = (temperature as f32, top_p as f32);
        let sampling = Sampling { temperature, top_k: None, top_p };
        let manner = Manner { samples, max_answer, sampling, seed };
        let prompts = questions.iter().map(|one| (one.row, one.prompt.as_str()));
        let (prompts, cut) =
            examinee.prompts(&prompts.collect::<Vec<_>>(), posing.chat, max_answer)?;
        let made = examinee.generate_until(&prompts, manner, &self.stop, progress)?;
        let said = made.iter().enumerate().map(|(at, made)| {
            let text = continued(examinee, &prompts[at / samples], &made.tokens);
            let (text, stopped) = up_to(&text, &self.stop);
            Said { text: text.to_string(), ended: made.ended || stopped }
        });
        let said = said.collect::<Vec<_>>();
        let ran = self.run(questions, &said, sandbox, threads, progress)?;
        let mut finding = self.finding(questions, &said, &ran);
        finding.remarks.extend(examinee.remark(cut, questions.len()));
        for (record, one) in finding.records.iter_mut().zip(questions) {
            record.prompt = examinee.shown(one.row, &one.prompt, posing.chat)?;
        }
        Ok(finding)
    }

    /// Runs every program, the same one only once.
    pub fn run(
        &self,
        questions: &[Question],
        said: &[Said],
        sandbox: &Sandbox,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Ran>, Failure> {
        let pen = Pen::default();
        let program = |(at, said): (usize, &Said)| {
            self.program(&pen, &questions[at / self.samples], &said.text)
        };
        let programs = said.iter().enumerate().map(program).collect::<Result<Vec<_>, _>>()?;
        let mut places = BTreeMap::new();
        let mut once = Vec::new();
        for program in &programs {
            places.entry(program).or_insert_with(|| {
                once.push(program.clone());
                once.len() - 1
            });
        }
        let limits = Limits::of_seconds(self.timeout_seconds);
        let ran = sandbox.run_all(&once, limits, threads, progress)?;
        Ok(programs.iter().map(|program| ran[places[program]].clone()).collect())
    }

    fn program(&self, pen: &Pen, question: &Question, answer: &str) -> Result<String, Failure> {
        let mut columns: Benchmark = question.columns.clone();
        columns.insert(ANSWER.into(), answer.into());
        let program = pen.write(&self.program, &Sheet::of(&columns));
        program.map_err(|what| Failure::input(format!("row {}: `program`: {what}", question.row)))
    }

    /// What all programs come to, `samples` of them to each question.
    pub fn finding(&self, questions: &[Question], said: &[Said], ran: &[Ran]) -> Finding {
        let (count, samples) = (questions.len(), self.samples);
        let passed = ran.chunks(samples).map(|ran| of_verdict(ran, Verdict::Passed));
        let passed = passed.collect::<Vec<_>>();
        let mut k = self.k.clone();
        k.sort_unstable();
        k.dedup();
        let pass = |k: &usize| {
            let rows = passed.iter().map(|passed| pass_at(*k, samples, *passed));
            (format!("pass@{k}"), rows.collect::<Option<Vec<f64>>>().expect("k was checked"))
        };
        let by_k = k.iter().map(pass).collect::<Vec<_>>();
        let mut scores = by_k
            .iter()
            .map(|(name, rows)| Figure::share(name, mean(rows), count))
            .collect::<Vec<_>>();
        let share = |part: usize| (!said.is_empty()).then(|| part as f64 / said.len() as f64);
        let ended = said.iter().filter(|said| said.ended).count();
        scores.push(Figure::share("ended", share(ended), count));
        let late = share(of_verdict(ran, Verdict::OutOfTime));
        scores.push(Figure::share("out_of_time", late, count));
        scores.push(Figure::count("questions", count));
        let record = |at: usize| {
            let programs = at * samples..(at + 1) * samples;
            let answered = |at: usize| Answered {
                text: said[at].text.clone(),
                read: ran[at].verdict.name().into(),
            };
            Record {
                row: questions[at].columns.clone(),
                prompt: questions[at].prompt.clone(),
                gold: Verdict::Passed.name().into(),
                said: finding::Said::Answers(programs.map(answered).collect()),
                scores: by_k.iter().map(|(name, rows)| (name.clone(), rows[at])).collect(),
            }
        };
        let show = |at: usize| Sample {
            question: questions[at].own.clone(),
            answer: said[at * samples].text.clone(),
            worth: Worth::Right(ran[at * samples].verdict == Verdict::Passed),
        };
        let samples = finding::shown(count).map(show).collect();
        let records = (0..count).map(record).collect();
        let rows = by_k.into_iter().next().map(|(_, rows)| rows).unwrap_or_default();
        Finding { scores, rows, samples, records, ..Finding::default() }
    }
}

/// What the recipe says where programs may not run.
pub const NOT_IN_RECIPE: &str =
    "it runs programs that the model writes, and the recipe does not allow it";
/// What is done about it.
pub const ALLOW_IN_RECIPE: &str = "write `allow_code_execution: true` in its `programs`, if you do";
/// What is said where the user did not allow it.
pub const NOT_ALLOWED: &str = "it runs programs that the model writes, and you have not allowed it";
/// What is done about it.
pub const ALLOW: &str = "build with `--allow-code-execution`, if you do";

/// A pass@k that so many programs tell nothing of, or none at all.
pub fn beyond(k: &[usize], samples: usize) -> Option<String> {
    if k.is_empty() {
        return Some("`k` names no number, so there is no pass@k".into());
    }
    let large = k.iter().find(|k| **k > samples)?;
    Some(format!("pass@{large} is asked of {samples} programs a row"))
}

fn of_verdict(ran: &[Ran], verdict: Verdict) -> usize {
    ran.iter().filter(|ran| ran.verdict == verdict).count()
}

/// What was written after a prompt, blank for blank: a decoder drops the blank that a text begins
/// with, so the whole is decoded, and the prompt taken from it.
fn continued(examinee: &Examinee, prompt: &[u32], made: &[u32]) -> String {
    let tokenizer = &examinee.wording.tokenizer;
    let whole = tokenizer.decode(&[prompt, made].concat());
    match whole.strip_prefix(&tokenizer.decode(prompt)) {
        Some(rest) => rest.to_string(),
        None => tokenizer.decode(made),
    }
}

#[cfg(test)]
mod tests {
    use super::super::posing::tests::bare;
    use super::*;

    fn task(samples: usize, k: &[usize]) -> Programs {
        Programs {
            program: "{{answer}}".into(),
            stop: Vec::new(),
            max_answer: 8,
            temperature: 0.8,
            top_p: 0.95,
            samples,
            k: k.to_vec(),
            timeout_seconds: 1,
            allowed: true,
        }
    }

    #[test]
    fn the_headline_is_the_least_k() {
        let task = task(2, &[2, 1]);
        let verdicts = [Verdict::Passed, Verdict::Failed, Verdict::OutOfTime, Verdict::Failed];
        let ran = verdicts.map(|verdict| Ran { verdict, said: String::new() });
        let said = [true, true, true, false].map(|ended| Said { text: "pass".into(), ended });
        let finding = task.finding(&[bare(1), bare(2)], &said, &ran);
        let scores = finding.scores.iter().map(|one| (one.name.as_str(), one.value.unwrap()));
        let expected = [
            ("pass@1", 0.25),
            ("pass@2", 0.5),
            ("ended", 0.75),
            ("out_of_time", 0.25),
            ("questions", 2.0),
        ];
        assert_eq!(scores.collect::<Vec<_>>(), expected);
        assert_eq!(finding.rows, [0.5, 0.0]);
    }

    #[test]
    fn what_is_not_allowed_or_cannot_be_is_refused_before_anything_runs() {
        let refused = |task: Programs| match task.sandbox(None) {
            Err(Failure::Input { message, .. }) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(Programs { allowed: false, ..task(1, &[1]) }), NOT_IN_RECIPE);
        assert_eq!(refused(task(9, &[1, 10])), "pass@10 is asked of 9 programs a row");
        assert_eq!(refused(task(10, &[1, 10])), NOT_ALLOWED);
    }
}
