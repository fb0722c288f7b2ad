//! How surprised a model is by running text, or by the answers of dialogues: exp of the mean
//! negative log-likelihood of a token, of a word and of a byte. Knows losses; does not know the
//! model.

use std::path::PathBuf;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::eval::examinee::Examinee;
use crate::eval::finding::{Figure, Finding, Record, Said};
use crate::eval::metric::perplexity::Cost;
use crate::eval::prompt::too_much;
use crate::train::data::rows::{Benchmark, Chat, Learn, Text};
use crate::train::kernels::math;
use crate::train::progress::{Failure, Progress};

/// What the recipe says of it.
#[derive(Clone, Debug)]
pub struct Perplexity {
    pub name: String,
    pub data: PathBuf,
    /// Done to each text before a model reads it, one after another.
    pub rewrite: Vec<Replace>,
    pub windows: Windows,
}

/// What a pattern finds in a text, and what stands there instead.
#[derive(Clone, Debug)]
pub struct Replace {
    pub pattern: Regex,
    pub by: String,
}

/// How a text is read that is longer than the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// End to end, each seeing only itself.
    Apart,
    /// Each sees the token before it, and the last as many as fit.
    Rolling,
}

/// A row of what is read: running text, or a dialogue of which the answers count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Passage {
    Text(Text),
    Dialogue(Chat),
}

/// A passage as a model was given it, and what it cost.
struct Read {
    row: Benchmark,
    prompt: String,
    cost: Cost,
    tokens: usize,
}

impl Perplexity {
    /// Has every passage read.
    pub fn examine(
        &self,
        passages: &[Passage],
        examinee: &Examinee,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Finding, Failure> {
        let texts = passages.iter().filter_map(|passage| match passage {
            Passage::Text(Text { text }) => Some(text.clone()),
            Passage::Dialogue(_) => None,
        });
        let texts = texts.collect::<Vec<_>>();
        let dialogues = passages.iter().filter_map(|passage| match passage {
            Passage::Text(_) => None,
            Passage::Dialogue(chat) => Some(chat.clone()),
        });
        let dialogues = dialogues.collect::<Vec<_>>();
        let mut read = self.read_texts(&texts, examinee, threads, progress)?;
        read.extend(self.read_dialogues(&dialogues, examinee, progress)?);
        Ok(finding(read))
    }

    fn read_texts(
        &self,
        texts: &[String],
        examinee: &Examinee,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Read>, Failure> {
        let given = texts.iter().map(|text| self.rewritten(text));
        let given = given.collect::<Result<Vec<_>, _>>()?;
        let losses = match self.windows {
            Windows::Apart => examinee.losses(&given, threads, progress)?,
            Windows::Rolling => examinee.rolling_losses(&given, threads, progress)?,
        };
        let read = |((text, prompt), losses): ((&String, String), &Vec<f32>)| Read {
            row: columns(&Text { text: text.clone() }),
            prompt,
            cost: Cost::of(text, nats(losses)),
            tokens: losses.len(),
        };
        Ok(texts.iter().zip(given).zip(&losses).map(read).collect())
    }

    fn read_dialogues(
        &self,
        dialogues: &[Chat],
        examinee: &Examinee,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Read>, Failure> {
        if dialogues.is_empty() {
            return Ok(Vec::new());
        }
        if !self.rewrite.is_empty() || self.windows == Windows::Rolling {
            let message = "`rewrite` and `windows` are of running text, and the rows are dialogues";
            return Err(Failure::input(message).remedy("leave them out"));
        }
        let losses = examinee.dialogue_losses(dialogues, progress)?;
        let read = |((row, chat), losses): ((usize, &Chat), &Vec<f32>)| {
            let answers = answers(chat).map(|answer| Cost::of(answer, 0.0));
            let size = answers.fold(Cost::default(), Cost::and);
            Ok(Read {
                row: columns(chat),
                prompt: examinee.wording.dialogue_text(row, chat)?,
                cost: Cost { nats: nats(losses), ..size },
                tokens: losses.len(),
            })
        };
        (1..).zip(dialogues).zip(&losses).map(read).collect()
    }

    /// A text as a model reads it.
    pub fn rewritten(&self, text: &str) -> Result<String, Failure> {
        let step = |text: String, Replace { pattern, by }: &Replace| {
            let replaced = pattern.try_replacen(&text, 0, by);
            replaced.map(|text| text.into_owned()).map_err(|error| too_much(pattern, &error))
        };
        self.rewrite.iter().try_fold(text.to_string(), step)
    }
}

/// The answers of a dialogue that are learnt.
fn answers(chat: &Chat) -> impl Iterator<Item = &str> {
    let said = chat.messages.iter().rev().filter(|turn| turn.role == "assistant");
    let most = if chat.learn == Some(Learn::Last) { 1 } else { usize::MAX };
    said.take(most).map(|turn| turn.content.as_str())
}

fn columns(row: &impl Serialize) -> Benchmark {
    let value = serde_json::to_value(row).expect("string keys");
    value.as_object().cloned().expect("it has columns")
}

fn nats(losses: &[f32]) -> f64 {
    losses.iter().map(|loss| f64::from(*loss)).sum()
}

/// Words and bytes are those of the passages as they were before anything was done to them.
fn finding(read: Vec<Read>) -> Finding {
    let tokens = read.iter().map(|read| read.tokens).sum::<usize>();
    let whole = read.iter().map(|read| read.cost).fold(Cost::default(), Cost::and);
    let sized = whole.perplexity();
    let mean = whole.nats / tokens.max(1) as f64;
    let scores = vec![
        Figure::new("perplexity", f64::from(math::exp(mean as f32))).lower(),
        Figure::new("word_perplexity", sized.map(|sized| sized.word)).lower(),
        Figure::new("byte_perplexity", sized.map(|sized| sized.byte)).lower(),
        Figure::new("bits_per_byte", sized.map(|sized| sized.bits_per_byte)).lower(),
        Figure::count("tokens", tokens),
        Figure::count("documents", read.len()),
    ];
    let record = |read: Read| Record {
        row: read.row,
        prompt: read.prompt,
        gold: String::new(),
        said: Said::Text(read.cost),
        scores: Vec::new(),
    };
    Finding { scores, records: read.into_iter().map(record).collect(), ..Finding::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::prompt::pattern;
    use crate::train::data::rows::Message;

    #[test]
    fn a_fair_coin_has_perplexity_two() {
        let ln2 = std::f32::consts::LN_2;
        let cost = Cost::of("ab", nats(&[ln2, ln2]));
        let finding =
            finding(vec![Read { row: Benchmark::new(), prompt: "a b".into(), cost, tokens: 2 }]);
        let values = finding.scores.iter().map(|figure| figure.value.unwrap());
        let expected = [2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        for (got, want) in values.zip(expected) {
            assert!((got - want).abs() < 1e-6, "got {got}, want {want}");
        }
    }

    #[test]
    fn answers_that_are_learnt_count() {
        let turn = |role: &str, text: &str| Message::new(role, text);
        let messages = ["user", "assistant", "user", "assistant"].map(|role| turn(role, role));
        let mut chat = Chat::new(messages.to_vec());
        assert_eq!(answers(&chat).count(), 2);
        chat.learn = Some(Learn::Last);
        assert_eq!(answers(&chat).count(), 1);
        let row = serde_json::to_string(&chat).unwrap();
        assert_eq!(serde_json::from_str::<Passage>(&row).unwrap(), Passage::Dialogue(chat));
    }

    #[test]
    fn rewriting_is_one_step_after_another() {
        let step = |of: &str, by: &str| Replace { pattern: pattern(of).unwrap(), by: by.into() };
        let task = Perplexity {
            name: "text".into(),
            data: "text".into(),
            rewrite: vec![step(" : ", ": "), step(" ; ", "; "), step(r"\(\s*(\w+)\s*\)", "($1)")],
            windows: Windows::Rolling,
        };
        assert_eq!(task.rewritten("a : ; ( b ) c").unwrap(), "a:; (b) c");
    }
}
