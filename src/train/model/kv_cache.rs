//! Keys and values of texts that are being continued, so that a new token costs one token's work.
//! Knows places for texts, called slots; does not know how tokens are chosen.

use super::activations::BlockActivations;
use super::config::ModelConfig;
use crate::train::kernels::Threads;
use crate::train::kernels::attention::{self, Heads, Segment};

/// Room for `slots` texts of `capacity` tokens in every layer.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<Layer>,
    kv_dim: usize,
    capacity: usize,
    /// How many tokens each slot holds.
    lengths: Vec<usize>,
    /// Where the tokens of the batch under way stand, and what they see.
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Layer {
    key: Vec<f32>,
    value: Vec<f32>,
}

impl KvCache {
    /// An empty cache, allocated whole.
    pub fn new(config: &ModelConfig, slots: usize, capacity: usize) -> KvCache {
        let kv_dim = config.kv_dim();
        let numbers = slots * capacity * kv_dim;
        let layer = |_| Layer { key: vec![0.0; numbers], value: vec![0.0; numbers] };
        KvCache {
            layers: (0..config.layers).map(layer).collect(),
            kv_dim,
            capacity,
            lengths: vec![0; slots],
            segments: Vec::new(),
        }
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
    pub fn copy(&mut self, from: usize, to: usize, length: usize) {
        assert!(length <= self.lengths[from], "a slot gives what it holds");
        self.lengths[to] = length;
        if from == to {
            return;
        }
        let start = |slot: usize| slot * self.capacity * self.kv_dim;
        let source = start(from)..start(from) + length * self.kv_dim;
        for Layer { key, value } in &mut self.layers {
            key.copy_within(source.clone(), start(to));
            value.copy_within(source.clone(), start(to));
        }
    }

    /// How many tokens a slot holds.
    pub fn length(&self, slot: usize) -> usize {
        self.lengths[slot]
    }

    /// Announces the next batch: so many new tokens for each of these slots, in this order.
    pub fn extend(&mut self, news: &[(usize, usize)]) {
        self.segments.clear();
        let mut at = 0;
        for &(slot, count) in news {
            self.lengths[slot] += count;
            let length = self.lengths[slot];
            assert!(length <= self.capacity, "a slot overflows");
            let start = slot * self.capacity;
            self.segments.push(Segment { queries: at..at + count, keys: start..start + length });
            at += count;
        }
    }

    /// Stores the new keys and values of a layer and attends to all that are visible.
    pub fn attend(&mut self, t: &Threads, heads: Heads, layer: usize, a: &mut BlockActivations) {
        let Layer { key, value } = &mut self.layers[layer];
        let wide =
            |tokens: std::ops::Range<usize>| tokens.start * self.kv_dim..tokens.end * self.kv_dim;
        for Segment { queries, keys } in &self.segments {
            let (from, to) = (wide(queries.clone()), wide(keys.end - queries.len()..keys.end));
            key[to.clone()].copy_from_slice(&a.key_tk[from.clone()]);
            value[to].copy_from_slice(&a.value_tk[from]);
        }
        let softmax: [&mut [f32]; 2] = [&mut a.softmax_max_th, &mut a.softmax_sum_th];
        let read: [&[f32]; 3] = [&a.query_td, key, value];
        attention::forward(t, heads, read, &self.segments, &mut a.attended_td, softmax);
    }
}
