//! Attention of few queries to keys that stay in an accelerator's memory; see attention_cached.cu.
//! Same bits as [`forward`](super::forward), which is what many queries use.

use std::sync::Arc;

use super::launch::{Segments, forward};
use super::{Heads, Segment};
use crate::train::kernels::launch::{Accelerator, Array, Fault, Slice, SliceMut, THREADS, count};

/// Keys whose sums are made together.
const KEYS: usize = 256;

/// New queries of a segment up to which its keys are shared out among blocks of threads.
const FEW: usize = 8;

/// What each query of a batch sees, and where its own key is to lie.
#[derive(Debug)]
pub struct Cached {
    /// The row of each query's own key among all.
    rows: Array<u32>,
    look: Look,
}

/// How queries look at their keys; the bits are the same.
#[derive(Debug)]
enum Look {
    Few(Places),
    Many(Segments),
}

/// Few queries, and room for what is between the kernels.
#[derive(Debug)]
struct Places {
    /// Three numbers a query: its row, that of its first key, how many keys it sees.
    places: Array<u32>,
    /// No query sees more keys; a multiple of [`KEYS`].
    most: usize,
    weights: Array<f32>,
    parts: Array<f32>,
}

impl Cached {
    /// For the segments of a batch, whose queries are the last of their keys.
    pub fn new(
        on: &Arc<dyn Accelerator>,
        heads: Heads,
        segments: &[Segment],
    ) -> Result<Cached, Fault> {
        let place = |segment: &Segment| {
            let (queries, keys) = (segment.queries.clone(), segment.keys.clone());
            assert!(queries.len() <= keys.len(), "queries must be the last of the keys");
            let past = keys.len() - queries.len();
            queries.enumerate().map(move |(i, row)| [row, keys.start, past + i + 1])
        };
        let places: Vec<[usize; 3]> = segments.iter().flat_map(place).collect();
        let rows: Vec<u32> =
            places.iter().map(|[_, first, seen]| count(first + seen - 1)).collect();
        let look = match segments.iter().all(|segment| segment.queries.len() <= FEW) {
            true => Look::Few(Places::new(on, heads, &places)?),
            false => Look::Many(Segments::new(on, segments)?),
        };
        Ok(Cached { rows: Array::of(on, &rows)?, look })
    }

    /// Writes the keys and values of the batch, [queries, kv · width], to their rows.
    pub fn store(
        &self,
        on: &dyn Accelerator,
        heads: Heads,
        [k, v]: [Slice<f32>; 2],
        [keys, values]: [SliceMut<f32>; 2],
    ) -> Result<(), Fault> {
        let (tokens, width) = (self.rows.len(), heads.kv_row());
        assert_eq!([k.len(), v.len(), keys.len()], [tokens * width, tokens * width, values.len()]);
        if tokens == 0 {
            return Ok(());
        }
        let arguments = [k.into(), v.into(), self.rows.all().into()];
        let written = [(&keys).into(), (&values).into(), count(width).into()];
        let grid = [count(tokens), 1, 1];
        on.launch("attention_store", grid, [128, 1, 1], 0, &[arguments, written].concat())
    }

    /// As [`forward`](super::forward): writes out[queries, query · width], and the maximum
    /// and the sum of each query and head.
    pub fn attend(
        &mut self,
        on: &dyn Accelerator,
        heads: Heads,
        [q, k, v]: [Slice<f32>; 3],
        out: SliceMut<f32>,
        softmax: [SliceMut<f32>; 2],
    ) -> Result<(), Fault> {
        let queries = self.rows.len();
        assert_eq!([q.len(), out.len()], [queries * heads.query_row(); 2]);
        assert_eq!(softmax.each_ref().map(SliceMut::len), [queries * heads.query; 2]);
        assert_eq!(k.len(), v.len());
        match &mut self.look {
            Look::Few(places) => places.attend(on, heads, [q, k, v], out, softmax),
            Look::Many(segments) => forward(on, heads, [q, k, v], segments, out, softmax),
        }
    }
}

impl Places {
    fn new(
        on: &Arc<dyn Accelerator>,
        heads: Heads,
        places: &[[usize; 3]],
    ) -> Result<Places, Fault> {
        let most = places.iter().map(|place| place[2]).max().unwrap_or(0);
        let most = most.next_multiple_of(KEYS);
        let numbers: Vec<[u32; 3]> = places.iter().map(|place| place.map(count)).collect();
        let cells = places.len() * heads.query * most;
        Ok(Places {
            places: Array::of(on, numbers.as_flattened())?,
            most,
            weights: Array::new(on, cells)?,
            parts: Array::new(on, cells / KEYS * heads.width)?,
        })
    }

    fn attend(
        &mut self,
        on: &dyn Accelerator,
        heads: Heads,
        [q, k, v]: [Slice<f32>; 3],
        out: SliceMut<f32>,
        [max, sum]: [SliceMut<f32>; 2],
    ) -> Result<(), Fault> {
        let queries = self.places.len() / 3;
        assert!(heads.width.is_multiple_of(16) && THREADS.is_multiple_of(heads.width));
        if queries == 0 {
            return Ok(());
        }
        let (places, most) = (self.places.all().into(), count(self.most).into());
        let [of_query, of_kv, width] = [heads.query, heads.kv, heads.width].map(count);
        let weights = (&self.weights.all_mut()).into();
        let parts = (&self.parts.all_mut()).into();
        let (group, block) = (count(heads.group()), [THREADS as u32, 1, 1]);
        let by_keys = [count(self.most / KEYS), of_kv, count(queries)];
        let by_head = [of_query, count(queries), 1];

        let sizes = [of_query.into(), of_kv.into(), width.into(), most];
        let arguments =
            [&[q.into(), k.into(), places, weights], &sizes[..], &[heads.scale().into()]].concat();
        on.launch("attention_cached_scores", by_keys, block, 4 * group * width, &arguments)?;

        let arguments = [places, weights, (&max).into(), (&sum).into(), of_query.into(), most];
        on.launch("attention_cached_softmax", by_head, block, 0, &arguments)?;

        let arguments = [&[v.into(), places, weights, parts], &sizes[..]].concat();
        let shared = 4 * group * count(KEYS);
        on.launch("attention_cached_values", by_keys, block, shared, &arguments)?;

        let rest = [(&sum).into(), (&out).into(), of_query.into(), width.into(), most];
        let arguments = [&[places, parts], &rest[..]].concat();
        on.launch("attention_cached_join", by_head, [width, 1, 1], 0, &arguments)
    }
}
