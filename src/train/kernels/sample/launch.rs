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

/// Draws once from each row of logits[n, v], by as many numbers in [0, 1).
pub fn draw(
    on: &Arc<dyn Accelerator>,
    logits: Slice<f32>,
    sampling: Sampling,
    uniforms: &[f32],
) -> Result<Vec<Draw>, Fault> {
    let rows = uniforms.len();
    if rows == 0 {
        return Ok(Vec::new());
    }
    let mut drawn = Drawn {
        v: logits.len() / rows,
        tokens: Array::new(on, rows)?,
        processed: Array::new(on, rows)?,
        log_probs: Array::new(on, rows)?,
    };
    assert!(drawn.v > 0 && logits.len() == rows * drawn.v, "a row of logits for each number");
    drawn.launch(on, logits, sampling, &Array::of(on, uniforms)?)?;
    let (tokens, processed) = (drawn.tokens.read()?, drawn.processed.read()?);
    let draws = tokens.into_iter().zip(processed).zip(drawn.log_probs.read()?);
    let draw =
        |((token, processed_log_prob), log_prob)| Draw { token, processed_log_prob, log_prob };
    Ok(draws.map(draw).collect())
}

/// Places for what is drawn from rows of so many logits.
struct Drawn {
    v: usize,
    tokens: Array<u32>,
    processed: Array<f32>,
    log_probs: Array<f32>,
}

impl Drawn {
    fn launch(
        &mut self,
        on: &Arc<dyn Accelerator>,
        logits: Slice<f32>,
        sampling: Sampling,
        uniforms: &Array<f32>,
    ) -> Result<(), Fault> {
        let (rows, v) = (self.tokens.len(), self.v);
        let temperature = Argument::from(sampling.temperature);
        let start = |kernel, threads, shared, arguments: &[Argument]| {
            on.launch(kernel, [count(rows), 1, 1], [threads, 1, 1], shared, arguments)
        };
        let read = [logits.into(), uniforms.all().into()];
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
        let mut keys = Array::<u64>::new(on, rows * padded)?;
        let top_k = count(sampling.top_k.unwrap_or(v).clamp(1, v));
        let rest = [count(padded).into(), temperature, top_k.into(), sampling.top_p.into()];
        let keys = [Argument::from(&keys.all_mut())];
        let arguments = [&read[..], &keys, &written, &rest].concat();
        let shared = count(8 * padded.min(SORTED));
        start("sample_kept", SORTING, shared, &arguments)
    }
}
