//! Random starting values, by counter: element i of a stream is the same whatever was drawn before
//! it. It does not know which tensor it fills.
//!
//! Box and Muller, "A note on the generation of random normal deviates" (1958): four words of
//! Philox give the four elements 4c … 4c + 3. With u = (a >> 8 + 1) / 2²⁴ and the angle
//! 2π · (b >> 8) / 2²⁴ the pair is √(−2 ln u) · (cos, sin), in f64, rounded once after scaling.

use super::math::{cos_f64, ln_f64, sin_f64};
use super::rng::Stream;

/// Fills `out` with normal numbers of mean 0 and the given deviation.
pub fn normal(stream: &Stream, deviation: f64, out: &mut [f32]) {
    for (counter, out) in (0..).zip(out.chunks_mut(4)) {
        let [a, b, c, d] = stream.bits(0, counter);
        let ([w, x], [y, z]) = (pair(a, b), pair(c, d));
        for (out, normal) in out.iter_mut().zip([w, x, y, z]) {
            *out = (normal * deviation) as f32;
        }
    }
}

fn pair(a: u32, b: u32) -> [f64; 2] {
    let unit = f64::from(1 << 24);
    let radius = (-2.0 * ln_f64(f64::from((a >> 8) + 1) / unit)).sqrt();
    let angle = std::f64::consts::TAU * (f64::from(b >> 8) / unit);
    [radius * cos_f64(angle), radius * sin_f64(angle)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_normal() {
        let mut x = vec![0.0; 200_001];
        normal(&Stream::new(3, "init/test"), 0.02, &mut x);
        let moment = |power: i32| {
            let sum: f64 = x.iter().map(|&x| (f64::from(x) / 0.02).powi(power)).sum();
            sum / x.len() as f64
        };
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.01);
        assert!(moment(3).abs() < 0.03 && (moment(4) - 3.0).abs() < 0.06);
    }

    #[test]
    fn an_element_does_not_depend_on_how_many_there_are() {
        let stream = Stream::new(3, "init/test");
        let (mut few, mut many) = ([0.0; 5], [0.0; 50]);
        normal(&stream, 1.0, &mut few);
        normal(&stream, 1.0, &mut many);
        assert_eq!(few, many[..5]);
    }
}
