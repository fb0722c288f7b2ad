//! Pairs of pieces that become one, and how a word is merged: of all pairs side by side the one of
//! the lowest rank first, the leftmost of equals. Knows ids; does not know what they spell.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No id and no place.
const NONE: u32 = u32::MAX;

/// What each pair of ids becomes.
#[derive(Clone, Debug)]
pub struct Merges {
    /// Where the merges of each left id begin in `merges`, and after the last where they end.
    starts: Vec<u32>,
    /// Of one left id in order of the right one.
    merges: Vec<Merge>,
}

#[derive(Clone, Copy, Debug)]
struct Merge {
    right: u32,
    rank: u32,
    made: u32,
}

impl Merges {
    /// Merges of ids below `vocab` in order of rank: left, right, and what they become.
    pub fn new(vocab: usize, ranked: &[[u32; 3]]) -> Merges {
        let mut ordered: Vec<(u32, Merge)> = (0..)
            .zip(ranked)
            .map(|(rank, &[left, right, made])| (left, Merge { right, rank, made }))
            .collect();
        ordered.sort_by_key(|(left, merge)| (*left, merge.right));
        let mut starts = vec![0; vocab + 1];
        ordered.iter().for_each(|(left, _)| starts[*left as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Merges { starts, merges: ordered.into_iter().map(|(_, merge)| merge).collect() }
    }

    fn find(&self, left: u32, right: u32) -> Option<Merge> {
        let [start, end] = [left, left + 1].map(|at| self.starts[at as usize] as usize);
        let of_left = &self.merges[start..end];
        let found = of_left.binary_search_by_key(&right, |merge| merge.right);
        found.ok().map(|at| of_left[at])
    }
}

/// A word on its way; kept from word to word for its memory.
#[derive(Debug, Default)]
pub struct Merging {
    symbols: Vec<Symbol>,
    /// Rank and place of pairs in one number. Some are no longer there when their turn comes.
    queue: BinaryHeap<Reverse<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    /// [`NONE`] once it is part of the one before.
    id: u32,
    previous: u32,
    next: u32,
}

impl Merging {
    /// Merges `ids` and adds what is left to `into`.
    pub fn merge(&mut self, merges: &Merges, ids: &[u32], into: &mut Vec<u32>) {
        assert!(ids.len() < NONE as usize, "places of a word have 32 bits");
        self.symbols.clear();
        let places = 0..ids.len() as u32;
        self.symbols.extend(ids.iter().zip(places).map(|(&id, at)| Symbol {
            id,
            previous: at.wrapping_sub(1),
            next: if at as usize + 1 < ids.len() { at + 1 } else { NONE },
        }));
        (0..ids.len() as u32).for_each(|at| self.enqueue(merges, at));
        while let Some(Reverse(entry)) = self.queue.pop() {
            let (rank, at) = ((entry >> 32) as u32, entry as u32);
            if let Some(merge) = self.pair(merges, at).filter(|merge| merge.rank == rank) {
                self.join(at, merge.made);
                self.enqueue(merges, at);
                self.enqueue(merges, self.symbols[at as usize].previous);
            }
        }
        into.extend(self.symbols.iter().map(|symbol| symbol.id).filter(|&id| id != NONE));
    }

    /// The merge of a symbol and the next, if there is one.
    fn pair(&self, merges: &Merges, at: u32) -> Option<Merge> {
        let left = self.symbols.get(at as usize).filter(|left| left.id != NONE)?;
        let right = self.symbols.get(left.next as usize)?;
        merges.find(left.id, right.id)
    }

    fn enqueue(&mut self, merges: &Merges, at: u32) {
        if let Some(merge) = self.pair(merges, at) {
            self.queue.push(Reverse(u64::from(merge.rank) << 32 | u64::from(at)));
        }
    }

    fn join(&mut self, at: u32, made: u32) {
        let right = self.symbols[at as usize].next;
        let next = self.symbols[right as usize].next;
        self.symbols[right as usize].id = NONE;
        if let Some(after) = self.symbols.get_mut(next as usize) {
            after.previous = at;
        }
        let left = &mut self.symbols[at as usize];
        (left.id, left.next) = (made, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_rank_goes_first_and_then_the_leftmost() {
        // 3 = 1 1, 4 = 0 1, 5 = 3 1.
        let merges = Merges::new(6, &[[1, 1, 3], [0, 1, 4], [3, 1, 5]]);
        let merged = |ids: &[u32]| {
            let mut into = Vec::new();
            Merging::default().merge(&merges, ids, &mut into);
            into
        };
        assert!(merged(&[]).is_empty());
        assert_eq!(merged(&[2, 0]), [2, 0]);
        assert_eq!(merged(&[0, 1, 1]), [0, 3]);
        assert_eq!(merged(&[1, 1, 1, 1]), [3, 3]);
        assert_eq!(merged(&[0, 1, 2, 1, 1, 1]), [4, 2, 5]);
    }
}
