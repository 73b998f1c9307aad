//! Statistics of a channel over the batch.

mod batch_norm;
mod normalize;
mod running;

pub use batch_norm::{BatchNorm, BatchNormConfig, OneValue, batch_norm};
pub use running::{Momentum, RunningStatistics, Variance};
