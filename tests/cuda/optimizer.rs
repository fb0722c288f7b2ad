//! Steps of the optimizer.

use half::bf16;
use llamake::train::kernels::adamw::launch::Moved;
use llamake::train::kernels::adamw::{self, AdamW, Moments};
use llamake::train::kernels::adamw8::{self, Blocks};
use llamake::train::kernels::launch::Array;

use super::{assert_same_bits, cpu, numbers, on_shims, room, to};

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
            let words = adamw8::launch::words(len);
            let mut moments = [(); 2].map(|()| Array::zeros(on, words).unwrap());
            for step in &steps {
                let moments = moments.each_mut().map(Array::all_mut);
                let (weights, gradient) = (found.all_mut(), gradient.all());
                adamw8::launch::step(step, &**on, &maps, weights, gradient, moments).unwrap();
            }
            assert_same_bits(&format!("weights of {len}"), &param, &found);
            for (found, (scales, codes)) in moments.iter().zip([(&m_scales, &m), (&v_scales, &v)]) {
                let words: Vec<f32> = found.read().unwrap();
                let (found_scales, rest) = words.split_at(scales.len());
                assert_eq!(found_scales, scales, "scales of {len}");
                let bytes: Vec<u8> = rest.iter().flat_map(|word| word.to_ne_bytes()).collect();
                assert_eq!(bytes[..len], codes[..], "codes of {len}");
            }
        });
    }
}

#[test]
fn steps_over_many_tensors_have_the_bits_of_the_cpu() {
    let sizes = [1, 7, 1024, 5000];
    let weights: Vec<Vec<f32>> = sizes.iter().map(|len| numbers("p", *len)).collect();
    let gradients: Vec<Vec<f32>> = sizes.iter().map(|len| numbers("g", *len)).collect();
    let decay = |at: usize| if at.is_multiple_of(2) { 0.1 } else { 0.0 };
    let mut params = weights.clone();
    let [mut m, mut v] = [(); 2].map(|()| sizes.map(|len| vec![0.0; len]));
    let steps = [of(0.9, 0.99), of(0.81, 0.9801)];
    for step in steps {
        for at in 0..sizes.len() {
            let by = AdamW { weight_decay: decay(at), ..step };
            let moments = Moments { first: &mut m[at], second: &mut v[at] };
            by.step(&cpu(), &mut params[at], &gradients[at], moments);
        }
    }
    on_shims(|on| {
        let gradients: Vec<Array<f32>> = gradients.iter().map(|x| to(on, x)).collect();
        let mut found: Vec<Array<f32>> = weights.iter().map(|x| to(on, x)).collect();
        let mut copies = sizes.map(|len| room::<bf16>(on, len));
        let [mut found_m, mut found_v] =
            [(); 2].map(|()| sizes.map(|len| Array::<f32>::zeros(on, len).unwrap()));
        for step in steps {
            let moments = found_m.iter_mut().zip(&mut found_v);
            let weights = found.iter_mut().zip(&mut copies);
            let all = weights.zip(&gradients).zip(moments).enumerate();
            let moved: Vec<Moved> = all
                .map(|(at, (((weight, copy), gradient), (first, second)))| Moved {
                    weight: weight.all_mut(),
                    copy: (at != 2).then(|| copy.all_mut()),
                    gradient: gradient.all(),
                    first: first.all_mut(),
                    second: second.all_mut(),
                    by: AdamW { weight_decay: decay(at), ..step },
                })
                .collect();
            adamw::launch::step(on, &moved).unwrap();
        }
        for at in 0..sizes.len() {
            assert_same_bits(&format!("weights of tensor {at}"), &params[at], &found[at]);
            let rounded: Vec<bf16> = params[at].iter().map(|x| bf16::from_f32(*x)).collect();
            let is_there = copies[at].read().unwrap() == rounded;
            assert_eq!(is_there, at != 2, "the copy of tensor {at} is its weights, rounded");
            assert_same_bits(&format!("first moment of {at}"), &m[at], &found_m[at]);
            assert_same_bits(&format!("second moment of {at}"), &v[at], &found_v[at]);
        }
    });
}

#[test]
fn norms_and_scaling_have_the_bits_of_the_cpu() {
    let tensors: Vec<Vec<f32>> =
        [1, 100, 65_536, 131_101].iter().map(|len| numbers("g", *len)).collect();
    let norm = adamw::squared_norm(&cpu(), tensors.iter().map(Vec::as_slice));
    let mut scaled = tensors[1].clone();
    adamw::scale(&cpu(), &mut scaled, 0.3);
    on_shims(|on| {
        let arrays: Vec<Array<f32>> = tensors.iter().map(|x| to(on, x)).collect();
        let found = adamw::launch::squared_norm(on, arrays.iter().map(Array::all)).unwrap();
        assert_eq!(norm.to_bits(), found.to_bits(), "{norm} {found}");
        let mut found = to(on, &tensors[1]);
        adamw::launch::scale(&**on, found.all_mut(), 0.3).unwrap();
        assert_same_bits("scaled", &scaled, &found);
    });
}
