//! Batch normalization of which nothing changes any more.

use candle_core::{DType, Module, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Error, Result};

use super::BatchNorm;
use super::normalize::Normalize;
use crate::arguments::{expect_channels, expect_eps, expect_like_x, expect_values};

/// How [`frozen_batch_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrozenBatchNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for FrozenBatchNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, activation: Activation::Identity }
    }
}

/// A frozen batch normalization layer of `vb`'s `weight`, `bias`, `running_mean` and `running_var`; see
/// [`FrozenBatchNorm`].
pub fn frozen_batch_norm(
    num_features: usize,
    config: FrozenBatchNormConfig,
    vb: VarBuilder,
) -> Result<FrozenBatchNorm> {
    let get = |name, value| vb.get_with_hints(num_features, name, Init::Const(value));
    let affine = (get("weight", 1.0)?, get("bias", 0.0)?);
    FrozenBatchNorm::new(affine, (get("running_mean", 0.0)?, get("running_var", 1.0)?), config)
}

/// [`BatchNorm`] with fixed statistics and a fixed affine part, as in detection networks over a trained
/// backbone: batches too small for statistics of their own leave it as it was.
///
/// # Equation
/// y = f(γ (x − μ) / √(σ² + ε) + β + r)
///
/// with γ, β, μ, σ² all constant; an activation f, the identity by default, and a residual r in
/// `forward_residual`, 0 else.
///
/// # Shapes
/// x (N, C) with up to 3 more axes, r and y the same; γ (`weight`), β (`bias`), μ (`running_mean`) and σ²
/// (`running_var`) (C).
///
/// # Parameters
/// Of [`FrozenBatchNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// x goes through the operation of [`BatchNorm`]'s evaluation: one pass on the CPU, μ subtracted before the
/// product. f16 and bf16 are computed in f32; y has the dtype of x. Only x and r get a gradient.
///
/// # Deviations
/// 1. From torchvision: x (N, C) with any up to 3 more axes, not two only; it multiplies x before it subtracts,
///    which loses the digits of a mean far from 0.
/// 2. From torchvision, which drops a `num_batches_tracked` from a state dict: a builder over a file asks for the
///    others only, but [`taper_core::Parameters::load`] refuses it.
/// 3. Under [`taper_core::Parameters`] the names `weight` and `bias` are among the trainable ones. They get no
///    gradient, and an optimizer leaves alone what has none.
///
/// # Errors
/// [`FrozenBatchNorm::new`] refuses an `eps` out of range and tensors that are not all (C), C at least 1; freezing a
/// layer without running statistics is an error. `forward` refuses an x that is not floating-point or has another
/// number of axes or channels; `forward_residual` also a residual of another shape or dtype than x.
///
/// # References
/// - `torchvision.ops.FrozenBatchNorm2d`,
///   <https://docs.pytorch.org/vision/stable/generated/torchvision.ops.FrozenBatchNorm2d.html>.
/// - Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal
///   covariate shift, <https://arxiv.org/abs/1502.03167>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_norm::{FrozenBatchNorm, FrozenBatchNormConfig};
///
/// let one = |value: f64| Tensor::new(&[value], &Device::Cpu);
/// let config = FrozenBatchNormConfig { eps: 1e-12, ..Default::default() };
/// let norm = FrozenBatchNorm::new((one(2.0)?, one(1.0)?), (one(3.0)?, one(4.0)?), config)?;
/// // 2 (5 - 3) / 2 + 1.
/// let y = norm.forward(&Tensor::new(&[[5.0]], &Device::Cpu)?)?.to_vec2::<f64>()?;
/// assert!((y[0][0] - 3.0).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FrozenBatchNorm {
    /// γ and β.
    affine: (Tensor, Tensor),
    mean: Tensor,
    variance: Tensor,
    config: FrozenBatchNormConfig,
}

impl FrozenBatchNorm {
    /// A layer of weight and bias, and of mean and variance, (C) each. They are taken as they are: variables among
    /// them are followed, but get no gradient.
    pub fn new(
        (weight, bias): (Tensor, Tensor),
        (mean, variance): (Tensor, Tensor),
        config: FrozenBatchNormConfig,
    ) -> Result<Self> {
        expect_eps(NAME, config.eps)?;
        let channels = weight.elem_count();
        if channels == 0 {
            return Err(Error::argument(NAME, "weight", "of at least 1 channel", 0));
        }
        let named =
            [("weight", &weight), ("bias", &bias), ("mean", &mean), ("variance", &variance)];
        for (argument, tensor) in named {
            expect_values(NAME, argument, tensor, &[channels])?;
        }
        let affine = (weight.detach(), bias.detach());
        Ok(Self { affine, mean: mean.detach(), variance: variance.detach(), config })
    }

    /// `norm` as it is now: copies, which its further training does not change.
    pub fn freeze(norm: &BatchNorm) -> Result<Self> {
        let Some(running) = norm.running_statistics() else {
            let expected = "a layer with running statistics (`track_running_stats`)";
            return Err(Error::argument(NAME, "norm", expected, "one without"));
        };
        let mean = running.mean.as_detached_tensor().copy()?;
        let affine = match (norm.weight(), norm.bias()) {
            (Some(weight), Some(bias)) => (weight.detach().copy()?, bias.detach().copy()?),
            _ => (mean.ones_like()?, mean.zeros_like()?),
        };
        let config = norm.config();
        let config = FrozenBatchNormConfig { eps: config.eps, activation: config.activation };
        Self::new(affine, (mean, running.variance.as_detached_tensor().copy()?), config)
    }

    /// [`forward`](Module::forward) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> candle_core::Result<Tensor> {
        self.run(x, Some(residual))
    }

    /// γ, (C).
    pub fn weight(&self) -> &Tensor {
        &self.affine.0
    }

    /// β, (C).
    pub fn bias(&self) -> &Tensor {
        &self.affine.1
    }

    /// μ, (C).
    pub fn running_mean(&self) -> &Tensor {
        &self.mean
    }

    /// σ², (C).
    pub fn running_var(&self) -> &Tensor {
        &self.variance
    }

    /// How the layer was made.
    pub fn config(&self) -> FrozenBatchNormConfig {
        self.config
    }

    /// a and b of norm(x) = a x + b, (C) each in f64.
    pub(crate) fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let std = (wide(&self.variance)? + self.config.eps)?.sqrt()?;
        let scale = (wide(&self.affine.0)? / std)?;
        let shift = (wide(&self.affine.1)? - (wide(&self.mean)? * &scale)?)?;
        Ok((scale, shift))
    }

    fn run(&self, x: &Tensor, residual: Option<&Tensor>) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD, x, self.mean.elem_count())?;
        if let Some(residual) = residual {
            expect_like_x(FORWARD, "residual", residual, x)?;
        }
        let FrozenBatchNormConfig { eps, activation } = self.config;
        let call = Normalize::new(x, residual, Some(&self.affine), activation, eps)?;
        call.by_given(&self.mean, &self.variance)
    }
}

impl TryFrom<&BatchNorm> for FrozenBatchNorm {
    type Error = Error;

    fn try_from(norm: &BatchNorm) -> Result<Self> {
        Self::freeze(norm)
    }
}

impl Module for FrozenBatchNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.run(x, None)
    }
}

const NAME: &str = "FrozenBatchNorm";
const FORWARD: &str = "FrozenBatchNorm::forward";
