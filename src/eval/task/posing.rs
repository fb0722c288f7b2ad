//! How the rows of a benchmark become prompts: words before everything, examples with their
//! answers, then the row's own question. Which examples stand before a row follows from the row and
//! the seed alone, so that asking fewer rows asks them alike. Knows templates and rows; does not
//! know how answers are scored, or whom they are of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::harness_draw::draws;
use crate::eval::prompt::{Pen, Sheet};
use crate::train::data::rows::Benchmark;
use crate::train::kernels::rng::Stream;
use crate::train::progress::Failure;

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Posing {
    /// Stands before everything, once.
    pub before: String,
    pub prompt: String,
    /// What would follow the prompt; a task of choices has its right choice instead.
    pub answer: Option<String>,
    /// Stands between a prompt and its answer.
    pub between: String,
    /// Stands after each example.
    pub apart: String,
    pub shots: usize,
    pub examples: Examples,
    pub choose: Choose,
    /// What must be the same of a row and its examples.
    pub alike: Option<String>,
    /// An example, where it is not prompt and answer.
    pub example: Option<String>,
    /// By what figures are told apart.
    pub groups: Vec<String>,
    /// Whether the prompt is a turn in the model's chat template.
    pub chat: bool,
}

/// Where examples come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examples {
    None,
    Rows(PathBuf),
    /// Written out, prompts and answers.
    Texts(Vec<String>),
}

/// Which of the examples that fit stand before a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choose {
    /// The first there are.
    First,
    /// Drawn by the seed for each row.
    Drawn,
    /// Drawn as lm-evaluation-harness does, row after row.
    Harness,
}

/// A row ready to be asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its number among all rows of the data, from 1.
    pub row: usize,
    pub columns: Benchmark,
    pub sheet: Sheet,
    /// All that the model reads.
    pub prompt: String,
    /// The last part of it, which is the row's own.
    pub own: String,
    /// Its group by each expression of `groups`.
    pub groups: Vec<String>,
}

/// Writes the answer to an example.
pub type Answer<'a> = &'a dyn Fn(&Pen, &Sheet) -> Result<String, String>;

/// Rows that examples are drawn from, and whether they are the rows that are asked.
pub struct Pool {
    pub rows: Vec<Benchmark>,
    pub is_own: bool,
}

impl Posing {
    /// The prompts of numbered rows.
    pub fn questions(
        &self,
        rows: &[(usize, Benchmark)],
        pool: &Pool,
        answer: Answer<'_>,
        seed: u64,
    ) -> Result<Vec<Question>, Failure> {
        let pen = Pen::default();
        let mut shelf = self.shelf(&pen, pool, answer)?;
        if self.choose == Choose::Harness && self.shots > 0 {
            let last = rows.iter().map(|(row, _)| *row).max().unwrap_or(0);
            shelf.drawn = self.drawn(last, pool, shelf.examples.len(), seed)?;
        }
        let question = |(row, columns): &(usize, Benchmark)| {
            let question = self.question(&pen, *row, columns, &shelf, seed);
            question.map_err(|what| Failure::input(format!("row {row}: {what}")))
        };
        rows.iter().map(question).collect()
    }

    fn question(
        &self,
        pen: &Pen,
        row: usize,
        columns: &Benchmark,
        shelf: &Shelf,
        seed: u64,
    ) -> Result<Question, String> {
        let sheet = Sheet::of(columns);
        let write = |name: &str, template: &str| {
            pen.write(template, &sheet).map_err(|what| format!("`{name}`: {what}"))
        };
        let own = write("prompt", &self.prompt)?;
        let mut prompt = write("before", &self.before)?;
        for example in self.chosen(pen, row, &sheet, shelf, seed)? {
            prompt.push_str(example);
            prompt.push_str(&self.apart);
        }
        prompt.push_str(&own);
        let group = |of: &String| {
            let found = pen.find(of, &sheet).map_err(|what| format!("`groups`: {what}"))?;
            Ok(found.to_string())
        };
        let groups = self.groups.iter().map(group).collect::<Result<_, String>>()?;
        Ok(Question { row, columns: columns.clone(), sheet, prompt, own, groups })
    }

    /// What the harness draws for each row up to the last that is asked.
    fn drawn(
        &self,
        last: usize,
        pool: &Pool,
        examples: usize,
        seed: u64,
    ) -> Result<Vec<Vec<usize>>, Failure> {
        let same = |row: usize, at: usize| pool.rows[row] == pool.rows[at];
        let same: Option<&dyn Fn(usize, usize) -> bool> = pool.is_own.then_some(&same);
        let drawn = draws((seed, last), (examples, self.shots), same);
        drawn.map_err(|found| Failure::input(self.too_few(found, "")))
    }

    fn too_few(&self, found: usize, of: &str) -> String {
        format!("there are {found} examples{of}, and `shots` is {}", self.shots)
    }

    /// The examples that stand before a row.
    fn chosen<'s>(
        &self,
        pen: &Pen,
        row: usize,
        sheet: &Sheet,
        shelf: &'s Shelf,
        seed: u64,
    ) -> Result<Vec<&'s str>, String> {
        if self.shots == 0 {
            return Ok(Vec::new());
        }
        if let Some(drawn) = shelf.drawn.get(row - 1) {
            return Ok(drawn.iter().map(|at| &*shelf.examples[*at]).collect());
        }
        let key = self.key(pen, sheet)?;
        let fitting = shelf.by_key.get(&key).into_iter().flatten().copied();
        let not_itself = |at: &usize| !(shelf.is_own && at + 1 == row);
        let mut fitting = fitting.filter(not_itself).collect::<Vec<_>>();
        if fitting.len() < self.shots {
            let of = self.alike.as_ref().map(|alike| format!(" whose `{alike}` is `{key}`"));
            return Err(self.too_few(fitting.len(), &of.unwrap_or_default()));
        }
        if self.choose == Choose::Drawn {
            Stream::new(seed, &format!("examples/{row}")).walk().shuffle(&mut fitting);
        }
        Ok(fitting[..self.shots].iter().map(|at| &*shelf.examples[*at]).collect())
    }

    /// What a row and its examples have in common.
    fn key(&self, pen: &Pen, sheet: &Sheet) -> Result<String, String> {
        let Some(alike) = &self.alike else { return Ok(String::new()) };
        let found = pen.find(alike, sheet).map_err(|what| format!("`alike`: {what}"))?;
        Ok(found.to_string())
    }

    /// All examples, written.
    fn shelf(&self, pen: &Pen, pool: &Pool, answer: Answer<'_>) -> Result<Shelf, Failure> {
        let mut shelf = Shelf { is_own: pool.is_own, ..Shelf::default() };
        if self.shots == 0 {
            return Ok(shelf);
        }
        if let Examples::Texts(texts) = &self.examples {
            shelf.examples = texts.clone();
            shelf.by_key.insert(String::new(), (0..texts.len()).collect());
            return Ok(shelf);
        }
        for (at, row) in pool.rows.iter().enumerate() {
            let sheet = Sheet::of(row);
            let written = self.example(pen, &sheet, answer);
            let both = written.and_then(|example| Ok((self.key(pen, &sheet)?, example)));
            let both = both
                .map_err(|what| Failure::input(format!("row {} of the examples: {what}", at + 1)));
            let (key, example) = both?;
            shelf.examples.push(example);
            shelf.by_key.entry(key).or_default().push(at);
        }
        Ok(shelf)
    }

    fn example(&self, pen: &Pen, sheet: &Sheet, answer: Answer<'_>) -> Result<String, String> {
        if let Some(example) = &self.example {
            return pen.write(example, sheet).map_err(|what| format!("`example`: {what}"));
        }
        let prompt = pen.write(&self.prompt, sheet).map_err(|what| format!("`prompt`: {what}"))?;
        Ok(format!("{prompt}{}{}", self.between, answer(pen, sheet)?))
    }
}

/// Written examples, and which of them fit which rows.
#[derive(Default)]
struct Shelf {
    examples: Vec<String>,
    by_key: BTreeMap<String, Vec<usize>>,
    is_own: bool,
    /// Which stand before each row, where that depends on the rows before it.
    drawn: Vec<Vec<usize>>,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row without columns, for scoring alone.
    pub fn bare(row: usize) -> Question {
        let columns = Benchmark::new();
        let (sheet, prompt) = (Sheet::of(&columns), "?".to_string());
        Question { row, columns, sheet, own: prompt.clone(), prompt, groups: Vec::new() }
    }

    /// Words for tests: a question, its answer after a blank, two line breaks.
    pub fn posing() -> Posing {
        Posing {
            before: "About {{topic}}.\n".into(),
            prompt: "Q: {{q}}\nA:".into(),
            answer: Some("{{a}}".into()),
            between: " ".into(),
            apart: "\n\n".into(),
            shots: 1,
            examples: Examples::Rows("pool".into()),
            choose: Choose::First,
            alike: Some("topic".into()),
            example: None,
            groups: vec!["topic".into()],
            chat: false,
        }
    }

    pub fn rows(topics: &[&str]) -> Vec<(usize, Benchmark)> {
        let row = |(at, topic): (usize, &&str)| {
            let text = format!(r#"{{"topic":"{topic}","q":"{at}?","a":"{at}!"}}"#);
            (at + 1, serde_json::from_str(&text).unwrap())
        };
        topics.iter().enumerate().map(row).collect()
    }

    fn pool(topics: &[&str], is_own: bool) -> Pool {
        Pool { rows: rows(topics).into_iter().map(|(_, row)| row).collect(), is_own }
    }

    fn prompts(posing: &Posing, topics: &[&str], pool: &Pool) -> Result<Vec<String>, String> {
        let answer = |pen: &Pen, sheet: &Sheet| pen.write("{{a}}", sheet);
        match posing.questions(&rows(topics), pool, &answer, 7) {
            Ok(found) => Ok(found.into_iter().map(|question| question.prompt).collect()),
            Err(Failure::Input { message, .. }) => Err(message),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn examples_are_of_the_same_kind() {
        let found = prompts(&posing(), &["art", "law"], &pool(&["law", "art", "law"], false));
        assert_eq!(
            found.unwrap(),
            ["About art.\nQ: 1?\nA: 1!\n\nQ: 0?\nA:", "About law.\nQ: 0?\nA: 0!\n\nQ: 1?\nA:"]
        );
        let found = prompts(&posing(), &["art"], &pool(&["law"], false));
        let message = "row 1: there are 0 examples whose `topic` is `art`, and `shots` is 1";
        assert_eq!(found.unwrap_err(), message);
    }

    #[test]
    fn no_row_is_its_own_example() {
        let posing = Posing { choose: Choose::Drawn, alike: None, shots: 2, ..posing() };
        let topics = ["a", "b", "c"];
        let all = prompts(&posing, &topics, &pool(&topics, true)).unwrap();
        for (at, prompt) in all.iter().enumerate() {
            assert_eq!(prompt.matches(&format!("Q: {at}?")).count(), 1, "{prompt}");
        }
        let answer = |pen: &Pen, sheet: &Sheet| pen.write("{{a}}", sheet);
        let last = &rows(&topics)[2..];
        let one = posing.questions(last, &pool(&topics, true), &answer, 7).unwrap();
        let order = |prompt: &str| [0, 1].map(|at| prompt.find(&format!("Q: {at}?")));
        assert_eq!(order(&one[0].prompt), order(&all[2]), "as among all rows");
    }

    #[test]
    fn a_row_has_the_examples_that_the_harness_draws_whichever_rows_are_asked() {
        let posing = Posing { choose: Choose::Harness, alike: None, shots: 2, ..posing() };
        let topics = ["a", "b", "c", "d", "e", "f"];
        let answer = |pen: &Pen, sheet: &Sheet| pen.write("{{a}}", sheet);
        for is_own in [false, true] {
            let pool = pool(&topics, is_own);
            let all = prompts(&posing, &topics, &pool).unwrap();
            let some = posing.questions(&rows(&topics)[3..5], &pool, &answer, 7).unwrap();
            let some = some.into_iter().map(|one| one.prompt).collect::<Vec<_>>();
            assert_eq!(some, all[3..5]);
        }
        let few = prompts(&posing, &topics[..2], &pool(&topics[..2], true));
        assert_eq!(few.unwrap_err(), "there are 1 examples, and `shots` is 2");
    }

    #[test]
    fn examples_may_be_written_out() {
        let examples = Examples::Texts(vec!["Q: x\nA: y".into(), "Q: z\nA: w".into()]);
        let posing = Posing { examples, alike: None, before: String::new(), ..posing() };
        let found = prompts(&posing, &["a"], &pool(&[], false)).unwrap();
        assert_eq!(found, ["Q: x\nA: y\n\nQ: 0?\nA:"]);
    }
}
