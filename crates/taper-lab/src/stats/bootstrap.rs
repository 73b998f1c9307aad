//! The bias-corrected and accelerated bootstrap interval of the mean.

use statrs::distribution::{ContinuousCDF, Normal};
use taper_core::{Error, Result, Stream};

use super::sample::sorted_quantile;
use super::{Interval, TIE, check_sample, check_share, mean};

/// How many resamples a reported interval takes.
pub const RESAMPLES: usize = 10_000;

/// The BCa bootstrap interval of the mean (Efron 1987, "Better bootstrap confidence intervals").
///
/// Of paired differences it is the paired bootstrap: over seeds, or over test examples where an arm
/// has no variance between seeds. Equal values give an interval without width.
///
/// # Errors
///
/// There are fewer than two values, one is not finite, `level` is outside (0, 1), or `resamples`
/// is 0.
pub fn bca_interval(
    values: &[f64],
    level: f64,
    resamples: usize,
    stream: &mut Stream,
) -> Result<Interval> {
    check_sample("bca_interval", values)?;
    check_share("bca_interval", "level", level)?;
    if resamples == 0 {
        return Err(Error::argument("bca_interval", "resamples", "at least 1", 0));
    }
    let n = values.len() as u64;
    let mut means: Vec<f64> = (0..resamples)
        .map(|_| (0..n).map(|_| values[stream.below(n) as usize]).sum::<f64>() / n as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    Ok(bca_of_means(values, &means, level))
}

/// The interval from the sorted means of the resamples.
fn bca_of_means(values: &[f64], means: &[f64], level: f64) -> Interval {
    let center = mean(values);
    if values.iter().all(|value| *value == values[0]) {
        return Interval { low: center, high: center, level };
    }
    let normal = Normal::standard();
    let tie = TIE * values.iter().map(|value| value.abs()).sum::<f64>();
    let bias = normal.inverse_cdf(share_below(means, center, tie));
    let acceleration = acceleration(values);
    let end = |share: f64| {
        let shifted = bias + normal.inverse_cdf(share);
        let stretch = 1.0 - acceleration * shifted;
        // A stretch of 0 or less is the limit where the whole distribution lies on one side.
        let z = if stretch > 0.0 { bias + shifted / stretch } else { shifted * f64::INFINITY };
        sorted_quantile(means, normal.cdf(z))
    };
    Interval { low: end((1.0 - level) / 2.0), high: end((1.0 + level) / 2.0), level }
}

/// The share of `means` below `center`, ties as half, kept half a resample away from 0 and 1,
/// whose normal quantiles are infinite.
fn share_below(means: &[f64], center: f64, tie: f64) -> f64 {
    let below = means.partition_point(|mean| *mean < center - tie);
    let not_above = means.partition_point(|mean| *mean <= center + tie);
    let share = (below + not_above) as f64 / (2 * means.len()) as f64;
    let half = 0.5 / means.len() as f64;
    share.clamp(half, 1.0 - half)
}

/// A sixth of the skewness of the mean, from the jackknife. Leaving value i out moves the mean by
/// (mean - value_i) / (n - 1), so the jackknife of a mean needs no loop of its own.
fn acceleration(values: &[f64]) -> f64 {
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    let cubes: f64 = values.iter().map(|value| (value - center).powi(3)).sum();
    cubes / (6.0 * squares.powf(1.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_agree_with_scipy_on_the_same_resamples() {
        let golden = include_str!("../../tests/golden/statistics.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let cases = golden["cases"].as_array().unwrap();
        let cases: Vec<_> = cases.iter().filter(|case| case["kind"] == "bca_of_means").collect();
        assert!(cases.len() >= 4);
        for case in cases {
            let level = case["level"].as_f64().unwrap();
            let found = bca_of_means(&numbers(&case["values"]), &numbers(&case["means"]), level);
            let expected = numbers(&case["interval"]);
            assert!((found.low - expected[0]).abs() < 1e-9, "{case}: {found:?}");
            assert!((found.high - expected[1]).abs() < 1e-9, "{case}: {found:?}");
        }
    }

    #[test]
    fn resamples_that_tie_with_the_mean_are_seen_through_rounding() {
        let whole = [1.0, 3.0, 2.0, -1.0, 2.0, 4.0, 3.0, 1.0];
        let tenths = whole.map(|value| value / 10.0);
        let interval = |values: &[f64]| {
            bca_interval(values, 0.95, 199, &mut taper_core::stream(2, "bca")).unwrap()
        };
        let (whole, tenths) = (interval(&whole), interval(&tenths));
        assert!((whole.low - 10.0 * tenths.low).abs() < 1e-12, "{whole:?} {tenths:?}");
        assert!((whole.high - 10.0 * tenths.high).abs() < 1e-12, "{whole:?} {tenths:?}");
    }

    #[test]
    fn degenerate_samples() {
        let mut stream = taper_core::stream(1, "bca");
        let equal = bca_interval(&[0.1; 9], 0.95, 100, &mut stream).unwrap();
        assert_eq!((equal.low, equal.high), (0.1, 0.1));
        // All but one equal: the ends stay within the sample.
        let outlier = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let found = bca_interval(&outlier, 0.95, 1000, &mut stream).unwrap();
        assert!(found.low >= 0.0 && found.low < found.high && found.high <= 1.0, "{found:?}");
        // One resample, all on one side of the mean: finite, and nowhere but at that resample.
        let one = bca_interval(&outlier, 0.999_999, 1, &mut stream).unwrap();
        assert_eq!(one.low, one.high);
        assert!(bca_interval(&outlier, 0.95, 0, &mut stream).is_err());
        assert!(bca_interval(&[1.0], 0.95, 10, &mut stream).is_err());
    }
}
