//! The basic block of pre-activation ResNets, and of Wide-ResNets.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Result, add};
use taper_norm::{BatchNormConfig, NormConfig};

use super::norm_activation::has_bias;
use super::pre_activation::{PreActivation, PreActivationConfig};
use super::shortcut::Way;
use crate::{Counted, Counter, Flow, Shortcut};

/// How [`pre_activation_block`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreActivationBlockConfig {
    /// How far the first convolution moves.
    pub stride: usize,
    /// What goes around.
    pub shortcut: Shortcut,
    /// What normalises.
    pub norm: NormConfig,
    /// What stands before each convolution.
    pub activation: Activation,
    /// Whether the last convolution begins as 0, and the block as its shortcut.
    pub zero_init_residual: bool,
}

impl Default for PreActivationBlockConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            shortcut: Shortcut::Projection,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init_residual: false,
        }
    }
}

/// A pre-activation block of `vb`'s parameters `norm1`, `conv1`, `norm2`, `conv2` and, where the shapes differ,
/// `downsample.conv`; see [`PreActivationBlock`].
pub fn pre_activation_block(
    in_channels: usize,
    out_channels: usize,
    config: PreActivationBlockConfig,
    vb: VarBuilder,
) -> Result<PreActivationBlock> {
    let PreActivationBlockConfig { stride, shortcut, norm, activation, zero_init_residual } =
        config;
    let [from, to] = [in_channels, out_channels];
    let plain = PreActivationConfig {
        kernel: 3,
        stride: 1,
        groups: 1,
        dilation: 1,
        norm,
        activation,
        zero_init: false,
    };
    let first = PreActivationConfig { stride, ..plain };
    let second = PreActivationConfig { zero_init: zero_init_residual, ..plain };
    Ok(PreActivationBlock {
        first: PreActivation::build([from, to], first, 1, &vb)?,
        second: PreActivation::build([to, to], second, 2, &vb)?,
        shortcut: shortcut.build_bare([from, to], stride, has_bias(norm), vb.pp("downsample"))?,
    })
}

/// The basic block of version 2: norm and activation stand before each convolution, and nothing behind the sum.
///
/// It is also the block of Wide-ResNets, whose paper calls it B(3, 3): those only have more channels.
///
/// # Equation
/// a = f(norm(x)), y = W₂ ⋆ f(norm(W₁ ⋆ a)) + x; where the shapes differ, the shortcut of a rather than x:
///
/// ```text
///        ┌─────────────────────────────────────────────────────────┐
///     x ─┴─ norm, f ─┬─ 3x3, c → o ── norm, f ── 3x3, o → o ─────── + ── y
///                    └── or shortcut, where the shapes differ ─────┘
/// ```
///
/// with c = in_channels and o = out_channels it has 9 (c + o) o weights and 2 (c + o) numbers in its norms, and costs the weights
/// times H · W MACs at stride 1. A shortcut that projects has c·o weights more, and no norm.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
///
/// # Parameters
/// Of [`PreActivationBlockConfig`]:
/// - `stride`: 1, of the first convolution; at least 1.
/// - `shortcut`: [`Shortcut::Projection`]; none of them has a norm here.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation` f: [`Activation::Relu`].
/// - `zero_init_residual`: false. With true, the last convolution begins as 0, so that y begins as the shortcut.
///
/// # Numerics
/// Those of its layers. On the CPU a norm and a rectifier are one operation.
///
/// # Deviations
/// 1. From timm's `PreActBasic`: batch normalization and plain convolutions by default, which it has as options beside group
///    normalization and standardized weights.
/// 2. From Wide-ResNet's paper: no dropout between the convolutions, which it has as an option.
/// 3. Convolutions begin as N(0, 2 / fan_out), not as a single convolution does in PyTorch. They have biases only where the
///    norm is none or local response normalization.
///
/// # Errors
/// [`pre_activation_block`] refuses sizes of 0; `forward_t` an x of other channels, and in training what the norm refuses.
///
/// # References
/// - He, Zhang, Ren and Sun 2016, Identity mappings in deep residual networks, figure 4e, <https://arxiv.org/abs/1603.05027>.
/// - Zagoruyko and Komodakis 2016, Wide residual networks, figure 1, <https://arxiv.org/abs/1605.07146>.
/// - `timm.models.resnetv2.PreActBasic`,
///   <https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/resnetv2.py>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{PreActivationBlockConfig, pre_activation_block, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let config = PreActivationBlockConfig { stride: 2, ..Default::default() };
/// let block = pre_activation_block(16, 32, config, vb)?;
/// let x = Tensor::ones((2, 16, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 32, 4, 4]);
///
/// let total = summary(&block, &[1, 16, 8, 8])?.total;
/// let (c, o) = (16, 32);
/// let weights = 9 * (c + o) * o + c * o;
/// assert_eq!(total.cost.parameters, weights + 2 * (c + o));
/// assert_eq!((total.cost.macs, total.cost.nonlinearities), (16 * weights, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PreActivationBlock {
    first: PreActivation,
    second: PreActivation,
    shortcut: Way,
}

impl ModuleT for PreActivationBlock {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let activated = self.first.activated(x, train)?;
        let residual = self.shortcut.around(x, &activated, train)?;
        let y = self.second.forward_t(&self.first.convolved(&activated)?, train)?;
        Ok(add(&y, &residual, Activation::Identity)?)
    }
}

impl Counted for PreActivationBlock {
    fn kind(&self) -> &'static str {
        "PreActivationBlock"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let activated = self.first.count_activated(1, x, counter)?;
        let residual = self.shortcut.count_around(x, &activated, counter)?;
        let y = self.first.count_convolved(1, &activated, counter)?;
        let y = self.second.count(2, &y, counter)?;
        counter.sum(&y, Some(&residual), Activation::Identity)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Initializer, Parameters, stream};

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        for (name, bias) in [("conv1", -2.0), ("conv2", 1.0)] {
            let vb = vb.pp(name);
            Initializer::Constant(1.0).parameter((1, 1, 3, 3), "weight", &vb)?;
            Initializer::Constant(bias).parameter(1, "bias", &vb)?;
        }
        let config = PreActivationBlockConfig { norm: NormConfig::None, ..Default::default() };
        let block = pre_activation_block(1, 1, config, vb)?;
        let x = Tensor::new(&[[[[1.0, -5.0, 3.0]]]], &Device::Cpu)?;
        // Sums of neighbours 1, 4, 3, less 2 and rectified: 0, 2, 1; sums 2, 3, 3, plus 1.
        let y = block.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(y, [3.0 + 1.0, 4.0 - 5.0, 4.0 + 3.0]);
        Ok(())
    }

    #[test]
    fn begins_as_the_identity_where_it_is_asked_to() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let config = PreActivationBlockConfig { zero_init_residual: true, ..Default::default() };
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let block = pre_activation_block(4, 4, config, vb)?;
        let x = stream(1, "x").normal(0.0, 1.0, (2, 4, 5, 5), DType::F32, &Device::Cpu)?;
        let y = block.forward_t(&x, true)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
