//! A model that can be asked in words: weights, and how turns become its tokens. Does not know what
//! the answers are worth.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use rayon::prelude::*;

use super::finding::{Card, Learning};
use super::notes::Notes;
use super::wording::Wording;
use crate::train::data::pack::{Example, IGNORE, Row};
use crate::train::data::rows::{Chat, Message};
use crate::train::data::tokenizer::in_threads;
use crate::train::kernels::sample::Sampling;
use crate::train::model::activations::Keep;
use crate::train::model::endings::{Ending, Likelihood, parts};
use crate::train::model::lora::LoraSettings;
use crate::train::model::sample::{GenerateOptions, Generated, as_row};
use crate::train::model::{Anywhere, Engine, LoadedModel, folder};
use crate::train::optim::Bits;
use crate::train::progress::{Failure, Progress};
use crate::train::stage::ledger::{Kept, Learnt, Width, memory, parameters};

/// Tokens of endings that are scored before what was found is noted.
const TOKENS_AT_ONCE: usize = 32768;

/// A model ready to be asked.
pub struct Examinee {
    pub wording: Wording,
    model: LoadedModel,
    /// The template that the model carries without an adapter.
    chat_template: Option<String>,
    /// Whether it is asked under an adapter.
    adapted: bool,
    /// Where what it says is kept.
    notes: Rc<Notes>,
}

/// What it said, and whether it ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub ended: bool,
}

/// How often, how long and how freely it may answer.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Answers a prompt.
    pub samples: usize,
    pub max_answer: usize,
    pub sampling: Sampling,
    pub seed: u64,
}

/// Tokens drawn from the model's own distribution at a temperature; at 0 the most likely each time.
pub fn tempered(temperature: f64) -> Sampling {
    Sampling { temperature: temperature as f32, top_k: None, top_p: 1.0 }
}

impl Examinee {
    /// Opens a model's folder, or a GGUF file.
    pub fn open(path: &Path, engine: impl Into<Engine>) -> Result<Examinee, Failure> {
        let Anywhere { model, tokenizer, chat_template } = Anywhere::open(path)?;
        let wording = Wording::new(tokenizer, chat_template.clone())?;
        let (model, notes) = (LoadedModel::of(model, engine)?, Rc::default());
        Ok(Examinee { wording, model, chat_template, adapted: false, notes })
    }

    /// The same, with what it says kept in these notes.
    pub fn noting(self, notes: &Rc<Notes>) -> Examinee {
        Examinee { notes: notes.clone(), ..self }
    }

    /// From here on it is asked under this adapter, in the template that carries, or as it is.
    pub fn wear(&mut self, adapter: Option<&Path>) -> Result<(), Failure> {
        let carried = adapter.map(folder::read_chat_template).transpose()?.flatten();
        let template = carried.or_else(|| self.chat_template.clone());
        self.wording = Wording::new(self.wording.tokenizer.clone(), template)?;
        self.adapted = adapter.is_some();
        self.model.wear(adapter)
    }

    /// What tells a reader which model it is.
    pub fn card(&self) -> Card {
        Card {
            parameters: parameters(self.model.config()),
            learning: Some(self.learning()),
            dtype: self.model.dtype().into(),
            adapter: self.adapted,
            context: self.context(),
            ..self.wording.card()
        }
    }

    fn learning(&self) -> Learning {
        let config = self.model.config();
        let of = |settings: &LoraSettings| Learnt::Adapter {
            settings: settings.clone(),
            base: Width::F32,
        };
        let learnt = self.model.adapter().map_or(Learnt::All, of);
        let (rows, kept) = ([1, config.context as u64], Kept { bits: Bits::Full, budget: None });
        let mut ledger = memory(config, &learnt, rows, Keep::Activations, kept);
        if self.adapted {
            ledger.weights = self.model.weight_bytes();
        }
        let numbers = learnt.count(config);
        Learning { numbers, bytes: 4 * numbers, peak: ledger.total() }
    }

    /// The most tokens that a prompt and its answer hold.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// Answers to questions, question by question.
    pub fn ask(
        &self,
        questions: &[String],
        manner: Manner,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Answer>, Failure> {
        let turn = |text: &String| vec![Message::new("user", text)];
        self.converse(&questions.iter().map(turn).collect::<Vec<_>>(), manner, progress)
    }

    /// Answers to turns that wait for one.
    pub fn converse(
        &self,
        asked: &[Vec<Message>],
        manner: Manner,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Answer>, Failure> {
        let prompts = (1..).zip(asked).map(|(row, turns)| self.wording.asked(row, turns));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let made = self.generate(&prompts, manner, progress)?;
        Ok(made.iter().map(|made| self.answer(made)).collect())
    }

    /// Continuations of prompts in tokens, prompt by prompt.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        manner: Manner,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        let Manner { samples, max_answer, sampling, seed } = manner;
        let eos = self.wording.tokenizer.eos().id;
        let options = GenerateOptions { samples, max_answer, sampling, seed, eos };
        self.notes.answers(&self.model, prompts, &options, &|_| false, progress)
    }

    /// The same, where a continuation is over as soon as it holds one of `stops`.
    pub fn generate_until(
        &self,
        prompts: &[Vec<u32>],
        manner: Manner,
        stops: &[String],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        let Manner { samples, max_answer, sampling, seed } = manner;
        let tokenizer = &self.wording.tokenizer;
        let options =
            GenerateOptions { samples, max_answer, sampling, seed, eos: tokenizer.eos().id };
        // A stop that ends at the last token lies within so many: none stands for less than a byte
        // but special ones. If it did not, only time would be lost: the text is cut again, whole.
        let reach = 2 * stops.iter().map(String::len).max().unwrap_or(0) + 8;
        let over = |tokens: &[u32]| {
            if stops.is_empty() {
                return false;
            }
            let text = tokenizer.decode(&tokens[tokens.len().saturating_sub(reach)..]);
            stops.iter().any(|stop| text.contains(stop.as_str()))
        };
        self.notes.answers(&self.model, prompts, &options, &over, progress)
    }

    /// Numbered prompts in tokens, with room for an answer; and how many lost their beginning.
    pub fn prompts(
        &self,
        prompts: &[(usize, &str)],
        chat: bool,
        max_answer: usize,
    ) -> Result<(Vec<Vec<u32>>, usize), Failure> {
        let room = self.context().saturating_sub(max_answer);
        if room == 0 {
            let context = self.context();
            return Err(Failure::input(format!(
                "`max_answer` of {max_answer} leaves no room for a prompt in a context of {context}"
            ))
            .remedy(format!("set `max_answer` below {context} tokens")));
        }
        let mut cut = 0;
        let one = |(row, prompt): &(usize, &str)| {
            let mut tokens = match chat {
                true => self.wording.turn(*row, prompt)?,
                false => self.wording.plain(prompt),
            };
            let surplus = tokens.len().saturating_sub(room);
            cut += usize::from(surplus > 0);
            tokens.drain(..surplus);
            Ok(tokens)
        };
        let prompts = prompts.iter().map(one).collect::<Result<_, Failure>>()?;
        Ok((prompts, cut))
    }

    /// Every continuation of every numbered prompt in tokens, prompt by prompt; and how many
    /// prompts lost their beginning, because the context does not hold them.
    pub fn endings(
        &self,
        prompts: &[(usize, &str, &[String])],
        chat: bool,
        threads: usize,
    ) -> Result<(Vec<Ending>, usize), Failure> {
        let (wording, most) = (&self.wording, self.context() + 1);
        let of_prompt = |(row, prompt, ends): &(usize, &str, &[String])| {
            let endings = wording.endings(*row, prompt, ends, chat)?;
            let is_long = endings.iter().any(|ending| ending.tokens.len() > most);
            let within = endings.into_iter().map(|ending| within(ending, most, *row));
            Ok((within.collect::<Result<Vec<_>, Failure>>()?, is_long))
        };
        let all = in_threads(threads, || {
            prompts.par_iter().map(of_prompt).collect::<Result<Vec<_>, Failure>>()
        })?;
        let cut = all.iter().filter(|(_, is_long)| *is_long).count();
        Ok((all.into_iter().flat_map(|(endings, _)| endings).collect(), cut))
    }

    /// How likely the end of each text is.
    pub fn score_endings(
        &self,
        endings: &[Ending],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Likelihood>, Failure> {
        let (order, parts) = parts(endings, TOKENS_AT_ONCE);
        let sorted = order.iter().map(|at| endings[*at].clone()).collect::<Vec<_>>();
        let texts = sorted.iter().map(|ending| {
            let from = ending.from as u32;
            std::iter::once(from).chain(ending.tokens.iter().copied()).collect()
        });
        let texts = texts.collect::<Vec<Vec<u32>>>();
        let end = |start: usize| parts[parts.partition_point(|part| part.end <= start)].end;
        let work = &mut |range: Range<usize>, progress: &mut dyn Progress| {
            let found = self.model.score_endings(&sorted[range], progress)?;
            let as_scores = |Likelihood { mut losses, greedy }: Likelihood| {
                losses.push(f32::from(u8::from(greedy)));
                losses
            };
            Ok(found.into_iter().map(as_scores).collect())
        };
        let found = self.notes.scores_in("endings", (&texts, &end), progress, work)?;
        let mut likelihoods = vec![Likelihood::default(); endings.len()];
        for (at, mut losses) in order.into_iter().zip(found) {
            let greedy = losses.pop() == Some(1.0);
            likelihoods[at] = Likelihood { losses, greedy };
        }
        Ok(likelihoods)
    }

    /// A prompt as records show it.
    pub fn shown(&self, row: usize, prompt: &str, chat: bool) -> Result<String, Failure> {
        match chat {
            true => self.wording.question_text(row, prompt),
            false => Ok(prompt.to_string()),
        }
    }

    /// What a reader must know if prompts lost their beginning.
    pub fn remark(&self, cut: usize, prompts: usize) -> Option<String> {
        let context = self.context();
        (cut > 0).then(|| {
            format!(
                "was shown only the end of {cut} of {prompts} prompts, whose beginnings its \
                 context of {context} tokens does not hold."
            )
        })
    }

    /// A continuation in words.
    pub fn answer(&self, made: &Generated) -> Answer {
        let text = self.wording.tokenizer.decode(&made.tokens).trim().to_string();
        Answer { text, ended: made.ended }
    }

    /// log p of each continuation, whoever made it, its ending token included.
    pub fn log_probs(
        &self,
        replies: &[(&[u32], &Generated)],
        progress: &mut dyn Progress,
    ) -> Result<Vec<f64>, Failure> {
        let eos = self.wording.tokenizer.eos().id;
        let rows = replies.iter().map(|(prompt, made)| as_row(prompt, made, eos));
        let rows = rows.collect::<Vec<_>>();
        self.model.check_rows(&rows)?;
        let texts = rows.iter().map(|row| row.tokens.clone()).collect::<Vec<_>>();
        let losses = self.notes.scores("replies", &texts, progress, &mut |range, progress| {
            self.model.score(&rows[range], progress)
        })?;
        let whole = |losses: Vec<f32>| -losses.into_iter().map(f64::from).sum::<f64>();
        Ok(losses.into_iter().map(whole).collect())
    }

    /// The negative log-likelihood of every token of each text but the `bos` it begins with; a text
    /// longer than the context is cut into windows, each seeing only itself.
    pub fn losses(
        &self,
        texts: &[String],
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let documents = self.wording.tokenizer.encode_documents(texts, threads);
        self.notes.scores("documents", &documents, progress, &mut |range, progress| {
            self.model.document_losses(&documents[range], progress)
        })
    }

    /// The negative log-likelihood of every token of the answers of each dialogue, `eos` included.
    pub fn dialogue_losses(
        &self,
        dialogues: &[Chat],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let rows = (1..).zip(dialogues);
        let rows = rows.map(|(row, chat)| Ok(learned(&self.wording.dialogue(row, chat)?)));
        let rows = rows.collect::<Result<Vec<Row>, Failure>>()?;
        self.model.check_rows(&rows)?;
        let texts = rows.iter().map(|row| [&row.tokens[..], &row.targets].concat());
        let texts = texts.collect::<Vec<_>>();
        self.notes.scores("dialogues", &texts, progress, &mut |range, progress| {
            let scores = self.model.score(&rows[range.clone()], progress)?;
            let each = rows[range].iter().zip(scores).map(|(row, scores)| {
                let both = row.targets.iter().zip(scores);
                both.filter(|(target, _)| **target != IGNORE).map(|(_, loss)| loss).collect()
            });
            Ok(each.collect())
        })
    }

    /// The losses of texts without the ending token, where the windows of a longer text roll over
    /// it: each sees the token before it, and the last as many as fit.
    pub fn rolling_losses(
        &self,
        texts: &[String],
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Vec<f32>>, Failure> {
        let mut documents = self.wording.tokenizer.encode_documents(texts, threads);
        documents.iter_mut().for_each(|tokens| _ = tokens.pop());
        let windows = documents.iter().map(|tokens| rolling(tokens, self.context()));
        let windows = windows.collect::<Vec<_>>();
        let mut found = self.score_endings(&windows.concat(), progress)?.into_iter();
        let of_text = |windows: &Vec<Ending>| {
            found.by_ref().take(windows.len()).flat_map(|found| found.losses).collect()
        };
        Ok(windows.iter().map(of_text).collect())
    }
}

/// A dialogue as a row of which only the answers are predicted.
fn learned(example: &Example) -> Row {
    let (tokens, learned) = (&example.tokens, &example.learned);
    let (next, whole) = (tokens[1..].iter().zip(&learned[1..]), 0..tokens.len() - 1);
    Row {
        tokens: tokens[whole.clone()].to_vec(),
        targets: next.map(|(id, learned)| if *learned { *id } else { IGNORE }).collect(),
        segments: vec![whole],
    }
}

/// A text in windows of at most so many tokens read, each token asked for once: each window sees
/// the token before it, and the last as many as fit.
fn rolling(tokens: &[u32], context: usize) -> Vec<Ending> {
    let window = |first: usize| {
        let end = (first + context).min(tokens.len());
        let start = if first == 1 { 0 } else { end - context - 1 };
        Ending { tokens: tokens[start..end].to_vec(), from: first - start }
    };
    (1..tokens.len()).step_by(context).map(window).collect()
}

/// An ending of at most so many tokens: a longer one loses its beginning, but nothing that is
/// asked.
fn within(mut ending: Ending, most: usize, row: usize) -> Result<Ending, Failure> {
    let surplus = ending.tokens.len().saturating_sub(most);
    if surplus >= ending.from {
        return Err(Failure::input(format!(
            "row {row}: a choice is {} tokens long, and the model's context {}",
            ending.tokens.len() - ending.from,
            most - 1
        )));
    }
    ending.tokens.drain(..surplus);
    ending.from -= surplus;
    Ok(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_roll_over_a_text() {
        let tokens = (0..8).collect::<Vec<u32>>();
        let found = |length: usize, context| {
            let found = rolling(&tokens[..length], context);
            found.into_iter().map(|one| (one.tokens, one.from)).collect::<Vec<_>>()
        };
        // Of lm-evaluation-harness: get_rolling_token_windows(tokens[1:], 0, context, 1).
        let expected = [(vec![0, 1, 2, 3], 1), (vec![3, 4, 5, 6], 1), (vec![4, 5, 6, 7], 3)];
        assert_eq!(found(8, 3), expected);
        assert_eq!(found(7, 3), expected[..2]);
        assert_eq!(found(3, 3), [(vec![0, 1, 2], 1)]);
        assert!(found(1, 3).is_empty());
    }
}
