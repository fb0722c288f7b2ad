//! How likely the ends of many texts are, where texts that begin alike share the work: what several
//! of them begin with is read once, and its keys and values are copied to each; texts that differ
//! only in the token to be predicted are read once altogether. A score has the bits that scoring
//! its text alone has, whoever it shares with. Knows token ids; does not know what the texts mean.
//!
//! Which beginnings are shared follows from the texts alone. They are sorted; a run of k neighbours
//! that share n tokens saves (k − 1) · n of them, and the runs are those that save most, found in
//! one pass over the tree of shared beginnings.

use std::ops::Range;

use super::activations::Activations;
use super::batch::Batch;
use super::inference::{Inference, check_finite};
use super::kv_cache::KvCache;
use super::loaded::TOKENS_AT_ONCE;
use super::transformer::Transformer;
use crate::train::progress::{Failure, Progress};

/// A text of which the tokens from `from` on are asked for, given those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub tokens: Vec<u32>,
    pub from: usize,
}

/// How likely an ending is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Likelihood {
    /// −log p of each token that is asked for.
    pub losses: Vec<f32>,
    /// Whether each of them is what the model would say itself.
    pub greedy: bool,
}

/// Texts that are read side by side, unless they are long.
const MOST_SLOTS: usize = 32;

impl Ending {
    /// What the model reads: the last token is only predicted.
    fn read(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }
}

/// Texts that are read as one: each is the beginning of the longest.
#[derive(Debug)]
struct Leaf<'e> {
    read: &'e [u32],
    /// Which endings are asked for in it.
    asked: Vec<usize>,
    /// How many of its tokens nothing is asked of.
    free: usize,
}

/// Neighbours that share their first tokens.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    leaves: Range<usize>,
    shared: usize,
}

/// How likely each ending is.
pub fn score_endings<M: Inference>(
    m: &M,
    model: &Transformer<M>,
    endings: &[Ending],
    progress: &mut dyn Progress,
) -> Result<Vec<Likelihood>, Failure> {
    check(model, endings)?;
    let leaves = leaves(endings);
    let longest = leaves.iter().map(|leaf| leaf.read.len()).max().unwrap_or(0);
    let slots = (2 * TOKENS_AT_ONCE / longest.max(1)).clamp(1, MOST_SLOTS).min(leaves.len());
    let slots = m.texts_at_once(&model.config, longest, slots);
    let mut reader = Reader {
        m,
        model,
        endings,
        slots,
        cache: KvCache::new(m, &model.config, slots, longest),
        a: Activations::inference(&model.config),
        found: vec![Likelihood::default(); endings.len()],
    };
    let (runs, mut done) = (runs(&leaves), 0);
    let mut rest = &runs[..];
    while !rest.is_empty() {
        if progress.cancelled() {
            return Err(Failure::Interrupted);
        }
        let (wave, after) = rest.split_at(reader.runs_at_once(rest));
        done += reader.read(wave, &leaves)?;
        progress.at(done as u64, endings.len() as u64, "texts", &[]);
        rest = after;
    }
    Ok(reader.found)
}

fn check<M: Inference>(model: &Transformer<M>, endings: &[Ending]) -> Result<(), Failure> {
    let (positions, vocab) = (model.positions(), model.config.vocab);
    for (at, ending) in endings.iter().enumerate() {
        let (row, length) = (at + 1, ending.tokens.len());
        assert!((1..length).contains(&ending.from), "something is asked for, given something");
        if length - 1 > positions {
            return Err(Failure::input(format!(
                "text {row} is {length} tokens long, more than the model's context of {positions}"
            )));
        }
        if let Some(id) = ending.tokens.iter().find(|id| **id as usize >= vocab) {
            return Err(Failure::input(format!(
                "text {row} holds token {id}, outside the model's vocabulary of {vocab}"
            )));
        }
    }
    Ok(())
}

/// The texts to read, sorted, so that those that begin alike are neighbours.
fn leaves(endings: &[Ending]) -> Vec<Leaf<'_>> {
    let mut order = (0..endings.len()).collect::<Vec<_>>();
    order.sort_by(|a, b| (endings[*a].read(), a).cmp(&(endings[*b].read(), b)));
    let mut leaves: Vec<Leaf<'_>> = Vec::new();
    for at in order {
        let (read, free) = (endings[at].read(), endings[at].from - 1);
        match leaves.last_mut().filter(|leaf| read.starts_with(leaf.read)) {
            Some(leaf) => {
                leaf.read = read;
                leaf.asked.push(at);
                leaf.free = leaf.free.min(free);
            }
            None => leaves.push(Leaf { read, asked: vec![at], free }),
        }
    }
    leaves
}

/// How many tokens two texts begin with that nothing is asked of.
fn shared(a: &Leaf<'_>, b: &Leaf<'_>) -> usize {
    let alike = a.read.iter().zip(b.read).take_while(|(a, b)| a == b).count();
    alike.min(a.free).min(b.free)
}

/// A stretch of leaves that share at least so much, still growing on the right.
struct Open {
    shared: usize,
    first: usize,
    /// Where its runs begin, and what they save.
    runs: usize,
    saved: usize,
}

/// The runs that save most, in order; together they hold every leaf.
fn runs(leaves: &[Leaf<'_>]) -> Vec<Run> {
    let (mut runs, mut open) = (Vec::new(), Vec::<Open>::new());
    for at in 0..leaves.len() {
        let next = leaves.get(at + 1).map(|next| shared(&leaves[at], next));
        let mut part = Open { shared: 0, first: at, runs: runs.len(), saved: 0 };
        runs.push(Run { leaves: at..at + 1, shared: 0 });
        while let Some(outer) = open.pop_if(|outer| next.is_none_or(|next| outer.shared > next)) {
            let (together, apart) = ((at - outer.first) * outer.shared, outer.saved + part.saved);
            if together > apart {
                runs.truncate(outer.runs);
                runs.push(Run { leaves: outer.first..at + 1, shared: outer.shared });
            }
            part = Open { saved: together.max(apart), ..outer };
        }
        match (next, open.last_mut()) {
            (None, _) => {}
            (Some(next), Some(outer)) if outer.shared == next => outer.saved += part.saved,
            (Some(next), _) => open.push(Open { shared: next, ..part }),
        }
    }
    runs
}

/// Reads runs, over a cache with a place for each text that is read at the same time.
struct Reader<'r, M: Inference> {
    m: &'r M,
    model: &'r Transformer<M>,
    endings: &'r [Ending],
    slots: usize,
    cache: KvCache<M>,
    a: Activations<M>,
    found: Vec<Likelihood>,
}

impl<M: Inference> Reader<'_, M> {
    /// How many places a run takes.
    fn places(&self, run: &Run) -> usize {
        run.leaves.len().min(self.slots)
    }

    /// How many of these runs are read side by side.
    fn runs_at_once(&self, runs: &[Run]) -> usize {
        let mut taken = 0;
        let within = runs.iter().take_while(|run| {
            taken += self.places(run);
            taken <= self.slots
        });
        within.count().max(1)
    }

    /// Reads what the runs begin with, then their leaves; gives how many endings are done.
    fn read(&mut self, wave: &[Run], leaves: &[Leaf<'_>]) -> Result<usize, Failure> {
        let mut first = 0;
        let places = wave.iter().map(|run| {
            let places = first..first + self.places(run);
            first = places.end;
            places
        });
        let places = places.collect::<Vec<_>>();
        (0..first).for_each(|slot| self.cache.clear(slot));
        let beginnings = wave.iter().zip(&places).filter(|(run, _)| run.shared > 0);
        let beginnings = beginnings
            .map(|(run, places)| (places.start, &leaves[run.leaves.start].read[..run.shared]));
        self.advance(&beginnings.collect::<Vec<_>>());
        for (run, places) in wave.iter().zip(&places) {
            let copy = |slot| self.cache.copy(self.m, places.start, slot, run.shared);
            places.clone().skip(1).for_each(copy);
        }
        let (mut done, passes) = (0, wave.iter().zip(&places));
        let passes = passes.map(|(run, places)| run.leaves.len().div_ceil(places.len())).max();
        for pass in 0..passes.unwrap_or(0) {
            let news = wave.iter().zip(&places).flat_map(|(run, places)| {
                let leaves = run.leaves.clone().skip(pass * places.len());
                leaves.zip(places.clone()).map(move |(leaf, slot)| (run.shared, leaf, slot))
            });
            let news = news.collect::<Vec<_>>();
            done += self.read_leaves(&news, leaves)?;
        }
        Ok(done)
    }

    /// Reads leaves, each behind the `shared` tokens that its slot holds, which it then holds
    /// again.
    fn read_leaves(
        &mut self,
        news: &[(usize, usize, usize)],
        leaves: &[Leaf<'_>],
    ) -> Result<usize, Failure> {
        let texts = news.iter().map(|(shared, leaf, slot)| (*slot, &leaves[*leaf].read[*shared..]));
        let batch = self.advance(&texts.collect::<Vec<_>>());
        let mut asked = Vec::new();
        for ((shared, leaf, slot), row) in news.iter().zip(&batch.rows) {
            asked.extend(leaves[*leaf].asked.iter().map(|ending| Place {
                ending: *ending,
                row: row.start + self.endings[*ending].from - 1 - shared,
            }));
            self.cache.keep(*slot, *shared);
        }
        self.listen(&asked)?;
        Ok(asked.len())
    }

    /// Reads more tokens of some slots; afterwards the arena holds their hidden states.
    fn advance(&mut self, texts: &[(usize, &[u32])]) -> Batch {
        let mut batch = Batch::default();
        if texts.is_empty() {
            return batch;
        }
        for (slot, tokens) in texts {
            batch.push_at(tokens, self.cache.length(*slot) as u32);
        }
        let slots = texts.iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
        self.model.forward_cached(self.m, (&batch, &slots), &mut self.a, &mut self.cache);
        batch
    }

    /// Finds how likely endings are.
    fn listen(&mut self, asked: &[Place]) -> Result<(), Failure> {
        let (mut rows, mut ids) = (Vec::new(), Vec::new());
        for Place { ending, row } in asked {
            let Ending { tokens, from } = &self.endings[*ending];
            rows.extend(*row..row + tokens.len() - from);
            ids.extend(&tokens[*from..]);
        }
        let mut hidden_nd = M::Floats::default();
        self.m.pick(&rows, self.model.config.dim, &self.a.hidden_td, &mut hidden_nd);
        let found = self.m.likelihoods(self.model, &hidden_nd, &ids)?;
        check_finite(found.iter().map(|(loss, _)| *loss))?;
        let mut found = found.into_iter();
        for Place { ending, .. } in asked {
            let Ending { tokens, from } = &self.endings[*ending];
            let own = found.by_ref().take(tokens.len() - from);
            let (losses, greedy): (Vec<f32>, Vec<bool>) = own.unzip();
            let greedy = greedy.into_iter().all(|greedy| greedy);
            self.found[*ending] = Likelihood { losses, greedy };
        }
        Ok(())
    }
}

/// Where in the arena stands what predicts the first token of an ending.
struct Place {
    ending: usize,
    row: usize,
}

/// Endings in an order in which those that share are neighbours, and how it is parted so that what
/// shares stays together: each part is work of so many tokens, if not less or one run.
pub fn parts(endings: &[Ending], tokens: usize) -> (Vec<usize>, Vec<Range<usize>>) {
    let leaves = leaves(endings);
    let (mut order, mut parts, mut work) = (Vec::new(), Vec::new(), 0);
    let mut start = 0;
    for Run { leaves: range, shared } in runs(&leaves) {
        let own = leaves[range.clone()].iter().map(|leaf| leaf.read.len() - shared).sum::<usize>();
        if work + shared + own > tokens && order.len() > start {
            parts.push(start..order.len());
            (start, work) = (order.len(), 0);
        }
        work += shared + own;
        order.extend(leaves[range].iter().flat_map(|leaf| leaf.asked.iter().copied()));
    }
    parts.push(start..order.len());
    (order, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(tokens: &[u32], from: usize) -> Ending {
        Ending { tokens: tokens.to_vec(), from }
    }

    fn found(endings: &[Ending]) -> Vec<(Range<usize>, usize)> {
        let leaves = leaves(endings);
        runs(&leaves).into_iter().map(|run| (run.leaves, run.shared)).collect()
    }

    #[test]
    fn what_differs_in_the_last_token_alone_is_read_once() {
        let endings = [ending(&[1, 2, 3, 9], 3), ending(&[1, 2, 3, 8], 3), ending(&[1, 2, 9], 2)];
        let leaves = leaves(&endings);
        let asked = leaves.iter().map(|leaf| (leaf.read, &leaf.asked[..], leaf.free));
        assert_eq!(asked.collect::<Vec<_>>(), [(&[1, 2, 3][..], &[2, 0, 1][..], 1)]);
    }

    #[test]
    fn runs_save_the_most_tokens() {
        // Two subjects that share one token: apart they save 4 + 3, together 4.
        let subject = |name: u32, rows: u32, length: usize| {
            let text = move |row| [vec![1], vec![name; length], vec![100 + row, 7]].concat();
            (0..rows).map(move |row| ending(&text(row), length + 2))
        };
        let endings = subject(5, 3, 1).chain(subject(6, 2, 2)).collect::<Vec<_>>();
        assert_eq!(found(&endings), [(0..3, 2), (3..5, 3)]);
        // With many short ones the common token is worth more than two that share another.
        let many = (0..9).map(|row| ending(&[1, 10 + row, 7], 2));
        let endings = many.chain(subject(9, 2, 1)).collect::<Vec<_>>();
        assert_eq!(found(&endings), [(0..11, 1)]);
    }

    #[test]
    fn what_shares_stays_together() {
        let subject = |name: u32| (0..4).map(move |row| ending(&[1, name, name, row, 7], 4));
        let endings = subject(6).chain(subject(5)).collect::<Vec<_>>();
        let (order, found) = parts(&endings, 8);
        assert_eq!((order, found), (vec![4, 5, 6, 7, 0, 1, 2, 3], vec![0..4, 4..8]));
        let whole = |endings: &[Ending], tokens| match &parts(endings, tokens).1[..] {
            [one] => one.clone(),
            more => panic!("{more:?}"),
        };
        assert_eq!((whole(&endings, 99), whole(&[], 8)), (0..8, 0..0));
    }

    #[test]
    fn what_is_asked_for_is_not_shared() {
        let endings = [ending(&[1, 2, 3, 4, 7], 1), ending(&[1, 2, 3, 5, 6], 2)];
        assert_eq!(found(&endings), [(0..1, 0), (1..2, 0)]);
        assert!(runs(&[]).is_empty());
    }
}
