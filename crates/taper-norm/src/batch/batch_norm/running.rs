//! The running statistics of a batch normalization, moved in place.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor, Var, bail};
use taper_core::Result;

use super::Momentum;

/// What a [`BatchNorm`](super::BatchNorm) remembers of its batches.
#[derive(Debug, Clone)]
pub struct RunningStatistics {
    /// (C).
    pub mean: Var,
    /// (C).
    pub variance: Var,
    /// How many batches there were, (), i64.
    pub num_batches_tracked: Var,
}

impl RunningStatistics {
    /// Moves towards the mean and the variance of a batch.
    pub(crate) fn track(&self, momentum: Momentum, mean: &[f64], variance: &[f64]) -> Result<()> {
        let batches = self.count()?;
        let momentum = match momentum {
            Momentum::Exponential(momentum) => momentum,
            Momentum::Cumulative => 1.0 / batches as f64,
        };
        for (running, batch) in [(&self.mean, mean), (&self.variance, variance)] {
            let half = matches!(running.dtype(), DType::F16 | DType::BF16);
            if running.device().is_cpu() && !half && running.is_contiguous() {
                running.inplace_op1(&Blend { momentum, batch })?;
            } else {
                let batch = Tensor::new(batch, running.device())?;
                let batch = (batch * momentum)?.to_dtype(running.dtype())?;
                running.set(&((running.as_detached_tensor() * (1.0 - momentum))? + batch)?)?;
            }
        }
        Ok(())
    }

    /// One batch more; how many there are now.
    fn count(&self) -> Result<i64> {
        let tracked = &self.num_batches_tracked;
        if tracked.device().is_cpu() {
            let count = Count(Cell::new(0));
            tracked.inplace_op1(&count)?;
            return Ok(count.0.get());
        }
        let batches = tracked.to_scalar::<i64>()? + 1;
        tracked.set(&Tensor::new(batches, tracked.device())?)?;
        Ok(batches)
    }
}

/// r ← (1 − m) r + m s: one pass instead of a chain of tensors.
struct Blend<'a> {
    momentum: f64,
    batch: &'a [f64],
}

impl InplaceOp1 for Blend<'_> {
    fn name(&self) -> &'static str {
        "running_statistics"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let start = layout.start_offset();
        let range = start..start + self.batch.len();
        let move_to =
            |running: f64, batch: f64| (1.0 - self.momentum) * running + self.momentum * batch;
        match storage {
            CpuStorage::F32(data) => {
                for (running, batch) in data[range].iter_mut().zip(self.batch) {
                    *running = move_to(f64::from(*running), *batch) as f32;
                }
            }
            CpuStorage::F64(data) => {
                for (running, batch) in data[range].iter_mut().zip(self.batch) {
                    *running = move_to(*running, *batch);
                }
            }
            _ => bail!("running_statistics: expected f32 or f64"),
        }
        Ok(())
    }
}

/// n ← n + 1, and what it is then.
struct Count(Cell<i64>);

impl InplaceOp1 for Count {
    fn name(&self) -> &'static str {
        "num_batches_tracked"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::I64(data) = storage else {
            bail!("num_batches_tracked: expected i64");
        };
        let batches = &mut data[layout.start_offset()];
        *batches += 1;
        self.0.set(*batches);
        Ok(())
    }
}
