//! How the learning rate moves over the steps of a run. Knows no optimizer and no data.

use crate::train::kernels::math::cos_f64;

/// A stretch of steps at the start, counted or as a part of all steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WarmUp {
    Steps(u64),
    /// In millionths of one percent, exact; rounded up to whole steps.
    Percent {
        millionths: u64,
    },
}

/// What the rate does after warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// Falls on half a cosine to `last` times the peak, which the last step has.
    Cosine {
        warmup: WarmUp,
        last: f64,
    },
    Constant {
        warmup: WarmUp,
    },
}

impl WarmUp {
    /// The number of steps of a run of `total` that warm up.
    pub fn steps(self, total: u64) -> u64 {
        match self {
            WarmUp::Steps(steps) => steps,
            WarmUp::Percent { millionths } => {
                let share = u128::from(total) * u128::from(millionths);
                share.div_ceil(100_000_000) as u64
            }
        }
    }
}

impl Schedule {
    /// The rate of step `step` of `total`, counted from 1: `peak · step / warmup` while warming
    /// up, so that already the first step learns.
    pub fn rate(&self, peak: f64, step: u64, total: u64) -> f64 {
        let (Schedule::Cosine { warmup, .. } | Schedule::Constant { warmup }) = self;
        let warmup = warmup.steps(total);
        if step < warmup {
            return peak * step as f64 / warmup as f64;
        }
        match self {
            Schedule::Constant { .. } => peak,
            Schedule::Cosine { last, .. } if step >= total => peak * last,
            Schedule::Cosine { last, .. } => {
                let along = (step - warmup) as f64 / (total - warmup) as f64;
                let height = 0.5 * (1.0 + cos_f64(std::f64::consts::PI * along));
                peak * (last + (1.0 - last) * height)
            }
        }
    }
}
