//! pass@k: how likely one of k programs passes, estimated from n of which c passed (Chen et al.,
//! 2021, "Evaluating large language models trained on code", equation 1):
//!
//! ```text
//! pass@k = 1 − C(n − c, k) / C(n, k) = 1 − Π (1 − k / i), i from n − c + 1 to n
//! ```
//!
//! It is unbiased, which 1 − (1 − c/n)^k is not. Knows counts only.

/// The estimate; with fewer than k programs there is none.
pub fn pass_at(k: usize, programs: usize, passed: usize) -> Option<f64> {
    assert!(passed <= programs, "{passed} of {programs} passed");
    if k == 0 || k > programs {
        return None;
    }
    // Some of any k pass where fewer than k fail.
    if programs - passed < k {
        return Some(1.0);
    }
    let missed = (programs - passed + 1..=programs).map(|i| 1.0 - k as f64 / i as f64);
    Some(1.0 - missed.product::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of all choices of k programs among which one passes: the first `passed` do.
    fn by_choices(k: u32, programs: u32, passed: u32) -> f64 {
        let choices = (0_u32..1 << programs).filter(|chosen| chosen.count_ones() == k);
        let (mut all, mut some) = (0, 0);
        for chosen in choices {
            all += 1;
            some += u32::from(chosen & ((1 << passed) - 1) != 0);
        }
        f64::from(some) / f64::from(all)
    }

    #[test]
    fn it_is_the_share_of_choices_with_one_that_passes() {
        for programs in 1..=10 {
            for passed in 0..=programs {
                for k in 1..=programs {
                    let found = pass_at(k as usize, programs as usize, passed as usize).unwrap();
                    let expected = by_choices(k, programs, passed);
                    assert!((found - expected).abs() < 1e-12, "{k} {programs} {passed}: {found}");
                }
            }
        }
    }

    #[test]
    fn it_is_exact_at_the_ends_and_there_is_none_beyond() {
        assert_eq!(pass_at(1, 200, 0), Some(0.0));
        assert_eq!(pass_at(100, 200, 200), Some(1.0));
        assert_eq!(pass_at(100, 200, 101), Some(1.0));
        assert_eq!(pass_at(2, 1, 1), None);
        assert_eq!(pass_at(0, 1, 1), None);
    }
}
