//! The block of ConvNeXt.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{
    Activation, Conv2d, Conv2dConfig, Error, Initializer, Result, Stream, add, conv2d,
};
use taper_norm::{ChannelLayerNormConfig, NormConfig};

use super::norm_activation::NormActivation;
use crate::{
    Channels, Counted, Counter, DropPath, Flow, LayerScale, Pointwise, PointwiseConfig, pointwise,
};

/// How [`convnext_block`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvNextBlockConfig {
    /// The kernel of the depthwise convolution; odd.
    pub kernel_size: usize,
    /// How many times wider than its ends the middle is.
    pub expansion: usize,
    /// What γ begins as; `None` is no layer scale.
    pub layer_scale: Option<f64>,
    /// The probability that the branch is left out in training.
    pub drop_path: f64,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows the wide layer.
    pub activation: Activation,
}

impl Default for ConvNextBlockConfig {
    fn default() -> Self {
        Self {
            kernel_size: 7,
            expansion: 4,
            layer_scale: Some(1e-6),
            drop_path: 0.0,
            norm: NormConfig::Layer(ChannelLayerNormConfig::default()),
            activation: Activation::Gelu,
        }
    }
}

/// How the weights of ConvNeXt begin; its biases begin as 0.
pub(crate) const TRUNCATED: Initializer =
    Initializer::TruncatedNormal { mean: 0.0, std: 0.02, low: -2.0, high: 2.0 };

/// A block of `vb`'s parameters `block.0`, `block.2`, `block.3`, `block.5` and `layer_scale`, torchvision's names; see
/// [`ConvNextBlock`].
pub fn convnext_block(
    num_channels: usize,
    config: ConvNextBlockConfig,
    vb: VarBuilder,
) -> Result<ConvNextBlock> {
    let ConvNextBlockConfig { kernel_size, expansion, layer_scale, drop_path, activation, .. } =
        config;
    if kernel_size.is_multiple_of(2) {
        let expected = "odd, so that the image keeps its size";
        return Err(Error::argument("convnext_block", "kernel_size", expected, kernel_size));
    }
    if expansion == 0 {
        return Err(Error::argument("convnext_block", "expansion", "at least 1", 0));
    }
    let zero = Some(Initializer::Constant(0.0));
    let depthwise = Conv2dConfig {
        padding: (kernel_size / 2).into(),
        groups: num_channels,
        weight_init: TRUNCATED,
        bias_init: zero,
        ..Default::default()
    };
    let part = |activation| PointwiseConfig {
        weight_init: TRUNCATED,
        bias_init: zero,
        activation,
        ..Default::default()
    };
    let branch = vb.pp("block");
    let wide = expansion * num_channels;
    let gamma = layer_scale.map(|init| {
        let shape = (num_channels, 1, 1);
        let gamma = Initializer::Constant(init).parameter(shape, "layer_scale", &vb)?;
        LayerScale::new(gamma, Channels::First)
    });
    Ok(ConvNextBlock {
        depthwise: conv2d(num_channels, num_channels, kernel_size, depthwise, branch.pp(0))?,
        norm: NormActivation::build(num_channels, config.norm, Activation::Identity, branch.pp(2))?,
        expand: pointwise(num_channels, wide, part(activation), branch.pp(3))?,
        project: pointwise(wide, num_channels, part(Activation::Identity), branch.pp(5))?,
        layer_scale: gamma.transpose()?,
        drop_path: DropPath::new(drop_path)?,
    })
}

/// The block of ConvNeXt: a depthwise convolution with a large kernel, then an inverted bottleneck of two 1x1 convolutions.
///
/// # Equation
/// y = x + γ ⊙ (W₂ f(W₁ norm(D ⋆ x)))
///
/// ```text
///        ┌─────────────────────────────────────────────────────────────────────────────┐
///     x ─┴─ depthwise 7×7 ── norm ── 1×1, c → 4 c ── f ── 1×1, 4 c → c ── γ ⊙ ── drop ── + ── y
/// ```
///
/// with kernel k and expansion e it has k² c + 2 e c² weights, (e + 2) c biases, 2 c numbers in the norm and c in γ, and costs the
/// weights times H · W MACs.
///
/// # Shapes
/// x (N, C, H, W) to y (N, C, H, W).
///
/// # Parameters
/// Of [`ConvNextBlockConfig`]:
/// - `kernel_size` k: 7; odd.
/// - `expansion` e: 4; at least 1.
/// - `layer_scale`: 1e-6, what γ begins as; `None` leaves it out.
/// - `drop_path`: 0, in [0, 1): the probability that a sample's branch is left out in training.
/// - `norm`: [`NormConfig::Layer`] over the channels of each place with eps 1e-6, any other.
/// - `activation` f: [`Activation::Gelu`].
///
/// Weights begin as N(0, 0.02²) within [−2, 2], biases as 0.
///
/// # Numerics
/// Images stay (N, C, H, W) throughout: the layers that PyTorch's code calls linear are 1x1 convolutions, and nothing is
/// transposed.
///
/// # Deviations
/// 1. From torchvision: the same names and shapes of parameters; other kernels, widths and norms can be chosen. There `block.1` and
///    `block.6` are permutations, which are not needed here.
/// 2. The stream of drop path is an argument of [`forward_t`](ConvNextBlock::forward_t), so the block is no `ModuleT`.
///
/// # Errors
/// [`convnext_block`] refuses 0 channels, an even kernel, an expansion of 0 and a `drop_path` outside [0, 1); `forward_t` an x of
/// other channels.
///
/// # References
/// - Liu, Mao, Wu, Feichtenhofer, Darrell and Xie 2022, A ConvNet for the 2020s, figure 4, <https://arxiv.org/abs/2201.03545>.
/// - `torchvision.models.convnext.CNBlock`, <https://docs.pytorch.org/vision/stable/models/convnext.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_bottleneck::{ConvNextBlockConfig, convnext_block, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = convnext_block(8, ConvNextBlockConfig::default(), vb)?;
/// let x = Tensor::ones((2, 8, 5, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true, &mut stream(0, "drop path"))?.dims(), [2, 8, 5, 5]);
/// let cost = summary(&block, &[1, 8, 5, 5])?.total.cost;
/// let weights = 49 * 8 + 2 * 4 * 8 * 8;
/// assert_eq!(cost.parameters, weights + 6 * 8 + 2 * 8 + 8);
/// assert_eq!(cost.macs, weights * 25);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConvNextBlock {
    depthwise: Conv2d,
    norm: NormActivation,
    expand: Pointwise,
    project: Pointwise,
    layer_scale: Option<LayerScale>,
    drop_path: DropPath,
}

impl ConvNextBlock {
    /// The output in training, with numbers for drop path drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        let y = self.norm.forward_t(&self.depthwise.forward(x)?, train)?;
        let y = self.project.forward(&self.expand.forward(&y)?)?;
        let y = match &self.layer_scale {
            Some(scale) => scale.forward(&y)?,
            None => y,
        };
        add(&self.drop_path.forward_t(&y, train, stream)?, x, Activation::Identity)
    }
}

impl Counted for ConvNextBlock {
    fn kind(&self) -> &'static str {
        "ConvNextBlock"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let y = counter.layer("block.0", &self.depthwise, x)?;
        let y = counter.layer("block.2", &self.norm.with(None), &y)?;
        let y = counter.layer("block.3", &self.expand, &y)?;
        let y = counter.layer("block.5", &self.project, &y)?;
        let y = match &self.layer_scale {
            Some(scale) => counter.layer("layer_scale", scale, &y)?,
            None => y,
        };
        counter.sum(&y, Some(x), Activation::Identity)
    }
}
