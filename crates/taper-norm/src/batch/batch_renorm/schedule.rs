//! How far a correction may go, and when.

use serde::{Deserialize, Serialize};
use taper_core::{Error, Result};

/// The limits of a [`BatchRenorm`](super::BatchRenorm)'s correction by the number of batches so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RenormSchedule {
    /// r is from 1 / r_max to r_max; at least 1.
    pub r_max: Ramp,
    /// d is from −d_max to d_max; at least 0.
    pub d_max: Ramp,
}

/// One value up to a number of batches, another from a later number, and a straight line between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The value up to `start` batches.
    pub from: f64,
    /// The value from `end` batches.
    pub to: f64,
    /// Where the line begins.
    pub start: u64,
    /// Where it ends, not before `start`.
    pub end: u64,
}

impl Default for RenormSchedule {
    /// The paper's, for a training of some hundred thousand steps: batch normalization up to 5000 batches.
    fn default() -> Self {
        Self {
            r_max: Ramp { from: 1.0, to: 3.0, start: 5000, end: 40_000 },
            d_max: Ramp { from: 0.0, to: 5.0, start: 5000, end: 25_000 },
        }
    }
}

impl RenormSchedule {
    /// The same limits for all batches.
    pub fn constant(r_max: f64, d_max: f64) -> Self {
        let ramp = |value| Ramp { from: value, to: value, start: 0, end: 0 };
        Self { r_max: ramp(r_max), d_max: ramp(d_max) }
    }

    /// r_max and d_max after this many batches.
    pub fn at(&self, batches: i64) -> (f64, f64) {
        (self.r_max.at(batches), self.d_max.at(batches))
    }

    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        for (name, ramp, least) in [("r_max", self.r_max, 1.0), ("d_max", self.d_max, 0.0)] {
            for (end, value) in [("from", ramp.from), ("to", ramp.to)] {
                // Written so that NaN is refused.
                if !(value >= least && value.is_finite()) {
                    let argument = format!("limits.{name}.{end}");
                    let expected = format!("finite and at least {least}");
                    return Err(Error::argument(operation, argument, expected, value));
                }
            }
            if ramp.end < ramp.start {
                let argument = format!("limits.{name}.end");
                let expected = format!("at least its start, {}", ramp.start);
                return Err(Error::argument(operation, argument, expected, ramp.end));
            }
        }
        Ok(())
    }
}

impl Ramp {
    fn at(&self, batches: i64) -> f64 {
        let batches = batches.max(0) as u64;
        if batches >= self.end {
            return self.to;
        }
        if batches <= self.start {
            return self.from;
        }
        let part = (batches - self.start) as f64 / (self.end - self.start) as f64;
        self.from + (self.to - self.from) * part
    }
}
