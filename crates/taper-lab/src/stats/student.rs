//! Student's t: the interval that verdicts rest on, and its p-value.

use statrs::distribution::{ContinuousCDF, StudentsT};
use taper_core::{Error, Result};

use super::{Alternative, Interval, check_sample, check_share, mean, sd};

/// The interval mean +- t * sd / sqrt(n).
///
/// Equal values give an interval without width.
///
/// # Errors
///
/// There are fewer than two values, one is not finite, or `level` is outside (0, 1).
pub fn student_interval(values: &[f64], level: f64) -> Result<Interval> {
    check_sample("student_interval", values)?;
    check_share("student_interval", "level", level)?;
    let quantile = distribution(values.len())?.inverse_cdf(0.5 + level / 2.0);
    let mean = mean(values);
    let half = quantile * standard_error(values);
    Ok(Interval { low: mean - half, high: mean + half, level })
}

/// The p-value of the mean being `null`; none where all values are equal, since then t is 0/0 or
/// infinite and its p-value would claim more than a handful of seeds can know.
///
/// # Errors
///
/// There are fewer than two values, or one, or `null`, is not finite.
pub fn student_p(values: &[f64], null: f64, alternative: Alternative) -> Result<Option<f64>> {
    check_sample("student_p", values)?;
    if !null.is_finite() {
        return Err(Error::argument("student_p", "null", "a finite number", null));
    }
    let t = (mean(values) - null) / standard_error(values);
    // Not finite also where squares overflow; statrs would panic on NaN.
    if !t.is_finite() {
        return Ok(None);
    }
    let student = distribution(values.len())?;
    Ok(Some(match alternative {
        Alternative::TwoSided => 2.0 * student.sf(t.abs()),
        Alternative::Greater => student.sf(t),
        Alternative::Less => student.cdf(t),
    }))
}

/// Student's distribution for a sample of `n`.
pub(super) fn distribution(n: usize) -> Result<StudentsT> {
    let freedom = n.saturating_sub(1) as f64;
    StudentsT::new(0.0, 1.0, freedom)
        .map_err(|error| Error::argument("Student's t", "n", "at least 2", format!("{n}: {error}")))
}

fn standard_error(values: &[f64]) -> f64 {
    sd(values) / (values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        // Mean 3, sd sqrt(7), t(.975, 2) = 4.302653: half-width 4.302653 * sqrt(7 / 3).
        let interval = student_interval(&[1.0, 2.0, 6.0], 0.95).unwrap();
        assert!((interval.low - (3.0 - 4.302_652_73 * (7.0_f64 / 3.0).sqrt())).abs() < 1e-7);
        assert!((interval.low + interval.high - 6.0).abs() < 1e-12);
        // With 2 degrees of freedom, P(|T| > t) = 1 - t / sqrt(2 + t^2).
        let t = 3.0 / (7.0_f64 / 3.0).sqrt();
        let p = student_p(&[1.0, 2.0, 6.0], 0.0, Alternative::TwoSided).unwrap().unwrap();
        assert!((p - (1.0 - t / (2.0 + t * t).sqrt())).abs() < 1e-12);
    }

    #[test]
    fn equal_values_have_an_interval_but_no_p() {
        let interval = student_interval(&[0.1; 3], 0.95).unwrap();
        assert_eq!((interval.low, interval.high), (0.1, 0.1));
        assert_eq!(student_p(&[0.1; 3], 0.0, Alternative::TwoSided).unwrap(), None);
        assert_eq!(student_p(&[0.0; 3], 0.0, Alternative::TwoSided).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_tested_is_named() {
        let error = student_interval(&[1.0], 0.95).unwrap_err().to_string();
        assert_eq!(error, "student_interval: values should be at least 2 values, got 1");
        let error = student_interval(&[1.0, f64::NAN], 0.95).unwrap_err().to_string();
        assert_eq!(error, "student_interval: values[1] should be a finite number, got NaN");
        assert!(student_interval(&[1.0, 2.0], 1.0).is_err());
        assert!(student_p(&[1.0, 2.0], f64::NAN, Alternative::Less).is_err());
    }
}
