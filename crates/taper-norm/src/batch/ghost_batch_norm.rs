//! Batch normalization by the statistics of parts of the batch.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Error, Result};

use super::{BatchNorm, BatchNormConfig, OneValue, batch_norm};

/// How [`ghost_batch_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GhostBatchNormConfig {
    /// The samples that share statistics.
    pub virtual_batch_size: usize,
    /// The normalization of each virtual batch.
    pub norm: BatchNormConfig,
}

impl Default for GhostBatchNormConfig {
    fn default() -> Self {
        Self { virtual_batch_size: 128, norm: BatchNormConfig::default() }
    }
}

/// A ghost batch normalization layer of `vb`'s entries, which are those of [`batch_norm`]; see
/// [`GhostBatchNorm`].
pub fn ghost_batch_norm(
    num_features: usize,
    config: GhostBatchNormConfig,
    vb: VarBuilder,
) -> Result<GhostBatchNorm> {
    GhostBatchNorm::new(batch_norm(num_features, config.norm, vb)?, config.virtual_batch_size)
}

/// [`BatchNorm`] by virtual batches: a large batch is cut, and each part normalised by its own mean and variance, so
/// that a large batch keeps the noise of small ones.
///
/// # Equation
/// y = f(γ (x − μ_b) / √(σ_b² + ε) + β + r)
///
/// with μ_b, σ_b² of the virtual batch b that the sample is in: samples 0 to B − 1, B to 2 B − 1 and so on, the last
/// of what is left. In training the running statistics move by each virtual batch in turn,
/// s ← (1 − m) s + m b. In evaluation μ and σ² are the running statistics.
///
/// # Shapes
/// x (N, C) with up to 3 more axes, r and y the same; γ (`weight`), β (`bias`), μ (`running_mean`), σ²
/// (`running_var`) (C).
///
/// # Parameters
/// Of [`GhostBatchNormConfig`]:
/// - `virtual_batch_size` B: 128, the paper's; at least 1, and 2 where a sample has one place. A batch of up to B
///   samples is one virtual batch.
/// - `norm`: see [`BatchNorm`]. `num_batches_tracked` counts virtual batches, as the momentum sees them.
///
/// # Numerics
/// Those of [`BatchNorm`]: on the CPU one operation forward and one backward, in which the kernel runs over each
/// virtual batch in place; nothing is cut out or put together. Elsewhere candle's operations compute.
///
/// # Deviations
/// 1. From the paper: its algorithm moves the running statistics once a batch, by a weighted sum over the virtual
///    batches, and averages standard deviations. Here each is a batch of its own and variances are averaged, as when
///    [`BatchNorm`] is called on one after the other.
/// 2. The remainder is a smaller virtual batch. pytorch-tabnet instead cuts a batch into as equal parts as it can;
///    TensorFlow 1, with `virtual_batch_size`, wanted no remainder.
/// 3. Without running statistics evaluation normalises by virtual batches, too.
/// 4. PyTorch, Keras 3 and timm have no such layer.
///
/// # Errors
/// [`GhostBatchNorm::new`] refuses a `virtual_batch_size` of 0, and [`OneValue::Running`], which would normalise
/// parts of a batch in two ways. `forward_t` refuses what [`BatchNorm`] refuses, and a batch whose last virtual
/// batch has one value a channel, by its size.
///
/// # References
/// - Hoffer, Hubara and Soudry 2017, Train longer, generalize better: closing the generalization gap in large
///   batch training of neural networks, algorithm 1, <https://arxiv.org/abs/1705.08741>.
/// - Arik and Pfister 2019, TabNet: attentive interpretable tabular learning, <https://arxiv.org/abs/1908.07442>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{BatchNormConfig, GhostBatchNormConfig, ghost_batch_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = BatchNormConfig { eps: 1e-12, ..Default::default() };
/// let config = GhostBatchNormConfig { virtual_batch_size: 2, norm };
/// let norm = ghost_batch_norm(1, config, vb)?;
///
/// // Means 3 and 30.
/// let x = Tensor::new(&[[1.0], [5.0], [20.0], [40.0]], &Device::Cpu)?;
/// let y = norm.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([-1.0, 1.0, -1.0, 1.0]).all(|(y, expected)| (y - expected).abs() < 1e-9));
///
/// let running = norm.norm().running_statistics().expect("kept by default");
/// assert!((running.mean.to_vec1::<f64>()?[0] - (0.9 * 0.3 + 3.0)).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GhostBatchNorm {
    norm: BatchNorm,
    virtual_batch_size: usize,
}

impl GhostBatchNorm {
    /// `norm` on each `virtual_batch_size` samples.
    pub fn new(norm: BatchNorm, virtual_batch_size: usize) -> Result<Self> {
        if virtual_batch_size == 0 {
            return Err(Error::argument(NAME, "virtual_batch_size", "at least 1", 0));
        }
        if norm.config().one_value == OneValue::Running {
            let expected =
                "`OneValue::Error` (choose sizes that leave no virtual batch of one value)";
            return Err(Error::argument(NAME, "norm.one_value", expected, "Running"));
        }
        Ok(Self { norm, virtual_batch_size })
    }

    /// The normalization of each virtual batch: parameters and running statistics. Its own forward takes the batch
    /// as a whole.
    pub fn norm(&self) -> &BatchNorm {
        &self.norm
    }

    /// [`forward_t`](ModuleT::forward_t) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        self.norm.forward(FORWARD, x, Some(residual), self.virtual_batch_size, train)
    }
}

impl ModuleT for GhostBatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.norm.forward(FORWARD, x, None, self.virtual_batch_size, train)
    }
}

const NAME: &str = "GhostBatchNorm";
const FORWARD: &str = "GhostBatchNorm::forward_t";
