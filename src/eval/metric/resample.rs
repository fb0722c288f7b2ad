//! What a figure could have been on other rows like these, by drawing them again: intervals by the
//! bootstrap (Efron, 1979) and the significance of a difference between two models by a paired
//! permutation test (Fisher, 1935), each for any figure of the rows. Draws come from a stream of
//! the seed, so they are the same everywhere. Knows row numbers; does not know what rows are.

use crate::train::kernels::rng::Stream;

/// Times that rows are drawn for an interval.
pub const DRAWS: usize = 1000;

/// Times that two models' rows are exchanged at random for a p-value, which so is at least 1 in
/// this and one more.
pub const EXCHANGES: usize = 10_000;

/// Up to so many rows every exchange is tried: the p-value is then exact.
const FEW: usize = 13;

/// Differences nearer than this, relative to what was observed, are ties that rounding has parted.
const TIE: f64 = 1e-9;

/// The middle 95 % of what a figure is on `count` rows drawn with replacement, `DRAWS` times. The
/// figure is computed from row numbers.
pub fn interval(
    count: usize,
    seed: u64,
    figure: impl Fn(&[usize]) -> Option<f64>,
) -> Option<(f64, f64)> {
    if count < 2 {
        return None;
    }
    let mut walk = Stream::new(seed, "bootstrap").walk();
    let mut rows = vec![0; count];
    let mut figures = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        rows.fill_with(|| walk.below(count));
        figures.push(figure(&rows)?);
    }
    figures.sort_unstable_by(f64::total_cmp);
    Some((quantile(&figures, 0.025), quantile(&figures, 0.975)))
}

/// Between the two nearest of sorted values, as numpy does by default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, part) = (at as usize, at - at.floor());
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    sorted[below] + (above - sorted[below]) * part
}

/// How often a difference at least as large as the observed one, either way, comes about when each
/// row's results are exchanged between the two models or not: the two-sided p-value of "both are
/// the same". `difference` is told which of `count` rows are exchanged.
pub fn p_value(
    count: usize,
    seed: u64,
    mut difference: impl FnMut(&[bool]) -> Option<f64>,
) -> Option<f64> {
    let mut exchanged = vec![false; count];
    let observed = difference(&exchanged)?.abs();
    let least = observed - observed * TIE;
    let mut as_large = 0usize;
    if count <= FEW {
        let all = 1usize << count;
        for choice in 0..all {
            (0..count).for_each(|row| exchanged[row] = choice >> row & 1 == 1);
            as_large += usize::from(difference(&exchanged)?.abs() >= least);
        }
        return Some(as_large as f64 / all as f64);
    }
    let stream = Stream::new(seed, "permutation");
    for at in 0..EXCHANGES {
        toss(&stream, at, &mut exchanged);
        as_large += usize::from(difference(&exchanged)?.abs() >= least);
    }
    Some((as_large + 1) as f64 / (EXCHANGES + 1) as f64)
}

/// A coin a row, 128 of them at once.
fn toss(stream: &Stream, at: usize, exchanged: &mut [bool]) {
    for (block, rows) in exchanged.chunks_mut(128).enumerate() {
        let bits = stream.bits(at as u64, block as u64);
        for (row, exchanged) in rows.iter_mut().enumerate() {
            *exchanged = bits[row / 32] >> (row % 32) & 1 == 1;
        }
    }
}

/// The p-value of a difference of means over the same rows. Rows that are alike in both say
/// nothing and are left out.
pub fn p_value_of_means(before: &[f64], after: &[f64], seed: u64) -> Option<f64> {
    assert_eq!(before.len(), after.len(), "a paired difference is about the same things");
    let pairs = before.iter().zip(after);
    let differences = pairs.map(|(before, after)| after - before).filter(|d| *d != 0.0);
    let differences = differences.collect::<Vec<_>>();
    if before.is_empty() {
        return None;
    }
    p_value(differences.len(), seed, |exchanged| {
        let signed = differences.iter().zip(exchanged);
        Some(signed.map(|(d, exchanged)| if *exchanged { -d } else { *d }).sum())
    })
}

#[cfg(test)]
mod tests {
    use super::super::statistics::{mean, standard_error};
    use super::*;

    fn rows(count: usize) -> Vec<f64> {
        let mut walk = Stream::new(5, "rows").walk();
        (0..count).map(|_| walk.below(1000) as f64 / 1000.0).collect()
    }

    #[test]
    fn an_interval_of_a_mean_is_two_errors_wide() {
        let values = rows(400);
        let of = |rows: &[usize]| mean(&rows.iter().map(|row| values[*row]).collect::<Vec<_>>());
        let (low, high) = interval(values.len(), 1, of).unwrap();
        let (mean, error) = (mean(&values).unwrap(), standard_error(&values).unwrap());
        assert!(low < mean && mean < high);
        let errors = (high - low) / (2.0 * 1.96 * error);
        assert!((0.9..1.1).contains(&errors), "{errors}");
        assert_eq!(interval(values.len(), 1, of), Some((low, high)));
        assert_ne!(interval(values.len(), 2, of), Some((low, high)));
        assert_eq!(interval(1, 1, of), None);
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert!((quantile(&sorted, 0.025) - 1.075).abs() < 1e-12);
        assert!((quantile(&sorted, 0.975) - 7.7).abs() < 1e-12);
        assert_eq!(quantile(&[3.0], 0.975), 3.0);
    }

    // Reference: scipy's permutation_test(permutation_type="samples") over all exchanges.
    #[test]
    fn few_rows_are_exchanged_in_every_way() {
        let before = [0.0, 1.0, 1.0, 0.5, 0.0, 1.0, 0.25];
        let after = [1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.75];
        assert_eq!(p_value_of_means(&before, &after, 1), Some(0.625));
        assert_eq!(p_value_of_means(&[0.0; 5], &[1.0; 5], 1), Some(2.0 / 32.0));
        assert_eq!(p_value_of_means(&before, &before, 1), Some(1.0));
        assert_eq!(p_value_of_means(&[], &[], 1), None);
    }

    #[test]
    fn many_rows_are_exchanged_at_random() {
        let before = rows(300);
        let after = rows(600)[300..].to_vec();
        let same = p_value_of_means(&before, &after, 1).unwrap();
        let shifted = after.iter().map(|value| value + 0.2).collect::<Vec<_>>();
        let other = p_value_of_means(&before, &shifted, 1).unwrap();
        assert!(same > 0.05 && other <= 2.0 / 10_001.0, "{same} {other}");
        assert_eq!(p_value_of_means(&before, &after, 1), Some(same));
    }
}
