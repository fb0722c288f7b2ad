//! AdamW over all that a decoder learns, with its moments (Loshchilov and Hutter, "Decoupled
//! weight decay regularization", 2019). Norm weights are not decayed, as in Hugging Face's trainer;
//! embeddings are. Knows no schedule, and not where moments lie. Left out: AMSGrad, Nesterov, a
//! maximum of the update.

use std::ops::Range;
use std::path::Path;

use super::moments::{Bits, Moment, Moved, Paging, moments};
use crate::train::kernels::adamw::{self, Moments};
use crate::train::kernels::{Threads, adamw8};
use crate::train::model::parameters::Role;
use crate::train::model::{Trainable, Transformer};
use crate::train::progress::Failure;

/// The settings of the optimizer, named as `adamw`, `adamw8` and `paged_adamw` in `std/train` name
/// them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    /// How wide moments are kept.
    pub bits: Bits,
    /// Bytes of moments that stay in memory; all of them without it.
    pub page_budget: Option<u64>,
}

/// Norms, and the magnitudes of an adapter, are what they are without a pull to zero.
fn decays(role: Role) -> bool {
    !matches!(role, Role::Norm | Role::Magnitude)
}

/// The moments of every parameter, and the powers of the betas.
#[derive(Debug)]
pub struct AdamWState {
    settings: AdamW,
    /// Which tensors are decayed, in the order of the table.
    decayed: Vec<bool>,
    pub first: Vec<Moment>,
    pub second: Vec<Moment>,
    pub beta1_power: f64,
    pub beta2_power: f64,
}

impl AdamWState {
    /// Moments at zero, made once; those beyond the budget lie in a file in `folder`.
    pub fn new(model: &Transformer, settings: AdamW, folder: &Path) -> Result<AdamWState, Failure> {
        let (table, sizes) = (model.table(), model.learnt_sizes());
        let paging = settings.page_budget.map(|budget| Paging { budget, folder });
        let [first, second] = moments(&sizes, settings.bits, paging)?;
        Ok(AdamWState {
            settings,
            decayed: table.iter().map(|spec| decays(spec.role)).collect(),
            first,
            second,
            beta1_power: 1.0,
            beta2_power: 1.0,
        })
    }

    /// What a checkpoint keeps of the moments.
    pub fn words_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.first.iter_mut().chain(&mut self.second).map(Moment::words_mut)
    }

    /// The constants of the next step, for each row of the table.
    pub fn begin(&mut self, lr: f64, gradient_scale: f32) -> Vec<adamw::AdamW> {
        let AdamW { beta1, beta2, eps, weight_decay, .. } = self.settings;
        self.beta1_power *= beta1;
        self.beta2_power *= beta2;
        let (beta1_power, beta2_power) = (self.beta1_power, self.beta2_power);
        let of = |decayed: &bool| adamw::AdamW {
            lr,
            beta1,
            beta2,
            eps,
            weight_decay: if *decayed { weight_decay } else { 0.0 },
            beta1_power,
            beta2_power,
            gradient_scale,
        };
        self.decayed.iter().map(of).collect()
    }

    /// Moves every weight by one step at rate `lr`; gradients count `gradient_scale` times.
    pub fn step(
        &mut self,
        t: &Threads,
        model: &mut Transformer,
        gradients: &Trainable,
        lr: f64,
        gradient_scale: f32,
    ) {
        let by = self.begin(lr, gradient_scale);
        let pairs = model.trainable_mut().into_iter().zip(gradients.tensors());
        self.move_rows(t, &by, 0..by.len(), pairs);
        model.settle(t);
    }

    /// Moves some rows of the table, which come with their gradients, by one step.
    pub fn move_rows<'a>(
        &mut self,
        t: &Threads,
        by: &[adamw::AdamW],
        rows: Range<usize>,
        pairs: impl Iterator<Item = (&'a mut [f32], &'a [f32])>,
    ) {
        let moments = self.first[rows.clone()].iter_mut().zip(&mut self.second[rows.clone()]);
        for (((weight, gradient), (first, second)), step) in pairs.zip(moments).zip(&by[rows]) {
            match (first.moved(), second.moved()) {
                (Moved::Floats(first), Moved::Floats(second)) => {
                    step.step(t, weight, gradient, Moments { first, second });
                }
                (Moved::Blocks(first), Moved::Blocks(second)) => {
                    adamw8::step(step, t, weight, gradient, first, second);
                }
                _ => unreachable!("both moments are kept alike"),
            }
        }
    }
}
