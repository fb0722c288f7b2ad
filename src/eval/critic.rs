//! A reward model that reads answers in words: the judge, and how turns become its tokens. Knows
//! prompts and answers; does not know what the scores are for.

use std::rc::Rc;

use super::finding::Card;
use super::notes::Notes;
use super::wording::Wording;
use crate::train::model::judge::{GATE, Judge, Judged, Verdict, members};
use crate::train::model::{Engine, ModelPath};
use crate::train::progress::{Failure, Progress};
use crate::train::stage::ledger::parameters;

/// A judge ready to read.
pub struct Critic {
    pub wording: Wording,
    judge: Judge,
    /// Where its scores are kept.
    notes: Rc<Notes>,
}

impl Critic {
    /// Opens a reward model, or a gate of two, whose members must read the same tokens.
    pub fn open(path: &ModelPath, engine: impl Into<Engine>) -> Result<Critic, Failure> {
        let judge = Judge::open(path, engine)?;
        let folder = &path.base;
        let all = match folder.join(GATE).is_file() {
            true => members(folder).to_vec(),
            false => vec![path.clone()],
        };
        let mut wordings = all.iter().map(|member| Wording::open(member.dress()));
        let wording = wordings.next().expect("a judge has a member")?;
        for other in wordings {
            if !wording.same_tokens(&other?) {
                let place = folder.display();
                let message = format!("the two reward models of `{place}` have other tokenizers");
                return Err(Failure::input(message)
                    .remedy("train both from models with the same tokenizer"));
            }
        }
        Ok(Critic { wording, judge, notes: Rc::default() })
    }

    /// The same, with its scores kept in these notes.
    pub fn noting(self, notes: &Rc<Notes>) -> Critic {
        Critic { notes: notes.clone(), ..self }
    }

    /// What tells a reader which model it is.
    pub fn card(&self) -> Card {
        Card {
            parameters: self.judge.configs().into_iter().map(parameters).sum(),
            dtype: self.judge.dtype().into(),
            context: self.judge.context(),
            ..self.wording.card()
        }
    }

    /// What each text is worth, in order.
    pub fn score(
        &self,
        texts: &[Judged],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Verdict>, Failure> {
        self.judge.check(texts)?;
        let tokens = texts.iter().map(|text| text.tokens.clone()).collect::<Vec<_>>();
        let scores = self.notes.scores("verdicts", &tokens, progress, &mut |range, progress| {
            let verdicts = self.judge.score(&texts[range], progress)?;
            Ok(verdicts.into_iter().map(numbers).collect())
        })?;
        Ok(scores.iter().map(|numbers| verdict(numbers)).collect())
    }
}

fn numbers(verdict: Verdict) -> Vec<f32> {
    let Verdict { helpful, safe, combined } = verdict;
    [helpful, combined].into_iter().chain(safe).collect()
}

fn verdict(numbers: &[f32]) -> Verdict {
    let (helpful, combined) = (numbers[0], numbers[1]);
    Verdict { helpful, safe: numbers.get(2).copied(), combined }
}
