//! Statistics of one number a seed: intervals, p-values, and how many seeds would do.
//!
//! A sample here is a slice of paired differences (or of one arm's values), one a seed. Everything
//! is a pure function; what draws random numbers takes a [`Stream`](taper_core::Stream).
//! Distributions come from `statrs`; what is own is tested against SciPy.

mod bootstrap;
mod holm;
mod power;
mod sample;
mod sign_flip;
mod student;

use serde::Serialize;
use taper_core::{Error, Result};

pub use bootstrap::{RESAMPLES, bca_interval};
pub use holm::holm;
pub use power::{MOST_SEEDS, seeds_needed};
pub use sample::{mean, quantile, sd};
pub use sign_flip::{FlipMethod, SignFlip, sign_flip};
pub use student::{student_interval, student_p};

/// Sums of the same values that differ by less than this share of their absolute sum are ties:
/// rounding, not evidence.
const TIE: f64 = 1e-12;

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Its level, such as 0.95.
    pub level: f64,
}

/// Which departures from the null value count as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// Both ways.
    TwoSided,
    /// The mean is greater than the null value.
    Greater,
    /// The mean is less than the null value.
    Less,
}

/// An interval needs two values, and all of them finite.
fn check_sample(operation: &'static str, values: &[f64]) -> Result<()> {
    if values.len() < 2 {
        return Err(Error::argument(operation, "values", "at least 2 values", values.len()));
    }
    check_finite(operation, values)
}

fn check_finite(operation: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((at, value)) => {
            Err(Error::argument(operation, format!("values[{at}]"), "a finite number", value))
        }
        None => Ok(()),
    }
}

/// A level or a power: strictly between 0 and 1.
fn check_share(operation: &'static str, argument: &str, share: f64) -> Result<()> {
    if share > 0.0 && share < 1.0 {
        return Ok(());
    }
    Err(Error::argument(operation, argument, "strictly between 0 and 1", share))
}
