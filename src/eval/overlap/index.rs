//! Where runs of tokens of some short texts stand again in a long one. A run begins with `SEED`
//! equal tokens and may then differ in up to `SKIPS` places, but not at its end. The short texts
//! are indexed by every run of `SEED` tokens in them; a long text is walked once with a rolling
//! hash. Knows tokens; does not know where texts come from.

/// Tokens in which a run must agree at its beginning.
pub const SEED: usize = 10;

/// Places in which the rest of it may differ: the skip-gram budget of the paper.
pub const SKIPS: usize = 4;

/// Odd, so that multiplying by it loses nothing.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// All runs of `SEED` tokens of some texts.
pub struct Index {
    texts: Vec<Vec<u32>>,
    /// Sorted by hash, then by place.
    seeds: Vec<Seed>,
    /// By the first bits of a hash: where its seeds begin. One more than there are such bits.
    begins: Vec<usize>,
    shift: u32,
    longer_than: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seed {
    hash: u64,
    text: usize,
    start: usize,
}

/// A run of one of the texts that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub text: usize,
    pub start: usize,
    pub end: usize,
    skipped: [usize; SKIPS],
    skips: usize,
}

impl Span {
    /// The places of the text that agree.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        let skipped = &self.skipped[..self.skips];
        (self.start..self.end).filter(move |at| !skipped.contains(at))
    }
}

impl Index {
    /// Of these texts; a run counts if it is longer than so many tokens.
    pub fn new(texts: Vec<Vec<u32>>, longer_than: usize) -> Index {
        assert!(longer_than >= SEED, "a run is at least a seed and one more token");
        let seeds_of = |(text, tokens): (usize, &Vec<u32>)| {
            let hashes = Hashes::of(tokens).enumerate();
            hashes.map(|(start, hash)| Seed { hash, text, start }).collect::<Vec<_>>()
        };
        let mut seeds = texts.iter().enumerate().flat_map(seeds_of).collect::<Vec<_>>();
        seeds.sort_unstable();
        let bits = (2 * seeds.len()).max(2).next_power_of_two().ilog2();
        let shift = u64::BITS - bits;
        let mut begins = vec![0; (1 << bits) + 1];
        for seed in &seeds {
            begins[(seed.hash >> shift) as usize + 1] += 1;
        }
        for at in 1..begins.len() {
            begins[at] += begins[at - 1];
        }
        Index { texts, seeds, begins, shift, longer_than }
    }

    /// The indexed texts.
    pub fn texts(&self) -> &[Vec<u32>] {
        &self.texts
    }

    /// Every run that a long text has in common with one of the texts, as long as it goes.
    pub fn look(&self, long: &[u32], found: &mut Vec<Span>) {
        for (at, hash) in Hashes::of(long).enumerate() {
            let slot = (hash >> self.shift) as usize;
            let seeds = &self.seeds[self.begins[slot]..self.begins[slot + 1]];
            let met = seeds.iter().filter(|seed| seed.hash == hash);
            found.extend(met.filter_map(|seed| self.run(*seed, long, at)));
        }
    }

    /// The run that begins with a seed, if it is the first of a run of equal tokens: the seeds
    /// after it reach no further.
    fn run(&self, Seed { text, start, .. }: Seed, long: &[u32], at: usize) -> Option<Span> {
        let own = &self.texts[text];
        let goes_on = start > 0 && at > 0 && own[start - 1] == long[at - 1];
        if goes_on || own[start..start + SEED] != long[at..at + SEED] {
            return None;
        }
        let mut span = Span { text, start, end: start + SEED, skipped: [0; SKIPS], skips: 0 };
        let mut differ = 0;
        let pairs = own[start + SEED..].iter().zip(&long[at + SEED..]);
        for (place, (ours, theirs)) in (start + SEED..).zip(pairs) {
            if ours == theirs {
                (span.end, span.skips) = (place + 1, differ);
            } else if differ < SKIPS {
                span.skipped[differ] = place;
                differ += 1;
            } else {
                break;
            }
        }
        (span.end - span.start > self.longer_than).then_some(span)
    }
}

/// The hash of each run of `SEED` tokens, in order.
struct Hashes<'t> {
    tokens: &'t [u32],
    /// Where the next one begins.
    at: usize,
    sum: u64,
    /// `BASE` to the power of `SEED`: what the token that falls out is multiplied by.
    out: u64,
}

impl Hashes<'_> {
    fn of(tokens: &[u32]) -> Hashes<'_> {
        let first = tokens.get(..SEED).unwrap_or_default();
        let sum = first.iter().fold(0, |sum: u64, token| grown(sum, *token));
        let out = (0..SEED).fold(1, |power: u64, _| power.wrapping_mul(BASE));
        Hashes { tokens, at: 0, sum, out }
    }
}

fn grown(sum: u64, token: u32) -> u64 {
    sum.wrapping_mul(BASE).wrapping_add(u64::from(token) + 1)
}

impl Iterator for Hashes<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.at + SEED > self.tokens.len() {
            return None;
        }
        // The first bits choose a slot, so they must depend on every token.
        let mixed = (self.sum ^ (self.sum >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        if let Some(next) = self.tokens.get(self.at + SEED) {
            let gone = u64::from(self.tokens[self.at]) + 1;
            self.sum = grown(self.sum, *next).wrapping_sub(gone.wrapping_mul(self.out));
        }
        self.at += 1;
        Some(mixed ^ (mixed >> 32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::kernels::rng::Stream;

    /// Start, end and differing places of what is found.
    fn found(text: &[u32], long: &[u32], longer_than: usize) -> Vec<(usize, usize, Vec<usize>)> {
        let mut found = Vec::new();
        Index::new(vec![text.to_vec()], longer_than).look(long, &mut found);
        let skipped = |span: &Span| span.skipped[..span.skips].to_vec();
        found.iter().map(|span| (span.start, span.end, skipped(span))).collect()
    }

    fn count(tokens: std::ops::Range<u32>) -> Vec<u32> {
        tokens.collect()
    }

    #[test]
    fn a_run_is_found_wherever_it_stands() {
        let text = count(0..40);
        let long = [count(100..150), count(5..30), count(200..220)].concat();
        assert_eq!(found(&text, &long, 10), [(5, 30, vec![])]);
        assert_eq!(found(&text, &long, 24), [(5, 30, vec![])]);
        assert_eq!(found(&text, &long, 25), []);
    }

    #[test]
    fn ten_tokens_are_no_run_and_eleven_are() {
        assert_eq!(found(&count(0..40), &count(7..17), 10), []);
        assert_eq!(found(&count(0..40), &count(7..18), 10), [(7, 18, vec![])]);
        assert_eq!(found(&count(0..9), &count(0..9), 10), []);
        assert_eq!(found(&[], &count(0..9), 10), []);
    }

    #[test]
    fn four_places_may_differ_but_not_the_last() {
        let mut long = count(0..60);
        for at in [12, 20, 21, 30, 40] {
            long[at] = 999;
        }
        // From the first token on four differ; what follows the fourth ends before the fifth, and
        // so do the runs that begin later with another budget, but for the last.
        let runs = found(&count(0..60), &long, 10);
        assert_eq!(runs[0], (0, 40, vec![12, 20, 21, 30]));
        assert_eq!(runs.last().unwrap(), &(41, 60, vec![]));
        let mut long = count(0..13);
        long[12] = 999;
        assert_eq!(found(&count(0..40), &long, 10), [(0, 12, vec![])]);
    }

    #[test]
    fn the_first_ten_must_agree() {
        let mut long = count(0..20);
        long[9] = 999;
        assert_eq!(found(&count(0..20), &long, 10), []);
        long = count(0..24);
        long[9] = 999;
        assert_eq!(found(&count(0..24), &long, 10), [(10, 24, vec![])]);
    }

    /// Marks by trying every pair of places, as the definition says.
    fn slow(text: &[u32], long: &[u32], longer_than: usize) -> Vec<bool> {
        let mut marks = vec![false; text.len()];
        for start in 0..text.len() {
            for at in 0..long.len() {
                let pairs = text[start..].iter().zip(&long[at..]);
                let equal = pairs.map(|(a, b)| a == b).collect::<Vec<_>>();
                for end in longer_than + 1..=equal.len() {
                    let seeded = equal[..SEED].iter().all(|equal| *equal);
                    let differ = equal[..end].iter().filter(|equal| !**equal).count();
                    if seeded && differ <= SKIPS && equal[end - 1] {
                        (0..end).filter(|at| equal[*at]).for_each(|at| marks[start + at] = true);
                    }
                }
            }
        }
        marks
    }

    #[test]
    fn every_run_of_the_definition_is_found_and_no_other() {
        let mut walk = Stream::new(3, "index").walk();
        for case in 0..60 {
            let letters = 1 + case % 3;
            let text = (0..50).map(|_| walk.below(letters) as u32).collect::<Vec<_>>();
            let long = (0..70).map(|_| walk.below(letters) as u32).collect::<Vec<_>>();
            let longer_than = SEED + case % 4;
            let mut spans = Vec::new();
            Index::new(vec![text.clone()], longer_than).look(&long, &mut spans);
            let mut marks = vec![false; text.len()];
            spans.iter().flat_map(Span::places).for_each(|at| marks[at] = true);
            assert_eq!(marks, slow(&text, &long, longer_than), "case {case}");
        }
    }
}
