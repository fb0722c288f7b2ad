//! A whole decoder on an accelerator, forward and backward, beside the same on the processor.

use std::sync::Arc;

use half::bf16;
use llamake::train::model::accelerated::{Accelerated, Class};
use llamake::train::model::activations::{Activations, Keep};
use llamake::train::model::encoding::Encoding;
use llamake::train::model::quantized::{Form, quantised};
use llamake::train::model::tensor::Stored;
use llamake::train::model::{Batch, ModelConfig, Parameters, Trainable, Transformer};

use super::{cpu, numbers, on_shims};
use crate::train::fixtures::{config, lively, rows};

/// Heads as wide as there are kernels for, and groups of queries.
fn shape() -> ModelConfig {
    ModelConfig { dim: 64, heads: 4, kv_heads: 2, ffn: 96, ..config() }
}

fn assert_same(what: &str, expected: &[f32], found: &[f32]) {
    assert_eq!(expected.len(), found.len(), "{what}");
    let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(bits(expected) == bits(found), "{what} has other bits");
    assert!(expected.is_empty() || expected.iter().any(|x| *x != 0.0), "{what} is all zero");
}

/// Two batches, the second shorter, so that buffers hold more than they are asked for.
fn batches(config: &ModelConfig) -> [Batch; 2] {
    let rows = rows(3, config.vocab);
    [Batch::of(&rows.iter().collect::<Vec<_>>()), Batch::of(&rows[..2].iter().collect::<Vec<_>>())]
}

/// Of both batches the hidden state, then the gradient of what enters the first block; and the
/// gradients of all weights, added up.
struct Found {
    ends: [[Vec<f32>; 2]; 2],
    gradients: Trainable,
}

fn dhidden(batch: &Batch, config: &ModelConfig) -> Vec<f32> {
    numbers("dhidden", batch.len() * config.dim)
}

fn on_processor(model: &Transformer, gradients: &Trainable, keep: Keep) -> Found {
    let (t, mut gradients) = (cpu(), gradients.clone());
    let mut a = Activations::for_training(&model.config, 0, keep);
    let ends = batches(&model.config).map(|batch| {
        model.forward(&t, &batch, &mut a);
        a.dhidden_td = dhidden(&batch, &model.config);
        model.backward(&t, &batch, &mut a, &mut gradients);
        [a.hidden_td.clone(), a.gradients.residual_td.clone()]
    });
    Found { ends, gradients }
}

fn on_accelerator<T: Class>(
    m: &Accelerated<T>,
    weights: &Parameters<Stored>,
    gradients: &Trainable,
    keep: Keep,
) -> Found {
    let config = shape();
    let model = Transformer::new(config.clone(), weights.clone(), config.context);
    let model = model.onto(m).unwrap();
    let (mut back, mut gradients) = (gradients.clone(), gradients.onto(m).unwrap());
    let mut a = Activations::<Accelerated<T>>::training(&config, keep);
    let ends = batches(&config).map(|batch| {
        model.forward(m, &batch, &mut a);
        a.dhidden_td = m.send(&dhidden(&batch, &config));
        model.backward(m, &batch, &mut a, &mut gradients);
        [m.fetch(&a.hidden_td), m.fetch(&a.gradients.residual_td)]
    });
    m.check().unwrap();
    let pairs = gradients.rooms_mut().into_iter().zip(back.tensors_mut());
    pairs.into_iter().for_each(|(there, here)| there.read(here).unwrap());
    Found { ends, gradients: back }
}

fn assert_same_bits(weights: Parameters<Stored>, gradients: impl Fn(&Transformer) -> Trainable) {
    let model = Transformer::new(shape(), weights.clone(), shape().context);
    let gradients = gradients(&model);
    for keep in [Keep::Activations, Keep::Residuals] {
        let expected = on_processor(&model, &gradients, keep);
        on_shims(|on| {
            let m = Accelerated::<f32>::new(Arc::clone(on));
            let found = on_accelerator(&m, &weights, &gradients, keep);
            let ends = expected.ends.as_flattened().iter().zip(found.ends.as_flattened());
            ends.for_each(|(expected, found)| assert_same("an end", expected, found));
            let pairs = expected.gradients.tensors().into_iter().zip(found.gradients.tensors());
            for ((expected, found), spec) in pairs.zip(model.table()) {
                if spec.name != "lm_head.weight" {
                    assert_same(&spec.name, expected, found);
                }
            }
        });
    }
}

#[test]
fn a_decoder_has_the_bits_of_the_processor() {
    assert_same_bits(lively(&shape(), 5).into(), Trainable::gradients);
}

/// Nothing is learnt, but gradients go through all blocks.
#[test]
fn a_frozen_decoder_in_4_bits_has_the_bits_of_the_processor() {
    let form = Form { encoding: Encoding::F32, double: true };
    let weights = quantised(&cpu(), &shape(), &lively(&shape(), 5).into(), form);
    assert_same_bits(weights.unwrap(), |model| Trainable {
        weights: Parameters::frozen(&model.config),
        adapter: None,
    });
}

/// How far numbers are from the truth, as a share of its length.
fn distance(truth: &[f32], found: &[f32]) -> f64 {
    let squares = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>();
    let pairs = || truth.iter().zip(found).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    (squares(&mut pairs().map(|(a, b)| a - b)) / squares(&mut pairs().map(|(a, _)| a))).sqrt()
}

/// Numbers of 8 bits, rounded some twenty times on their way through two blocks and back.
const NEAR: f64 = 0.04;

fn assert_near(weights: Parameters<Stored>, gradients: impl Fn(&Transformer) -> Trainable) {
    let model = Transformer::new(shape(), weights.clone(), shape().context);
    let gradients = gradients(&model);
    let expected = on_processor(&model, &gradients, Keep::Activations);
    on_shims(|on| {
        let of = |keep| {
            let m = Accelerated::<bf16>::new(Arc::clone(on));
            on_accelerator(&m, &weights, &gradients, keep)
        };
        let (found, again) = (of(Keep::Activations), of(Keep::Residuals));
        let ends = expected.ends.as_flattened().iter().zip(found.ends.as_flattened());
        for (at, (expected, found)) in ends.enumerate() {
            let distance = distance(expected, found);
            assert!(0.0 < distance && distance < NEAR, "end {at}: {distance}");
        }
        let pairs = expected.gradients.tensors().into_iter().zip(found.gradients.tensors());
        for ((expected, found), spec) in pairs.zip(model.table()) {
            if spec.name != "lm_head.weight" && !expected.is_empty() {
                let distance = distance(expected, found);
                assert!(distance < NEAR, "{}: {distance}", spec.name);
            }
        }
        // What is computed twice has the same bits.
        let both = found.ends.as_flattened().iter().zip(again.ends.as_flattened());
        both.for_each(|(found, again)| assert_same("an end", found, again));
        assert!(found.gradients == again.gradients);
    });
}

#[test]
fn a_decoder_of_the_class_bf16_is_near_that_of_the_processor() {
    assert_near(lively(&shape(), 5).into(), Trainable::gradients);
}

#[test]
fn a_frozen_decoder_in_4_bits_of_the_class_bf16_is_near_that_of_the_processor() {
    let form = Form { encoding: Encoding::F32, double: true };
    let weights = quantised(&cpu(), &shape(), &lively(&shape(), 5).into(), form);
    assert_near(weights.unwrap(), |model| Trainable {
        weights: Parameters::frozen(&model.config),
        adapter: None,
    });
}

#[test]
fn what_does_not_run_there_is_refused() {
    on_shims(|on| {
        let narrow = Transformer::new(config(), lively(&config(), 5), 8);
        let m: Accelerated = Accelerated::new(Arc::clone(on));
        let fault = narrow.onto(&m).unwrap_err();
        assert_eq!(fault.message, "heads are 16, 32, 64 or 128 wide on a GPU, not 4");
    });
}
