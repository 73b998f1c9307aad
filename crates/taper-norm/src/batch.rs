//! Statistics of a channel over the batch.

mod batch_norm;
mod batch_renorm;
mod frozen_batch_norm;
mod ghost_batch_norm;
mod noisy_batch_norm;
mod normalize;
mod precise_statistics;
mod running;

pub use batch_norm::{BatchNorm, BatchNormConfig, OneValue, batch_norm};
pub use batch_renorm::{BatchRenorm, BatchRenormConfig, Ramp, RenormSchedule, batch_renorm};
pub use frozen_batch_norm::{FrozenBatchNorm, FrozenBatchNormConfig, frozen_batch_norm};
pub use ghost_batch_norm::{GhostBatchNorm, GhostBatchNormConfig, ghost_batch_norm};
pub use noisy_batch_norm::{Noise, NoisyBatchNorm, NoisyBatchNormConfig, noisy_batch_norm};
pub use precise_statistics::precise_statistics;
pub use running::{Momentum, RunningStatistics, Variance};
