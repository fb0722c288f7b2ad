//! Numbers of 8 bits in blocks that share a scale (Dettmers, "8-bit approximations for parallelism
//! in deep learning", 2015): a code stands for a share of the block's largest magnitude, finer the
//! smaller it is. It does not know what the numbers are for.
//!
//! The map: for each power of ten from 10⁻⁶ to 1 the middles of equal parts of [0.1, 1], twice as
//! many as for the power before, in both signs or one; then 0 and 1. The signed map has no −1, so
//! that the most negative number of a block comes back 0.7% smaller. A boundary is one FMA from the
//! nearer end, as `torch.linspace` has it, so the maps have the bits of bitsandbytes'.
//!
//! A number takes the entry nearest to x / scale, and between two the lower. Its value is
//! entry · scale. In a block of zeros the scale is 0 and every code is 0.

use std::sync::LazyLock;

/// A map of codes to shares.
#[derive(Debug)]
pub struct DynamicMap {
    /// Ascending.
    pub values: [f32; 256],
    /// Above the i-th, a number is nearer to entry i + 1 than to entry i: the largest f32 that is
    /// no larger than the middle.
    pub(super) bounds: [f32; 255],
}

/// The map for numbers of both signs.
pub static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));

/// The map for numbers that are not negative.
pub static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

/// Powers of ten from 10⁻⁶ to 1, each rounded once.
const POWERS: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

impl DynamicMap {
    fn new(signed: bool) -> DynamicMap {
        let mut values = vec![0.0, 1.0];
        for (at, power) in POWERS.into_iter().enumerate() {
            let parts = if signed { 1 << at } else { 2 << at };
            for part in 0..parts {
                let middle = (boundary(part, parts) + boundary(part + 1, parts)) / 2.0;
                values.push(power * middle);
                values.extend(signed.then_some(-power * middle));
            }
        }
        values.sort_by(f32::total_cmp);
        let values: [f32; 256] = values.try_into().expect("254 middles, 0 and 1");
        let bounds = std::array::from_fn(|at| bound(values[at], values[at + 1]));
        DynamicMap { values, bounds }
    }

    /// The code of the entry nearest to `share`.
    #[inline(always)]
    pub fn nearest(&self, share: f32) -> u8 {
        let mut code = 0;
        for step in [128, 64, 32, 16, 8, 4, 2, 1] {
            if share > self.bounds[code + step - 1] {
                code += step;
            }
        }
        code as u8
    }

    /// Writes the codes of one block and gives its scale.
    #[inline(always)]
    pub fn quantise(&self, numbers: &[f32], codes: &mut [u8]) -> f32 {
        let scale = numbers.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (code, x) in codes.iter_mut().zip(numbers) {
            *code = if scale > 0.0 { self.nearest(x / scale) } else { 0 };
        }
        scale
    }

    /// Writes the numbers that the codes of one block stand for.
    #[inline(always)]
    pub fn widen(&self, codes: &[u8], scale: f32, numbers: &mut [f32]) {
        for (x, code) in numbers.iter_mut().zip(codes) {
            *x = self.values[usize::from(*code)] * scale;
        }
    }
}

/// The `at`-th of the numbers that part [0.1, 1] equally, counted from the nearer end.
fn boundary(at: usize, parts: usize) -> f32 {
    let step = (1.0f32 - 0.1) / parts as f32;
    match at < parts.div_ceil(2) {
        true => step.mul_add(at as f32, 0.1),
        false => step.mul_add(-((parts - at) as f32), 1.0),
    }
}

fn bound(below: f32, above: f32) -> f32 {
    // The sum is exact in f64: both entries have 24 bits and lie within a factor of 2²⁸.
    let middle = (f64::from(below) + f64::from(above)) / 2.0;
    let rounded = middle as f32;
    if f64::from(rounded) > middle { rounded.next_down() } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_takes_the_nearest_entry_and_between_two_the_lower() {
        for map in [&*SIGNED, &*UNSIGNED] {
            assert!(map.values.is_sorted() && map.values[255] == 1.0);
            let shares = (0..=20_000).map(|at| at as f32 / 10_000.0 - 1.0);
            let small = (0..2_000).map(|at| at as f32 * 1e-9);
            for share in shares.chain(small).chain(map.values).chain(map.bounds) {
                let distance = |value: &f32| (f64::from(*value) - f64::from(share)).abs();
                let nearest = map.values.iter().map(distance).fold(f64::MAX, f64::min);
                let code = map.values.iter().position(|value| distance(value) == nearest);
                assert_eq!(Some(usize::from(map.nearest(share))), code, "{share}");
            }
        }
    }

    #[test]
    fn blocks_come_back_within_half_a_step() {
        let numbers: Vec<f32> = (0..256).map(|at| (at as f32 * 0.37).sin() * 0.02).collect();
        let (mut codes, mut back) = ([0; 256], [0.0; 256]);
        let scale = SIGNED.quantise(&numbers, &mut codes);
        SIGNED.widen(&codes, scale, &mut back);
        for (x, y) in numbers.iter().zip(back) {
            assert!((x - y).abs() <= 0.0075 * scale, "{x} became {y}");
        }
        assert_eq!(SIGNED.quantise(&[0.0; 3], &mut codes[..3]), 0.0);
        assert_eq!(codes[..3], [0; 3]);
    }
}
