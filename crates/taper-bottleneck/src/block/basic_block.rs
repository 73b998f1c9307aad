//! ResNet's basic block.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Result};
use taper_norm::{BatchNormConfig, NormConfig};

use super::branch_end::BranchEnd;
use super::shortcut::Way;
use crate::{
    ConvNorm, ConvNormConfig, Counted, Counter, Flow, Shortcut, SqueezeExciteConfig, conv_norm,
};

/// How [`basic_block`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BasicBlockConfig {
    /// How far the first convolution moves.
    pub stride: usize,
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

impl Default for BasicBlockConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            shortcut: Shortcut::Projection,
            squeeze_excite: None,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init_residual: false,
        }
    }
}

/// A basic block of `vb`'s parameters `conv1`, `bn1`, `conv2`, `bn2` and, where they are there, `downsample` and `se`; see
/// [`BasicBlock`].
pub fn basic_block(
    in_channels: usize,
    out_channels: usize,
    config: BasicBlockConfig,
    vb: VarBuilder,
) -> Result<BasicBlock> {
    let BasicBlockConfig { stride, shortcut, norm, activation, zero_init_residual, squeeze_excite } =
        config;
    let plain = ConvNormConfig { norm, activation, ..Default::default() };
    let first = ConvNormConfig { stride, ..plain };
    let second = ConvNormConfig { zero_init: zero_init_residual, ..plain };
    let end = ["conv2", "bn2", "se"].map(|name| vb.pp(name));
    Ok(BasicBlock {
        conv1: conv_norm(in_channels, out_channels, 3, first, vb.pp("conv1"), vb.pp("bn1"))?,
        conv2: BranchEnd::build([out_channels; 2], 3, second, squeeze_excite, end)?,
        shortcut: shortcut.build(in_channels, out_channels, stride, norm, vb.pp("downsample"))?,
    })
}

/// ResNet's basic block: two 3x3 convolutions and a way around them.
///
/// # Equation
/// y = f(norm(W₂ ⋆ f(norm(W₁ ⋆ x))) + shortcut(x))
///
/// ```text
///        ┌── shortcut ──────────────────────────────────┐
///     x ─┴─ 3x3, c → o ── norm, f ── 3x3, o → o ── norm ─ + ── f ── y
/// ```
///
/// with c = in_channels and o = out_channels it has 9 (c + o) o weights and 4 o numbers in its norms, and costs the weights times
/// H · W MACs at stride 1. A shortcut that projects has c·o weights more, and 2 o in its norm.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
///
/// # Parameters
/// Of [`BasicBlockConfig`]:
/// - `stride`: 1, of the first convolution; at least 1.
/// - `shortcut`: [`Shortcut::Projection`]. [`Shortcut::Padded`] is that of the paper's networks for CIFAR.
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
/// 1. From torchvision: any norm, activation and shortcut; its block takes neither groups nor dilation, and
///    this one has none.
/// 2. Convolutions begin as N(0, 2 / fan_out), as the networks of the paper and of torchvision, not as a single
///    convolution does in PyTorch.
///
/// # Errors
/// [`basic_block`] refuses sizes of 0; `forward_t` an x of other channels, and in training what the norm refuses.
///
/// # References
/// - He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, figure 5, <https://arxiv.org/abs/1512.03385>.
/// - Hu, Shen, Albanie, Sun and Wu 2017, Squeeze-and-excitation networks, figure 3, <https://arxiv.org/abs/1709.01507>.
/// - `torchvision.models.resnet.BasicBlock`, <https://docs.pytorch.org/vision/stable/models/resnet.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{BasicBlockConfig, basic_block, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = basic_block(16, 16, BasicBlockConfig::default(), vb.pp("layer1.0"))?;
/// let x = Tensor::ones((2, 16, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 16, 8, 8]);
/// let names: Vec<_> = parameters.trainable().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names[..2], ["layer1.0.bn1.bias", "layer1.0.bn1.weight"]);
///
/// let total = summary(&block, &[1, 16, 8, 8])?.total;
/// assert_eq!(total.cost.parameters, 2 * 9 * 16 * 16 + 4 * 16);
/// assert_eq!((total.cost.macs, total.depth), (2 * 9 * 16 * 16 * 64, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BasicBlock {
    conv1: ConvNorm,
    conv2: BranchEnd,
    shortcut: Way,
}

impl ModuleT for BasicBlock {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = self.conv1.forward_t(x, train)?;
        self.conv2.forward_t(&y, &self.shortcut.forward_t(x, train)?, train)
    }
}

impl Counted for BasicBlock {
    fn kind(&self) -> &'static str {
        "BasicBlock"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let y = self.conv1.count_as(["conv1", "bn1"], x, None, counter)?;
        let residual = self.shortcut.count(x, counter)?;
        self.conv2.count_as(["conv2", "bn2"], &y, &residual, counter)
    }
}
