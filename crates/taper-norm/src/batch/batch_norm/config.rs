//! The choices of a batch normalization.

use serde::{Deserialize, Serialize};
use taper_core::{Activation, Result};

use super::{Momentum, NAME, Variance, invalid};
use crate::arguments::expect_eps;

/// How [`batch_norm`](super::batch_norm()) makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// How a batch moves the running statistics.
    pub momentum: Momentum,
    /// Whether there are a `weight` and a `bias`.
    pub affine: bool,
    /// Whether running statistics are kept; without them batches normalise themselves in evaluation too.
    pub track_running_stats: bool,
    /// The variance that normalises in training.
    pub batch_variance: Variance,
    /// The variance that the running statistics take up.
    pub running_variance: Variance,
    /// What becomes of a batch of one value a channel in training.
    pub one_value: OneValue,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: Momentum::Exponential(0.1),
            affine: true,
            track_running_stats: true,
            batch_variance: Variance::Biased,
            running_variance: Variance::Unbiased,
            one_value: OneValue::Error,
            activation: Activation::Identity,
        }
    }
}

/// What becomes of a training batch of one value a channel, which has no variance: often the last of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneValue {
    /// It is an error, as in PyTorch.
    Error,
    /// The running statistics normalise it, and do not move.
    Running,
}

impl BatchNormConfig {
    pub(super) fn check(&self) -> Result<()> {
        expect_eps(NAME, self.eps)?;
        if self.one_value == OneValue::Running && !self.track_running_stats {
            let expected = "`OneValue::Error` where `track_running_stats` is false";
            return Err(invalid("one_value", expected, "Running"));
        }
        self.momentum.check(NAME)
    }
}
