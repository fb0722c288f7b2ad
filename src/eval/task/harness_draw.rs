//! The examples that lm-evaluation-harness draws: it seeds Python's generator once for a task and
//! takes `random.sample` for one row after another, so the draw of a row follows from the seed, the
//! number of examples there are, and the rows before it.
//!
//! The generator is MT19937 (Matsumoto and Nishimura, "Mersenne Twister", 1998), seeded by the
//! 32-bit words of the seed; a number below n is the first of its highest bits that is; `sample`
//! takes from a list that shrinks where n is small, and draws again what it has where n is large.
//! Knows numbers of rows; does not know what they hold.

use std::collections::BTreeSet;

/// Words of the generator's state.
const WORDS: usize = 624;
/// How far apart the words lie that make a new one.
const APART: usize = 397;

/// Python's `random.Random(seed)`.
#[derive(Clone, Debug)]
pub struct Python {
    words: Vec<u32>,
    next: usize,
}

impl Python {
    /// Seeded as Python seeds by a whole number.
    pub fn new(seed: u64) -> Python {
        let key = [seed as u32, (seed >> 32) as u32];
        let key = if key[1] == 0 { &key[..1] } else { &key[..] };
        let mut words = vec![19_650_218u32; WORDS];
        for at in 1..WORDS {
            words[at] = stirred(words[at - 1]).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
        }
        let mut at = 1;
        for step in 0..2 * WORDS - 1 {
            let before = stirred(words[at - 1]);
            words[at] = if step < WORDS {
                let of_key = step % key.len();
                let added = key[of_key].wrapping_add(of_key as u32);
                (words[at] ^ before.wrapping_mul(1_664_525)).wrapping_add(added)
            } else {
                (words[at] ^ before.wrapping_mul(1_566_083_941)).wrapping_sub(at as u32)
            };
            at += 1;
            if at == WORDS {
                words[0] = words[WORDS - 1];
                at = 1;
            }
        }
        words[0] = 0x8000_0000;
        Python { words, next: WORDS }
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            for at in 0..WORDS {
                let (this, after) = (self.words[at], self.words[(at + 1) % WORDS]);
                let both = (this & 0x8000_0000) | (after & 0x7fff_ffff);
                let odd = if both & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[at] = self.words[(at + APART) % WORDS] ^ (both >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number below `most`, which is not 0.
    fn below(&mut self, most: u32) -> u32 {
        let bits = 32 - most.leading_zeros();
        loop {
            let drawn = self.word() >> (32 - bits);
            if drawn < most {
                return drawn;
            }
        }
    }

    /// `random.sample(range(of), count)`; `count` is at most `of`.
    pub fn sample(&mut self, of: usize, count: usize) -> Vec<usize> {
        let most = |left: usize| u32::try_from(left).expect("fewer than 2^32 rows");
        if of <= small(count) {
            let mut pool = (0..of).collect::<Vec<_>>();
            let draw = |taken: usize| {
                let at = self.below(most(of - taken)) as usize;
                let drawn = pool[at];
                pool[at] = pool[of - taken - 1];
                drawn
            };
            return (0..count).map(draw).collect();
        }
        let mut had = BTreeSet::new();
        let draw = |_| {
            loop {
                let at = self.below(most(of)) as usize;
                if had.insert(at) {
                    return at;
                }
            }
        };
        (0..count).map(draw).collect()
    }
}

/// A word on its way into the next.
fn stirred(word: u32) -> u32 {
    word ^ (word >> 30)
}

/// The longest list that Python copies to draw so many from.
fn small(count: usize) -> usize {
    if count <= 5 {
        return 21;
    }
    let mut power = 4;
    while power < count.saturating_mul(3) {
        power = power.saturating_mul(4);
    }
    power.saturating_add(21)
}

/// Which examples stand before each of the first `rows` rows, `shots` of `of` to a row. Where rows
/// are drawn from themselves, `same` says whether an example is the row: one more is drawn, and the
/// row left out; where that leaves too few, they are drawn again from all others.
pub fn draws(
    (seed, rows): (u64, usize),
    (of, shots): (usize, usize),
    same: Option<&dyn Fn(usize, usize) -> bool>,
) -> Result<Vec<Vec<usize>>, usize> {
    let mut python = Python::new(seed);
    let wanted = shots + usize::from(same.is_some());
    if of < wanted {
        return Err(of - usize::from(same.is_some()).min(of));
    }
    let draw = |row: usize| {
        let mut drawn = python.sample(of, wanted);
        let Some(same) = same else { return Ok(drawn) };
        drawn.retain(|at| !same(row, *at));
        drawn.truncate(shots);
        if drawn.len() < shots {
            let others = (0..of).filter(|at| !same(row, *at)).collect::<Vec<_>>();
            if others.len() < shots {
                return Err(others.len());
            }
            let again = python.sample(others.len(), shots);
            drawn = again.into_iter().map(|at| others[at]).collect();
        }
        Ok(drawn)
    };
    (0..rows).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_pythons() {
        // Of CPython 3.11: `r = random.Random(seed)`, `r.sample(range(of), count)`.
        let drawn = |seed: u64| {
            let mut python = Python::new(seed);
            let sizes = [(3000, 5), (7473, 5), (21, 5), (30, 6), (60, 8), (100, 8)];
            sizes.map(|(of, count)| python.sample(of, count))
        };
        assert_eq!(
            drawn(1234),
            [
                vec![1805, 478, 30, 371, 2384],
                vec![286, 5501, 5677, 687, 806],
                vec![11, 7, 0, 18, 17],
                vec![11, 20, 19, 15, 27, 14],
                vec![9, 5, 11, 45, 7, 54, 0, 32],
                vec![62, 31, 8, 85, 69, 59, 76, 86],
            ]
        );
        assert_eq!(drawn(0)[0], [1577, 1722, 165, 1060, 2094]);
        let large = drawn((1 << 40) + 7);
        assert_eq!(large[1], [2054, 5042, 1038, 4233, 3074]);
        assert_eq!(large[5], [73, 20, 4, 32, 9, 96, 47, 17]);
        let mut python = Python::new(5);
        for (of, count) in [(3000, 5), (7473, 5), (21, 5), (30, 6), (60, 8), (100, 8)] {
            python.sample(of, count);
        }
        assert_eq!(python.sample(10, 10), [2, 9, 0, 6, 7, 1, 4, 5, 8, 3]);
    }

    #[test]
    fn a_row_is_not_its_own_example() {
        let same = |row: usize, at: usize| row == at;
        let all = draws((1234, 40), (40, 5), Some(&same)).unwrap();
        assert!(all.iter().enumerate().all(|(row, drawn)| !drawn.contains(&row)));
        assert!(all.iter().all(|drawn| drawn.len() == 5));
        // Two that are alike may both be drawn: then others are.
        let pair = |row: usize, at: usize| row / 2 == at / 2;
        let all = draws((3, 6), (6, 4), Some(&pair)).unwrap();
        assert!(all.iter().all(|drawn| drawn.len() == 4));
        assert_eq!(draws((3, 6), (6, 5), Some(&pair)), Err(4));
        assert_eq!(draws((3, 1), (2, 3), None), Err(2));
    }
}
