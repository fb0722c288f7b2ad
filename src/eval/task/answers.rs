//! Free answers to questions, compared with gold ones. Knows rows of a benchmark and what was
//! answered; does not know which model answers.

use std::path::PathBuf;

use crate::eval::baseline::{self, Known, Nearest};
use crate::eval::examinee::{Answer, Examinee, Manner, tempered};
use crate::eval::finding::{self, Answered, Figure, Finding, Record, Said, Sample};
use crate::eval::metric::statistics::{mean, means_of};
use crate::eval::metric::{answer, slot};
use crate::train::data::rows::{Benchmark, Chat, Message};
use crate::train::progress::{Failure, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Answers {
    pub name: String,
    pub data: PathBuf,
    /// The column that is asked.
    pub question: String,
    /// The column that would be right.
    pub answer: String,
    pub score: Score,
    /// 0 takes the most probable token each time.
    pub temperature: f64,
    /// Answers a question.
    pub samples: usize,
    pub max_answer: usize,
    /// Dialogues to draw baselines from.
    pub training: Option<PathBuf>,
}

/// When an answer is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Score {
    ExactMatch,
    LastNumber,
    /// `forms` is the column that holds the accepted forms.
    Slot {
        forms: String,
    },
    /// The same, whatever the value is.
    Form {
        forms: String,
    },
}

/// A question with all that decides on its answers.
#[derive(Clone, Debug)]
pub struct Question {
    /// The last turn of what is asked.
    pub question: String,
    /// All turns that wait for the answer.
    pub turns: Vec<Message>,
    row: Benchmark,
    pub gold: String,
    forms: Vec<String>,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    pub right: bool,
    pub well_formed: bool,
}

impl Answers {
    /// The questions of the rows, with errors that name row and column.
    pub fn questions(&self, rows: &[Benchmark]) -> Result<Vec<Question>, Failure> {
        let read = |(at, row): (usize, &Benchmark)| {
            let (turns, gold) = match dialogue(row) {
                Some(chat) if !row.contains_key(&self.question) => parted(chat, at)?,
                _ => {
                    let question = self.text(row, at, &self.question)?;
                    let gold = self.text(row, at, &self.answer)?;
                    (vec![Message::new("user", question)], gold)
                }
            };
            let question = turns.last().map_or(String::new(), |turn| turn.content.clone());
            Ok(Question { row: row.clone(), question, turns, gold, forms: self.forms(row, at)? })
        };
        rows.iter().enumerate().map(read).collect()
    }

    fn text(&self, row: &Benchmark, at: usize, column: &str) -> Result<String, Failure> {
        match row.get(column) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(serde_json::Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(fault(at, &format!("column `{column}` is no text"))),
            None => {
                let found = row.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>();
                let found = found.join(", ");
                Err(fault(at, &format!("there is no column `{column}`; it has {found}")))
            }
        }
    }

    fn forms(&self, row: &Benchmark, at: usize) -> Result<Vec<String>, Failure> {
        let (Score::Slot { forms } | Score::Form { forms }) = &self.score else {
            return Ok(Vec::new());
        };
        let texts = row.get(forms).and_then(|value| value.as_array());
        let texts = texts.into_iter().flatten().map(|value| value.as_str().map(str::to_string));
        match texts.collect::<Option<Vec<_>>>() {
            Some(texts) if texts.iter().any(|form| form.contains('*')) => Ok(texts),
            _ => Err(fault(at, &format!("column `{forms}` is no list of forms with a `*`"))),
        }
    }

    /// Asks every question.
    pub fn examine(
        &self,
        questions: &[Question],
        examinee: &Examinee,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let asked = questions.iter().map(|question| question.turns.clone()).collect::<Vec<_>>();
        let Answers { samples, max_answer, temperature, .. } = *self;
        let manner = Manner { samples, max_answer, sampling: tempered(temperature), seed };
        let answers = examinee.converse(&asked, manner, progress)?;
        let show = |at: usize| {
            let (question, answer) = (&questions[at], &answers[at * samples]);
            Sample {
                question: question.question.clone(),
                answer: answer.text.clone(),
                worth: finding::Worth::Right(self.worth(question, &answer.text).right),
            }
        };
        let shown = finding::shown(questions.len()).map(show).collect();
        let record = |(at, question): (usize, &Question)| {
            let prompt = examinee.wording.asked_text(at + 1, &question.turns)?;
            Ok(self.record(question, prompt, &answers[at * samples..][..samples]))
        };
        let records = questions.iter().enumerate().map(record).collect::<Result<_, _>>()?;
        Ok(Finding { samples: shown, records, ..self.finding(questions, &answers) })
    }

    fn record(&self, question: &Question, prompt: String, answers: &[Answer]) -> Record {
        let worth = |answer: &Answer| self.worth(question, &answer.text);
        let share = |of: &dyn Fn(&Answer) -> bool| {
            mean(&answers.iter().map(|answer| f64::from(u8::from(of(answer)))).collect::<Vec<_>>())
        };
        let scores = [
            ("exact_match", share(&|answer| worth(answer).right)),
            ("well_formed", share(&|answer| worth(answer).well_formed && answer.ended)),
            ("ended", share(&|answer| answer.ended)),
        ];
        let scores = scores.into_iter().skip(self.figures_left_out());
        let scores = scores.filter_map(|(name, value)| Some((name.into(), value?)));
        let read = |answer: &Answer| Answered {
            text: answer.text.clone(),
            read: self.read(question, &answer.text),
        };
        Record {
            row: question.row.clone(),
            prompt,
            gold: question.gold.clone(),
            said: Said::Answers(answers.iter().map(read).collect()),
            scores: scores.collect(),
        }
    }

    /// How many of the figures there are not: where the form alone counts, there is no match.
    fn figures_left_out(&self) -> usize {
        usize::from(matches!(self.score, Score::Form { .. }))
    }

    /// What of an answer is compared with the gold one; nothing where it has no such part.
    fn read(&self, question: &Question, text: &str) -> String {
        match &self.score {
            Score::ExactMatch => answer::normalised(text),
            Score::LastNumber => answer::last_number(text).unwrap_or_default(),
            Score::Slot { .. } | Score::Form { .. } => {
                let values = slot::values(text, &question.forms);
                values.first().map_or(String::new(), |value| value.to_string())
            }
        }
    }

    /// What a whole set of answers is worth, `samples` of them to each question. An interval counts
    /// questions: more answers to the same ones are no more questions.
    pub fn finding(&self, questions: &[Question], answers: &[Answer]) -> Finding {
        let worth = |(at, answer): (usize, &Answer)| {
            let worth = self.worth(&questions[at / self.samples], &answer.text);
            Worth { well_formed: worth.well_formed && answer.ended, ..worth }
        };
        let worths = answers.iter().enumerate().map(worth).collect::<Vec<_>>();
        let each = |of: &dyn Fn(&Worth) -> bool| {
            worths.iter().map(|worth| f64::from(u8::from(of(worth)))).collect::<Vec<_>>()
        };
        let (right, well_formed) = (each(&|worth| worth.right), each(&|worth| worth.well_formed));
        let ended = answers.iter().map(|answer| f64::from(u8::from(answer.ended)));
        let share = |of: &[f64]| Some(mean(of).unwrap_or(0.0));
        let mut scores = vec![
            Figure::share("exact_match", share(&right), questions.len()),
            Figure::share("well_formed", share(&well_formed), questions.len()),
            Figure::share("ended", share(&ended.collect::<Vec<_>>()), questions.len()),
            Figure::count("questions", questions.len()),
        ];
        scores.drain(..self.figures_left_out());
        let headline = if scores[0].name == "exact_match" { right } else { well_formed };
        Finding { scores, rows: means_of(&headline, self.samples), ..Finding::default() }
    }

    /// What one answer is worth.
    pub fn worth(&self, question: &Question, text: &str) -> Worth {
        match &self.score {
            Score::ExactMatch => {
                let right = answer::exact_match(text, &question.gold);
                Worth { right, well_formed: !text.trim().is_empty() }
            }
            Score::LastNumber => {
                let number = answer::last_number(text);
                let right = number.is_some() && number == answer::last_number(&question.gold);
                Worth { right, well_formed: number.is_some() }
            }
            Score::Slot { .. } => {
                let values = slot::values(text, &question.forms);
                let right = values.iter().any(|value| answer::exact_match(value, &question.gold));
                Worth { right, well_formed: !values.is_empty() }
            }
            Score::Form { .. } => {
                let met = !slot::values(text, &question.forms).is_empty();
                Worth { right: met, well_formed: met }
            }
        }
    }

    /// The share of right answers that two ways without a model reach.
    pub fn baselines(&self, questions: &[Question], training: &[Chat]) -> Vec<(String, f64)> {
        let known = exchanges(training);
        let right = |at: usize, text: &str| self.worth(&questions[at], text).right;
        let share = |count: usize| count as f64 / questions.len().max(1) as f64;
        let mut found = Vec::new();
        if let Some(constant) = baseline::best_constant(&known, questions.len(), right) {
            let count = (0..questions.len()).filter(|at| right(*at, &constant)).count();
            found.push((format!("always “{constant}”"), share(count)));
        }
        let nearest = Nearest::new(&known);
        let nearest_right = |at: &usize| {
            nearest.answer(&questions[*at].question).is_some_and(|text| right(*at, text))
        };
        let count = (0..questions.len()).filter(nearest_right).count();
        found.push(("answer of the nearest training question".into(), share(count)));
        found
    }
}

fn fault(at: usize, what: &str) -> Failure {
    Failure::input(format!("row {}: {what}", at + 1))
}

/// A row that is a dialogue.
fn dialogue(row: &Benchmark) -> Option<Chat> {
    serde_json::from_value(row.clone().into()).ok()
}

/// The turns of a dialogue up to its last answer, and that.
fn parted(mut chat: Chat, at: usize) -> Result<(Vec<Message>, String), Failure> {
    match chat.messages.pop() {
        Some(last) if last.role == "assistant" && !chat.messages.is_empty() => {
            Ok((chat.messages, last.content))
        }
        _ => Err(fault(at, "the dialogue does not end with an answer")),
    }
}

/// Every question of a dialogue with its answer.
fn exchanges(training: &[Chat]) -> Vec<Known> {
    let pairs = training.iter().flat_map(|chat| chat.messages.windows(2));
    let asked = pairs.filter(|pair| pair[0].role == "user" && pair[1].role == "assistant");
    asked
        .map(|pair| Known { question: pair[0].content.clone(), answer: pair[1].content.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(score: Score) -> Answers {
        Answers {
            name: "quiz".into(),
            data: "quiz".into(),
            question: "question".into(),
            answer: "answer".into(),
            score,
            temperature: 0.0,
            samples: 1,
            max_answer: 8,
            training: None,
        }
    }

    fn row(text: &str) -> Benchmark {
        serde_json::from_str(text).unwrap()
    }

    fn answer(text: &str, ended: bool) -> Answer {
        Answer { text: text.into(), ended }
    }

    #[test]
    fn slots_tell_form_from_truth() {
        let task = task(Score::Slot { forms: "forms".into() });
        let rows = [row(r#"{"question":"?","answer":"goat","forms":["Jon has a *.","a *"]}"#)];
        let questions = task.questions(&rows).unwrap();
        let scores = |text, ended| {
            let scores = task.finding(&questions, &[answer(text, ended)]).scores;
            (scores[0].value.unwrap(), scores[1].value.unwrap())
        };
        assert_eq!(scores("Jon has a goat.", true), (1.0, 1.0));
        assert_eq!(scores("Jon has a goat.", false), (1.0, 0.0));
        assert_eq!(scores("Jon has a dog.", true), (0.0, 1.0));
        assert_eq!(scores("goat", true), (0.0, 0.0));
    }

    #[test]
    fn a_form_counts_whatever_stands_in_it() {
        let task = task(Score::Form { forms: "forms".into() });
        let rows = [row(r#"{"question":"?","answer":"goat","forms":["Jon has a *."]}"#)];
        let questions = task.questions(&rows).unwrap();
        for (text, met) in [("Jon has a dog.", 1.0), ("Jon has none.", 0.0)] {
            let finding = task.finding(&questions, &[answer(text, true)]);
            assert_eq!(
                (&*finding.scores[0].name, finding.scores[0].value),
                ("well_formed", Some(met))
            );
            assert_eq!((finding.scores.len(), &finding.rows[..]), (3, &[met][..]));
        }
    }

    #[test]
    fn several_answers_count_as_their_mean() {
        let task = Answers { samples: 2, ..task(Score::ExactMatch) };
        let rows =
            [row(r#"{"question":"?","answer":"a"}"#), row(r#"{"question":"!","answer":"b"}"#)];
        let questions = task.questions(&rows).unwrap();
        let answers = ["a", "x", "b", "b"].map(|text| answer(text, true));
        let finding = task.finding(&questions, &answers);
        assert_eq!(finding.rows, [0.5, 1.0]);
        let two = Figure::share("exact_match", Some(0.75), 2);
        assert_eq!((&finding.scores[0], finding.scores[3].value), (&two, Some(2.0)));
    }

    #[test]
    fn a_missing_column_is_named_with_its_row() {
        let task = task(Score::ExactMatch);
        let rows = [row(r#"{"question":"?","answer":"a"}"#), row(r#"{"question":"?","b":1}"#)];
        let Err(Failure::Input { message, .. }) = task.questions(&rows) else { panic!() };
        assert_eq!(message, "row 2: there is no column `answer`; it has `question`, `b`");
    }

    #[test]
    fn of_a_dialogue_the_last_answer_is_asked_for() {
        let task = task(Score::LastNumber);
        let chat = |last: &str| {
            let text = format!(
                r#"{{"messages":[{{"role":"system","content":"Be brief."}},
                    {{"role":"user","content":"2 + 2?"}},{{"role":"{last}","content":"4"}}]}}"#
            );
            row(&text)
        };
        let questions = task.questions(&[chat("assistant")]).unwrap();
        let [asked] = &questions[..] else { panic!("{questions:?}") };
        assert_eq!((&*asked.question, asked.turns.len(), &*asked.gold), ("2 + 2?", 2, "4"));
        assert!(task.worth(asked, "It is 4.").right);
        let Err(Failure::Input { message, .. }) = task.questions(&[chat("user")]) else { panic!() };
        assert_eq!(message, "row 1: the dialogue does not end with an answer");
    }

    #[test]
    fn baselines_come_from_the_training_answers() {
        let task = task(Score::ExactMatch);
        let rows = [
            row(r#"{"question":"Where does Ada live?","answer":"Oakby"}"#),
            row(r#"{"question":"Where does Ben live?","answer":"Dunlow"}"#),
        ];
        let questions = task.questions(&rows).unwrap();
        let chat: Chat = serde_json::from_str(
            r#"{"messages":[{"role":"user","content":"Where is the home of Ada?"},
                {"role":"assistant","content":"Oakby"}]}"#,
        )
        .unwrap();
        let found = task.baselines(&questions, &[chat]);
        assert_eq!(found[0], ("always “Oakby”".into(), 0.5));
        assert_eq!(found[1].1, 0.5);
    }
}
