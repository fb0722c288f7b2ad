//! Rows laid end to end, as a decoder takes them. Knows token ids, positions and targets; does not
//! know what they cost or where they came from.

use std::ops::Range;

use crate::train::data::pack::{IGNORE, Row};
use crate::train::kernels::cross_entropy::Targets;

/// Tokens of several rows in one line: no padding, and where everything begins and ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub tokens: Vec<u32>,
    /// The token each position must predict, or [`IGNORE`].
    pub targets: Vec<u32>,
    /// Positions count from the start of a segment.
    pub positions: Vec<u32>,
    /// Stretches that see only themselves, ascending, without gaps.
    pub segments: Vec<Range<usize>>,
    /// The rows of the data; sums over tokens are anchored at their starts.
    pub rows: Vec<Range<usize>>,
}

impl Batch {
    /// Lays `rows` end to end.
    pub fn of(rows: &[&Row]) -> Batch {
        let mut batch = Batch::default();
        for row in rows {
            batch.push(row);
        }
        batch
    }

    /// Adds tokens that continue a text at `position`, nothing to predict.
    pub fn push_at(&mut self, tokens: &[u32], position: u32) {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.targets.resize(self.tokens.len(), IGNORE);
        self.positions.extend((position..).take(tokens.len()));
        self.segments.push(start..self.tokens.len());
        self.rows.push(start..self.tokens.len());
    }

    fn push(&mut self, row: &Row) {
        let start = self.tokens.len();
        assert!(row.targets.len() == row.tokens.len() && !row.tokens.is_empty());
        self.tokens.extend(&row.tokens);
        self.targets.extend(&row.targets);
        for segment in &row.segments {
            assert_eq!(start + segment.start, self.positions.len(), "segments leave no gap");
            self.positions.extend(0..segment.len() as u32);
            self.segments.push(start + segment.start..start + segment.end);
        }
        self.rows.push(start..self.tokens.len());
        assert_eq!(self.positions.len(), self.tokens.len(), "segments cover the row");
    }

    /// How many tokens it holds.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it holds no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What each position must predict, logits divided by `temperature`.
    pub fn targets_at(&self, temperature: f32) -> Targets<'_> {
        Targets { ids: &self.targets, rows: &self.rows, temperature }
    }

    /// How many positions are learnt from.
    pub fn supervised(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORE).count()
    }
}
