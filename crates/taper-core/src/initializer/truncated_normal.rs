//! The normal distribution between two bounds.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use candle_core::cpu::erf::erfc_f64;

use super::PARAMETER;
use crate::{Error, Result};

/// How many standard deviations from the mean an interval may begin: the probabilities further out
/// come close to the least number.
const REACH: f64 = 35.0;

/// N(mean, std²) between `low` and `high`.
#[derive(Debug, Clone, Copy)]
pub(super) struct TruncatedNormal {
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    /// What N(mean, std²) has below, inside and above the interval.
    below: f64,
    inside: f64,
    above: f64,
}

impl TruncatedNormal {
    pub(super) fn new(mean: f64, std: f64, low: f64, high: f64) -> Result<Self> {
        let refused = |argument: &'static str, expected: String, received: f64| {
            Err(Error::argument(PARAMETER, argument, expected, received))
        };
        if !mean.is_finite() {
            return refused("mean", "finite".into(), mean);
        }
        if !(std > 0.0 && std.is_finite()) {
            return refused("std", "finite and above 0".into(), std);
        }
        let (from, to) = ((low - mean) / std, (high - mean) / std);
        if from.is_nan() || from > REACH {
            let expected = format!("at most {REACH} standard deviations above the mean");
            return refused("low", expected, low);
        }
        if to.is_nan() || to < -REACH {
            let expected = format!("at most {REACH} standard deviations below the mean");
            return refused("high", expected, high);
        }
        if low >= high {
            return refused("high", format!("above low, which is {low}"), high);
        }
        let (below, above) = (cumulative(from), cumulative(-to));
        // The difference of the two small numbers, where both bounds are on one side.
        let inside = if from > 0.0 { cumulative(-from) - above } else { cumulative(to) - below };
        Ok(Self { mean, std, low, high, below, inside, above })
    }

    /// The draw in the interval that has the same share of the interval's probability below it as the
    /// standard normal `draw` has of the whole.
    pub(super) fn of(&self, draw: f64) -> f64 {
        let share = self.below + self.inside * cumulative(draw);
        let deviations = if share <= 0.5 {
            quantile(share)
        } else {
            // From above, where the share below rounds to 1.
            -quantile(self.above + self.inside * cumulative(-draw))
        };
        (self.mean + self.std * deviations).clamp(self.low, self.high)
    }
}

/// Φ(x), to the relative precision of the type below the mean.
fn cumulative(x: f64) -> f64 {
    0.5 * erfc_f64(-x * FRAC_1_SQRT_2)
}

/// The x with Φ(x) = `share`, for a share in (0, 1/2].
fn quantile(share: f64) -> f64 {
    // Abramowitz and Stegun 1964, 26.2.23: within 4.5e-4.
    let t = (-2.0 * share.ln()).sqrt();
    let above = 2.515517 + t * (0.802853 + t * 0.010328);
    let below = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308));
    let mut x = above / below - t;
    // Two steps of Halley's method, each of which cubes the error.
    for _ in 0..2 {
        let newton = (cumulative(x) - share) * (2.0 * PI).sqrt() * (x * x / 2.0).exp();
        x -= newton / (1.0 + x * newton / 2.0);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_tables() {
        // scipy.stats.norm.ppf
        for (share, expected) in [
            (0.5, 0.0),
            (0.25, -0.6744897501960817),
            (0.025, -1.9599639845400545),
            (1e-10, -6.361340902404056),
            (1e-100, -21.273453560965322),
            (1e-290, -36.420731673207996),
        ] {
            let found = quantile(share);
            assert!((found - expected).abs() <= 1e-15 * (1.0 - expected), "{share} {found}");
        }
    }

    #[test]
    fn the_bounds_and_the_middle_by_hand() {
        let law = TruncatedNormal::new(1.0, 2.0, -1.0, 3.0).unwrap();
        assert!((law.of(0.0) - 1.0).abs() < 1e-15);
        assert_eq!((law.of(-40.0), law.of(40.0)), (-1.0, 3.0));
        // No bounds: the draw itself.
        let law = TruncatedNormal::new(1.0, 2.0, f64::NEG_INFINITY, f64::INFINITY).unwrap();
        for draw in [-6.0, -0.1, 0.0, 3.0, 8.0] {
            assert!((law.of(draw) - (1.0 + 2.0 * draw)).abs() < 1e-13, "{draw}");
        }
        // The middle of N(0, 1) above 0 is its third quartile.
        let law = TruncatedNormal::new(0.0, 1.0, 0.0, f64::INFINITY).unwrap();
        assert!((law.of(0.0) - 0.6744897501960817).abs() < 1e-15);
        assert!(law.of(f64::NAN).is_nan());
    }
}
