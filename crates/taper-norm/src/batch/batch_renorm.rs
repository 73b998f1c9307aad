//! Batch normalization that is led to the running statistics.

mod schedule;

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Error, Result};

use super::normalize::{Batch, Correction, Moments, Normalize, WHOLE, expect_variance, numbers};
use super::{Momentum, RunningStatistics, Variance};
use crate::affine::{affine, expect_affine};
use crate::arguments::{expect_channels, expect_eps, expect_like_x};

pub use schedule::{Ramp, RenormSchedule};

/// How [`batch_renorm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchRenormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// How a batch moves the running statistics.
    pub momentum: Momentum,
    /// Whether there are a `weight` and a `bias`.
    pub affine: bool,
    /// How far the correction may go, by the number of batches so far.
    pub limits: RenormSchedule,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for BatchRenormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: Momentum::Exponential(0.01),
            affine: true,
            limits: RenormSchedule::default(),
            activation: Activation::Identity,
        }
    }
}

/// A batch renormalization layer of `vb`'s parameters `weight` and `bias`, as far as `config` has them, and its
/// running statistics `running_mean`, `running_var` and `num_batches_tracked`; see [`BatchRenorm`].
pub fn batch_renorm(
    num_features: usize,
    config: BatchRenormConfig,
    vb: VarBuilder,
) -> Result<BatchRenorm> {
    let affine = affine(config.affine, num_features, &vb)?;
    BatchRenorm::new(affine, RunningStatistics::build(num_features, &vb)?, config)
}

/// Batch renormalization: each channel is normalised by the batch, then brought to where the running statistics
/// would have put it, so that training and evaluation compute the same; for small batches, and batches whose samples
/// are not independent.
///
/// # Equation
/// y = f(γ (x̂ r + d) + β + r') with x̂ = (x − μ_b) / σ_b
///
/// In training, of the batch's μ_b and σ_b = √(biased variance + ε) and the running μ and σ:
///
/// r = min(max(σ_b / σ, 1 / r_max), r_max) and d = min(max((μ_b − μ) / σ, −d_max), d_max),
///
/// constants for the gradient. Then μ ← μ + m (μ_b − μ) and σ ← σ + m (σ_b − σ). In evaluation y is
/// f(γ (x − μ) / σ + β + r'). r' is the residual of `forward_residual_t`, 0 else. With r_max = 1 and d_max = 0
/// training is that of batch normalization.
///
/// # Shapes
/// x (N, C) with up to 3 more axes, r' and y the same; γ (`weight`), β (`bias`), r, d, μ (`running_mean`) and
/// σ² − ε (`running_var`) (C).
///
/// # Parameters
/// Of [`BatchRenormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `momentum`: [`Momentum::Exponential`] of 0.01, the paper's; from 0 to 1.
/// - `affine`: true.
/// - `limits`: the paper's [`RenormSchedule`]: r_max 1 up to 5000 batches, then straight to 3 at 40 000; d_max 0 up
///   to 5000, then straight to 5 at 25 000. The number of batches is `num_batches_tracked` before the batch, so that
///   a restored layer goes on where it was.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// As r and d are constants, the correction is batch normalization with the weight γ r and the bias γ d + β: on the
/// CPU one operation forward and one backward, which costs one pass more than [`BatchNorm`](super::BatchNorm), as r
/// and d are known only with the statistics. The running statistics are kept as a variance and averaged as a
/// standard deviation, in f64. The rest is as in batch normalization.
///
/// # Deviations
/// 1. From the paper: the state is σ² − ε under PyTorch's name instead of σ, so that the layer evaluates like, and
///    exchanges state dicts with, batch normalization. σ itself is what is averaged, as in the paper.
/// 2. From Keras, whose `BatchNormalization(renorm=True)` keeps two sets of moving averages with a momentum each:
///    here is one, as in the paper. With equal momenta the numbers are the same. Its clipping is to [r_min, r_max];
///    here r_min is 1 / r_max. Its `minimum` and `maximum` compute in f32 where the layer is f64.
/// 3. From the paper: [`Momentum::Cumulative`] is possible.
///
/// # Errors
/// [`batch_renorm`] and [`BatchRenorm::new`] refuse 0 features, an `eps`, `momentum` or limit out of range, and
/// tensors that do not fit. `forward_t` refuses an x that is not floating-point, has another number of axes or
/// channels, and in training a batch of one value a channel, which would have no gradient; `forward_residual_t` also
/// a residual of another shape or dtype than x.
///
/// # References
/// - Ioffe 2017, Batch renormalization: towards reducing minibatch dependence in batch-normalized models,
///   algorithm 1 and the experiments, <https://arxiv.org/abs/1702.03275>.
/// - `keras.layers.BatchNormalization`, <https://keras.io/api/layers/normalization_layers/batch_normalization/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{BatchRenormConfig, RenormSchedule, batch_renorm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let limits = RenormSchedule::constant(4.0, 2.5);
/// let config = BatchRenormConfig { eps: 1e-12, limits, ..Default::default() };
/// let norm = batch_renorm(1, config, vb)?;
///
/// // Mean 3, standard deviation 2, running ones 0 and 1: r = 2, d = 2.5 for 3.
/// let x = Tensor::new(&[[1.0], [5.0]], &Device::Cpu)?;
/// let y = norm.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!((y[0] - 0.5).abs() < 1e-9 && (y[1] - 4.5).abs() < 1e-9);
///
/// let running = norm.running_statistics();
/// assert!((running.mean.to_vec1::<f64>()?[0] - 0.03).abs() < 1e-12);
/// assert!((running.variance.to_vec1::<f64>()?[0] - 1.01 * 1.01).abs() < 1e-11);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BatchRenorm {
    affine: Option<(Tensor, Tensor)>,
    running: RunningStatistics,
    config: BatchRenormConfig,
}

impl BatchRenorm {
    /// A layer of weight and bias (C), there if `config` says so, and running statistics (C).
    pub fn new(
        affine: Option<(Tensor, Tensor)>,
        running: RunningStatistics,
        config: BatchRenormConfig,
    ) -> Result<Self> {
        let num_features = running.mean.elem_count();
        if num_features == 0 {
            return Err(Error::argument(NAME, "running.mean", "of at least 1 feature", 0));
        }
        expect_eps(NAME, config.eps)?;
        config.momentum.check(NAME)?;
        config.limits.check(NAME)?;
        running.check(NAME, num_features)?;
        expect_affine(NAME, &affine, num_features)?;
        if affine.is_some() != config.affine {
            let name = |there| if there { "given" } else { "none" };
            let expected = format!("{}, as the config says", name(config.affine));
            return Err(Error::argument(NAME, "affine", expected, name(affine.is_some())));
        }
        Ok(Self { affine, running, config })
    }

    /// γ, (C).
    pub fn weight(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(weight, _)| weight)
    }

    /// β, (C).
    pub fn bias(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(_, bias)| bias)
    }

    /// What the layer remembers of its batches.
    pub fn running_statistics(&self) -> &RunningStatistics {
        &self.running
    }

    /// [`forward_t`](ModuleT::forward_t) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        self.forward(x, Some(residual), train)
    }

    fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD, x, self.running.mean.elem_count())?;
        if let Some(residual) = residual {
            expect_like_x(FORWARD, "residual", residual, x)?;
        }
        if train {
            expect_variance(FORWARD, x, WHOLE, false)?;
        }
        let BatchRenormConfig { activation, eps, .. } = self.config;
        let call = Normalize::new(x, residual, self.affine.as_ref(), activation, eps)?;
        self.run(&call, train)
    }

    fn run(&self, call: &Normalize, train: bool) -> candle_core::Result<Tensor> {
        if !train {
            return call.by_given(&self.running.mean, &self.running.variance);
        }
        let (mean, std) = (numbers(&self.running.mean)?, self.running_std()?);
        let batches = self.running.num_batches_tracked.to_scalar::<i64>()?;
        let (r_max, d_max) = self.config.limits.at(batches);
        let correction = Some(Correction { mean, std: std.clone(), r_max, d_max });
        let batch = Batch { variance: Variance::Biased, part: WHOLE, correction };
        let (y, moments) = call.by_batch(&batch)?;
        for moments in moments {
            self.track(&moments, &std, batches + 1)?;
        }
        Ok(y)
    }

    /// σ, with ε.
    fn running_std(&self) -> candle_core::Result<Vec<f64>> {
        let variance = numbers(&self.running.variance)?;
        Ok(variance.iter().map(|variance| (variance + self.config.eps).sqrt()).collect())
    }

    /// Moves the running statistics by the batch of this number, of which standard deviations are averaged.
    fn track(&self, moments: &Moments, running_std: &[f64], batches: i64) -> Result<()> {
        let BatchRenormConfig { momentum, eps, .. } = self.config;
        let part = momentum.part(batches);
        let variances = moments.variance(Variance::Biased).into_iter().zip(running_std);
        let variances = variances.map(|(variance, running)| {
            let std = (1.0 - part) * running + part * (variance + eps).sqrt();
            // Rounding may put σ² below ε.
            (std * std - eps).max(0.0)
        });
        let (mean, variances) = (numbers(&self.running.mean)?, variances.collect::<Vec<f64>>());
        let means = moments.mean.iter().zip(&mean);
        let means = means.map(|(batch, running)| (1.0 - part) * running + part * batch);
        self.running.track(Momentum::Exponential(1.0), &means.collect::<Vec<f64>>(), &variances)
    }
}

impl ModuleT for BatchRenorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.forward(x, None, train)
    }
}

const NAME: &str = "BatchRenorm";
const FORWARD: &str = "BatchRenorm::forward_t";
