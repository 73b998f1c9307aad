//! Learning rates over the steps of a training run.

mod one_cycle;

use std::f64::consts::PI;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

pub use one_cycle::{Anneal, OneCycle, OneCycleConfig};

/// A learning-rate schedule: a pure function of the step, with nothing to save.
///
/// # Equation
/// The factor on the base learning rate at step t, counted from 0:
/// - `Constant`: 1
/// - `Step { every, gamma }`: gamma^⌊t / every⌋
/// - `Cosine { steps, min_factor: m }`: m + (1 − m) (1 + cos(π t / steps)) / 2, and m after `steps`
/// - `Warmup { steps, start_factor: s, then }`: s + (1 − s) t / steps before `steps`, after that
///   `then` at t − steps
/// - `OneCycle` of n steps, d = `div_factor`, f = `final_div_factor`: from 1 / d at 0 to 1 at
///   `pct_start` · n − 1, then to 1 / (d f) at n − 1; with `three_phase` by way of 1 / d at
///   2 (`pct_start` · n − 1). From u to v it is v + (u − v) (1 + cos(π x)) / 2 or u + (v − u) x where
///   x of the way is done; 1 / (d f) after n − 1.
///
/// # Shapes
/// A number.
///
/// # Parameters
/// - `every`: the steps between two drops, at least 1.
/// - `gamma`: the factor of each drop.
/// - `steps`: the length of the descent, at least 1, or of the warm-up, where 0 is none.
/// - `min_factor`: where the cosine ends, relative to the base.
/// - `start_factor`: where the warm-up begins, relative to the base.
/// - `then`: the schedule that the warm-up leads to.
/// - Of a [`OneCycleConfig`], whose base learning rate is PyTorch's `max_lr`: `steps`, at least 1,
///   `pct_start` (0.3), in [0, 1], with `three_phase` in [0, 0.5], `anneal` (cosine), `div_factor`
///   (25) and `final_div_factor` (1e4), above 0, `three_phase` (false).
///
/// # Numerics
/// In f64, each step by itself: no error adds up along the run.
///
/// # Deviations
/// 1. From PyTorch's `CosineAnnealingLR`: the rate stays at its end instead of rising again, and the
///    end is relative to the base.
/// 2. From PyTorch's `OneCycleLR`: only the rate moves (its `cycle_momentum=False`); the rate stays at
///    its end where PyTorch raises; `three_phase` with a `pct_start` above 1/2 is refused, with which
///    PyTorch's rate never comes to its end; a turning point exactly on the first step is reached
///    there, where PyTorch divides by zero.
///
/// # Errors
/// [`OneCycle::new`], and reading a `one_cycle`, refuse settings out of the ranges above. Otherwise
/// none: the types leave out a length of 0 where it has no meaning.
///
/// # References
/// - Loshchilov and Hutter 2016, SGDR, <https://arxiv.org/abs/1608.03983> (cosine).
/// - Goyal et al. 2017, Accurate, large minibatch SGD, <https://arxiv.org/abs/1706.02677> (warm-up).
/// - Smith and Topin 2017, Super-convergence, <https://arxiv.org/abs/1708.07120> (one cycle).
/// - `torch.optim.lr_scheduler`: `StepLR`, `CosineAnnealingLR`, `LinearLR` in a `SequentialLR`,
///   `OneCycleLR`.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use std::num::NonZeroU64;
/// use taper_core::{OneCycle, OneCycleConfig, Schedule};
///
/// let cosine = Schedule::Cosine { steps: NonZeroU64::MIN.saturating_add(99), min_factor: 0.0 };
/// let schedule = Schedule::Warmup { steps: 10, start_factor: 0.0, then: Box::new(cosine) };
/// assert_eq!(schedule.learning_rate(0.4, 5), 0.2); // half-way up
/// assert_eq!(schedule.learning_rate(0.4, 10), 0.4);
/// assert!((schedule.learning_rate(0.4, 60) - 0.2).abs() < 1e-15); // half-way down
/// assert_eq!(schedule.learning_rate(0.4, 1000), 0.0);
///
/// let config = OneCycleConfig::new(NonZeroU64::MIN.saturating_add(99));
/// let schedule = Schedule::OneCycle(OneCycle::new(config)?);
/// assert!((schedule.learning_rate(0.4, 0) - 0.016).abs() < 1e-15); // 0.4 / 25
/// assert!((schedule.learning_rate(0.4, 29) - 0.4).abs() < 1e-15); // the peak
/// assert!((schedule.learning_rate(0.4, 99) - 1.6e-6).abs() < 1e-15); // 0.016 / 10,000
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The base learning rate throughout.
    Constant,
    /// A drop at fixed intervals.
    Step {
        /// The steps between two drops.
        every: NonZeroU64,
        /// The factor of each drop.
        gamma: f64,
    },
    /// Half a cosine wave down.
    Cosine {
        /// How long it takes.
        steps: NonZeroU64,
        /// Where it ends, relative to the base.
        min_factor: f64,
    },
    /// A straight line up, then another schedule from its start.
    Warmup {
        /// How long it takes.
        steps: u64,
        /// Where it begins, relative to the base.
        start_factor: f64,
        /// What comes after.
        then: Box<Schedule>,
    },
    /// Up to the base learning rate, then down to almost none.
    OneCycle(OneCycle),
}

impl Schedule {
    /// The factor on the base learning rate at `step`, counted from 0.
    pub fn factor(&self, step: u64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step { every, gamma } => gamma.powf((step / every.get()) as f64),
            Self::Cosine { steps, min_factor } => {
                let done = step.min(steps.get()) as f64 / steps.get() as f64;
                min_factor + (1.0 - min_factor) * (1.0 + (PI * done).cos()) / 2.0
            }
            Self::Warmup { steps, start_factor, .. } if step < *steps => {
                start_factor + (1.0 - start_factor) * (step as f64 / *steps as f64)
            }
            Self::Warmup { steps, then, .. } => then.factor(step - steps),
            Self::OneCycle(cycle) => cycle.factor(step),
        }
    }

    /// The learning rate at `step`, counted from 0.
    pub fn learning_rate(&self, base: f64, step: u64) -> f64 {
        base * self.factor(step)
    }
}
