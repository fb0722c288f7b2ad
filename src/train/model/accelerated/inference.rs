//! An accelerator asked about finished decoders: keys, values and logits stay in its memory, and
//! what comes back is a few numbers a token. Same bits as the processor. Knows no prompts.

use std::ops::Range;

use super::{Accelerated, Parameter, Room, told};
use crate::train::kernels::Sink;
use crate::train::kernels::attention::cached::Cached;
use crate::train::kernels::attention::{Heads, Segment};
use crate::train::kernels::cross_entropy::launch::{
    Losses, Targets, cross_entropy, likelihoods, room,
};
use crate::train::kernels::embedding::launch::{Tokens, gather};
use crate::train::kernels::gemm::launch::linear;
use crate::train::kernels::launch::Array;
use crate::train::kernels::rope::launch::DeviceTable;
use crate::train::kernels::sample::launch::draw;
use crate::train::kernels::sample::{Draw, Sampling};
use crate::train::model::activations::Activations;
use crate::train::model::inference::Inference;
use crate::train::model::loaded::TOKENS_AT_ONCE;
use crate::train::model::machine::{Block, Machine};
use crate::train::model::{Batch, ModelConfig, Transformer};
use crate::train::progress::Failure;

impl Inference for Accelerated {
    /// Keys and values; none where there was no room.
    type Layer = Option<[Array<f32>; 2]>;
    type Seen = Option<Cached>;

    fn texts_at_once(&self, config: &ModelConfig, tokens: usize, most: usize) -> usize {
        let mut found = 1;
        self.run(|on| {
            let reading = tokens.max(TOKENS_AT_ONCE) as u64;
            let beside = Activations::inference_bytes(config, reading)
                + room(reading, config.outputs() as u64);
            // A tenth is for what is not counted here, and a place for what all texts begin with.
            let free = (on.free_bytes()? / 10 * 9).saturating_sub(beside);
            let each = 2 * 4 * (config.layers * config.kv_dim() * tokens) as u64;
            let texts = (free / each.max(1)).saturating_sub(1);
            found = usize::try_from(texts).unwrap_or(most).clamp(1, most.max(1));
            Ok(())
        });
        found
    }

    fn layer(&self, numbers: usize) -> Option<[Array<f32>; 2]> {
        let mut layer = None;
        self.run(|on| {
            layer = Some([Array::new(on, numbers)?, Array::new(on, numbers)?]);
            Ok(())
        });
        layer
    }

    fn repeat(&self, layer: &mut Option<[Array<f32>; 2]>, from: Range<usize>, to: usize) {
        self.run(|_| {
            let mut each = layer.iter_mut().flatten();
            each.try_for_each(|numbers| numbers.copy_within(from.clone(), to))
        });
    }

    fn seen(&self, heads: Heads, segments: Vec<Segment>) -> Option<Cached> {
        let mut seen = None;
        self.run(|on| {
            seen = Some(Cached::new(on, heads, &segments)?);
            Ok(())
        });
        seen
    }

    fn attend_cached(
        &self,
        heads: Heads,
        seen: &mut Option<Cached>,
        layer: &mut Option<[Array<f32>; 2]>,
        block: &mut Block<Self>,
    ) {
        self.run(|on| {
            let (Some(seen), Some([keys, values])) = (seen, layer) else { return Ok(()) };
            let new = [block.key_tk.all(), block.value_tk.all()];
            seen.store(&**on, heads, new, [keys.all_mut(), values.all_mut()])?;
            let read = [block.query_td.all(), keys.all(), values.all()];
            let softmax = [block.softmax_max_th.all_mut(), block.softmax_sum_th.all_mut()];
            seen.attend(&**on, heads, read, block.attended_td.all_mut(), softmax)
        });
    }

    fn positions(rope: &DeviceTable) -> usize {
        rope.positions()
    }

    fn pick(&self, tokens: &[usize], d: usize, from_td: &Room, to_nd: &mut Room) {
        self.fit(to_nd, tokens.len() * d);
        self.run(|on| {
            let id = |token: &usize| u32::try_from(*token).expect("a batch has fewer tokens");
            let ids: Vec<u32> = tokens.iter().map(id).collect();
            gather(&**on, from_td.all(), &Tokens::new(on, &ids)?, to_nd.all_mut())
        });
    }

    fn draw(
        &self,
        model: &Transformer<Accelerated>,
        hidden_nd: &Room,
        sampling: Sampling,
        uniforms: &[f32],
    ) -> Result<Vec<Draw>, Failure> {
        let (n, d, v) = (uniforms.len(), model.config.dim, model.config.vocab);
        let mut drawn = Vec::new();
        self.run(|on| {
            let mut logits_nv = Array::new(on, n * v)?;
            let shape = [n, d, v];
            let logits = logits_nv.all_mut();
            linear(&**on, hidden_nd.all(), model.head(), logits, shape, Sink::Write)?;
            drawn = draw(on, logits_nv.all(), sampling, uniforms)?;
            Ok(())
        });
        self.check().map_err(told)?;
        Ok(drawn)
    }

    fn likelihoods(
        &self,
        model: &Transformer<Accelerated>,
        hidden_nd: &Room,
        ids: &[u32],
    ) -> Result<Vec<(f32, bool)>, Failure> {
        let mut found = Vec::new();
        self.run(|on| {
            found = likelihoods(on, hidden_nd.all(), model.head(), ids)?;
            Ok(())
        });
        self.check().map_err(told)?;
        Ok(found)
    }

    fn outputs(
        &self,
        head_d: &Parameter,
        hidden_nd: &Room,
        [n, d]: [usize; 2],
    ) -> Result<Vec<f32>, Failure> {
        let mut outputs = Vec::new();
        self.run(|on| {
            let (mut written, head_d) = (Array::new(on, n)?, head_d.floats());
            let into = written.all_mut();
            linear(&**on, hidden_nd.all(), head_d, into, [n, d, 1], Sink::Write)?;
            outputs = written.read()?;
            Ok(())
        });
        self.check().map_err(told)?;
        Ok(outputs)
    }

    fn losses(
        &self,
        model: &Transformer<Accelerated>,
        batch: &Batch,
        temperature: f32,
        a: &mut Activations<Accelerated>,
    ) -> Result<Vec<f32>, Failure> {
        let mut losses = vec![0.0; batch.len()];
        self.run(|on| {
            let targets = Targets::new(on, batch.targets_at(temperature), model.config.outputs())?;
            let written = Losses { nll: a.nll_t.all_mut(), entropy: None };
            cross_entropy(on, a.hidden_td.all(), model.head(), &targets, written, None)?;
            a.nll_t.read(&mut losses)
        });
        self.check().map_err(told)?;
        Ok(losses)
    }
}
