//! The rows that a training stage would learn from, looked at before it runs: each is tokenised by
//! the code that the stage itself uses, and one that the stage would refuse is a fault in the same
//! words. Needs a tokenizer and a template, but no model. Knows stages' parameters; does not know
//! how faults are shown.

use std::path::{Path, PathBuf};

use super::generate::template_of;
use super::{Dpo, Grpo, Ppo, Pretrain, RewardModel, Sft};
use crate::train::data::chat::{ChatFormat, Template};
use crate::train::data::inspect::{Amount, Counter, Inspected, inspect};
use crate::train::data::pack::too_long;
use crate::train::data::pairs::{Pair, pair};
use crate::train::data::rows::{Chat, Preference, Prompt, Text};
use crate::train::data::tokenise::document;
use crate::train::data::tokenizer::Tokenizer;
use crate::train::model::sample::no_room;
use crate::train::progress::{Failure, Progress};

/// A data set, and what was found in it.
pub type Found = (PathBuf, Inspected);

/// Documents, of which every token is learned.
pub fn pretrain(params: &Pretrain, progress: &dyn Progress) -> Result<Vec<Found>, Failure> {
    let tokenizer = Tokenizer::load(&params.tokenizer)?;
    let (counter, mut encoder) = (Counter::new(&tokenizer), tokenizer.encoder());
    let mut tokens = Vec::new();
    each(params.data.items(), |path| {
        inspect(path, progress, |row, text: Text| {
            if text.text.trim().is_empty() {
                return Err(Failure::input(format!("row {row}: the document is empty"))
                    .remedy("remove the row: there is nothing in it to learn"));
            }
            tokens.clear();
            document(&tokenizer, &mut encoder, &text, &mut tokens);
            Ok(counter.text(&tokens))
        })
    })
}

/// Dialogues, of which answers are learned.
pub fn sft(params: &Sft, progress: &dyn Progress) -> Result<Vec<Found>, Failure> {
    let dress = Dress::with(&params.init, params.template.clone())?;
    each(params.data.items(), |path| dress.dialogues(path, params.context, progress))
}

/// Pairs with what their margins need.
pub fn reward_model(params: &RewardModel, progress: &dyn Progress) -> Result<Vec<Found>, Failure> {
    let dress = Dress::of(&params.init)?;
    let fit = |pair: &Pair| params.facts_of(pair).map(drop);
    each(params.data.items(), |path| dress.pairs(path, params.context, &fit, progress))
}

/// Pairs whose answers are compared.
pub fn dpo(params: &Dpo, progress: &dyn Progress) -> Result<Vec<Found>, Failure> {
    let dress = Dress::of(&params.init)?;
    each(params.data.items(), |path| dress.pairs(path, params.context, &|_| Ok(()), progress))
}

/// Prompts, as [`ppo`] looks at them.
pub fn grpo(
    params: &Grpo,
    positions: usize,
    progress: &dyn Progress,
) -> Result<Vec<Found>, Failure> {
    let dress = Dress::of(&params.policy)?;
    let (paths, room) = (params.prompts.items(), params.max_answer);
    each(paths, |path| dress.prompts(path, room, positions, progress))
}

/// Prompts that an answer of full length can follow in a context of `positions`.
pub fn ppo(params: &Ppo, positions: usize, progress: &dyn Progress) -> Result<Vec<Found>, Failure> {
    let dress = Dress::of(&params.policy)?;
    let paths = params.prompts.items().into_iter().chain(&params.held_out).collect();
    each(paths, |path| dress.prompts(path, params.max_answer, positions, progress))
}

fn each(
    paths: Vec<&PathBuf>,
    mut look: impl FnMut(&Path) -> Result<Inspected, Failure>,
) -> Result<Vec<Found>, Failure> {
    paths.into_iter().map(|path| Ok((path.clone(), look(path)?))).collect()
}

/// How a chat model sees turns.
struct Dress {
    tokenizer: Tokenizer,
    format: ChatFormat,
    counter: Counter,
}

impl Dress {
    /// As the folder of a model says.
    fn of(folder: &Path) -> Result<Dress, Failure> {
        let template = template_of(folder, &Tokenizer::load(folder)?)?;
        Dress::with(folder, template)
    }

    /// With a template of its own.
    fn with(folder: &Path, template: Template) -> Result<Dress, Failure> {
        let (tokenizer, format) = (Tokenizer::load(folder)?, ChatFormat::new(&template)?);
        format.check_tokenizer(&tokenizer)?;
        let counter = Counter::new(&tokenizer);
        Ok(Dress { tokenizer, format, counter })
    }

    fn dialogues(
        &self,
        path: &Path,
        longest: usize,
        progress: &dyn Progress,
    ) -> Result<Inspected, Failure> {
        inspect(path, progress, |row, chat: Chat| {
            let example = self.format.learned(&self.tokenizer, row, &chat)?;
            match example.tokens.len() {
                tokens if tokens > longest => Err(too_long(row, tokens, longest)),
                _ => Ok(self.counter.example(&example)),
            }
        })
    }

    fn pairs(
        &self,
        path: &Path,
        longest: usize,
        fit: &dyn Fn(&Pair) -> Result<(), Failure>,
        progress: &dyn Progress,
    ) -> Result<Inspected, Failure> {
        inspect(path, progress, |row, preference: Preference| {
            let pair = pair(row, &preference, &self.tokenizer, &self.format, longest)?;
            fit(&pair)?;
            Ok(self.counter.example(&pair.chosen).and(self.counter.example(&pair.rejected)))
        })
    }

    fn prompts(
        &self,
        path: &Path,
        max_answer: usize,
        positions: usize,
        progress: &dyn Progress,
    ) -> Result<Inspected, Failure> {
        inspect(path, progress, |row, prompt: Prompt| {
            let tokens = self.format.prompt(&self.tokenizer, row, &prompt.prompt)?;
            if tokens.len() >= positions {
                return Err(no_room(row, tokens.len(), positions));
            }
            if tokens.len() + max_answer > positions {
                let room = positions - tokens.len();
                return Err(Failure::input(format!(
                    "prompt {row} leaves {room} tokens for an answer of up to {max_answer}"
                ))
                .remedy("shorten the prompt, or lower `max_answer`"));
            }
            Ok(Amount { learned: 0, ..self.counter.text(&tokens) })
        })
    }
}
