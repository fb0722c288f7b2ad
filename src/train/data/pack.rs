//! Encoded texts laid side by side in rows of at most `context` tokens. No token is lost or
//! doubled, and no answer is cut. Knows token ids; does not know text, templates or batches.

use std::collections::BTreeSet;
use std::ops::Range;

use super::batch::Rows;
use super::shard::Shard;
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

    /// How many of a segment's positions are learned from.
    pub fn supervised_in(&self, segment: usize) -> usize {
        let targets = &self.targets[self.segments[segment].clone()];
        targets.iter().filter(|&&target| target != IGNORE).count()
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
    let stream: Vec<u32> = documents.concat();
    let windows = (0..).map_while(|row| stream_window(stream.len(), context, row));
    windows.map(|window| stream_row(&stream[window], context)).collect()
}

/// What a row of a stream of `tokens` is made from: its own tokens, and the one after them.
fn stream_window(tokens: usize, context: usize, row: usize) -> Option<Range<usize>> {
    let start = row * context;
    (start + 1 < tokens).then(|| start..tokens.min(start + context + 1))
}

fn stream_row(window: &[u32], context: usize) -> Row {
    let length = window.len().min(context);
    let mut targets = window[1..].to_vec();
    targets.resize(length, IGNORE);
    let segments = std::iter::once(0..length).collect();
    let row = Row { tokens: window[..length].to_vec(), targets, segments };
    row.assert_sound(context);
    row
}

/// The rows of a shard of documents, as [`pack_documents`] makes them.
#[derive(Debug)]
pub struct DocumentRows {
    shard: Shard,
    context: usize,
}

impl DocumentRows {
    /// Rows of at most `context` tokens.
    pub fn new(shard: Shard, context: usize) -> DocumentRows {
        assert!(context > 0, "rows of no tokens");
        DocumentRows { shard, context }
    }
}

impl Rows for DocumentRows {
    fn len(&self) -> usize {
        self.shard.tokens().saturating_sub(1).div_ceil(self.context)
    }

    fn tokens(&self, row: usize) -> usize {
        self.context.min(self.shard.tokens() - row * self.context)
    }

    fn row(&self, row: usize) -> Row {
        let window = stream_window(self.shard.tokens(), self.context, row);
        stream_row(&self.shard.read(window.expect("there is such a row")), self.context)
    }
}

/// Dialogues in rows of at most `context` tokens. One that is longer is an error, for cutting it
/// would cut an answer.
pub fn pack_examples(
    examples: &[Example],
    context: usize,
    packing: Packing,
) -> Result<Vec<Row>, Failure> {
    let mut sizes = Sizes::within(context);
    examples.iter().for_each(|example| sizes.add(example.row, example.tokens.len()));
    sizes.check()?;
    let length = |at: usize| examples[at].tokens.len();
    let bins = Bins::new(examples.len(), length, context, packing);
    let part = |&at: &u32| {
        let example = &examples[at as usize];
        (example.tokens.clone(), example.learned.clone())
    };
    let rows = (0..bins.len()).map(|row| bins.row(row).iter().map(part));
    Ok(rows.map(|parts| join(parts, context, packing)).collect())
}

/// The rows of a shard of dialogues, as [`pack_examples`] makes them.
#[derive(Debug)]
pub struct ExampleRows {
    shard: Shard,
    bins: Bins,
    context: usize,
    packing: Packing,
}

impl ExampleRows {
    /// Rows of at most `context` tokens, which no dialogue is beyond.
    pub fn new(shard: Shard, context: usize, packing: Packing) -> ExampleRows {
        let bins = Bins::new(shard.texts(), |at| shard.text(at).len(), context, packing);
        ExampleRows { shard, bins, context, packing }
    }
}

impl Rows for ExampleRows {
    fn len(&self) -> usize {
        self.bins.len()
    }

    fn tokens(&self, row: usize) -> usize {
        self.bins.row(row).iter().map(|&at| self.shard.text(at as usize).len()).sum()
    }

    fn row(&self, row: usize) -> Row {
        let part = |&at: &u32| {
            let place = self.shard.text(at as usize);
            (self.shard.read(place.clone()), self.shard.learned(place))
        };
        join(self.bins.row(row).iter().map(part), self.context, self.packing)
    }
}

/// The lengths of texts that no row may cut.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    context: usize,
    longest: usize,
    /// How many are longer than a row, and the first of them with its length.
    beyond: usize,
    first: (usize, usize),
}

impl Sizes {
    /// For rows of `context` tokens.
    pub fn within(context: usize) -> Sizes {
        Sizes { context, longest: 0, beyond: 0, first: (0, 0) }
    }

    /// For texts that may be cut.
    pub fn any() -> Sizes {
        Sizes::within(usize::MAX)
    }

    /// Takes note of the text of a row of the data.
    pub fn add(&mut self, row: usize, tokens: usize) {
        self.longest = self.longest.max(tokens);
        if tokens > self.context {
            if self.beyond == 0 {
                self.first = (row, tokens);
            }
            self.beyond += 1;
        }
    }

    /// Fails where one is too long.
    pub fn check(self) -> Result<(), Failure> {
        let Sizes { context, longest, beyond, first: (row, tokens) } = self;
        let which = match beyond {
            0 => return Ok(()),
            1 => "this row".into(),
            _ => format!("the {beyond} rows beyond it"),
        };
        Err(too_long(row, tokens, context)
            .remedy(format!("set `context` to {longest} tokens or more, or shorten {which}")))
    }
}

/// A text that no row of the model holds.
pub fn too_long(row: usize, tokens: usize, context: usize) -> Failure {
    Failure::input(format!(
        "row {row} is {tokens} tokens long and the context is {context}; no answer is ever cut"
    ))
    .remedy("raise `context`, or shorten the row")
}

/// Texts with marks side by side, each its own segment unless they are to be one.
fn join(
    parts: impl Iterator<Item = (Vec<u32>, Vec<bool>)>,
    context: usize,
    packing: Packing,
) -> Row {
    let mut row = Row { tokens: Vec::new(), targets: Vec::new(), segments: Vec::new() };
    for (tokens, learned) in parts {
        assert_eq!(tokens.len(), learned.len(), "a mark for each token");
        let start = row.tokens.len();
        let next = tokens.iter().zip(&learned).skip(1);
        row.targets.extend(next.map(|(&token, &learned)| if learned { token } else { IGNORE }));
        row.targets.push(IGNORE);
        row.tokens.extend(tokens);
        row.segments.push(start..row.tokens.len());
    }
    if packing == Packing::Wrapped {
        row.segments = std::iter::once(0..row.tokens.len()).collect();
    }
    row.assert_sound(context);
    row
}

/// Which texts share each row.
#[derive(Clone, Debug)]
struct Bins {
    /// Row after row.
    texts: Vec<u32>,
    /// Where each row ends in them.
    ends: Vec<u32>,
}

impl Bins {
    fn new(
        texts: usize,
        length: impl Fn(usize) -> usize,
        context: usize,
        packing: Packing,
    ) -> Bins {
        let count = u32::try_from(texts).expect("fewer than 2^32 texts");
        let length = |text: u32| length(text as usize);
        let mut placed = match packing {
            Packing::Isolated => best_fit(count, length, context),
            Packing::Wrapped => in_order(count, length, context),
            Packing::Off => (0..count).map(|text| (text, text)).collect(),
        };
        // Stable: in a row, texts stand as they were placed.
        placed.sort_by_key(|(bin, _)| *bin);
        let last = |(at, (bin, _)): (usize, &(u32, u32))| {
            let ends = placed.get(at + 1).is_none_or(|(next, _)| next != bin);
            ends.then_some(at as u32 + 1)
        };
        let ends = placed.iter().enumerate().filter_map(last).collect();
        Bins { ends, texts: placed.into_iter().map(|(_, text)| text).collect() }
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn row(&self, row: usize) -> &[u32] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.texts[start as usize..self.ends[row] as usize]
    }
}

/// Best fit decreasing: the longest first, each into the fullest row that still holds it; of equal
/// rows the oldest. Gives each text with its row before it.
fn best_fit(texts: u32, length: impl Fn(u32) -> usize, context: usize) -> Vec<(u32, u32)> {
    let mut order: Vec<u32> = (0..texts).collect();
    order.sort_by_cached_key(|&text| std::cmp::Reverse(length(text)));
    let mut bins = 0;
    let mut rooms: BTreeSet<(usize, u32)> = BTreeSet::new();
    let place = |text: u32| {
        let length = length(text);
        let (room, bin) = rooms.range((length, 0)..).next().copied().unwrap_or_else(|| {
            bins += 1;
            (context, bins - 1)
        });
        rooms.remove(&(room, bin));
        if room > length {
            rooms.insert((room - length, bin));
        }
        (bin, text)
    };
    order.into_iter().map(place).collect()
}

/// The next row begins where a text no longer fits.
fn in_order(texts: u32, length: impl Fn(u32) -> usize, context: usize) -> Vec<(u32, u32)> {
    let (mut bin, mut room) = (0, context);
    let place = |text: u32| {
        if length(text) > room {
            (bin, room) = (bin + 1, context);
        }
        room -= length(text);
        (bin, text)
    };
    (0..texts).map(place).collect()
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
