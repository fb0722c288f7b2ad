//! Steps of the optimizer.

use llamake::train::kernels::adamw::AdamW;
use llamake::train::kernels::adamw8::{self, Blocks};

use super::{assert_same_bits, cpu, numbers, on_shims, to};

/// A step's constants.
fn of(beta1_power: f64, beta2_power: f64) -> AdamW {
    AdamW {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        beta1_power,
        beta2_power,
        gradient_scale: 0.5,
    }
}

#[test]
fn steps_with_moments_of_8_bits_have_the_bits_of_the_cpu() {
    for len in [1, 256, 700, 2500] {
        let (weights, gradient) = (numbers("p", len), numbers("g", len));
        let steps = [of(0.9, 0.99), of(0.81, 0.9801), of(0.729, 0.970299)];
        let mut param = weights.clone();
        let [mut m, mut v] = [(); 2].map(|()| vec![0u8; len]);
        let [mut m_scales, mut v_scales] = [(); 2].map(|()| vec![0.0; len.div_ceil(256)]);
        for step in &steps {
            let first = Blocks { codes: &mut m, scales: &mut m_scales };
            let second = Blocks { codes: &mut v, scales: &mut v_scales };
            adamw8::step(step, &cpu(), &mut param, &gradient, first, second);
        }
        on_shims(|on| {
            let maps = adamw8::launch::Maps::new(on).unwrap();
            let (mut found, gradient) = (to(on, &weights), to(on, &gradient));
            let [mut first, mut second] =
                [(); 2].map(|()| adamw8::launch::Blocks::zeros(on, len).unwrap());
            for step in &steps {
                let moments = [&mut first, &mut second];
                let (weights, gradient) = (found.all_mut(), gradient.all());
                adamw8::launch::step(step, &**on, &maps, weights, gradient, moments).unwrap();
            }
            assert_same_bits(&format!("weights of {len}"), &param, &found);
            assert_same_bits(&format!("scales of {len}"), &m_scales, &first.scales);
            assert_same_bits(&format!("second scales of {len}"), &v_scales, &second.scales);
            assert_eq!(first.codes.read().unwrap(), m);
            assert_eq!(second.codes.read().unwrap(), v);
        });
    }
}
