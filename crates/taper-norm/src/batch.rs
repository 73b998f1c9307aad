//! Statistics of a channel over the batch.

mod batch_norm;
mod frozen_batch_norm;
mod noisy_batch_norm;
mod normalize;
mod precise_statistics;
mod running;

pub use batch_norm::{BatchNorm, BatchNormConfig, OneValue, batch_norm};
pub use frozen_batch_norm::{FrozenBatchNorm, FrozenBatchNormConfig, frozen_batch_norm};
pub use noisy_batch_norm::{Noise, NoisyBatchNorm, NoisyBatchNormConfig, noisy_batch_norm};
pub use precise_statistics::precise_statistics;
pub use running::{Momentum, RunningStatistics, Variance};
