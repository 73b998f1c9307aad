//! What the layers of this folder remember of their batches, moved in place.

use std::cell::Cell;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor, Var, bail};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Error, Result};

use crate::arguments::{described, expect_values, is_half};

const BATCHES: &str = "num_batches_tracked";

/// How a batch moves the running statistics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Momentum {
    /// By this part m of the way, from 0 to 1: s ← (1 − m) s + m b, PyTorch's convention.
    Exponential(f64),
    /// Keeping this part d, from 0 to 1: s ← d s + (1 − d) b, the convention of Keras (0.99 by default) and
    /// TensorFlow; `Exponential` of 1 − d.
    Decay(f64),
    /// To the plain average over all batches so far: PyTorch's `momentum=None`.
    Cumulative,
}

impl Momentum {
    /// That the part is one.
    pub(crate) fn check(self, operation: &'static str) -> Result<()> {
        match self {
            Self::Exponential(part) | Self::Decay(part) if !(0.0..=1.0).contains(&part) => {
                Err(Error::argument(operation, "momentum", "from 0 to 1", part))
            }
            _ => Ok(()),
        }
    }

    /// The part of the way that the batch with this number, from 1, goes.
    pub(crate) fn part(self, batches: i64) -> f64 {
        match self {
            Self::Exponential(part) => part,
            Self::Decay(kept) => 1.0 - kept,
            Self::Cumulative => 1.0 / batches as f64,
        }
    }
}

/// What the sum of the squared distances from the mean is divided by, for n values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// n.
    Biased,
    /// n − 1.
    Unbiased,
}

impl Variance {
    pub(crate) fn divisor(self, count: usize) -> f64 {
        match self {
            Self::Biased => count as f64,
            Self::Unbiased => count as f64 - 1.0,
        }
    }
}

/// What a layer such as [`BatchNorm`](super::BatchNorm) remembers of its batches.
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
    /// Those of `vb` under PyTorch's names; new ones are mean 0, variance 1, no batches.
    pub(crate) fn build(num_features: usize, vb: &VarBuilder) -> Result<Self> {
        let get = |name, value| vb.get_with_hints(num_features, name, Init::Const(value));
        let none = Init::Const(0.0);
        let batches = match vb.get_with_hints_dtype((), BATCHES, none, DType::I64) {
            // A file of candle-nn's layer, or of an old PyTorch, has none.
            Err(_) if !vb.contains_tensor(BATCHES) => Tensor::zeros((), DType::I64, vb.device())?,
            batches => batches?,
        };
        // A variable of the builder is taken as it is: what saves the model saves it too.
        Ok(Self {
            mean: Var::from_tensor(&get("running_mean", 0.0)?)?,
            variance: Var::from_tensor(&get("running_var", 1.0)?)?,
            num_batches_tracked: Var::from_tensor(&batches)?,
        })
    }

    /// That these are of `num_features` channels.
    pub(crate) fn check(&self, operation: &'static str, num_features: usize) -> Result<()> {
        expect_values(operation, "running.mean", &self.mean, &[num_features])?;
        expect_values(operation, "running.variance", &self.variance, &[num_features])?;
        let batches = &self.num_batches_tracked;
        if batches.rank() == 0 && batches.dtype() == DType::I64 {
            return Ok(());
        }
        let (argument, expected) = ("running.num_batches_tracked", "I64 of shape []");
        Err(Error::argument(operation, argument, expected, described(batches)))
    }

    /// Moves towards the mean and the variance of a batch.
    pub(crate) fn track(&self, momentum: Momentum, mean: &[f64], variance: &[f64]) -> Result<()> {
        let part = momentum.part(self.count()?);
        for (running, batch) in [(&self.mean, mean), (&self.variance, variance)] {
            if running.device().is_cpu() && !is_half(running.dtype()) && running.is_contiguous() {
                running.inplace_op1(&Blend { part, batch })?;
            } else {
                let batch = Tensor::new(batch, running.device())?;
                let batch = (batch * part)?.to_dtype(running.dtype())?;
                running.set(&((running.as_detached_tensor() * (1.0 - part))? + batch)?)?;
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
    /// m.
    part: f64,
    /// s.
    batch: &'a [f64],
}

impl InplaceOp1 for Blend<'_> {
    fn name(&self) -> &'static str {
        "running_statistics"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let start = layout.start_offset();
        let range = start..start + self.batch.len();
        let move_to = |running: f64, batch: f64| (1.0 - self.part) * running + self.part * batch;
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
