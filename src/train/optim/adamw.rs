//! AdamW over all that a decoder learns, with its moments (Loshchilov and Hutter, "Decoupled
//! weight decay regularization", 2019). Norm weights are not decayed, as in Hugging Face's trainer;
//! embeddings are. Knows no schedule. Left out: AMSGrad, Nesterov, a maximum of the update.

use crate::train::kernels::Threads;
use crate::train::kernels::adamw::{self, Moments};
use crate::train::model::parameters::Role;
use crate::train::model::{Trainable, Transformer};

/// The settings of the optimizer, named as `adamw` in `std/train` names them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
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
    pub first: Trainable,
    pub second: Trainable,
    pub beta1_power: f64,
    pub beta2_power: f64,
}

impl AdamWState {
    /// Moments at zero, allocated once.
    pub fn new(model: &Transformer, settings: AdamW) -> AdamWState {
        AdamWState {
            settings,
            decayed: model.table().iter().map(|spec| decays(spec.role)).collect(),
            first: Trainable::zeros(model),
            second: Trainable::zeros(model),
            beta1_power: 1.0,
            beta2_power: 1.0,
        }
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
        let AdamW { beta1, beta2, eps, weight_decay } = self.settings;
        self.beta1_power *= beta1;
        self.beta2_power *= beta2;
        let (beta1_power, beta2_power) = (self.beta1_power, self.beta2_power);
        let moments = self.first.tensors_mut().into_iter().zip(self.second.tensors_mut());
        let pairs = model.trainable_mut().into_iter().zip(gradients.tensors());
        for (((weight, gradient), (first, second)), decayed) in
            pairs.zip(moments).zip(&self.decayed)
        {
            let weight_decay = if *decayed { weight_decay } else { 0.0 };
            let step = adamw::AdamW {
                lr,
                beta1,
                beta2,
                eps,
                weight_decay,
                beta1_power,
                beta2_power,
                gradient_scale,
            };
            step.step(t, weight, gradient, Moments { first, second });
        }
        model.settle(t);
    }
}
