//! Statistics of a channel over the batch.

mod batch_norm;

pub use batch_norm::{
    BatchNorm, BatchNormConfig, Momentum, RunningStatistics, Variance, batch_norm,
};
