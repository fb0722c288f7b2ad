//! What a decoder computes on: the operations of its forward and backward pass, and where their
//! numbers lie. The processor is one machine, a GPU another; both give the same bits. Knows what an
//! operation is to a decoder; not how it is done, nor in which order a decoder asks for it.
//!
//! No operation tells a fault: what goes wrong on a GPU shows later than it was asked for, so such
//! a machine keeps it until it is asked.

use std::fmt::Debug;

use super::activations::BlockActivations;
use super::batch::Batch;
use super::projection::Which;
use super::trainable::Trainable;
use super::transformer::Transformer;
use crate::train::kernels::Sink;
use crate::train::kernels::attention::Heads;

/// A place for a decoder's numbers, and its operations on them. A name with d before it is the
/// gradient of what has it without.
pub trait Machine: Debug + Sized {
    /// Activations, and gradients on their way down. Empty at first.
    type Floats: Debug + Default;

    /// What is f32 in every class of numerics: statistics, and gradients of what is learnt.
    type Sums: Debug + Default;

    /// A parameter, which may be stored in fewer bits.
    type Tensor: Debug;

    /// What is learnt beside frozen parameters.
    type Adapter: Debug;

    /// Where its gradients go.
    type Towards: Debug;

    /// The rotations of all positions.
    type Rope: Debug;

    /// Buffers that operations use anew, besides a decoder's own.
    type Beside: Debug + Default;

    /// The tokens of a batch as operations read them.
    type Batch<'b>;

    /// Makes a buffer so long.
    fn fit(&self, buffer: &mut Self::Floats, length: usize);

    /// The same.
    fn fit_sums(&self, buffer: &mut Self::Sums, length: usize);

    /// Readies a batch.
    fn batch<'b>(&self, batch: &'b Batch) -> Self::Batch<'b>;

    /// Writes each token's row of a table.
    fn gather(&self, table_vd: &Self::Tensor, batch: &Self::Batch<'_>, x_td: &mut Self::Floats);

    /// Adds each token's gradient to its row of the table's.
    fn scatter(&self, batch: &Self::Batch<'_>, dx_td: &Self::Floats, dtable_vd: &mut Self::Sums);

    /// Writes y = x w / √(mean x² + ε) and the factor of each token.
    fn norm(
        &self,
        x_td: &Self::Floats,
        weight_d: &Self::Tensor,
        eps: f32,
        y_td: &mut Self::Floats,
        inv_rms_t: &mut Self::Sums,
    );

    /// Writes the gradient of a norm's input, or adds it.
    fn norm_grad_input(
        &self,
        of: Normed<'_, Self>,
        weight_d: &Self::Tensor,
        dx_td: &mut Self::Floats,
        sink: Sink,
    );

    /// Adds the gradient of a norm's weight, unless that is frozen.
    fn norm_grad_weight(
        &self,
        of: Normed<'_, Self>,
        batch: &Self::Batch<'_>,
        dweight_d: &mut Self::Sums,
    );

    /// y += x.
    fn add(&self, x: &Self::Floats, y: &mut Self::Floats);

    /// Turns each head by its token's position.
    fn turn(&self, rope: &Self::Rope, batch: &Self::Batch<'_>, x: &mut Self::Floats);

    /// Turns back.
    fn turn_back(&self, rope: &Self::Rope, batch: &Self::Batch<'_>, x: &mut Self::Floats);

    /// From a block's queries, keys and values what is attended to, with maxima and sums.
    fn attend(&self, heads: Heads, batch: &Self::Batch<'_>, block: &mut Block<Self>);

    /// Writes the gradients of queries, keys and values.
    fn attend_back(
        &self,
        heads: Heads,
        batch: &Self::Batch<'_>,
        block: &Block<Self>,
        dattended_td: &Self::Floats,
        dinputs: [&mut Self::Floats; 3],
        beside: &mut Self::Beside,
    );

    /// Writes silu(gate) · up.
    fn gate(&self, gate_tf: &Self::Floats, up_tf: &Self::Floats, hidden_tf: &mut Self::Floats);

    /// Writes the gradients of gate and up, whose values come first, then that of the hidden layer.
    fn gate_back(&self, of: [&Self::Floats; 3], dgate_up_tf: [&mut Self::Floats; 2]);

    /// Writes a projection of a block, with what an adapter adds to it.
    fn project(
        &self,
        at: Place<'_, Self>,
        batch: &Self::Batch<'_>,
        x: &Self::Floats,
        y: &mut Self::Floats,
        beside: &mut Self::Beside,
    );

    /// From x and dy, adds the gradients of whatever is learnt of a projection, and writes that of
    /// its input, or adds it, where it is asked for.
    fn project_back(
        &self,
        at: Place<'_, Self>,
        batch: &Self::Batch<'_>,
        of: [&Self::Floats; 2],
        towards: &mut Gradients<Self>,
        into: Option<(&mut Self::Floats, Sink)>,
        beside: &mut Self::Beside,
    );

    /// The projections that an adapter has a part in.
    fn targets(adapter: &Self::Adapter) -> &[Which];
}

/// What a block keeps on a machine.
pub type Block<M> = BlockActivations<<M as Machine>::Floats, <M as Machine>::Sums>;

/// The gradients of everything that is learnt, on a machine.
pub type Gradients<M> = Trainable<<M as Machine>::Sums, <M as Machine>::Towards>;

/// What the gradients of a norm are made of.
#[derive(Debug)]
pub struct Normed<'a, M: Machine> {
    pub dy_td: &'a M::Floats,
    pub x_td: &'a M::Floats,
    pub inv_rms_t: &'a M::Sums,
}

/// A projection: of which decoder, in which layer, which one.
#[derive(Debug)]
pub struct Place<'a, M: Machine> {
    pub model: &'a Transformer<M>,
    pub layer: usize,
    pub which: Which,
}
