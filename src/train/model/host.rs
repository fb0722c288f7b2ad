//! The processor as what a decoder computes on: every operation is a kernel's, as it is. Knows no
//! order of operations.

use super::activations::BlockActivations;
use super::batch::Batch;
use super::lora::Adapter;
use super::machine::{Machine, Normed, Place};
use super::projection::{Beside, Which, fit};
use super::tensor::{Stored, Tensor};
use super::trainable::Trainable;
use crate::train::kernels::attention::{self, Heads, Saved, Segment, Softmax};
use crate::train::kernels::rope::RopeTable;
use crate::train::kernels::{Sink, Threads, embedding, rms_norm, swiglu};

/// A batch, and which of its tokens see one another.
#[derive(Debug)]
pub struct HostBatch<'b> {
    tokens: &'b Batch,
    segments: Vec<Segment>,
}

impl Machine for Threads {
    type Floats = Vec<f32>;
    type Sums = Vec<f32>;
    type Tensor = Stored;
    type Adapter = Adapter;
    type Towards = Adapter;
    type Rope = RopeTable;
    type Beside = Beside;
    type Batch<'b> = HostBatch<'b>;

    fn fit(&self, buffer: &mut Vec<f32>, length: usize) {
        fit(buffer, length);
    }

    fn fit_sums(&self, buffer: &mut Vec<f32>, length: usize) {
        fit(buffer, length);
    }

    fn batch<'b>(&self, batch: &'b Batch) -> HostBatch<'b> {
        let segments = batch.segments.iter().cloned().map(Segment::whole).collect();
        HostBatch { tokens: batch, segments }
    }

    fn gather(&self, table_vd: &Stored, batch: &HostBatch<'_>, x_td: &mut Vec<f32>) {
        embedding::gather(table_vd.elements(), &batch.tokens.tokens, x_td);
    }

    fn scatter(&self, batch: &HostBatch<'_>, dx_td: &Vec<f32>, dtable_vd: &mut Vec<f32>) {
        embedding::backward(self, &batch.tokens.tokens, dx_td, dtable_vd);
    }

    fn norm(
        &self,
        x_td: &Vec<f32>,
        weight_d: &Stored,
        eps: f32,
        y_td: &mut Vec<f32>,
        inv_rms_t: &mut Vec<f32>,
    ) {
        rms_norm::forward(self, x_td, weight_d.floats(), eps, y_td, inv_rms_t);
    }

    fn norm_grad_input(
        &self,
        Normed { dy_td, x_td, inv_rms_t }: Normed<'_, Threads>,
        weight_d: &Stored,
        dx_td: &mut Vec<f32>,
        sink: Sink,
    ) {
        rms_norm::grad_input(self, dy_td, x_td, weight_d.floats(), inv_rms_t, dx_td, sink);
    }

    fn norm_grad_weight(
        &self,
        Normed { dy_td, x_td, inv_rms_t }: Normed<'_, Threads>,
        batch: &HostBatch<'_>,
        dweight_d: &mut Vec<f32>,
    ) {
        rms_norm::grad_weight(self, dy_td, x_td, inv_rms_t, &batch.tokens.rows, dweight_d);
    }

    fn add(&self, x: &Vec<f32>, y: &mut Vec<f32>) {
        rms_norm::add(self, x, y);
    }

    fn turn(&self, rope: &RopeTable, batch: &HostBatch<'_>, x: &mut Vec<f32>) {
        rope.apply(self, x, &batch.tokens.positions);
    }

    fn turn_back(&self, rope: &RopeTable, batch: &HostBatch<'_>, x: &mut Vec<f32>) {
        rope.apply_inverse(self, x, &batch.tokens.positions);
    }

    fn attend(&self, heads: Heads, batch: &HostBatch<'_>, block: &mut BlockActivations) {
        let read: [&[f32]; 3] = [&block.query_td, &block.key_tk, &block.value_tk];
        let softmax: [&mut [f32]; 2] = [&mut block.softmax_max_th, &mut block.softmax_sum_th];
        attention::forward(self, heads, read, &batch.segments, &mut block.attended_td, softmax);
    }

    fn attend_back(
        &self,
        heads: Heads,
        batch: &HostBatch<'_>,
        block: &BlockActivations,
        dattended_td: &Vec<f32>,
        [dquery_td, dkey_tk, dvalue_tk]: [&mut Vec<f32>; 3],
        _beside: &mut Beside,
    ) {
        let saved = Saved {
            q: &block.query_td,
            k: &block.key_tk,
            v: &block.value_tk,
            out: &block.attended_td,
            softmax: Softmax { max: &block.softmax_max_th, sum: &block.softmax_sum_th },
        };
        let into: [&mut [f32]; 3] = [dquery_td, dkey_tk, dvalue_tk];
        attention::backward(self, heads, &saved, &batch.segments, dattended_td, into);
    }

    fn gate(&self, gate_tf: &Vec<f32>, up_tf: &Vec<f32>, hidden_tf: &mut Vec<f32>) {
        swiglu::forward(self, gate_tf, up_tf, hidden_tf);
    }

    fn gate_back(
        &self,
        [gate_tf, up_tf, dhidden_tf]: [&Vec<f32>; 3],
        [dgate_tf, dup_tf]: [&mut Vec<f32>; 2],
    ) {
        swiglu::backward(self, gate_tf, up_tf, dhidden_tf, dgate_tf, dup_tf);
    }

    fn project(
        &self,
        at: Place<'_, Threads>,
        batch: &HostBatch<'_>,
        x: &Vec<f32>,
        y: &mut Vec<f32>,
        beside: &mut Beside,
    ) {
        let projection = at.model.at(at.layer, at.which);
        projection.forward(self, &batch.tokens.rows, x, y, beside);
    }

    fn project_back(
        &self,
        at: Place<'_, Threads>,
        batch: &HostBatch<'_>,
        [x, dy]: [&Vec<f32>; 2],
        towards: &mut Trainable,
        into: Option<(&mut Vec<f32>, Sink)>,
        beside: &mut Beside,
    ) {
        let (projection, rows) = (at.model.at(at.layer, at.which), &batch.tokens.rows);
        let towards = towards.towards(at.layer, at.which);
        let into = into.map(|(dx, sink)| (&mut dx[..], sink));
        projection.backward(self, rows, [x, dy], towards, into, beside);
    }

    fn targets(adapter: &Adapter) -> &[Which] {
        &adapter.settings.targets
    }
}
