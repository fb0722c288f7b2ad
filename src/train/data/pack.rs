//! Encoded texts laid side by side in rows of at most `context` tokens. No token is lost or
//! doubled, and no answer is cut. Knows token ids; does not know text, templates or batches.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::train::progress::Failure;

/// The target of a position that is not learned from.
pub const IGNORE: u32 = u32::MAX;

/// One row of a batch. Rows are ragged: there is no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub tokens: Vec<u32>,
    /// The token that each position must predict, or [`IGNORE`].
    pub targets: Vec<u32>,
    /// Without gaps, in order. A position sees only earlier ones of its own segment, and positions
    /// count from the segment's start.
    pub segments: Vec<Range<usize>>,
}

impl Row {
    /// How many positions are learned from.
    pub fn supervised(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORE).count()
    }

    /// What every row must be, whoever made it.
    fn assert_sound(&self, context: usize) {
        assert!(self.tokens.len() <= context, "a row of {} tokens", self.tokens.len());
        assert_eq!(self.tokens.len(), self.targets.len(), "a target for each token");
        let mut end = 0;
        for segment in &self.segments {
            assert!(segment.start == end && segment.end > end, "segments without gaps");
            end = segment.end;
            let last = self.targets[end - 1];
            assert!(last == IGNORE || end == self.tokens.len(), "a segment predicts the next");
        }
        assert_eq!(end, self.tokens.len(), "segments cover the row");
        assert!(self.supervised() > 0, "a row that teaches nothing");
    }
}

/// A text of which some tokens are learned: those of the answers, each with its `eos`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub tokens: Vec<u32>,
    /// Which tokens are learned; as long as `tokens`.
    pub learned: Vec<bool>,
    /// The row of the data set it comes from, counted from 1, for messages.
    pub row: usize,
}

/// How dialogues share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Best fit first; each dialogue sees only itself.
    Isolated,
    /// End to end in order, whole, and later dialogues see earlier ones, as one text.
    Wrapped,
    /// One dialogue a row.
    Off,
}

/// Documents end to end, cut every `context` tokens; a row is one segment. The first token of a
/// row is the target of the last position before it, so that every token but the first is learned
/// exactly once. A last row of one token could teach nothing and only serves as that target.
pub fn pack_documents(documents: &[Vec<u32>], context: usize) -> Vec<Row> {
    assert!(context > 0, "rows of no tokens");
    let stream: Vec<u32> = documents.concat();
    let starts = (0..stream.len().saturating_sub(1)).step_by(context);
    starts
        .map(|start| {
            let end = (start + context).min(stream.len());
            let mut targets = stream[start + 1..(end + 1).min(stream.len())].to_vec();
            targets.resize(end - start, IGNORE);
            let segment = 0..end - start;
            let row = Row { tokens: stream[start..end].to_vec(), targets, segments: vec![segment] };
            row.assert_sound(context);
            row
        })
        .collect()
}

/// Dialogues in rows of at most `context` tokens. One that is longer is an error, for cutting it
/// would cut an answer.
pub fn pack_examples(
    examples: &[Example],
    context: usize,
    packing: Packing,
) -> Result<Vec<Row>, Failure> {
    if let Some(long) = examples.iter().find(|example| example.tokens.len() > context) {
        return Err(too_long(long, examples, context));
    }
    let bins = match packing {
        Packing::Isolated => best_fit(examples, context),
        Packing::Wrapped => in_order(examples, context),
        Packing::Off => (0..examples.len()).map(|at| vec![at]).collect(),
    };
    let row_of = |bin: Vec<usize>| {
        let mut row = join(bin.iter().map(|&at| &examples[at]));
        if packing == Packing::Wrapped {
            row.segments = std::iter::once(0..row.tokens.len()).collect();
        }
        row.assert_sound(context);
        row
    };
    Ok(bins.into_iter().map(row_of).collect())
}

fn too_long(long: &Example, examples: &[Example], context: usize) -> Failure {
    let longest = examples.iter().map(|example| example.tokens.len()).max().unwrap_or(0);
    let count = examples.iter().filter(|example| example.tokens.len() > context).count();
    Failure::input(format!(
        "row {} is {} tokens long and the context is {context}; no answer is ever cut",
        long.row,
        long.tokens.len()
    ))
    .remedy(match count {
        1 => format!("set `context` to {longest} tokens or more, or shorten this row"),
        _ => format!(
            "set `context` to {longest} tokens or more, or shorten the {count} rows beyond it"
        ),
    })
}

/// Examples side by side, each its own segment.
fn join<'a>(examples: impl Iterator<Item = &'a Example>) -> Row {
    let mut row = Row { tokens: Vec::new(), targets: Vec::new(), segments: Vec::new() };
    for example in examples {
        assert_eq!(example.tokens.len(), example.learned.len(), "a mark for each token");
        let start = row.tokens.len();
        row.tokens.extend(&example.tokens);
        let next = example.tokens.iter().zip(&example.learned).skip(1);
        row.targets.extend(next.map(|(&token, &learned)| if learned { token } else { IGNORE }));
        row.targets.push(IGNORE);
        row.segments.push(start..row.tokens.len());
    }
    row
}

/// Best fit decreasing: the longest first, each into the fullest row that still holds it; of equal
/// rows the oldest.
fn best_fit(examples: &[Example], context: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(examples[at].tokens.len()));
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut rooms: BTreeSet<(usize, usize)> = BTreeSet::new();
    for at in order {
        let length = examples[at].tokens.len();
        let (room, bin) = rooms.range((length, 0)..).next().copied().unwrap_or_else(|| {
            bins.push(Vec::new());
            (context, bins.len() - 1)
        });
        rooms.remove(&(room, bin));
        rooms.insert((room - length, bin));
        bins[bin].push(at);
    }
    bins
}

/// The next row begins where a dialogue no longer fits.
fn in_order(examples: &[Example], context: usize) -> Vec<Vec<usize>> {
    let mut bins: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for (at, example) in examples.iter().enumerate() {
        if bins.is_empty() || example.tokens.len() > room {
            bins.push(Vec::new());
            room = context;
        }
        room -= example.tokens.len();
        bins.last_mut().expect("a row was begun").push(at);
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An example of `length` tokens numbered from `first`, of which the last two are learned.
    fn example(row: usize, first: u32, length: u32) -> Example {
        let learned = (0..length).map(|at| at + 2 >= length).collect();
        Example { tokens: (first..first + length).collect(), learned, row }
    }

    fn lengths(rows: &[Row]) -> Vec<Vec<usize>> {
        rows.iter().map(|row| row.segments.iter().map(Range::len).collect()).collect()
    }

    #[test]
    fn documents_are_joined_without_losing_a_token() {
        for lengths in [vec![5, 1, 7], vec![4, 4], vec![9], vec![2], vec![4, 4, 1]] {
            let mut next = 0..;
            let documents: Vec<Vec<u32>> =
                lengths.iter().map(|&n| next.by_ref().take(n).collect()).collect();
            let total = lengths.iter().sum::<usize>() as u32;
            let rows = pack_documents(&documents, 4);
            let learned: Vec<u32> = rows.iter().flat_map(|row| row.targets.clone()).collect();
            let expected: Vec<u32> = (1..total).collect();
            assert_eq!(learned[..expected.len()], expected);
            assert!(learned[expected.len()..].iter().all(|&target| target == IGNORE));
            let tokens: Vec<u32> = rows.iter().flat_map(|row| row.tokens.clone()).collect();
            assert_eq!(tokens[..], (0..total).collect::<Vec<_>>()[..tokens.len()]);
        }
    }

    #[test]
    fn nothing_to_predict_makes_no_row() {
        assert!(pack_documents(&[], 4).is_empty());
        assert!(pack_documents(&[vec![7]], 4).is_empty());
    }

    #[test]
    fn best_fit_fills_rows_and_isolates() {
        let examples: Vec<Example> = [3, 6, 4, 10, 2]
            .iter()
            .enumerate()
            .map(|(at, &n)| example(at + 1, 100 * at as u32, n))
            .collect();
        let rows = pack_examples(&examples, 10, Packing::Isolated).unwrap();
        assert_eq!(lengths(&rows), [vec![10], vec![6, 4], vec![3, 2]]);
        assert_eq!(rows[1].targets[4..], [105, IGNORE, IGNORE, 202, 203, IGNORE][..]);
        assert_eq!(rows[2].supervised(), 3);
    }

    #[test]
    fn wrapped_rows_are_one_segment_in_order() {
        let examples: Vec<Example> =
            (0..4).map(|at| example(at + 1, 10 * at as u32, [4, 4, 6, 3][at])).collect();
        let rows = pack_examples(&examples, 10, Packing::Wrapped).unwrap();
        assert_eq!(lengths(&rows), [vec![8], vec![9]]);
        let off = pack_examples(&examples, 10, Packing::Off).unwrap();
        assert_eq!(lengths(&off), [vec![4], vec![4], vec![6], vec![3]]);
    }

    #[test]
    fn a_long_dialogue_is_named() {
        let examples = [example(1, 0, 4), example(2, 0, 12), example(3, 0, 11)];
        let failure = pack_examples(&examples, 10, Packing::Isolated).unwrap_err();
        let Failure::Input { message, remedy } = failure else { panic!("an input failure") };
        assert_eq!(message, "row 2 is 12 tokens long and the context is 10; no answer is ever cut");
        assert_eq!(
            remedy.unwrap(),
            "set `context` to 12 tokens or more, or shorten the 2 rows beyond it"
        );
    }
}
