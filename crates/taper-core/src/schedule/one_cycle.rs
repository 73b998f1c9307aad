//! One cycle: up to a high learning rate, then down to almost none.

use std::f64::consts::PI;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The settings of [`OneCycle`], under PyTorch's names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneCycleConfig {
    /// The length of the cycle, PyTorch's `total_steps`.
    pub steps: NonZeroU64,
    /// The share of the steps that the rate rises for, in [0, 1], with `three_phase` in [0, 0.5].
    pub pct_start: f64,
    /// How the rate goes from one turning point to the next, PyTorch's `anneal_strategy`.
    pub anneal: Anneal,
    /// The highest rate over the first one, above 0.
    pub div_factor: f64,
    /// The first rate over the last one, above 0.
    pub final_div_factor: f64,
    /// Whether the rate falls to the first one as fast as it rose, and then on to the last one.
    pub three_phase: bool,
}

impl OneCycleConfig {
    /// PyTorch's defaults for a cycle of this length.
    pub fn new(steps: NonZeroU64) -> Self {
        Self {
            steps,
            pct_start: 0.3,
            anneal: Anneal::Cosine,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }
}

/// How [`OneCycle`] goes from one turning point to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Half a cosine wave.
    Cosine,
    /// A straight line.
    Linear,
}

impl Anneal {
    /// The value at `done`, in [0, 1], of the way.
    fn between(self, from: f64, to: f64, done: f64) -> f64 {
        match self {
            Self::Cosine => to + (from - to) / 2.0 * (1.0 + (PI * done).cos()),
            Self::Linear => from + (to - from) * done,
        }
    }
}

/// Checked settings of [`Schedule::OneCycle`](crate::Schedule::OneCycle).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "OneCycleConfig", into = "OneCycleConfig")]
pub struct OneCycle(OneCycleConfig);

impl OneCycle {
    /// These settings, checked.
    ///
    /// # Errors
    /// Refuses a `pct_start` outside [0, 1], or above 1/2 with `three_phase`, and a factor that is
    /// not a finite number above 0.
    pub fn new(config: OneCycleConfig) -> Result<Self> {
        let OneCycleConfig { pct_start, div_factor, final_div_factor, .. } = config;
        let (most, expected) = if config.three_phase {
            (0.5, "in [0, 0.5], for the rate rises and falls as long in a cycle of three phases")
        } else {
            (1.0, "in [0, 1]")
        };
        if !(0.0..=most).contains(&pct_start) {
            return Err(Error::argument("OneCycle::new", "pct_start", expected, pct_start));
        }
        for (name, factor) in [("div_factor", div_factor), ("final_div_factor", final_div_factor)] {
            if !(factor > 0.0 && factor.is_finite()) {
                return Err(Error::argument("OneCycle::new", name, "finite and above 0", factor));
            }
        }
        Ok(Self(config))
    }

    /// The settings.
    pub fn config(&self) -> OneCycleConfig {
        self.0
    }

    /// The factor on the highest rate at `step`, counted from 0.
    pub(super) fn factor(&self, step: u64) -> f64 {
        let OneCycleConfig { steps, pct_start, anneal, div_factor, .. } = self.0;
        let (length, at) = (steps.get() as f64, step.min(steps.get() - 1) as f64);
        let first = 1.0 / div_factor;
        let last = first / self.0.final_div_factor;
        // As in PyTorch, the turning points need not fall on a step, and can lie before the first.
        let peak = pct_start * length - 1.0;
        if at <= peak {
            return anneal.between(first, 1.0, passed(0.0, peak, at));
        }
        let (mut turn, mut from) = (peak, 1.0);
        if self.0.three_phase {
            let back = 2.0 * pct_start * length - 2.0;
            if at <= back {
                return anneal.between(1.0, first, passed(peak, back, at));
            }
            (turn, from) = (back, first);
        }
        anneal.between(from, last, passed(turn, length - 1.0, at))
    }
}

/// How much of the way from `start` to `end` is done; all of it where there is none.
fn passed(start: f64, end: f64, at: f64) -> f64 {
    if end > start { (at - start) / (end - start) } else { 1.0 }
}

impl TryFrom<OneCycleConfig> for OneCycle {
    type Error = Error;

    fn try_from(config: OneCycleConfig) -> Result<Self> {
        Self::new(config)
    }
}

impl From<OneCycle> for OneCycleConfig {
    fn from(cycle: OneCycle) -> Self {
        cycle.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_cycle_by_hand() {
        let config = OneCycleConfig {
            steps: NonZeroU64::new(10).unwrap(),
            pct_start: 0.5,
            anneal: Anneal::Linear,
            div_factor: 5.0,
            final_div_factor: 2.0,
            three_phase: false,
        };
        let factors = |config| {
            let cycle = OneCycle::new(config).unwrap();
            (0..11).map(|step| (cycle.factor(step) * 100.0).round() as u64).collect::<Vec<_>>()
        };
        // Up by 0.2 a step to step 4, then by 0.9 / 5 down to step 9, where it stays.
        assert_eq!(factors(config), [20, 40, 60, 80, 100, 82, 64, 46, 28, 10, 10]);
        // Down to the first rate in as many steps, to the last in the one that is left.
        let three = OneCycleConfig { three_phase: true, ..config };
        assert_eq!(factors(three), [20, 40, 60, 80, 100, 80, 60, 40, 20, 10, 10]);
        // Half a cosine wave is half-way where the line is.
        let curved = factors(OneCycleConfig { anneal: Anneal::Cosine, ..config });
        assert_eq!((curved[0], curved[2], curved[4], curved[9]), (20, 60, 100, 10));
    }

    #[test]
    fn a_turning_point_on_the_first_step_is_reached_there() {
        // PyTorch divides by zero here.
        let steps = NonZeroU64::new(10).unwrap();
        let config = OneCycleConfig { pct_start: 0.1, ..OneCycleConfig::new(steps) };
        assert_eq!(OneCycle::new(config).unwrap().factor(0), 1.0);
    }
}
