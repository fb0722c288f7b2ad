//! Our own elementary functions, the only place for them: the same bits on every machine, which no
//! libm promises. The f32 functions that stand in inner loops have no branches, so that they can be
//! vectorised; the others go through f64 and are rounded once.
//!
//! Largest errors, tested below against the platform's f64 functions:
//! `exp` 1 ulp on [-87.33, 88.37] (0 below, constant above); `sigmoid`, `silu` 3 ulp; `ln`,
//! `sin`, `cos` 0.51 ulp of f32 (|x| ≤ 1e6); `tanh` 1 ulp; `exp_f64` and `ln_f64` 2e-16 relative
//! plus 2e-16 absolute; `sin_f64` and `cos_f64` 1e-15 absolute for |x| ≤ 1e6.

/// How many partial sums a reduction has, whatever the width of the machine's vectors.
pub const LANES: usize = 16;

/// Below this, `exp` is 0: the result stays a normal number.
const EXP_LOW: f32 = -87.33;
/// Above this, `exp` stays what it is here: the result stays finite.
const EXP_HIGH: f32 = 88.37;
/// 1.5 · 2²³: adding it rounds to a whole number, found in the low bits of the sum.
const ROUND_F32: f32 = 12_582_912.0;

/// e^x as 2^n · e^r with |r| ≤ ln 2 / 2 and the Taylor polynomial of degree 7.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = if x > EXP_HIGH { EXP_HIGH } else { x };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND_F32);
    let n = shifted - ROUND_F32;
    // ln 2 in two parts; n times the first is exact.
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.0 / 5040.0;
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        p = r.mul_add(p, 1.0 / factorial);
    }
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000));
    if x < EXP_LOW { 0.0 } else { p * scale }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x · sigmoid(x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// The natural logarithm; of anything below the smallest normal number, the logarithm of that.
pub fn ln(x: f32) -> f32 {
    ln_f64(f64::from(if x < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { x })) as f32
}

/// The sine of x radians, |x| ≤ 1e6.
pub fn sin(x: f32) -> f32 {
    sin_f64(f64::from(x)) as f32
}

/// The cosine of x radians, |x| ≤ 1e6.
pub fn cos(x: f32) -> f32 {
    cos_f64(f64::from(x)) as f32
}

/// The hyperbolic tangent: 1 - 2 / (e^2x + 1), near zero x - x³/3.
pub fn tanh(x: f32) -> f32 {
    let x = f64::from(x);
    if x.abs() < 1e-3 {
        return (x - x * x * x / 3.0) as f32;
    }
    let e = exp_f64(2.0 * x.clamp(-20.0, 20.0));
    ((e - 1.0) / (e + 1.0)) as f32
}

const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5 · 2⁵².
const ROUND_F64: f64 = 6_755_399_441_055_744.0;

/// e^x in f64, by the Taylor polynomial of degree 14; the argument is clamped to ±708.
pub fn exp_f64(x: f64) -> f64 {
    let x = x.clamp(-708.0, 708.0);
    let n = x.mul_add(std::f64::consts::LOG2_E, ROUND_F64) - ROUND_F64;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut p = 1.0;
    for k in (1..=14).rev() {
        p = (r / f64::from(k)).mul_add(p, 1.0);
    }
    p * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// The natural logarithm of a positive normal number: e · ln 2 + 2 artanh(s), s = f / (2 + f).
pub fn ln_f64(x: f64) -> f64 {
    let x = if x < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { x };
    if !x.is_finite() {
        return x;
    }
    let bits = x.to_bits();
    // Half-way between 1 and 2 on the logarithmic scale, so that the mantissa lies in √½ … √2.
    let above = u64::from(bits & 0x000F_FFFF_FFFF_FFFF >= 0x0006_A09E_667F_3BCD);
    let e = ((bits >> 52) + above) as f64 - 1023.0;
    let f = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF) | ((1023 - above) << 52)) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let mut p = 0.0;
    for k in (1..=11).rev() {
        p = z.mul_add(p, 1.0 / f64::from(2 * k + 1));
    }
    let artanh = (s * z).mul_add(p, s);
    e.mul_add(LN_2_HIGH, e.mul_add(LN_2_LOW, 2.0 * artanh))
}

/// The sine in f64.
pub fn sin_f64(x: f64) -> f64 {
    sin_of_quarter(x, 0)
}

/// The cosine in f64.
pub fn cos_f64(x: f64) -> f64 {
    sin_of_quarter(x, 1)
}

/// sin(x + quarters · π/2): x is brought into ±π/4 with π/2 in three parts, and the Taylor
/// polynomials of degree 17 and 18 do the rest.
fn sin_of_quarter(x: f64, quarters: i64) -> f64 {
    let n = x.mul_add(std::f64::consts::FRAC_2_PI, ROUND_F64) - ROUND_F64;
    let r = n.mul_add(-1.570_796_326_734_125_6, x);
    let r = n.mul_add(-6.077_100_506_303_966e-11, r);
    let r = n.mul_add(-2.022_266_248_795_950_6e-21, r);
    let quarter = n as i64 + quarters;
    let (first, mut p) = if quarter & 1 == 0 { (r, 1.0) } else { (1.0, 1.0) };
    let odd = (quarter & 1) as i32;
    for k in (1..=9).rev() {
        let (a, b) = (2 * k - odd, 2 * k + 1 - odd);
        p = (-r * r / f64::from(a * b)).mul_add(p, 1.0);
    }
    if quarter & 2 == 0 { first * p } else { -(first * p) }
}

/// Sixteen partial sums folded in halves: lane l takes lane l + 8, then l + 4, l + 2, l + 1.
#[inline(always)]
pub fn fold_sum(lanes: [f32; LANES]) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for lane in 0..8 {
        eight[lane] = lanes[lane] + lanes[lane + 8];
    }
    for lane in 0..4 {
        four[lane] = eight[lane] + eight[lane + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Σ x: lane l sums the elements l, l + 16, … in ascending order; then the fold.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    reduce(x, |acc, x| acc + x)
}

/// Σ x², by FMA, in the same tree.
#[inline(always)]
pub fn sum_of_squares(x: &[f32]) -> f32 {
    reduce(x, |acc, x| x.mul_add(x, acc))
}

#[inline(always)]
pub(super) fn reduce(x: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = add(lanes[lane], chunk[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = add(*lane, x);
    }
    fold_sum(lanes)
}

/// Σ a·b, by FMA, in the same tree.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut lanes = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = a.mul_add(b, *lane);
    }
    fold_sum(lanes)
}

/// The largest element, -∞ of none; exact, so its order does not matter.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    for &x in rest {
        lanes[0] = if x > lanes[0] { x } else { lanes[0] };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error in units of the last place of the f32 nearest to the truth.
    fn worst_ulp(own: fn(f32) -> f32, truth: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let points = 400_000;
        let at = |i: i32| (low + (high - low) * (i as f32 / points as f32)).clamp(low, high);
        let error = |x: f32| {
            let truth = truth(f64::from(x));
            let rounded = (truth.abs() as f32).max(f32::MIN_POSITIVE);
            let ulp = f64::from(f32::from_bits(rounded.to_bits() + 1)) - f64::from(rounded);
            (f64::from(own(x)) - truth).abs() / ulp
        };
        (0..=points).map(|i| error(at(i))).fold(0.0, f64::max)
    }

    #[test]
    fn f32_functions_keep_their_stated_errors() {
        assert!(worst_ulp(exp, f64::exp, EXP_LOW, EXP_HIGH) <= 1.0);
        assert!(worst_ulp(exp, f64::exp, -1.0, 1.0) <= 1.0);
        assert!(worst_ulp(ln, f64::ln, 1e-6, 3.0) <= 0.51);
        assert!(worst_ulp(ln, f64::ln, 3.0, 1e9) <= 0.51);
        assert!(worst_ulp(tanh, f64::tanh, -12.0, 12.0) <= 1.0);
        assert!(worst_ulp(tanh, f64::tanh, -2e-3, 2e-3) <= 1.0);
        let truth = |x: f64| 1.0 / (1.0 + (-x).exp());
        assert!(worst_ulp(sigmoid, truth, -80.0, 80.0) <= 3.0);
        assert!(worst_ulp(silu, |x| x / (1.0 + (-x).exp()), -80.0, 80.0) <= 3.0);
    }

    #[test]
    fn sines_keep_their_stated_errors() {
        for reach in [1.0, 100.0, 1e6] {
            assert!(worst_ulp(sin, f64::sin, -reach, reach) <= 0.51);
            assert!(worst_ulp(cos, f64::cos, -reach, reach) <= 0.51);
        }
    }

    #[test]
    fn f64_functions_keep_their_stated_errors() {
        for i in -100_000..=100_000 {
            let x = f64::from(i) * 0.007;
            assert!((exp_f64(x) / x.exp() - 1.0).abs() < 5e-16, "exp {x}");
            let y = x.exp();
            assert!((ln_f64(y) - y.ln()).abs() <= 2e-16 + 2.3e-16 * y.ln().abs(), "ln {y}");
            let angle = f64::from(i) * 9.99;
            assert!((sin_f64(angle) - angle.sin()).abs() < 1e-15, "sin {angle}");
            assert!((cos_f64(angle) - angle.cos()).abs() < 1e-15, "cos {angle}");
        }
    }

    #[test]
    fn ends_are_clamped_and_nan_stays() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(1e9), exp(EXP_HIGH));
        assert!(exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NAN).is_nan() && ln(f32::NAN).is_nan());
        assert_eq!(ln(0.0), ln(f32::MIN_POSITIVE));
        assert_eq!(ln(1.0), 0.0);
        assert_eq!((tanh(40.0), tanh(-40.0)), (1.0, -1.0));
        assert_eq!((sin(0.0), cos(0.0)), (0.0, 1.0));
    }

    #[test]
    fn reductions_follow_the_tree() {
        let x: Vec<f32> = (0..41).map(|i| 1.0 / (i as f32 + 0.7)).collect();
        let mut lanes = [0.0f32; LANES];
        x.iter().enumerate().for_each(|(i, &x)| lanes[i % LANES] += x);
        let eight: Vec<f32> = (0..8).map(|l| lanes[l] + lanes[l + 8]).collect();
        let four: Vec<f32> = (0..4).map(|l| eight[l] + eight[l + 4]).collect();
        assert_eq!(sum(&x), (four[0] + four[2]) + (four[1] + four[3]));
        assert_eq!(max(&x), x[0]);
        assert_eq!(max(&[]), f32::NEG_INFINITY);
        assert_eq!(sum_of_squares(&x), dot(&x, &x));
    }
}
