//! Batch normalization taken into the layer before it.

use candle_core::{DType, Tensor};
use taper_core::{Activation, Conv2d, Error, Linear, Result};

use crate::FrozenBatchNorm;
use crate::arguments::described;

/// The weight and bias with which a linear layer or a convolution does the work of the batch normalization after it
/// too: for a trained network that only evaluates from now on, a layer fewer for the same output.
///
/// # Equation
/// W′_c = a_c W_c and b′_c = a_c (b_c − μ_c) + β_c with a_c = γ_c / √(σ²_c + ε)
///
/// for each output channel c, so that W′ ∗ x + b′ = γ (W ∗ x + b − μ) / √(σ² + ε) + β.
///
/// # Shapes
/// W (C, ...): (C, in) of a linear layer, (C, in / groups, k, ...) of a convolution; b, γ, β, μ, σ², b′ (C); W′ as W.
///
/// # Parameters
/// - `weight`, `bias`: of the layer before, which has no activation of its own; none for `bias` is zeros.
/// - `norm`: [`FrozenBatchNorm::freeze`] makes it of a [`BatchNorm`](crate::BatchNorm). Its activation is no part of
///   W′ and b′ and is left to apply.
///
/// [`fold_linear`] and [`fold_conv2d`] do the same for whole layers, and take the norm's activation along.
///
/// # Numerics
/// Computed in f64 and rounded once to the dtype of W. The output agrees to that rounding, unless a mean is much
/// larger than what is left without it.
///
/// # Deviations
/// 1. From PyTorch: groups and any number of axes by the same function; transposed convolutions, whose output
///    channels are the weight's second axis, are not offered.
///
/// # Errors
/// A weight or bias that is not floating-point or has not as many output channels as `norm`;
/// [`fold_linear`] and [`fold_conv2d`] also a layer with an activation, which stands between it and the norm.
///
/// # References
/// - Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal covariate
///   shift, section 3.1 (at inference the normalization is a linear transform of each activation),
///   <https://arxiv.org/abs/1502.03167>.
/// - `torch.nn.utils.fuse_conv_bn_weights`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.fuse_conv_bn_weights.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::Linear;
/// use taper_norm::{FrozenBatchNorm, FrozenBatchNormConfig, fold_linear};
///
/// let one = |value: f64| Tensor::new(&[value], &Device::Cpu);
/// let config = FrozenBatchNormConfig { eps: 1e-12, ..Default::default() };
/// let norm = FrozenBatchNorm::new((one(2.0)?, one(1.0)?), (one(3.0)?, one(4.0)?), config)?;
/// let linear = Linear::new(Tensor::new(&[[5.0, -1.0]], &Device::Cpu)?, Some(one(0.5)?))?;
///
/// // 2 (z - 3) / 2 + 1 = z - 2.
/// let folded = fold_linear(&linear, &norm)?;
/// let y = folded.forward(&Tensor::new(&[[1.0, 2.0]], &Device::Cpu)?)?;
/// assert!((y.to_vec2::<f64>()?[0][0] - 1.5).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
pub fn fold_batch_norm(
    weight: &Tensor,
    bias: Option<&Tensor>,
    norm: &FrozenBatchNorm,
) -> Result<(Tensor, Tensor)> {
    let dtype = weight.dtype();
    let (scale, shift) = norm.scale_and_shift()?;
    let channels = scale.elem_count();
    if weight.rank() < 2 || weight.dims()[0] != channels || !dtype.is_float() {
        let expected = format!("floating-point of shape ({channels}, ...), the channels of norm");
        return Err(Error::argument(NAME, "weight", expected, described(weight)));
    }
    let shift = match bias {
        None => shift,
        Some(bias) if bias.dims() == [channels] && bias.dtype().is_float() => {
            (shift + (bias.to_dtype(DType::F64)? * &scale)?)?
        }
        Some(bias) => {
            let expected = format!("floating-point of shape [{channels}]");
            return Err(Error::argument(NAME, "bias", expected, described(bias)));
        }
    };
    let mut per_channel = vec![1; weight.rank()];
    per_channel[0] = channels;
    let scaled = weight.to_dtype(DType::F64)?.broadcast_mul(&scale.reshape(per_channel)?)?;
    Ok((scaled.to_dtype(dtype)?.detach(), shift.to_dtype(dtype)?.detach()))
}

/// The linear layer that is `linear` and `norm` in one; see [`fold_batch_norm`].
pub fn fold_linear(linear: &Linear, norm: &FrozenBatchNorm) -> Result<Linear> {
    expect_no_activation("fold_linear", "linear", linear.activation())?;
    let (weight, bias) = fold_batch_norm(linear.weight(), linear.bias(), norm)?;
    Ok(Linear::new(weight, Some(bias))?.with_activation(norm.config().activation))
}

/// The convolution that is `conv` and `norm` in one; see [`fold_batch_norm`].
pub fn fold_conv2d(conv: &Conv2d, norm: &FrozenBatchNorm) -> Result<Conv2d> {
    let mut config = *conv.config();
    expect_no_activation("fold_conv2d", "conv", config.activation)?;
    let (weight, bias) = fold_batch_norm(conv.weight(), conv.bias(), norm)?;
    config.bias = true;
    config.activation = norm.config().activation;
    Conv2d::new(weight, Some(bias), config)
}

const NAME: &str = "fold_batch_norm";

fn expect_no_activation(
    operation: &'static str,
    argument: &str,
    activation: Activation,
) -> Result<()> {
    if activation == Activation::Identity {
        return Ok(());
    }
    let expected = "without an activation between it and the norm";
    Err(Error::argument(operation, argument, expected, format!("{activation:?}")))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_core::testing::assert_close;

    use super::*;
    use crate::FrozenBatchNormConfig;

    #[test]
    fn hand_numbers() -> Result<()> {
        let two = |a: f64, b: f64| Tensor::new(&[a, b], &Device::Cpu);
        let (affine, moments) =
            ((two(2.0, 3.0)?, two(1.0, -1.0)?), (two(3.0, 0.5)?, two(4.0, 9.0)?));
        let config = FrozenBatchNormConfig { eps: 1e-14, ..Default::default() };
        let norm = FrozenBatchNorm::new(affine, moments, config)?;
        let weight = Tensor::new(&[[1.0, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        // Both scales are 1.
        let (folded, bias) = fold_batch_norm(&weight, None, &norm)?;
        assert_close(&folded, &weight, 1e-14);
        assert_close(&bias, &two(-2.0, -1.5)?, 1e-14);
        let (_, bias) = fold_batch_norm(&weight, Some(&two(0.25, 0.5)?), &norm)?;
        assert_close(&bias, &two(-1.75, -1.0)?, 1e-14);
        Ok(())
    }
}
