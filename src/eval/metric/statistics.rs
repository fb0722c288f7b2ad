//! What a few hundred answers can tell: means, their standard errors, paired differences, intervals
//! of shares, and whether probabilities are borne out. Knows numbers; does not know what they are
//! of.

use crate::train::kernels::math;

/// The standard normal quantile of 97.5 %: what lies within is an interval of 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// Bins in which probabilities are compared with what came of them.
const BINS: usize = 10;

/// The mean; of nothing, `None`.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard error of the mean: the deviation of a sample, by n - 1, over the root of n. One
/// value tells nothing of it.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    let (count, mean) = (values.len() as f64, mean(values)?);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt())
}

/// A mean difference with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub mean: f64,
    pub standard_error: Option<f64>,
}

/// From one list to another about the same things in the same order. Things that are hard for both
/// drop out of the difference, so its error is smaller than that of either mean.
pub fn change(before: &[f64], after: &[f64]) -> Option<Change> {
    assert_eq!(before.len(), after.len(), "a paired difference is about the same things");
    let differences: Vec<f64> =
        before.iter().zip(after).map(|(before, after)| after - before).collect();
    let standard_error = standard_error(&differences);
    mean(&differences).map(|mean| Change { mean, standard_error })
}

/// Wilson's 95 % interval of a share of `count` things, which stays within 0 and 1 and has a width
/// even where the share is 0 or 1 (E. B. Wilson, 1927).
pub fn wilson(share: f64, count: usize) -> Option<(f64, f64)> {
    if count == 0 {
        return None;
    }
    let n = count as f64;
    let square = Z_95 * Z_95;
    let scale = 1.0 + square / n;
    let centre = (share + square / (2.0 * n)) / scale;
    let spread = share * (1.0 - share) / n + square / (4.0 * n * n);
    let reach = Z_95 * spread.sqrt() / scale;
    Some(((centre - reach).max(0.0), (centre + reach).min(1.0)))
}

/// 1 / (1 + e^-x) in f64.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + math::exp_f64(-x))
}

/// The expected calibration error of probabilities that came true or not: in each of ten bins of
/// equal width the distance of the mean probability from the share that came true, weighted by how
/// many lie in the bin (Naeini et al., 2015).
pub fn calibration_error(foretold: &[(f64, f64)]) -> Option<f64> {
    let mut bins = [(0.0, 0.0); BINS];
    for (probability, outcome) in foretold {
        let at = ((probability * BINS as f64) as usize).min(BINS - 1);
        bins[at].0 += probability;
        bins[at].1 += outcome;
    }
    let apart: f64 = bins.iter().map(|(probability, outcome)| (probability - outcome).abs()).sum();
    (!foretold.is_empty()).then(|| apart / foretold.len() as f64)
}

/// The means of stretches of so many values.
pub fn means_of(values: &[f64], at_once: usize) -> Vec<f64> {
    values.chunks(at_once).filter_map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "got {got}, want {want}");
    }

    // Reference numbers of numpy 2 and of scipy's `binomtest(k, n).proportion_ci("wilson")`.
    const BEFORE: [f64; 7] = [0.0, 1.0, 1.0, 0.5, 0.0, 1.0, 0.25];
    const AFTER: [f64; 7] = [1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.75];

    #[test]
    fn errors_are_those_of_numpy() {
        close(standard_error(&BEFORE).unwrap(), 0.17617438793986598);
        let change = change(&BEFORE, &AFTER).unwrap();
        close(change.mean, 0.21428571428571427);
        close(change.standard_error.unwrap(), 0.264060393009748);
    }

    #[test]
    fn too_few_values_have_no_error() {
        assert_eq!((mean(&[]), standard_error(&[]), standard_error(&[2.0])), (None, None, None));
        assert_eq!(change(&[1.0], &[2.0]), Some(Change { mean: 1.0, standard_error: None }));
        assert_eq!(change(&[], &[]), None);
    }

    #[test]
    fn intervals_are_those_of_scipy() {
        let cases = [
            (0, 10, (0.0, 0.27753279986288926)),
            (81, 100, (0.7222115462093562, 0.8748524849023126)),
            (10, 10, (0.7224672001371109, 1.0)),
            (1, 3, (0.06149194472039626, 0.7923403991979523)),
        ];
        for (count, of, (low, high)) in cases {
            let got = wilson(f64::from(count) / f64::from(of), of as usize).unwrap();
            close(got.0, low);
            close(got.1, high);
        }
        assert_eq!(wilson(0.0, 0), None);
    }

    #[test]
    fn the_sigmoid_is_that_of_scipy() {
        close(sigmoid(-3.2), 0.039165722796764356);
        close(sigmoid(0.7), 0.6681877721681662);
        close(sigmoid(-1e9), 0.0);
    }

    #[test]
    fn calibration_is_the_distance_of_bins() {
        let margins = [2.0, -0.4, 0.0, 1.1, -2.5, 0.3];
        let sides = margins.iter().map(|margin| sigmoid(*margin));
        let sides = sides.flat_map(|p| [(p, 1.0), (1.0 - p, 0.0)]).collect::<Vec<_>>();
        close(calibration_error(&sides).unwrap(), 0.24436913555497794);
        close(calibration_error(&[(1.0, 1.0), (0.0, 0.0)]).unwrap(), 0.0);
        assert_eq!(calibration_error(&[]), None);
    }

    #[test]
    fn stretches_have_their_means() {
        assert_eq!(means_of(&[1.0, 0.0, 1.0, 1.0], 2), [0.5, 1.0]);
    }
}
