//! Which rows each step learns from. The answer depends on the seed and the number of the step
//! alone, so a resumed run sees what a run never stopped would have seen. Knows rows; does not know
//! what is done with them.

use super::mixture::Source;
use super::pack::Row;
use crate::train::kernels::rng::Stream;
use crate::train::progress::Failure;

/// Rows by their number, made when they are drawn.
pub trait Rows: std::fmt::Debug {
    /// How many there are.
    fn len(&self) -> usize;

    /// How many tokens a row has.
    fn tokens(&self, row: usize) -> usize;

    /// A row itself.
    fn row(&self, row: usize) -> Row;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A few rows, held in memory.
impl Rows for Vec<Row> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn tokens(&self, row: usize) -> usize {
        self[row].tokens.len()
    }

    fn row(&self, row: usize) -> Row {
        self[row].clone()
    }
}

/// The place of a row: which source, and where in it.
pub type Pick = (usize, usize);

/// Rows in the order they are learned from, `sequences` at a time. A batch is always full: where
/// an epoch ends inside it, the next begins.
#[derive(Debug)]
pub struct Batches {
    sources: Vec<Source<Box<dyn Rows>>>,
    sequences: usize,
    seed: u64,
    /// The step whose rows come next, and how far each source then is.
    step: u64,
    cursors: Vec<Cursor>,
}

/// How far a source was read.
#[derive(Clone, Debug)]
struct Cursor {
    epoch: u64,
    /// The order of this epoch, and how much of it is done.
    order: Vec<u32>,
    done: usize,
    /// Tokens drawn over all epochs.
    tokens: u64,
}

impl Batches {
    /// Fails where a source has no rows or no share.
    pub fn new(
        sources: Vec<Source<Box<dyn Rows>>>,
        sequences: usize,
        seed: u64,
    ) -> Result<Batches, Failure> {
        assert!(sequences > 0 && !sources.is_empty(), "a batch of nothing");
        if sources.iter().any(|source| source.of.is_empty()) {
            return Err(Failure::input("the data holds nothing that can be learned from")
                .remedy("give at least one text of two tokens in each source"));
        }
        if let Some(unused) = sources.iter().position(|source| source.percent <= 0.0) {
            return Err(Failure::input(format!("the share of source {} is 0%", unused + 1))
                .remedy("leave the source out, or give it a share"));
        }
        let cursors = cursors(&sources, seed);
        Ok(Batches { sources, sequences, seed, step: 0, cursors })
    }

    /// Rows of one epoch: those of all sources together.
    pub fn rows(&self) -> usize {
        self.sources.iter().map(|source| source.of.len()).sum()
    }

    /// Rows of a step.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Tokens of the longest row.
    pub fn longest(&self) -> usize {
        let longest = |rows: &dyn Rows| (0..rows.len()).map(|row| rows.tokens(row)).max();
        self.sources.iter().filter_map(|source| longest(&*source.of)).max().unwrap_or(0)
    }

    /// The rows of `step`, counted from 0.
    pub fn at(&mut self, step: u64) -> Vec<Row> {
        self.picks(step).into_iter().map(|pick| self.row(pick)).collect()
    }

    /// A row by its place.
    pub fn row(&self, (source, row): Pick) -> Row {
        self.sources[source].of.row(row)
    }

    /// Where the rows of `step` stand. Cheap when steps are asked for in order; any other step is
    /// found by walking there from the first.
    pub fn picks(&mut self, step: u64) -> Vec<Pick> {
        if step < self.step {
            (self.step, self.cursors) = (0, cursors(&self.sources, self.seed));
        }
        for _ in self.step..step {
            for _ in 0..self.sequences {
                self.draw();
            }
        }
        self.step = step + 1;
        (0..self.sequences).map(|_| self.draw()).collect()
    }

    /// The next row, from the source that is furthest behind its share of the tokens.
    fn draw(&mut self) -> Pick {
        let behind = |at: &usize| self.cursors[*at].tokens as f64 / self.sources[*at].percent;
        let source = (0..self.sources.len())
            .min_by(|a, b| behind(a).total_cmp(&behind(b)))
            .expect("there is a source");
        let rows = &self.sources[source].of;
        let cursor = &mut self.cursors[source];
        if cursor.done == rows.len() {
            cursor.epoch += 1;
            cursor.order = shuffled(rows.len(), self.seed, cursor.epoch, source);
            cursor.done = 0;
        }
        let row = cursor.order[cursor.done] as usize;
        cursor.done += 1;
        cursor.tokens += rows.tokens(row) as u64;
        (source, row)
    }
}

/// Every source at its start.
fn cursors(sources: &[Source<Box<dyn Rows>>], seed: u64) -> Vec<Cursor> {
    let start = |(at, source): (usize, &Source<Box<dyn Rows>>)| Cursor {
        epoch: 0,
        order: shuffled(source.of.len(), seed, 0, at),
        done: 0,
        tokens: 0,
    };
    sources.iter().enumerate().map(start).collect()
}

/// The order of one epoch of one source.
fn shuffled(rows: usize, seed: u64, epoch: u64, source: usize) -> Vec<u32> {
    let count = u32::try_from(rows).expect("fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..count).collect();
    Stream::new(seed, &format!("shuffle/{epoch}/{source}")).walk().shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(first: u32, count: u32, length: usize) -> Box<dyn Rows> {
        let row = |at| Row {
            tokens: vec![first + at; length],
            targets: vec![first + at; length],
            segments: std::iter::once(0..length).collect(),
        };
        Box::new((0..count).map(row).collect::<Vec<Row>>())
    }

    fn names(batch: Vec<Row>) -> Vec<u32> {
        batch.into_iter().map(|row| row.tokens[0]).collect()
    }

    #[test]
    fn an_epoch_sees_every_row_once() {
        let source = vec![Source { percent: 100.0, of: rows(0, 10, 4) }];
        let mut batches = Batches::new(source, 4, 3).unwrap();
        let seen: Vec<u32> = (0..5).flat_map(|step| names(batches.at(step))).collect();
        let sorted = |rows: &[u32]| {
            let mut rows = rows.to_vec();
            rows.sort();
            rows
        };
        assert_eq!(sorted(&seen[..10]), (0..10).collect::<Vec<_>>());
        assert_eq!(sorted(&seen[10..]), (0..10).collect::<Vec<_>>());
        assert_ne!(seen[..10], seen[10..]);
    }

    #[test]
    fn any_step_can_be_asked_for() {
        let source = || {
            vec![
                Source { percent: 70.0, of: rows(0, 9, 4) },
                Source { percent: 30.0, of: rows(100, 5, 7) },
            ]
        };
        let mut straight = Batches::new(source(), 3, 1).unwrap();
        let all: Vec<Vec<u32>> = (0..20).map(|step| names(straight.at(step))).collect();
        let mut resumed = Batches::new(source(), 3, 1).unwrap();
        assert_eq!(names(resumed.at(13)), all[13]);
        assert_eq!(names(resumed.at(14)), all[14]);
        assert_eq!(names(resumed.at(2)), all[2]);
    }

    #[test]
    fn a_source_of_nothing_is_refused() {
        let source = |percent, rows| Batches::new(vec![Source { percent, of: rows }], 1, 0);
        assert!(source(100.0, rows(0, 0, 2)).is_err());
        assert!(source(0.0, rows(0, 1, 2)).is_err());
        assert!(source(100.0, rows(0, 1, 2)).is_ok());
    }

    #[test]
    fn shares_count_tokens() {
        let sources = vec![
            Source { percent: 90.0, of: rows(0, 50, 4) },
            Source { percent: 10.0, of: rows(100, 3, 8) },
        ];
        let mut batches = Batches::new(sources, 10, 1).unwrap();
        let mut tokens = [0, 0];
        for step in 0..100 {
            for row in batches.at(step) {
                tokens[usize::from(row.tokens[0] >= 100)] += row.tokens.len();
            }
        }
        let share = tokens[1] as f64 / (tokens[0] + tokens[1]) as f64;
        assert!((share - 0.1).abs() < 0.002, "{share}");
    }
}
