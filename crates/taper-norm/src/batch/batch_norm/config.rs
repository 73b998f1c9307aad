//! The choices of a batch normalization.

use taper_core::{Activation, Result};

use super::{NAME, invalid};
use crate::arguments::expect_eps;

/// How [`batch_norm`](super::batch_norm()) makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
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
            activation: Activation::Identity,
        }
    }
}

/// How a batch moves the running statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Momentum {
    /// By this part of the way, from 0 to 1: PyTorch's convention, 1 minus that of Keras and the paper's
    /// moving average.
    Exponential(f64),
    /// To the plain average over all batches so far: PyTorch's `momentum=None`.
    Cumulative,
}

/// What the sum of the squared distances from the mean is divided by, for n values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// n.
    Biased,
    /// n − 1.
    Unbiased,
}

impl Variance {
    pub(super) fn divisor(self, count: usize) -> f64 {
        match self {
            Self::Biased => count as f64,
            Self::Unbiased => (count - 1) as f64,
        }
    }
}

impl BatchNormConfig {
    pub(super) fn check(&self) -> Result<()> {
        expect_eps(NAME, self.eps)?;
        match self.momentum {
            Momentum::Exponential(momentum) if !(0.0..=1.0).contains(&momentum) => {
                Err(invalid("momentum", "from 0 to 1", momentum))
            }
            _ => Ok(()),
        }
    }
}
