//! The bottleneck of pre-activation ResNets.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Error, Result, add};
use taper_norm::{BatchNormConfig, NormConfig};

use super::norm_activation::has_bias;
use super::pre_activation::{PreActivation, PreActivationConfig};
use super::shortcut::Way;
use crate::{Counted, Counter, Flow, Shortcut, StrideOn};

/// How [`pre_activation_bottleneck`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreActivationBottleneckConfig {
    /// How far the block moves.
    pub stride: usize,
    /// Which convolution does.
    pub stride_on: StrideOn,
    /// How many times narrower than the output the middle is.
    pub reduction: usize,
    /// Parts into which the 3x3 divides its channels.
    pub groups: usize,
    /// How far the taps of the 3x3 are apart.
    pub dilation: usize,
    /// What goes around.
    pub shortcut: Shortcut,
    /// What normalises.
    pub norm: NormConfig,
    /// What stands before each convolution.
    pub activation: Activation,
    /// Whether the last convolution begins as 0, and the block as its shortcut.
    pub zero_init_residual: bool,
}

impl Default for PreActivationBottleneckConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            stride_on: StrideOn::Spatial,
            reduction: 4,
            groups: 1,
            dilation: 1,
            shortcut: Shortcut::Projection,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init_residual: false,
        }
    }
}

/// A pre-activation bottleneck of `vb`'s parameters `norm1`, `conv1` to `norm3`, `conv3` and, where the shapes differ,
/// `downsample.conv`; see [`PreActivationBottleneck`].
pub fn pre_activation_bottleneck(
    in_channels: usize,
    out_channels: usize,
    config: PreActivationBottleneckConfig,
    vb: VarBuilder,
) -> Result<PreActivationBottleneck> {
    const NAME: &str = "pre_activation_bottleneck";
    let PreActivationBottleneckConfig { stride, reduction, groups, dilation, norm, .. } = config;
    if reduction == 0 || !out_channels.is_multiple_of(reduction) {
        let expected = format!("at least 1 and a divisor of out_channels ({out_channels})");
        return Err(Error::argument(NAME, "reduction", expected, reduction));
    }
    let width = out_channels / reduction;
    if groups == 0 || !width.is_multiple_of(groups) {
        let expected = format!(
            "at least 1 and a divisor of the middle's {width} channels (out_channels / reduction)"
        );
        return Err(Error::argument(NAME, "groups", expected, groups));
    }
    let [on_pointwise, on_spatial] = match config.stride_on {
        StrideOn::Pointwise => [stride, 1],
        StrideOn::Spatial => [1, stride],
    };
    let point = PreActivationConfig {
        kernel: 1,
        stride: 1,
        groups: 1,
        dilation: 1,
        norm,
        activation: config.activation,
        zero_init: false,
    };
    let reduce = PreActivationConfig { stride: on_pointwise, ..point };
    let spatial = PreActivationConfig { kernel: 3, stride: on_spatial, groups, dilation, ..point };
    let expand = PreActivationConfig { zero_init: config.zero_init_residual, ..point };
    let ends = [in_channels, out_channels];
    Ok(PreActivationBottleneck {
        reduce: PreActivation::build([in_channels, width], reduce, 1, &vb)?,
        spatial: PreActivation::build([width, width], spatial, 2, &vb)?,
        expand: PreActivation::build([width, out_channels], expand, 3, &vb)?,
        shortcut: config.shortcut.build_bare(ends, stride, has_bias(norm), vb.pp("downsample"))?,
    })
}

/// The bottleneck of version 2: norm and activation stand before each convolution, and nothing behind the sum.
///
/// # Equation
/// a = f(norm(x)), y = W₃ ⋆ f(norm(W₂ ⋆ f(norm(W₁ ⋆ a)))) + x; where the shapes differ, the shortcut of a rather than x:
///
/// ```text
///        ┌────────────────────────────────────────────────────────────────────────────────┐
///     x ─┴─ norm, f ─┬─ 1x1, c → w ── norm, f ── 3x3, w → w ── norm, f ── 1x1, w → o ────── + ── y
///                    └── or shortcut, where the shapes differ ────────────────────────────┘
/// ```
///
/// with c = in_channels, o = out_channels, w = o / reduction and g groups it has c·w + 9 w² / g + w·o weights, 2 (c + 2 w) numbers
/// in the norms, and costs the weights times H · W MACs at stride 1. A shortcut that projects has c·o weights more, and no norm.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
///
/// # Parameters
/// Of [`PreActivationBottleneckConfig`]:
/// - `stride`: 1; at least 1.
/// - `stride_on`: [`StrideOn::Spatial`], timm's.
/// - `reduction`: 4; a divisor of out_channels.
/// - `groups`: 1; a divisor of the middle's channels.
/// - `dilation`: 1, of the 3x3; at least 1.
/// - `shortcut`: [`Shortcut::Projection`]; none of them has a norm here.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation` f: [`Activation::Relu`].
/// - `zero_init_residual`: false. With true, the last convolution begins as 0, so that y begins as the shortcut.
///
/// # Numerics
/// Those of its layers. On the CPU a norm and a rectifier are one operation.
///
/// # Deviations
/// 1. From timm's `PreActBottleneck`: batch normalization and plain convolutions by default, which it has as options beside
///    group normalization and standardized weights; w is exactly o / reduction, which timm rounds to a multiple of 8; a shortcut
///    that projects only where the shapes differ, where timm's has one in the first block of each stage.
/// 2. Convolutions begin as N(0, 2 / fan_out), not as a single convolution does in PyTorch. They have biases only where the
///    norm is none or local response normalization.
///
/// # Errors
/// [`pre_activation_bottleneck`] refuses a `reduction` that does not divide out_channels, `groups` that do not divide the middle,
/// and sizes of 0; `forward_t` an x of other channels, and in training what the norm refuses.
///
/// # References
/// - He, Zhang, Ren and Sun 2016, Identity mappings in deep residual networks, figure 4e, <https://arxiv.org/abs/1603.05027>.
/// - `timm.models.resnetv2.PreActBottleneck`,
///   <https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/resnetv2.py>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{PreActivationBottleneckConfig, pre_activation_bottleneck, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let config = PreActivationBottleneckConfig { stride: 2, ..Default::default() };
/// let block = pre_activation_bottleneck(64, 128, config, vb)?;
/// let x = Tensor::ones((2, 64, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 128, 4, 4]);
///
/// let cost = summary(&block, &[1, 64, 8, 8])?.total.cost;
/// let (c, w, o) = (64, 32, 128);
/// assert_eq!(cost.parameters, c * w + 9 * w * w + w * o + 2 * (c + 2 * w) + c * o);
/// assert_eq!(cost.macs, c * w * 64 + (9 * w * w + w * o + c * o) * 16);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PreActivationBottleneck {
    reduce: PreActivation,
    spatial: PreActivation,
    expand: PreActivation,
    shortcut: Way,
}

impl ModuleT for PreActivationBottleneck {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let activated = self.reduce.activated(x, train)?;
        let residual = self.shortcut.around(x, &activated, train)?;
        let y = self.spatial.forward_t(&self.reduce.convolved(&activated)?, train)?;
        let y = self.expand.forward_t(&y, train)?;
        Ok(add(&y, &residual, Activation::Identity)?)
    }
}

impl Counted for PreActivationBottleneck {
    fn kind(&self) -> &'static str {
        "PreActivationBottleneck"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let activated = self.reduce.count_activated(1, x, counter)?;
        let residual = self.shortcut.count_around(x, &activated, counter)?;
        let y = self.reduce.count_convolved(1, &activated, counter)?;
        let y = self.spatial.count(2, &y, counter)?;
        let y = self.expand.count(3, &y, counter)?;
        counter.sum(&y, Some(&residual), Activation::Identity)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Initializer, Parameters, stream};

    use super::*;
    use crate::meta;

    #[test]
    fn hand_numbers() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        for (name, size, weight, bias) in
            [("conv1", 1, 2.0, -1.0), ("conv2", 3, 1.0, -2.0), ("conv3", 1, -1.0, 1.0)]
        {
            let vb = vb.pp(name);
            Initializer::Constant(weight).parameter((1, 1, size, size), "weight", &vb)?;
            Initializer::Constant(bias).parameter(1, "bias", &vb)?;
        }
        let config = PreActivationBottleneckConfig {
            norm: NormConfig::None,
            reduction: 1,
            ..Default::default()
        };
        let block = pre_activation_bottleneck(1, 1, config, vb)?;
        let x = Tensor::new(&[[[[1.0, -5.0, 3.0]]]], &Device::Cpu)?;
        // Rectified 1, 0, 3; twice less 1 and rectified 1, 0, 5; sums less 2: -1, 4, 3.
        let y = block.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(y, [1.0 + 1.0, -3.0 - 5.0, -2.0 + 3.0]);
        Ok(())
    }

    #[test]
    fn reductions_and_groups_that_do_not_divide_are_errors() {
        let error = |config| {
            pre_activation_bottleneck(8, 8, config, meta(DType::F32)).unwrap_err().to_string()
        };
        let plain = PreActivationBottleneckConfig::default();
        for reduction in [0, 3] {
            assert_eq!(
                error(PreActivationBottleneckConfig { reduction, ..plain }),
                format!(
                    "pre_activation_bottleneck: reduction should be at least 1 and a divisor of out_channels (8), got \
                     {reduction}"
                )
            );
        }
        for groups in [0, 4] {
            assert_eq!(
                error(PreActivationBottleneckConfig { groups, ..plain }),
                format!(
                    "pre_activation_bottleneck: groups should be at least 1 and a divisor of the middle's 2 channels \
                     (out_channels / reduction), got {groups}"
                )
            );
        }
    }
}
