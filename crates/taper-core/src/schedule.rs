//! Learning rates over the steps of a training run.

use std::f64::consts::PI;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// A learning-rate schedule: a pure function of the step, with nothing to save.
///
/// # Equation
/// The factor on the base learning rate at step t, counted from 0:
/// - `Constant`: 1
/// - `Step { every, gamma }`: gamma^⌊t / every⌋
/// - `Cosine { steps, min_factor: m }`: m + (1 − m) (1 + cos(π t / steps)) / 2, and m after `steps`
/// - `Warmup { steps, start_factor: s, then }`: s + (1 − s) t / steps before `steps`, after that
///   `then` at t − steps
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
///
/// # Numerics
/// In f64, each step by itself: no error adds up along the run.
///
/// # Deviations
/// 1. From PyTorch's `CosineAnnealingLR`: the rate stays at its end instead of rising again, and the
///    end is relative to the base.
///
/// # Errors
/// None: the types leave out a length of 0 where it has no meaning.
///
/// # References
/// - Loshchilov and Hutter 2016, SGDR, <https://arxiv.org/abs/1608.03983> (cosine).
/// - Goyal et al. 2017, Accurate, large minibatch SGD, <https://arxiv.org/abs/1706.02677> (warm-up).
/// - `torch.optim.lr_scheduler`: `StepLR`, `CosineAnnealingLR`, `LinearLR` in a `SequentialLR`.
///
/// # Example
/// ```
/// use std::num::NonZeroU64;
/// use taper_core::Schedule;
///
/// let cosine = Schedule::Cosine { steps: NonZeroU64::MIN.saturating_add(99), min_factor: 0.0 };
/// let schedule = Schedule::Warmup { steps: 10, start_factor: 0.0, then: Box::new(cosine) };
/// assert_eq!(schedule.learning_rate(0.4, 5), 0.2); // half-way up
/// assert_eq!(schedule.learning_rate(0.4, 10), 0.4);
/// assert!((schedule.learning_rate(0.4, 60) - 0.2).abs() < 1e-15); // half-way down
/// assert_eq!(schedule.learning_rate(0.4, 1000), 0.0);
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
        }
    }

    /// The learning rate at `step`, counted from 0.
    pub fn learning_rate(&self, base: f64, step: u64) -> f64 {
        base * self.factor(step)
    }
}
