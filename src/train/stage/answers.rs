//! Unfinished sampling on disk: a journal of answers, each added when it is finished. Which they
//! are changes no bit of the rest. Knows token ids; does not know what answers are for.
//!
//! The words of an answer: its number, 1 where it ended or else 0, its tokens, and the bits of its
//! log-probabilities.

use std::path::Path;

use super::journal::{Holds, Journal};
use crate::train::model::sample::{GenerateOptions, Generated};
use crate::train::progress::Progress;

const HOLDS: Holds = Holds { what: "answers", of: "prompts, or of other ways to answer them" };

/// A file to which answers are added.
#[derive(Debug)]
pub struct Answers {
    journal: Journal,
}

impl Answers {
    /// Opens the file, or begins it; with it come the answers that it holds, by their number.
    pub fn open(
        path: &Path,
        prompts: &[Vec<u32>],
        options: &GenerateOptions,
        progress: &mut dyn Progress,
    ) -> (Answers, Vec<Option<Generated>>) {
        let mut made = vec![None; prompts.len() * options.samples];
        let (journal, pieces) = Journal::open(path, name(prompts, options), HOLDS, progress);
        for (request, answer) in pieces.iter().filter_map(|words| parsed(words)) {
            if let Some(place) = made.get_mut(request) {
                *place = Some(answer);
            }
        }
        let (done, all) = (made.iter().flatten().count(), made.len());
        if done > 0 {
            progress.notice(&format!("goes on after {done} of {all} answers"));
        }
        (Answers { journal }, made)
    }

    /// Adds an answer, where that is possible.
    pub fn add(&mut self, request: usize, made: &Generated, progress: &mut dyn Progress) {
        let log_probs = made.log_probs.iter().map(|x| x.to_bits());
        let words: Vec<u32> = [request as u32, u32::from(made.ended)]
            .into_iter()
            .chain(made.tokens.iter().copied())
            .chain(log_probs)
            .collect();
        self.journal.add(&words, progress);
    }
}

/// A digest of all that decides on answers but the model, which belongs to the attempt.
fn name(prompts: &[Vec<u32>], options: &GenerateOptions) -> [u8; 32] {
    let GenerateOptions { samples, max_answer, sampling, seed, eos } = options;
    let mut hasher = blake3::Hasher::new();
    let top_k = sampling.top_k.map_or(0, |top_k| top_k as u64);
    for number in [*samples as u64, *max_answer as u64, *seed, u64::from(*eos), top_k] {
        hasher.update(&number.to_le_bytes());
    }
    for number in [sampling.temperature, sampling.top_p] {
        hasher.update(&number.to_le_bytes());
    }
    for prompt in prompts {
        hasher.update(&(prompt.len() as u64).to_le_bytes());
        prompt.iter().for_each(|id| _ = hasher.update(&id.to_le_bytes()));
    }
    *hasher.finalize().as_bytes()
}

/// The answer that these words say, with its number.
fn parsed(words: &[u32]) -> Option<(usize, Generated)> {
    let (&[request, ended], rest) = words.split_first_chunk::<2>()?;
    // `ended` is one position more, which has a log-probability and no token.
    let tokens = rest.len().checked_sub(ended as usize)? / 2;
    let (tokens, log_probs) = rest.split_at(tokens);
    let log_probs = log_probs.iter().map(|bits| f32::from_bits(*bits)).collect();
    Some((request as usize, Generated { tokens: tokens.to_vec(), log_probs, ended: ended == 1 }))
}
