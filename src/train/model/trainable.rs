//! A place for a number beside everything that a decoder learns: gradients, or moments. What is
//! frozen has none: its buffers are empty. Under an adapter a head that scores is learnt all the
//! same: the base, a language model, has none. Knows no arithmetic.

use std::ops::Range;

use super::config::Head;
use super::lora::Adapter;
use super::parameters::{BLOCK_TENSORS, Parameters, Role, TensorSpec, count, table};
use super::projection::{Towards, Which};
use super::tensor::Tensor;
use super::transformer::Transformer;

/// All weights of a decoder, or those of its adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Trainable<F = Vec<f32>, A = Adapter> {
    /// Under an adapter empty buffers, but for a head that scores.
    pub weights: Parameters<F>,
    pub adapter: Option<A>,
}

/// Parameters whose gradients a backward pass adds to together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The heads, and the norm below them.
    Top,
    /// A block, with its part of an adapter.
    Block(usize),
    /// The embedding.
    Table,
}

impl Group {
    /// All of a decoder of so many blocks, in the order of a backward pass.
    pub fn all(layers: usize) -> impl Iterator<Item = Group> {
        let blocks = (0..layers).rev().map(Group::Block);
        std::iter::once(Group::Top).chain(blocks).chain([Group::Table])
    }
}

impl Trainable {
    /// All zero.
    pub fn zeros(model: &Transformer) -> Trainable {
        let config = &model.config;
        match &model.adapter {
            None => Trainable { weights: Parameters::zeros(config), adapter: None },
            Some(adapter) => {
                let mut weights = Parameters::frozen(config);
                if config.head == Head::Score {
                    weights.head_vd.resize(config.dim, 0.0);
                }
                Trainable { weights, adapter: Some(Adapter::zeros(config, &adapter.settings)) }
            }
        }
    }

    /// Room for gradients: the head has its own, also where it is the embedding.
    pub fn gradients(model: &Transformer) -> Trainable {
        let mut gradients = Trainable::zeros(model);
        if model.adapter.is_none() {
            let head = model.config.outputs() * model.config.dim;
            gradients.weights.head_vd.resize(head, 0.0);
        }
        gradients
    }

    /// The same where weights move on the way back: of all blocks those of one, and no adapter.
    pub fn gradients_of_a_block(model: &Transformer) -> Trainable {
        let mut gradients = Trainable::gradients(model);
        gradients.weights.blocks.truncate(1);
        gradients
    }

    /// The buffers of a group, in the order of [`Transformer::rows_of`].
    pub fn tensors_of(&mut self, group: Group) -> Vec<&mut Vec<f32>> {
        self.weights.of_group(group)
    }

    /// The buffers in the order of [`Transformer::table`], empty where something is frozen.
    pub fn tensors(&self) -> Vec<&[f32]> {
        let mut tensors = self.weights.tensors();
        tensors.extend(self.adapter.iter().flat_map(Adapter::tensors));
        tensors
    }

    /// The same, to be changed.
    pub fn tensors_mut(&mut self) -> Vec<&mut [f32]> {
        let mut tensors = self.weights.tensors_mut();
        tensors.extend(self.adapter.iter_mut().flat_map(Adapter::tensors_mut));
        tensors
    }

    /// Sets every number to zero.
    pub fn clear(&mut self) {
        for tensor in self.tensors_mut() {
            tensor.fill(0.0);
        }
        self.weights.head_vd.fill(0.0);
    }

    /// The places of a projection.
    pub fn towards(&mut self, layer: usize, which: Which) -> Towards<'_> {
        Towards {
            weight_oi: self.weights.block_mut(layer).of_mut(which),
            low_rank: self.adapter.as_mut().and_then(|adapter| adapter.of_mut(layer, which)),
        }
    }

    /// How many numbers are learnt.
    pub fn count(&self) -> usize {
        self.tensors().iter().map(|tensor| tensor.len()).sum()
    }
}

impl Transformer {
    /// The table of all parameters, those of its adapter last.
    pub fn table(&self) -> Vec<TensorSpec> {
        let mut table = table(&self.config);
        table.extend(self.adapter.iter().flat_map(|adapter| adapter.table(&self.config)));
        table
    }

    /// The rows of the table that are a group's, where everything is learnt.
    pub fn rows_of(&self, group: Group) -> Range<usize> {
        let block = |layer: usize| 1 + BLOCK_TENSORS * layer;
        match group {
            Group::Table => 0..1,
            Group::Block(layer) => block(layer)..block(layer + 1),
            Group::Top => block(self.config.layers)..count(&self.config),
        }
    }

    /// How many numbers are learnt of each row of the table; of what is frozen none.
    pub fn learnt_sizes(&self) -> Vec<usize> {
        let frozen = if self.adapter.is_some() { count(&self.config) } else { 0 };
        let scores = self.config.head == Head::Score;
        let learns =
            |at: usize, spec: &TensorSpec| at >= frozen || (scores && spec.role == Role::Head);
        let rows = self.table().into_iter().enumerate();
        rows.map(|(at, spec)| if learns(at, &spec) { spec.len() } else { 0 }).collect()
    }

    /// The weights that are learnt, in the order of the table; of what is frozen an empty buffer.
    pub fn trainable_mut(&mut self) -> Vec<&mut [f32]> {
        match &mut self.adapter {
            None => self.weights.tensors_mut(),
            Some(adapter) => {
                let scores = self.config.head == Head::Score;
                let frozen = count(&self.config) - usize::from(scores);
                let mut tensors: Vec<&mut [f32]> = Vec::new();
                tensors.resize_with(frozen, Default::default);
                tensors.extend(scores.then(|| self.weights.head_vd.floats_mut()));
                tensors.extend(adapter.tensors_mut());
                tensors
            }
        }
    }
}
