//! Drawing tokens on an accelerator; see sample.cu. Same draws and bits as on the CPU.

use std::sync::Arc;

use super::{Draw, Sampling};
use crate::train::kernels::gemm::BLOCK;
use crate::train::kernels::launch::{Accelerator, Argument, Array, Fault, Slice, count};

/// Threads of a block, and of one that sorts.
const THREADS: u32 = 256;
const SORTING: u32 = 512;
/// Keys that are sorted in shared memory at once.
const SORTED: usize = 4096;

/// Room for draws from so many rows of logits, used anew each time.
#[derive(Debug)]
pub struct Drawer {
    v: usize,
    uniforms: Array<f32>,
    tokens: Array<u32>,
    processed: Array<f32>,
    log_probs: Array<f32>,
    /// A power of two a row; made when `top_k` or `top_p` is first asked for.
    keys: Option<Array<u64>>,
}

impl Drawer {
    /// Room for `rows` rows of `v` logits.
    pub fn new(on: &Arc<dyn Accelerator>, rows: usize, v: usize) -> Result<Drawer, Fault> {
        assert!(v > 0, "a row of logits has at least one");
        Ok(Drawer {
            v,
            uniforms: Array::new(on, rows)?,
            tokens: Array::new(on, rows)?,
            processed: Array::new(on, rows)?,
            log_probs: Array::new(on, rows)?,
            keys: None,
        })
    }

    /// Draws once from each row of logits[n, v], by as many numbers in [0, 1) as there is room for
    /// rows.
    pub fn draw(
        &mut self,
        on: &Arc<dyn Accelerator>,
        logits: Slice<f32>,
        sampling: Sampling,
        uniforms: &[f32],
    ) -> Result<Vec<Draw>, Fault> {
        assert_eq!(logits.len(), uniforms.len() * self.v);
        if uniforms.is_empty() {
            return Ok(Vec::new());
        }
        self.uniforms.write(uniforms)?;
        self.launch(on, logits, sampling)?;
        let (tokens, processed) = (self.tokens.read()?, self.processed.read()?);
        let draws = tokens.into_iter().zip(processed).zip(self.log_probs.read()?);
        let draw =
            |((token, processed_log_prob), log_prob)| Draw { token, processed_log_prob, log_prob };
        Ok(draws.map(draw).collect())
    }

    fn launch(
        &mut self,
        on: &Arc<dyn Accelerator>,
        logits: Slice<f32>,
        sampling: Sampling,
    ) -> Result<(), Fault> {
        let (rows, v) = (self.tokens.len(), self.v);
        let temperature = Argument::from(sampling.temperature);
        let start = |kernel, threads, shared, arguments: &[Argument]| {
            on.launch(kernel, [count(rows), 1, 1], [threads, 1, 1], shared, arguments)
        };
        let read = [logits.into(), self.uniforms.all().into()];
        let written = [
            (&self.tokens.all_mut()).into(),
            (&self.processed.all_mut()).into(),
            (&self.log_probs.all_mut()).into(),
            count(v).into(),
        ];
        if sampling.temperature == 0.0 {
            return start("sample_greedy", THREADS, 0, &[&read[..1], &written].concat());
        }
        if sampling.keeps_all() {
            let shared = count(4 * v.div_ceil(BLOCK));
            let arguments = [&read[..], &written, &[temperature]].concat();
            return start("sample_all", THREADS, shared, &arguments);
        }
        let padded = v.next_power_of_two();
        if self.keys.is_none() {
            self.keys = Some(Array::new(on, rows * padded)?);
        }
        let keys = self.keys.as_mut().map(|keys| Argument::from(&keys.all_mut()));
        let top_k = count(sampling.top_k.unwrap_or(v).clamp(1, v));
        let rest = [count(padded).into(), temperature, top_k.into(), sampling.top_p.into()];
        let keys: Vec<Argument> = keys.into_iter().collect();
        let arguments = [&read[..], &keys, &written, &rest].concat();
        let shared = count(8 * padded.min(SORTED));
        start("sample_kept", SORTING, shared, &arguments)
    }
}
