//! The gains of DoRA, beside a transcription of their words.

use llamake::train::kernels::Elements;
use llamake::train::kernels::dora::launch::{Adapter, Gains};
use llamake::train::kernels::gemm::launch::Weights;
use llamake::train::kernels::gemm::linear;
use llamake::train::kernels::nf4::{self, Nf4};

use super::{assert_same_bits, cpu, numbers, on_shims, to};

/// ‖W + s · B · A‖ by output.
fn norms(w: &[f32], a: &[f32], b: &[f32], scale: f32, [i, o, r]: [usize; 3]) -> Vec<f32> {
    let (mut cross, mut square) = (vec![0.0; r * o], vec![0.0; r * r]);
    linear(&cpu(), a, w, &mut cross, [r, i, o]);
    linear(&cpu(), a, a, &mut square, [r, i, r]);
    let s = f64::from(scale);
    let norm = |output: usize| {
        let row = &w[output * i..(output + 1) * i];
        let mut sum = row.iter().fold(0.0, |sum, x| sum + f64::from(*x) * f64::from(*x));
        let b = |k: usize| f64::from(b[output * r + k]);
        for k in 0..r {
            let inner = (0..r).fold(0.0, |sum, l| sum + b(l) * f64::from(square[k * r + l]));
            sum += s * b(k) * (2.0 * f64::from(cross[k * o + output]) + s * inner);
        }
        sum.max(0.0).sqrt() as f32
    };
    (0..o).map(norm).collect()
}

#[test]
fn gains_follow_their_words() {
    for ([i, o, r], quantised) in [([33, 70, 4], false), ([64, 5, 8], true), ([131, 40, 1], true)] {
        let whole = numbers("w", o * i);
        let (packed, scales) = nf4::quantise(&cpu(), &whole, true);
        let w = match quantised {
            true => Elements::Nf4(Nf4::new(&packed, &scales, o * i)).to_floats(),
            false => whole.clone(),
        };
        let (a, b, magnitudes) = (numbers("a", r * i), numbers("b", o * r), numbers("m", o));
        let (tokens, scale) = (9, 0.7);
        let [z, dy] = ["z", "dy"].map(|name| numbers(name, tokens * o));
        let norms = norms(&w, &a, &b, scale, [i, o, r]);
        let gain = |at: usize| magnitudes[at % o] / norms[at % o];
        let y: Vec<f32> = z.iter().enumerate().map(|(at, z)| z * gain(at)).collect();
        let dz: Vec<f32> = dy.iter().enumerate().map(|(at, dy)| dy * gain(at)).collect();
        let mut dm = numbers("dm", o);
        let before = dm.clone();
        for at in 0..tokens * o {
            dm[at % o] += dy[at] * z[at] / norms[at % o];
        }
        on_shims(|on| {
            let (matrix, w) =
                (nf4::launch::Matrix::new(on, &packed, &scales, o * i).unwrap(), to(on, &whole));
            let weights = match quantised {
                true => Weights::from(&matrix),
                false => Weights::from(w.all()),
            };
            let mut gains = Gains::new(on, weights, [i, o, r]).unwrap();
            let [a, b, magnitudes] = [&a, &b, &magnitudes].map(|x| to(on, x));
            let (a, b, magnitudes) = (a.all(), b.all(), magnitudes.all());
            gains.settle(&**on, weights, Adapter { a, b, magnitudes, scale }).unwrap();
            assert_same_bits(&format!("norms of {i} {o} {r}"), &norms, gains.norms());
            let mut found = to(on, &z);
            gains.apply(&**on, found.all_mut()).unwrap();
            assert_same_bits(&format!("y of {i} {o} {r}"), &y, &found);
            let (mut found_z, mut found_dm, dy) = (to(on, &z), to(on, &before), to(on, &dy));
            gains.backward(&**on, dy.all(), found_z.all_mut(), found_dm.all_mut()).unwrap();
            assert_same_bits(&format!("dz of {i} {o} {r}"), &dz, &found_z);
            assert_same_bits(&format!("dm of {i} {o} {r}"), &dm, &found_dm);
        });
    }
}
