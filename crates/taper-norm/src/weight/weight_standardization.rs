//! Weight standardization.

use candle_core::{Module, Shape, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Error, Initializer, LinearConfig, Result};

use crate::arguments::{described, expect_eps, expect_values};
use crate::{LayerNorm, LayerNormConfig};

const NAME: &str = "WeightStandardization";

/// How [`weight_standardization`] makes a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightStandardizationConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// How the raw weight begins.
    pub weight_init: Initializer,
}

impl Default for WeightStandardizationConfig {
    fn default() -> Self {
        Self { eps: 1e-6, weight_init: LinearConfig::default().weight_init }
    }
}

/// A standardized weight of this shape, of `vb`'s parameter `weight`; see [`WeightStandardization`].
pub fn weight_standardization(
    shape: impl Into<Shape>,
    config: WeightStandardizationConfig,
    vb: VarBuilder,
) -> Result<WeightStandardization> {
    WeightStandardization::new(config.weight_init.parameter(shape, "weight", &vb)?, config.eps)
}

/// Weight standardization: the weights of each output are brought to mean 0 and variance 1, which together with a
/// normalization that does not look at the batch does for small batches what batch normalization does for large ones.
///
/// # Equation
/// w = (v − μ) / √(σ² + ε)
///
/// with the mean μ and the biased variance σ² of v over all axes but the first.
///
/// # Shapes
/// v (`weight`) and w (out_channels, in_channels / groups, height, width), (out_features, in_features), or any other
/// shape whose first axis is the outputs.
///
/// # Parameters
/// - `shape`: that of the weight; at least two axes, none empty.
///
/// Of [`WeightStandardizationConfig`]:
/// - `eps`: 1e-6; above 0.
/// - `weight_init`: U(−b, b) with b = 1 / √fan_in, PyTorch's default of linear layers and convolutions.
///
/// # Numerics
/// Call [`weight`](WeightStandardization::weight) once a step, after the optimizer moved v. It is
/// [`LayerNorm`] over the weights of each output: one operation in each direction on the CPU, with its numerics. The
/// gradient of v has the mean 0 over each output's weights and, but for ε, is at right angles to them. An output of
/// one weight becomes 0.
///
/// # Deviations
/// 1. From the paper: ε is added to the variance, as in timm's `StdConv2d`; the paper adds it to the standard
///    deviation.
/// 2. From timm: it is a weight, for any layer, and no convolution of its own.
///
/// # Errors
/// [`weight_standardization`] and [`WeightStandardization::new`] refuse a shape of fewer than two axes or without
/// elements, an `eps` out of range and a weight that is not floating-point.
///
/// # References
/// - Qiao, Wang, Liu, Shen and Yuille 2019, Micro-batch training with batch-channel normalization and weight
///   standardization, <https://arxiv.org/abs/1903.10520>.
/// - timm's `StdConv2d`, <https://github.com/huggingface/pytorch-image-models/blob/main/timm/layers/std_conv.py>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Conv2d, Conv2dConfig, Linear, Parameters, stream};
/// use taper_norm::{WeightStandardization, WeightStandardizationConfig, weight_standardization};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu).pp("conv");
/// let config = WeightStandardizationConfig::default();
/// let standardized = weight_standardization((8, 3, 3, 3), config, vb)?;
/// let x = Tensor::zeros((2, 3, 16, 16), DType::F32, &Device::Cpu)?;
/// // In each step:
/// let conv = Conv2d::new(standardized.weight()?, None, Conv2dConfig { bias: false, ..Default::default() })?;
/// assert_eq!(conv.forward(&x)?.dims(), [2, 8, 14, 14]);
///
/// // Mean 4, standard deviation 3.
/// let raw = Tensor::new(&[[1.0, 7.0]], &Device::Cpu)?;
/// let weight = WeightStandardization::new(raw, 1e-12)?.weight()?.to_vec2::<f64>()?;
/// assert!((weight[0][0] + 1.0).abs() < 1e-9 && (weight[0][1] - 1.0).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct WeightStandardization {
    raw: Tensor,
    norm: LayerNorm,
}

impl WeightStandardization {
    /// The weight that `raw` is when standardized.
    pub fn new(raw: Tensor, eps: f64) -> Result<Self> {
        if raw.rank() < 2 || raw.elem_count() == 0 {
            let expected = "of at least two axes, none of them empty";
            return Err(Error::argument(NAME, "raw", expected, described(&raw)));
        }
        expect_values(NAME, "raw", &raw, raw.dims())?;
        expect_eps(NAME, eps)?;
        let config =
            LayerNormConfig { eps, elementwise_affine: false, bias: false, ..Default::default() };
        let norm = LayerNorm::new(&raw.dims()[1..], None, None, config)?;
        Ok(Self { raw, norm })
    }

    /// w, for the layer of this step.
    pub fn weight(&self) -> Result<Tensor> {
        Ok(self.norm.forward(&self.raw)?)
    }

    /// v, of the shape of the weight.
    pub fn raw(&self) -> &Tensor {
        &self.raw
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        // Means 4 and 2, variances 9 and 0; with ε 16 the first deviation is 5.
        let raw = Tensor::new(&[[[1.0], [7.0]], [[2.0], [2.0]]], &Device::Cpu)?;
        let weight = WeightStandardization::new(raw, 16.0)?.weight()?;
        let expected = Tensor::new(&[[[-0.6], [0.6]], [[0.0], [0.0]]], &Device::Cpu)?;
        assert_close(&weight, &expected, 1e-15);
        Ok(())
    }
}
