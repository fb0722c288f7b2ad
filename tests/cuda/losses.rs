//! The head and its loss: losses, entropies and gradients by chunks of tokens.

use llamake::train::kernels::cross_entropy::launch::{self as device, Gradients, Losses, Targets};
use llamake::train::kernels::cross_entropy::{self, IGNORE, cross_entropy};

use super::{assert_same_bits, batch_rows, cpu, numbers, on_shims, room, to, wholes};

#[test]
fn losses_and_gradients_have_the_bits_of_the_cpu() {
    for (lengths, d, v, temperature) in [
        (vec![1], 1, 1, 1.0),
        (vec![3, 0, 5], 20, 33, 1.0),
        (vec![2, 300], 16, 70, 0.7),
        (vec![4], 8, 5000, 1.3),
    ] {
        let (rows, m) = (batch_rows(&lengths), lengths.iter().sum::<usize>());
        // Large enough that the distribution is far from even.
        let hidden: Vec<f32> = numbers("hidden", m * d).iter().map(|x| 3.0 * x).collect();
        let head = numbers("head", v * d);
        let mut ids = wholes("ids", m, v as u32);
        ids.iter_mut().skip(2).step_by(3).for_each(|id| *id = IGNORE);
        let targets = cross_entropy::Targets { ids: &ids, rows: &rows, temperature };
        let [mut nll, mut entropy] = [(); 2].map(|()| vec![0.0; m]);
        let (mut dhidden, mut dhead) = (vec![0.0; m * d], numbers("dhead", v * d));
        let before = dhead.clone();
        let gradients = cross_entropy::Gradients {
            weight: &|_, _| 0.37,
            dhidden: &mut dhidden,
            dhead: Some(&mut dhead),
        };
        let losses = cross_entropy::Losses { nll: &mut nll, entropy: Some(&mut entropy) };
        cross_entropy(&cpu(), &hidden, &head, targets, losses, Some(gradients));
        on_shims(|on| {
            let targets = Targets::new(on, targets, v).unwrap();
            let (hidden, head) = (to(on, &hidden), to(on, &head));
            let [mut found_nll, mut found_entropy] = [(); 2].map(|()| room(on, m));
            let (mut found, mut found_dhead) = (room(on, m * d), to(on, &before));
            let entropy_of = Some(found_entropy.all_mut());
            let losses = Losses { nll: found_nll.all_mut(), entropy: entropy_of };
            let gradients = Gradients {
                weight: 0.37,
                dhidden: found.all_mut(),
                dhead: Some(found_dhead.all_mut()),
            };
            let (hidden, head) = (hidden.all(), head.all());
            device::cross_entropy(on, hidden, head, &targets, losses, Some(gradients)).unwrap();
            let what = format!("{m} tokens, {d} wide, {v} outputs");
            assert_same_bits(&format!("losses of {what}"), &nll, &found_nll);
            assert_same_bits(&format!("entropies of {what}"), &entropy, &found_entropy);
            assert_same_bits(&format!("dhidden of {what}"), &dhidden, &found);
            assert_same_bits(&format!("dhead of {what}"), &dhead, &found_dhead);
        });
    }
}
