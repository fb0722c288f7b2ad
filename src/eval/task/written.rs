//! Questions answered in the model's own words: the text up to the first of some stops is read by
//! one mark or several, each a figure of its own. Knows rows and answers; does not know which model
//! answers.

use minijinja::value::ValueKind;

use super::likened;
use super::posing::{Posing, Question};
use crate::eval::examinee::{Examinee, Manner, tempered};
use crate::eval::finding::{self, Answered, Figure, Finding, Record, Sample, Worth};
use crate::eval::metric::answer;
use crate::eval::metric::extract::{Extract, NOTHING};
use crate::eval::metric::measure::Measure;
use crate::eval::metric::statistics::{mean, means_of};
use crate::eval::prompt::{Pen, Sheet};
use crate::train::progress::{Failure, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Written {
    /// Texts that end an answer, and are no part of it.
    pub stop: Vec<String>,
    pub max_answer: usize,
    /// 0 takes the most probable token each time.
    pub temperature: f64,
    /// Answers a question.
    pub samples: usize,
    /// An expression: all that would be right. Without it, the task's answer.
    pub accept: Option<String>,
    /// An expression: all that would be wrong, for marks that measure likeness.
    pub wrong: Option<String>,
    pub marks: Vec<Mark>,
}

/// How an answer is read and compared.
#[derive(Clone, Debug)]
pub enum Mark {
    ExactMatch,
    LastNumber,
    Extract(Extract),
    /// How like it is to what is right.
    Like(Measure),
}

/// What is known of the answers to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub right: Vec<String>,
    pub wrong: Option<Vec<String>>,
}

/// One figure of all answers.
pub struct Marked {
    pub figure: Figure,
    /// What each question adds to it.
    pub rows: Vec<f64>,
    /// What was read in each answer, and whether that is right, where it can be.
    pub read: Vec<(String, Option<bool>)>,
}

/// An answer up to its stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    /// Whether the ending token or a stop came.
    pub ended: bool,
}

impl Mark {
    /// The name of its figure.
    pub fn figure(&self) -> String {
        match self {
            Mark::ExactMatch => "exact_match".into(),
            Mark::LastNumber => "last_number".into(),
            Mark::Extract(Extract { name: None, .. }) => "exact_match".into(),
            Mark::Extract(Extract { name: Some(name), .. }) => format!("exact_match,{name}"),
            Mark::Like(measure) => measure.name(),
        }
    }

    /// What it reads in an answer, and whether that is right.
    fn read(&self, text: &str, accepted: &[String]) -> Result<(String, bool), Failure> {
        Ok(match self {
            Mark::ExactMatch => {
                let right = accepted.iter().any(|right| answer::exact_match(text, right));
                (answer::normalised(text), right)
            }
            Mark::LastNumber => {
                let number = answer::last_number(text);
                let is_right =
                    |right: &String| number.is_some() && answer::last_number(right) == number;
                let right = accepted.iter().any(is_right);
                (number.unwrap_or_else(|| NOTHING.into()), right)
            }
            Mark::Extract(extract) => {
                let said = extract.said(text)?;
                let right = extract.is_right(&said, accepted)?;
                (said, right)
            }
            Mark::Like(_) => unreachable!("likeness is measured over all answers"),
        })
    }
}

impl Written {
    /// All that would be right for a row.
    pub fn accepted(
        &self,
        posing: &Posing,
        pen: &Pen,
        sheet: &Sheet,
    ) -> Result<Vec<String>, String> {
        match &self.accept {
            None => Ok(vec![self.answer(posing, pen, sheet)?]),
            Some(accept) => texts("accept", accept, pen, sheet),
        }
    }

    /// All that is known of the answers to a row.
    pub fn known(&self, posing: &Posing, pen: &Pen, sheet: &Sheet) -> Result<Known, String> {
        let wrong = self.wrong.as_ref().map(|wrong| texts("wrong", wrong, pen, sheet));
        Ok(Known { right: self.accepted(posing, pen, sheet)?, wrong: wrong.transpose()? })
    }

    /// What follows the prompt of an example.
    pub fn answer(&self, posing: &Posing, pen: &Pen, sheet: &Sheet) -> Result<String, String> {
        let answer = posing.answer.as_ref().ok_or("no `answer` tells what would be right")?;
        pen.write(answer, sheet).map_err(|what| format!("`answer`: {what}"))
    }

    /// Asks every question.
    pub fn examine(
        &self,
        posing: &Posing,
        (questions, known): (&[Question], &[Known]),
        examinee: &Examinee,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let Written { samples, max_answer, temperature, .. } = *self;
        let manner = Manner { samples, max_answer, sampling: tempered(temperature), seed };
        let prompts = questions.iter().map(|one| (one.row, one.prompt.as_str()));
        let (prompts, cut) =
            examinee.prompts(&prompts.collect::<Vec<_>>(), posing.chat, max_answer)?;
        let made = examinee.generate_until(&prompts, manner, &self.stop, progress)?;
        let said = made.iter().map(|made| {
            let text = examinee.wording.tokenizer.decode(&made.tokens);
            let (text, stopped) = up_to(&text, &self.stop);
            Said { text: text.to_string(), ended: made.ended || stopped }
        });
        let mut finding = self.finding(questions, known, &said.collect::<Vec<_>>())?;
        finding.remarks.extend(examinee.remark(cut, questions.len()));
        for (record, one) in finding.records.iter_mut().zip(questions) {
            record.prompt = examinee.shown(one.row, &one.prompt, posing.chat)?;
        }
        Ok(finding)
    }

    /// What a whole set of answers comes to, `samples` of them to each question. An interval counts
    /// questions: more answers to the same ones are no more questions.
    pub fn finding(
        &self,
        questions: &[Question],
        known: &[Known],
        said: &[Said],
    ) -> Result<Finding, Failure> {
        let (count, samples) = (questions.len(), self.samples);
        let mut all = Vec::new();
        for mark in &self.marks {
            all.extend(self.marked(mark, known, said)?);
        }
        let mut scores = all.iter().map(|marked| marked.figure.clone()).collect::<Vec<_>>();
        let ended = said.iter().map(|said| f64::from(u8::from(said.ended))).collect::<Vec<_>>();
        scores.push(Figure::share("ended", mean(&ended), count));
        scores.push(Figure::count("questions", count));
        let record = |at: usize| {
            let answers = at * samples..(at + 1) * samples;
            let answered = |at: usize| Answered {
                text: said[at].text.clone(),
                read: all[0].read[at].0.clone(),
            };
            Record {
                row: questions[at].columns.clone(),
                prompt: questions[at].prompt.clone(),
                gold: known[at].right.join(" | "),
                said: finding::Said::Answers(answers.map(answered).collect()),
                scores: all.iter().map(|one| (one.figure.name.clone(), one.rows[at])).collect(),
            }
        };
        let records = (0..count).map(record).collect();
        let Marked { rows, read, .. } = all.into_iter().next().expect("a mark is given");
        let show = |at: usize| {
            Some(Sample {
                question: questions[at].own.clone(),
                answer: said[at * samples].text.clone(),
                worth: Worth::Right(read[at * samples].1?),
            })
        };
        let samples = finding::shown(count).filter_map(show).collect();
        Ok(Finding { scores, rows, samples, records, ..Finding::default() })
    }
}

impl Written {
    fn marked(&self, mark: &Mark, known: &[Known], said: &[Said]) -> Result<Vec<Marked>, Failure> {
        if let Mark::Like(measure) = mark {
            let answers = said.iter().map(|said| said.text.as_str()).collect::<Vec<_>>();
            return likened::marked(measure, known, &answers, self.samples);
        }
        let each = said.iter().enumerate();
        let read = each.map(|(at, said)| mark.read(&said.text, &known[at / self.samples].right));
        let read = read.collect::<Result<Vec<_>, _>>()?;
        let right = read.iter().map(|(_, right)| f64::from(u8::from(*right)));
        let rows = means_of(&right.collect::<Vec<_>>(), self.samples);
        let figure = Figure::share(mark.figure(), mean(&rows), known.len());
        let read = read.into_iter().map(|(text, right)| (text, Some(right))).collect();
        Ok(vec![Marked { figure, rows, read }])
    }
}

/// What an expression gives: a text, or a list of them that is not empty.
fn texts(name: &str, expression: &str, pen: &Pen, sheet: &Sheet) -> Result<Vec<String>, String> {
    let found = pen.find(expression, sheet).map_err(|what| format!("`{name}`: {what}"))?;
    let texts = match found.kind() {
        ValueKind::String | ValueKind::Number => vec![found.to_string()],
        _ => {
            let items = found.try_iter().map_err(|_| format!("`{name}`: `{found}` is no list"))?;
            items.map(|item| item.to_string()).collect()
        }
    };
    if texts.is_empty() { Err(format!("`{name}` gives nothing")) } else { Ok(texts) }
}

/// A text before the first of some stops, and whether there was one.
pub fn up_to<'t>(text: &'t str, stops: &[String]) -> (&'t str, bool) {
    let first = stops.iter().filter_map(|stop| text.find(stop.as_str())).min();
    (&text[..first.unwrap_or(text.len())], first.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::posing::tests::{bare, posing};
    use super::*;
    use crate::eval::metric::extract;

    fn written(marks: Vec<Mark>) -> Written {
        Written {
            stop: vec!["\n".into()],
            max_answer: 8,
            temperature: 0.0,
            samples: 2,
            accept: None,
            wrong: None,
            marks,
        }
    }

    fn sheet(row: &str) -> Sheet {
        Sheet::of(&serde_json::from_str(row).unwrap())
    }

    #[test]
    fn an_answer_ends_at_the_first_stop() {
        let stops = ["Q:", "\n\n"].map(str::to_string);
        assert_eq!(up_to("a b\n\nQ: c", &stops), ("a b", true));
        assert_eq!(up_to("Q:", &stops), ("", true));
        assert_eq!(up_to("a\nb", &stops), ("a\nb", false));
    }

    #[test]
    fn what_is_right_is_a_text_or_a_list() {
        let pen = Pen::default();
        let row = sheet(r#"{"a":"x","all":["y","z"],"n":3}"#);
        let with = |accept: Option<&str>| Written {
            accept: accept.map(str::to_string),
            ..written(vec![Mark::ExactMatch])
        };
        let accepted = |accept| with(accept).accepted(&posing(), &pen, &row);
        assert_eq!(accepted(None).unwrap(), ["x"]);
        assert_eq!(accepted(Some("all")).unwrap(), ["y", "z"]);
        assert_eq!(accepted(Some("n")).unwrap(), ["3"]);
        assert_eq!(accepted(Some("[]")).unwrap_err(), "`accept` gives nothing");
    }

    #[test]
    fn each_mark_is_a_figure() {
        let number = extract::Written {
            name: Some("first".into()),
            pattern: Some("[0-9]+".into()),
            last: false,
            ignore: Vec::new(),
            ignore_case: false,
            ignore_punctuation: false,
        };
        let marks = vec![Mark::Extract(Extract::new(number).unwrap()), Mark::LastNumber];
        let question = bare(4);
        let said = |text: &str, ended| Said { text: text.into(), ended };
        let answers = [said("3 + 4 = 7", true), said("7", false)];
        let known = Known { right: vec!["7".to_string()], wrong: None };
        let finding = written(marks).finding(&[question], &[known], &answers).unwrap();
        let figures = finding.scores.iter().map(|figure| (&*figure.name, figure.value.unwrap()));
        let expected =
            [("exact_match,first", 0.5), ("last_number", 1.0), ("ended", 0.5), ("questions", 1.0)];
        assert_eq!(figures.collect::<Vec<_>>(), expected);
        assert_eq!(finding.rows, [0.5]);
        let finding::Said::Answers(answers) = &finding.records[0].said else { panic!() };
        assert_eq!([&answers[0].read, &answers[1].read], ["3", "7"]);
    }
}
