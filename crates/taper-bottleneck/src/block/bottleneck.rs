//! ResNet's bottleneck.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Error, Result};
use taper_norm::{BatchNormConfig, NormConfig};

use super::branch_end::BranchEnd;
use super::shortcut::Way;
use crate::{
    ConvNorm, ConvNormConfig, Counted, Counter, Flow, Shortcut, SqueezeExciteConfig, conv_norm,
};

/// Which convolution of a [`Bottleneck`] moves by the stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrideOn {
    /// The first 1x1: the paper's, version 1. It reads one place of four.
    Pointwise,
    /// The 3x3: version 1.5, torchvision's.
    #[default]
    Spatial,
}

/// How [`bottleneck`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BottleneckConfig {
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
    /// A gate of the branch before the sum, if there is one.
    pub squeeze_excite: Option<SqueezeExciteConfig>,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows each convolution, the last one behind the sum.
    pub activation: Activation,
    /// Whether the last norm begins as 0, and the block as the activation of its shortcut.
    pub zero_init_residual: bool,
}

impl Default for BottleneckConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            stride_on: StrideOn::Spatial,
            reduction: 4,
            groups: 1,
            dilation: 1,
            shortcut: Shortcut::Projection,
            squeeze_excite: None,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init_residual: false,
        }
    }
}

/// A bottleneck of `vb`'s parameters `conv1`, `bn1`, `conv2`, `bn2`, `conv3`, `bn3` and, where they are there, `downsample`
/// and `se`; see [`Bottleneck`].
pub fn bottleneck(
    in_channels: usize,
    out_channels: usize,
    config: BottleneckConfig,
    vb: VarBuilder,
) -> Result<Bottleneck> {
    let BottleneckConfig { stride, reduction, groups, dilation, norm, activation, .. } = config;
    if reduction == 0 || !out_channels.is_multiple_of(reduction) {
        let expected = format!("at least 1 and a divisor of out_channels ({out_channels})");
        return Err(Error::argument("bottleneck", "reduction", expected, reduction));
    }
    let width = out_channels / reduction;
    if groups == 0 || !width.is_multiple_of(groups) {
        let expected = format!(
            "at least 1 and a divisor of the middle's {width} channels (out_channels / reduction)"
        );
        return Err(Error::argument("bottleneck", "groups", expected, groups));
    }
    let [on_pointwise, on_spatial] = match config.stride_on {
        StrideOn::Pointwise => [stride, 1],
        StrideOn::Spatial => [1, stride],
    };
    let plain = ConvNormConfig { norm, activation, ..Default::default() };
    let reduce = ConvNormConfig { stride: on_pointwise, ..plain };
    let spatial = ConvNormConfig { stride: on_spatial, groups, dilation, ..plain };
    let expand = ConvNormConfig { zero_init: config.zero_init_residual, ..plain };
    let part = |inputs, kernel: usize, config, at: usize| {
        let [conv, bn] = ["conv", "bn"].map(|name| vb.pp(format!("{name}{at}")));
        conv_norm(inputs, width, kernel, config, conv, bn)
    };
    let end = ["conv3", "bn3", "se"].map(|name| vb.pp(name));
    Ok(Bottleneck {
        conv1: part(in_channels, 1, reduce, 1)?,
        conv2: part(width, 3, spatial, 2)?,
        conv3: BranchEnd::build([width, out_channels], 1, expand, config.squeeze_excite, end)?,
        shortcut: config.shortcut.build(
            in_channels,
            out_channels,
            stride,
            norm,
            vb.pp("downsample"),
        )?,
    })
}

/// ResNet's bottleneck: a 3x3 convolution over few channels, between a 1x1 that makes them few and one that makes them many.
///
/// # Equation
/// y = f(norm(W₃ ⋆ f(norm(W₂ ⋆ f(norm(W₁ ⋆ x))))) + shortcut(x))
///
/// ```text
///        ┌── shortcut ─────────────────────────────────────────────────────────┐
///     x ─┴─ 1x1, c → w ── norm, f ── 3x3, w → w ── norm, f ── 1x1, w → o ── norm ─ + ── f ── y
/// ```
///
/// with c = in_channels, o = out_channels, w = o / reduction and g groups it has c·w + 9 w² / g + w·o weights, 2 (2 w + o)
/// numbers in the norms, and costs the weights times H · W MACs at stride 1. With c = o = 4 w and g = 1 that is 17/16 c², against
/// 18 c² of two full 3x3 convolutions. A shortcut that projects has c·o weights more, and 2 o in its norm.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
///
/// # Parameters
/// Of [`BottleneckConfig`]:
/// - `stride`: 1; at least 1.
/// - `stride_on`: [`StrideOn::Spatial`], version 1.5; [`StrideOn::Pointwise`] is version 1, the paper's.
/// - `reduction`: 4; a divisor of out_channels. 2 is Wide ResNet-50's and ResNeXt-50 32x4d's.
/// - `groups`: 1; a divisor of the middle's channels. 32 is ResNeXt's.
/// - `dilation`: 1, of the 3x3; at least 1.
/// - `shortcut`: [`Shortcut::Projection`]; with [`Shortcut::PooledProjection`] and version 1.5 it is the block of ResNet-D.
/// - `squeeze_excite`: `None`. With one, the branch goes through [`SqueezeExcite`](crate::SqueezeExcite) before the sum, with the
///   parameters `se`: the block of SE-ResNet. With its width v that is 2 o·v weights, v + o biases and 2 o·v MACs more.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation` f: [`Activation::Relu`].
/// - `zero_init_residual`: false. With true, the last norm's weight begins as 0 (the last convolution, where the norm has none),
///   so that y begins as f(shortcut(x)).
///
/// # Numerics
/// Those of its layers. On the CPU the last norm, the sum and a rectifier are one operation.
///
/// # Deviations
/// 1. From torchvision: out_channels and `reduction` rather than `planes`, `base_width` and an `expansion` of 4: its
///    width is planes · base_width / 64 · groups, and its out_channels 4 · planes.
/// 2. From the paper: version 1.5 by default, as torchvision. The paper's 3.8 G MACs of ResNet-50 are version 1's.
/// 3. Convolutions begin as N(0, 2 / fan_out), as the networks of the paper and of torchvision, not as a single
///    convolution does in PyTorch.
///
/// # Errors
/// [`bottleneck`] refuses a `reduction` that does not divide out_channels, `groups` that do not divide the middle, and sizes of
/// 0; `forward_t` an x of other channels, and in training what the norm refuses.
///
/// # References
/// - He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, figure 5, <https://arxiv.org/abs/1512.03385>.
/// - Xie, Girshick, Dollár, Tu and He 2016, Aggregated residual transformations (ResNeXt), <https://arxiv.org/abs/1611.05431>.
/// - Zagoruyko and Komodakis 2016, Wide residual networks, <https://arxiv.org/abs/1605.07146>.
/// - Hu, Shen, Albanie, Sun and Wu 2017, Squeeze-and-excitation networks, figure 3, <https://arxiv.org/abs/1709.01507>.
/// - Goyal et al. 2017, Accurate, large minibatch SGD, section 5.1 (zero γ), <https://arxiv.org/abs/1706.02677>.
/// - `torchvision.models.resnet.Bottleneck`,
///   <https://docs.pytorch.org/vision/stable/models/resnet.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{BottleneckConfig, bottleneck, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let config = BottleneckConfig { stride: 2, ..Default::default() };
/// let block = bottleneck(64, 128, config, vb.pp("layer1.0"))?;
/// let x = Tensor::ones((2, 64, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 128, 4, 4]);
///
/// let cost = summary(&block, &[1, 64, 8, 8])?.total.cost;
/// let (c, w, o) = (64, 32, 128);
/// assert_eq!(cost.parameters, c * w + 9 * w * w + w * o + 2 * (2 * w + o) + c * o + 2 * o);
/// assert_eq!(cost.macs, c * w * 64 + (9 * w * w + w * o + c * o) * 16);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Bottleneck {
    conv1: ConvNorm,
    conv2: ConvNorm,
    conv3: BranchEnd,
    shortcut: Way,
}

impl ModuleT for Bottleneck {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = self.conv1.forward_t(x, train)?;
        let y = self.conv2.forward_t(&y, train)?;
        self.conv3.forward_t(&y, &self.shortcut.forward_t(x, train)?, train)
    }
}

impl Counted for Bottleneck {
    fn kind(&self) -> &'static str {
        "Bottleneck"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let y = self.conv1.count_as(["conv1", "bn1"], x, None, counter)?;
        let y = self.conv2.count_as(["conv2", "bn2"], &y, None, counter)?;
        let residual = self.shortcut.count(x, counter)?;
        self.conv3.count_as(["conv3", "bn3"], &y, &residual, counter)
    }
}
