//! Whether a chat model still keeps, turns later, to what it was asked for in the first: each
//! dialogue is played turn by turn, greedy, the model's own answers standing in the history. Llama
//! 2, section 3.3 and table 30. Knows rows and answers; does not know which model answers.
//!
//! A dialogue that cannot go on, because it has outgrown the context or because an answer was
//! empty, is not kept to from there on: an error would lose the whole evaluation by what one model
//! said. How many break off is a figure of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::eval::examinee::{Examinee, Manner, tempered};
use crate::eval::finding::{self, Answered, Figure, Finding, Record, Said, Sample, Worth};
use crate::eval::metric::statistics::mean;
use crate::train::data::rows::{Benchmark, Message};
use crate::train::progress::{Failure, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub name: String,
    pub data: PathBuf,
    /// The column with the turns of the user, a list of texts.
    pub turns: String,
    /// The column with what answers are to begin with: text or null.
    pub begins: String,
    /// The column with what they are to end with.
    pub ends: String,
    /// The turns, from 1, whose answers count.
    pub at: BTreeSet<usize>,
    pub max_answer: usize,
}

/// A dialogue to be played.
#[derive(Clone, Debug)]
pub struct Dialogue {
    columns: Benchmark,
    turns: Vec<String>,
    begins: Option<String>,
    ends: Option<String>,
}

/// A dialogue under way.
struct Played<'a> {
    dialogue: &'a Dialogue,
    history: Vec<Message>,
    answers: Vec<String>,
    broken_off: bool,
}

impl Kept {
    /// The dialogues of the rows, with errors that name row and column.
    pub fn dialogues(&self, rows: &[Benchmark]) -> Result<Vec<Dialogue>, Failure> {
        let unknown = |column: &&String| !rows.iter().any(|row| row.contains_key(*column));
        if let Some(column) = [&self.begins, &self.ends].into_iter().find(unknown) {
            return Err(Failure::input(format!("no row has a column `{column}`"))
                .remedy("name the column, or add one that holds null"));
        }
        let dialogues = (1..).zip(rows).map(|(at, row)| {
            self.dialogue(row).map_err(|what| Failure::input(format!("row {at}: {what}")))
        });
        let dialogues = dialogues.collect::<Result<Vec<_>, _>>()?;
        let longest = dialogues.iter().map(|dialogue| dialogue.turns.len()).max().unwrap_or(0);
        match self.at.last() {
            None => {
                Err(Failure::input("`at` names no turn").remedy("name the turns that count: `[2]`"))
            }
            Some(last) if *last > longest => Err(Failure::input(format!(
                "`at` asks for turn {last}, and the longest of {} dialogues has {longest}",
                dialogues.len()
            ))
            .remedy(format!("ask for turns up to {longest}, or add longer dialogues"))),
            _ => Ok(dialogues),
        }
    }

    fn dialogue(&self, row: &Benchmark) -> Result<Dialogue, String> {
        let turns = row.get(&self.turns).and_then(|value| value.as_array());
        let turns = turns.into_iter().flatten().map(|turn| turn.as_str().map(str::to_string));
        let turns = turns.collect::<Option<Vec<_>>>().filter(|turns| !turns.is_empty());
        let turns = turns.ok_or_else(|| format!("column `{}` is no list of texts", self.turns))?;
        let text = |column: &str| match row.get(column) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(text)) if !text.trim().is_empty() => {
                Ok(Some(text.trim().to_string()))
            }
            Some(_) => Err(format!("column `{column}` is neither a text nor null")),
        };
        let (begins, ends) = (text(&self.begins)?, text(&self.ends)?);
        if begins.is_none() && ends.is_none() {
            return Err(format!("neither `{}` nor `{}` holds a text", self.begins, self.ends));
        }
        Ok(Dialogue { columns: row.clone(), turns, begins, ends })
    }

    /// Plays every dialogue up to the last turn that counts.
    pub fn examine(
        &self,
        dialogues: &[Dialogue],
        examinee: &Examinee,
        seed: u64,
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let manner =
            Manner { samples: 1, max_answer: self.max_answer, sampling: tempered(0.0), seed };
        let mut played = dialogues.iter().map(Played::new).collect::<Vec<_>>();
        for turn in 0..self.at.last().copied().unwrap_or(0) {
            let (mut speakers, mut prompts) = (Vec::new(), Vec::new());
            for (row, one) in (1..).zip(&mut played) {
                if let Some(prompt) = one.prompt(row, turn, examinee)? {
                    speakers.push(one);
                    prompts.push(prompt);
                }
            }
            let made = examinee.generate(&prompts, manner, progress)?;
            for (one, made) in speakers.into_iter().zip(made) {
                one.hear(examinee.answer(&made).text);
            }
        }
        let records = (1..).zip(&played).map(|(row, one)| self.record(row, one, examinee));
        let records = records.collect::<Result<_, _>>()?;
        Ok(Finding { records, ..self.finding(&played) })
    }

    /// The prompt is that of the first turn; the model's own answers are the rest of the history.
    fn record(
        &self,
        row: usize,
        played: &Played<'_>,
        examinee: &Examinee,
    ) -> Result<Record, Failure> {
        let Dialogue { columns, turns, begins, ends } = played.dialogue;
        let first = [Message::new("user", &turns[0])];
        let score = |turn: &usize| {
            let kept = played.kept(*turn)?;
            Some((format!("turn {turn}"), f64::from(u8::from(kept))))
        };
        let wanted = [begins.as_deref(), ends.as_deref()].into_iter().flatten();
        Ok(Record {
            row: columns.clone(),
            prompt: examinee.wording.prompt_text(row, &first)?,
            gold: wanted.collect::<Vec<_>>().join(" … "),
            said: Said::Answers(played.answers.iter().map(|text| Answered::whole(text)).collect()),
            scores: self.at.iter().filter_map(score).collect(),
        })
    }

    fn finding(&self, played: &[Played<'_>]) -> Finding {
        let turn = |turn: &usize| {
            let rows = played.iter().filter_map(|one| one.kept(*turn));
            let rows = rows.map(|kept| f64::from(u8::from(kept))).collect::<Vec<_>>();
            Figure::share(format!("turn {turn}"), mean(&rows), rows.len())
        };
        let broken = played.iter().filter(|one| one.broken_off).count();
        let mut scores = self.at.iter().map(turn).collect::<Vec<_>>();
        let rows = played.len();
        scores.push(Figure::new("broken_off", broken as f64 / rows.max(1) as f64).lower());
        scores.push(Figure::count("dialogues", rows));
        let samples = finding::shown(rows).filter_map(|at| played[at].sample()).collect();
        Finding { scores, samples, ..Finding::default() }
    }
}

impl Dialogue {
    /// Whether an answer keeps to what was asked for; blanks around it do not count, case does.
    fn keeps(&self, answer: &str) -> bool {
        let answer = answer.trim();
        let begins = self.begins.as_ref().is_none_or(|begins| answer.starts_with(begins));
        begins && self.ends.as_ref().is_none_or(|ends| answer.ends_with(ends))
    }
}

impl<'a> Played<'a> {
    fn new(dialogue: &'a Dialogue) -> Played<'a> {
        Played { dialogue, history: Vec::new(), answers: Vec::new(), broken_off: false }
    }

    /// What is to be answered at a turn, counted from 0, unless the dialogue is over.
    fn prompt(
        &mut self,
        row: usize,
        turn: usize,
        examinee: &Examinee,
    ) -> Result<Option<Vec<u32>>, Failure> {
        let Some(said) = self.dialogue.turns.get(turn).filter(|_| !self.broken_off) else {
            return Ok(None);
        };
        self.history.push(Message::new("user", said));
        let prompt = examinee.wording.prompt(row, &self.history)?;
        self.broken_off = prompt.len() >= examinee.context();
        Ok((!self.broken_off).then_some(prompt))
    }

    fn hear(&mut self, answer: String) {
        // No template is asked to write an empty answer: nothing could be learnt from it.
        self.broken_off = answer.is_empty() && self.answers.len() + 1 < self.dialogue.turns.len();
        self.history.push(Message::new("assistant", &answer));
        self.answers.push(answer);
    }

    /// Whether the answer at a turn, counted from 1, keeps to what was asked for; `None` where the
    /// row has no such turn.
    fn kept(&self, turn: usize) -> Option<bool> {
        self.dialogue.turns.get(turn - 1)?;
        Some(self.answers.get(turn - 1).is_some_and(|answer| self.dialogue.keeps(answer)))
    }

    /// The last turn that was answered.
    fn sample(&self) -> Option<Sample> {
        let answer = self.answers.last()?.clone();
        let question = self.dialogue.turns[self.answers.len() - 1].clone();
        let worth = Worth::Kept(self.dialogue.keeps(&answer));
        Some(Sample { question, answer, worth })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(at: &[usize]) -> Kept {
        Kept {
            name: "kept".into(),
            data: "kept".into(),
            turns: "turns".into(),
            begins: "begins".into(),
            ends: "ends".into(),
            at: at.iter().copied().collect(),
            max_answer: 8,
        }
    }

    fn rows(texts: &[&str]) -> Vec<Benchmark> {
        texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    fn refused(at: &[usize], text: &str) -> String {
        match task(at).dialogues(&rows(&[r#"{"turns":["a"],"ends":"b"}"#, text])) {
            Err(Failure::Input { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_that_cannot_be_played_are_named() {
        let kept = r#"{"turns":["a","b"],"begins":"x","ends":null}"#;
        assert_eq!(task(&[1, 2]).dialogues(&rows(&[kept])).unwrap().len(), 1);
        let said = refused(&[1], r#"{"turns":["a"]}"#);
        assert_eq!(said, "no row has a column `begins`");
        let said = refused(&[1], r#"{"turns":["a"],"begins":null}"#);
        assert_eq!(said, "row 2: neither `begins` nor `ends` holds a text");
        let said = refused(&[1], r#"{"turns":"a","begins":"x"}"#);
        assert_eq!(said, "row 2: column `turns` is no list of texts");
        let said = refused(&[1], r#"{"turns":["a"],"begins":7}"#);
        assert_eq!(said, "row 2: column `begins` is neither a text nor null");
        assert_eq!(refused(&[], kept), "`at` names no turn");
        let said = refused(&[2, 6], kept);
        assert_eq!(said, "`at` asks for turn 6, and the longest of 2 dialogues has 2");
    }

    #[test]
    fn shares_are_those_of_the_rows_that_have_the_turn() {
        let task = task(&[1, 2]);
        let dialogues = task
            .dialogues(&rows(&[
                r#"{"turns":["a","b"],"begins":"Arr!"}"#,
                r#"{"turns":["a","b"],"ends":"sir."}"#,
                r#"{"turns":["a"],"begins":"So","ends":"so."}"#,
            ]))
            .unwrap();
        let mut played = dialogues.iter().map(Played::new).collect::<Vec<_>>();
        for (one, answers) in played.iter_mut().zip([
            &["Arr! A.", "arr! B."][..],
            &["A, sir.", ""],
            &["So it is so."],
        ]) {
            answers.iter().for_each(|answer| one.hear(answer.to_string()));
        }
        let scores = task.finding(&played).scores;
        let values = scores.iter().map(|figure| figure.value.unwrap()).collect::<Vec<_>>();
        assert_eq!(values, [1.0, 0.0, 0.0, 3.0]);
        assert_eq!(scores[1].name, "turn 2");
        assert_eq!(scores[1].interval, crate::eval::metric::statistics::wilson(0.0, 2));
    }

    #[test]
    fn an_empty_answer_ends_a_dialogue() {
        let dialogues = task(&[2])
            .dialogues(&rows(&[r#"{"turns":["a","b"],"begins":null,"ends":"c"}"#]))
            .unwrap();
        let mut played = Played::new(&dialogues[0]);
        played.hear(String::new());
        assert!(played.broken_off);
        assert_eq!(
            (played.kept(1), played.kept(2), played.kept(3)),
            (Some(false), Some(false), None)
        );
    }
}
