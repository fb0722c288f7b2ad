//! What an unfinished evaluation has found out so far, kept in the folder of its attempt: answers
//! one by one, scores by the batch. An evaluation that was killed goes on with those that are
//! missing, and which they are changes no bit of the rest. Knows token ids; does not know tasks.
//!
//! A model asked on a task asks the same things in the same order each time, so that a file is
//! found by the cell and by how many came before it.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::train::model::LoadedModel;
use crate::train::model::sample::{GenerateOptions, Generated};
use crate::train::progress::{Attempt, Failure, Progress, Quiet};
use crate::train::stage::answers::Answers;
use crate::train::stage::journal::{Holds, Journal};

/// Tokens whose scores are kept at once, unless one text is longer.
const TOKENS_AT_ONCE: usize = 8192;

/// The notes of one evaluation.
#[derive(Debug, Default)]
pub struct Notes {
    /// None where nothing is kept.
    folder: Option<PathBuf>,
    cell: RefCell<String>,
    taken: Cell<usize>,
}

impl Notes {
    /// Notes in the folder of this attempt, if there is one.
    pub fn of(attempt: Option<&Attempt>) -> Rc<Notes> {
        let folder = attempt.map(|attempt| attempt.folder.clone());
        Rc::new(Notes { folder, ..Notes::default() })
    }

    /// What is noted from here on belongs to this cell.
    pub fn begin(&self, key: &[u8; 32]) {
        self.cell.replace(blake3::Hash::from_bytes(*key).to_hex()[..16].to_string());
        self.taken.set(0);
    }

    fn next(&self) -> Option<PathBuf> {
        let taken = self.taken.replace(self.taken.get() + 1);
        Some(self.folder.as_ref()?.join(format!("{}-{taken}", self.cell.borrow())))
    }

    /// Continuations of each prompt, prompt by prompt; each may be `over` before it ends.
    pub fn answers(
        &self,
        model: &LoadedModel,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        over: &dyn Fn(&[u32]) -> bool,
        progress: &mut dyn Progress,
    ) -> Result<Vec<Generated>, Failure> {
        let Some(path) = self.next() else {
            let none = vec![None; prompts.len() * options.samples];
            let hear = &mut |_, _: &Generated, _: &mut dyn Progress| {};
            return model.generate_until(prompts, options, over, none, hear, progress);
        };
        let (mut answers, made) = Answers::open(&path, prompts, options, progress);
        let hear = &mut |at: usize, made: &Generated, progress: &mut dyn Progress| {
            answers.add(at, made, progress);
        };
        model.generate_until(prompts, options, over, made, hear, progress)
    }

    /// What `work` finds of each text, in order; it is given a range of them at a time. Where a
    /// range begins and ends must change nothing. `kind` tells one sort of scores from another.
    pub fn scores(
        &self,
        kind: &'static str,
        texts: &[Vec<u32>],
        progress: &mut dyn Progress,
        work: &mut dyn FnMut(Range<usize>, &mut dyn Progress) -> Scores,
    ) -> Scores {
        self.scores_in(kind, (texts, &|start| at_once(texts, start).end), progress, work)
    }

    /// The same, where it is told at which text the range that begins at another ends.
    pub fn scores_in(
        &self,
        kind: &'static str,
        (texts, end): (&[Vec<u32>], &dyn Fn(usize) -> usize),
        progress: &mut dyn Progress,
        work: &mut dyn FnMut(Range<usize>, &mut dyn Progress) -> Scores,
    ) -> Scores {
        let mut kept = self.next().map(|path| open(&path, kind, texts, progress));
        let mut scores = Vec::with_capacity(texts.len());
        for words in kept.iter_mut().flat_map(|(_, entries)| entries.drain(..)).take(texts.len()) {
            scores.push(words.into_iter().map(f32::from_bits).collect());
        }
        if !scores.is_empty() {
            progress.notice(&format!("goes on after {} of {} texts", scores.len(), texts.len()));
        }
        while scores.len() < texts.len() {
            let range = scores.len()..end(scores.len());
            for found in work(range, &mut Quiet(progress))? {
                if let Some((journal, _)) = &mut kept {
                    let words = found.iter().map(|score| score.to_bits()).collect::<Vec<_>>();
                    journal.add(&words, progress);
                }
                scores.push(found);
            }
            progress.at(scores.len() as u64, texts.len() as u64, "texts", &[]);
        }
        Ok(scores)
    }
}

/// Some scores of each text.
pub type Scores = Result<Vec<Vec<f32>>, Failure>;

const HOLDS: Holds = Holds { what: "scores", of: "texts" };

fn open(
    path: &Path,
    kind: &'static str,
    texts: &[Vec<u32>],
    progress: &mut dyn Progress,
) -> (Journal, Vec<Vec<u32>>) {
    let mut hasher = blake3::Hasher::new_derive_key(kind);
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes());
        text.iter().for_each(|id| _ = hasher.update(&id.to_le_bytes()));
    }
    Journal::open(path, *hasher.finalize().as_bytes(), HOLDS, progress)
}

/// The texts from `start` on that are scored next.
fn at_once(texts: &[Vec<u32>], start: usize) -> Range<usize> {
    let mut tokens = 0;
    let within = texts[start..].iter().take_while(|text| {
        tokens += text.len();
        tokens <= TOKENS_AT_ONCE
    });
    start..start + within.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Heard(Vec<String>);

    impl Progress for Heard {
        fn at(&mut self, _: u64, _: u64, _: &'static str, _: &[(&str, f64)]) {}
        fn log(&mut self, line: &str) {
            self.0.push(line.into());
        }
        fn notice(&mut self, line: &str) {
            self.log(line);
        }
        fn cancelled(&self) -> bool {
            false
        }
    }

    /// Scores texts in this folder; fails at the range that holds `until`. How many were scored.
    fn scored(folder: &Path, texts: &[Vec<u32>], until: usize) -> (usize, Scores, Vec<String>) {
        let attempt = Attempt { folder: folder.into(), every: Duration::ZERO };
        let notes = Notes::of(Some(&attempt));
        notes.begin(&[7; 32]);
        let (mut done, mut heard) = (0, Heard(Vec::new()));
        let scores = notes.scores("tests", texts, &mut heard, &mut |range, _| {
            if range.contains(&until) {
                return Err(Failure::Interrupted);
            }
            done += range.len();
            Ok(range.map(|at| vec![at as f32, f32::NAN]).collect())
        });
        (done, scores, heard.0)
    }

    #[test]
    fn scores_that_were_kept_are_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let texts = (0..10).map(|at| vec![at; 3000]).collect::<Vec<_>>();
        let (done, scores, _) = scored(folder.path(), &texts, 6);
        assert!(done == 6 && scores.is_err());
        let (done, scores, said) = scored(folder.path(), &texts, 99);
        assert_eq!((done, said), (4, vec!["goes on after 6 of 10 texts".to_string()]));
        let bits = |scores: Vec<f32>| scores.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let scores = scores.unwrap().into_iter().map(bits).collect::<Vec<_>>();
        let expected = (0..10).map(|at| bits(vec![at as f32, f32::NAN])).collect::<Vec<_>>();
        assert_eq!(scores, expected);
        let (done, _, said) = scored(folder.path(), &texts[..9], 99);
        assert_eq!(done, 9);
        assert!(said[0].ends_with("it is of other texts"), "{said:?}");
    }
}
