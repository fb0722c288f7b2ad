//! Keys and values of texts that are being continued, so that a new token costs one token's work.
//! Knows places for texts, called slots; does not know how tokens are chosen.

use super::config::ModelConfig;
use super::inference::Inference;
use super::machine::Block;
use crate::train::kernels::Threads;
use crate::train::kernels::attention::{Heads, Segment};

/// Room for `slots` texts of `capacity` tokens in every layer.
#[derive(Debug)]
pub struct KvCache<M: Inference = Threads> {
    layers: Vec<M::Layer>,
    kv_dim: usize,
    capacity: usize,
    /// How many tokens each slot holds.
    lengths: Vec<usize>,
    /// Where the tokens of the batch under way stand, and what they see.
    seen: Option<M::Seen>,
}

impl<M: Inference> KvCache<M> {
    /// An empty cache, allocated whole.
    pub fn new(m: &M, config: &ModelConfig, slots: usize, capacity: usize) -> KvCache<M> {
        let kv_dim = config.kv_dim();
        let numbers = slots * capacity * kv_dim;
        let layers = (0..config.layers).map(|_| m.layer(numbers)).collect();
        KvCache { layers, kv_dim, capacity, lengths: vec![0; slots], seen: None }
    }

    /// Forgets the text of a slot.
    pub fn clear(&mut self, slot: usize) {
        self.lengths[slot] = 0;
    }

    /// Forgets what a slot holds beyond its first tokens.
    pub fn keep(&mut self, slot: usize, length: usize) {
        assert!(length <= self.lengths[slot], "a slot keeps what it holds");
        self.lengths[slot] = length;
    }

    /// Makes a slot hold the first tokens of another, and nothing else.
    pub fn copy(&mut self, m: &M, from: usize, to: usize, length: usize) {
        assert!(length <= self.lengths[from], "a slot gives what it holds");
        self.lengths[to] = length;
        if from == to || length == 0 {
            return;
        }
        let start = |slot: usize| slot * self.capacity * self.kv_dim;
        let source = start(from)..start(from) + length * self.kv_dim;
        let target = start(to);
        self.layers.iter_mut().for_each(|layer| m.repeat(layer, source.clone(), target));
    }

    /// How many tokens a slot holds.
    pub fn length(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    /// Announces the next batch: so many new tokens for each of these slots, in this order.
    pub fn extend(&mut self, m: &M, heads: Heads, news: &[(usize, usize)]) {
        let mut at = 0;
        let segment = |&(slot, count): &(usize, usize)| {
            self.lengths[slot] += count;
            let length = self.lengths[slot];
            assert!(length <= self.capacity, "a slot overflows");
            let start = slot * self.capacity;
            let queries = at..at + count;
            at = queries.end;
            Segment { queries, keys: start..start + length }
        };
        let segments = news.iter().map(segment).collect();
        self.seen = Some(m.seen(heads, segments));
    }

    /// Stores the new keys and values of a layer and attends to all that are visible.
    pub fn attend(&mut self, m: &M, heads: Heads, layer: usize, a: &mut Block<M>) {
        let seen = self.seen.as_mut().expect("the batch was announced");
        m.attend_cached(heads, seen, &mut self.layers[layer], a);
    }
}
