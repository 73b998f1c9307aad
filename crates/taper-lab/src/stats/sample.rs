//! Mean, standard deviation and quantiles.

use taper_core::{Error, Result};

use super::check_finite;

/// The arithmetic mean; NaN of nothing.
///
/// Taken around the first value, so that equal values have exactly that mean and no spread.
pub fn mean(values: &[f64]) -> f64 {
    let Some(first) = values.first() else {
        return f64::NAN;
    };
    first + values.iter().map(|value| value - first).sum::<f64>() / values.len() as f64
}

/// The standard deviation of a sample (with n - 1); NaN of fewer than two values.
pub fn sd(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The quantile `q` in [0, 1], interpolated linearly between order statistics (NumPy's default,
/// type 7 of Hyndman & Fan 1996).
///
/// # Errors
///
/// `values` is empty or holds a number that is not finite; `q` is outside [0, 1].
pub fn quantile(values: &[f64], q: f64) -> Result<f64> {
    if values.is_empty() {
        return Err(Error::argument("quantile", "values", "at least 1 value", 0));
    }
    check_finite("quantile", values)?;
    if !(0.0..=1.0).contains(&q) {
        return Err(Error::argument("quantile", "q", "in [0, 1]", q));
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted_quantile(&sorted, q))
}

/// The same of values that are sorted, not empty, and finite, with `q` in [0, 1].
pub(super) fn sorted_quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(sd(&[1.0, 2.0, 6.0]), 7f64.sqrt());
        assert!(mean(&[]).is_nan());
        assert!(sd(&[1.0]).is_nan());
    }

    #[test]
    fn equal_values_have_no_spread() {
        // Summed from zero, ten times 0.1 is not 1 and the spread would be 1e-17.
        assert_eq!(mean(&[0.1; 10]), 0.1);
        assert_eq!(sd(&[0.1; 10]), 0.0);
    }

    #[test]
    fn quantiles_by_hand() {
        let values = [3.0, 1.0, 2.0, 10.0];
        assert_eq!(quantile(&values, 0.0).unwrap(), 1.0);
        assert_eq!(quantile(&values, 0.5).unwrap(), 2.5);
        assert_eq!(quantile(&values, 1.0).unwrap(), 10.0);
        assert_eq!(quantile(&[4.0], 0.3).unwrap(), 4.0);
        let error = quantile(&values, 1.5).unwrap_err().to_string();
        assert_eq!(error, "quantile: q should be in [0, 1], got 1.5");
        assert!(quantile(&[], 0.5).is_err());
        assert!(quantile(&[1.0, f64::NAN], 0.5).is_err());
    }
}
