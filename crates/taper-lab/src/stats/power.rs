//! How many seeds would settle what the present ones left open.

use statrs::distribution::ContinuousCDF;
use taper_core::{Error, Result};

use super::check_share;
use super::student::distribution;

/// Beyond this [`seeds_needed`] gives no number: nobody runs so many.
pub const MOST_SEEDS: u64 = 10_000;

/// The least number of seeds at which a Student interval at `level` clears every bound with
/// probability `power`, if the true mean lies `distances` from the bounds and the true standard
/// deviation is `sd`; none where [`MOST_SEEDS`] would not do, or a distance is 0.
///
/// The usual normal-t iteration: one bound at distance d is cleared where
/// d sqrt(n) / sd >= t(level) + t(power), both with n - 1 degrees of freedom, which is within one
/// seed of the noncentral t where it matters. Several bounds are cleared together with a
/// probability of at least 1 minus the sum of the single misses; that bound is used, so the number
/// is never too small for it.
///
/// The number is a plan, not a licence to add seeds to the present ones until they agree.
///
/// # Errors
///
/// `distances` is empty or holds a number that is not 0 or more; `sd` is not above 0;
/// `level` or `power` is outside (0, 1).
pub fn seeds_needed(distances: &[f64], sd: f64, level: f64, power: f64) -> Result<Option<u64>> {
    check_share("seeds_needed", "level", level)?;
    check_share("seeds_needed", "power", power)?;
    if distances.is_empty() {
        return Err(Error::argument("seeds_needed", "distances", "at least 1 distance", 0));
    }
    if let Some(distance) = distances.iter().find(|distance| distance.is_nan() || **distance < 0.0)
    {
        return Err(Error::argument("seeds_needed", "distances", "0 or more", distance));
    }
    if !(sd > 0.0 && sd.is_finite()) {
        return Err(Error::argument("seeds_needed", "sd", "above 0, and finite", sd));
    }
    let enough = |n| Ok::<_, Error>(power_at(n, distances, sd, level)? >= power);
    if !enough(MOST_SEEDS)? {
        return Ok(None);
    }
    let (mut below, mut above) = (1, MOST_SEEDS);
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if enough(middle)? {
            above = middle;
        } else {
            below = middle;
        }
    }
    Ok(Some(above))
}

fn power_at(n: u64, distances: &[f64], sd: f64, level: f64) -> Result<f64> {
    let student = distribution(n as usize)?;
    let quantile = student.inverse_cdf(0.5 + level / 2.0);
    let root = (n as f64).sqrt();
    let misses = distances.iter().map(|distance| student.sf(distance * root / sd - quantile));
    Ok(1.0 - misses.sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        // d = sd: t(.975, 9) + t(.8, 9) = 2.262 + 0.883 = 3.145 <= sqrt(10), and with 9 seeds
        // 2.306 + 0.889 = 3.195 > 3.
        assert_eq!(seeds_needed(&[1.0], 1.0, 0.95, 0.8).unwrap(), Some(10));
        // Half the distance takes nearly four times as many: (1.960 + .842)^2 * 4 = 31.4, and 2 or 3
        // more for t.
        assert_eq!(seeds_needed(&[0.5], 1.0, 0.95, 0.8).unwrap(), Some(34));
        // Only the ratio counts.
        assert_eq!(seeds_needed(&[50.0], 100.0, 0.95, 0.8).unwrap(), Some(34));
    }

    #[test]
    fn no_number_is_enough_on_the_bound() {
        assert_eq!(seeds_needed(&[0.0], 1.0, 0.95, 0.8).unwrap(), None);
        assert_eq!(seeds_needed(&[0.01], 1.0, 0.95, 0.8).unwrap(), None);
        assert_eq!(seeds_needed(&[1e300], 1.0, 0.95, 0.8).unwrap(), Some(2));
    }

    #[test]
    fn a_second_bound_asks_for_more() {
        let one = seeds_needed(&[0.5], 1.0, 0.9, 0.8).unwrap();
        let two = seeds_needed(&[0.5, 0.5], 1.0, 0.9, 0.8).unwrap();
        assert!(one < two, "{one:?} {two:?}");
        assert_eq!(seeds_needed(&[0.5, 50.0], 1.0, 0.9, 0.8).unwrap(), one);
    }

    #[test]
    fn arguments_are_checked() {
        for (distances, sd, level, power) in [
            (&[][..], 1.0, 0.95, 0.8),
            (&[-1.0], 1.0, 0.95, 0.8),
            (&[f64::NAN], 1.0, 0.95, 0.8),
            (&[1.0], 0.0, 0.95, 0.8),
            (&[1.0], 1.0, 1.0, 0.8),
            (&[1.0], 1.0, 0.95, 0.0),
        ] {
            assert!(seeds_needed(distances, sd, level, power).is_err());
        }
    }
}
