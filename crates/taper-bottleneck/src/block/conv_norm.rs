//! A convolution, its normalization and its activation.

use candle_core::{Module, Tensor};
use candle_nn::{Init, ModuleT, VarBuilder};
use taper_core::{
    Activation, Conv2d, Conv2dConfig, FanMode, Initializer, Nonlinearity, Padding2d, Result,
    Size2d, conv2d,
};
use taper_norm::{BatchNormConfig, Norm, NormConfig};

use super::norm_activation::{NormActivation, has_bias};
use crate::{Counted, Counter, Flow};

/// How [`conv_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvNormConfig {
    /// How far the kernel moves.
    pub stride: usize,
    /// The zeros around the image; `None` keeps its size at stride 1.
    pub padding: Option<Padding2d>,
    /// How far the taps of the kernel are apart.
    pub dilation: usize,
    /// Parts into which the channels are divided.
    pub groups: usize,
    /// What normalises; its own activation gives way to `activation`.
    pub norm: NormConfig,
    /// What follows.
    pub activation: Activation,
    /// Whether the layer begins as 0: the weight of the norm, or of the convolution where the norm has none.
    pub zero_init: bool,
}

impl Default for ConvNormConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: None,
            dilation: 1,
            groups: 1,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init: false,
        }
    }
}

/// How convolutions before a rectifier begin in networks with shortcuts: He's normal distribution by fan-out.
pub(crate) const HE: Initializer =
    Initializer::KaimingNormal { mode: FanMode::FanOut, nonlinearity: Nonlinearity::Relu };

/// A convolution of the parameters of `vb_conv` and a normalization of those of `vb_norm`; see [`ConvNorm`].
///
/// Two builders, since PyTorch's networks name the two side by side: `conv1` and `bn1`, or `0` and `1`.
pub fn conv_norm(
    in_channels: usize,
    out_channels: usize,
    kernel_size: impl Into<Size2d>,
    config: ConvNormConfig,
    vb_conv: VarBuilder,
    vb_norm: VarBuilder,
) -> Result<ConvNorm> {
    let kernel = kernel_size.into();
    let ConvNormConfig { stride, padding, dilation, groups, activation, zero_init, .. } = config;
    let same = |size: usize| dilation * (size.max(1) - 1) / 2;
    let has_weight = has_weight(config.norm);
    let conv = Conv2dConfig {
        stride: stride.into(),
        padding: padding.unwrap_or((same(kernel.height), same(kernel.width)).into()),
        dilation: dilation.into(),
        groups,
        bias: has_bias(config.norm),
        weight_init: if zero_init && !has_weight { Initializer::Constant(0.0) } else { HE },
        bias_init: zero_init.then_some(Initializer::Constant(0.0)),
        activation,
    };
    if zero_init && has_weight {
        // Who asks a builder first says how a parameter begins.
        vb_norm.get_with_hints(out_channels, "weight", Init::Const(0.0))?;
    }
    let (channels, vbs) = ([in_channels, out_channels], [vb_conv, vb_norm]);
    conv_norm_of(channels, kernel, conv, config.norm, vbs)
}

/// A convolution as `conv` says, whose activation comes behind the norm.
pub(crate) fn conv_norm_of(
    [in_channels, out_channels]: [usize; 2],
    kernel: Size2d,
    conv: Conv2dConfig,
    by: NormConfig,
    [vb_conv, vb_norm]: [VarBuilder; 2],
) -> Result<ConvNorm> {
    let activation = conv.activation;
    let alone = matches!(by, NormConfig::None);
    let activation_of_conv = if alone { activation } else { Activation::Identity };
    let conv = Conv2dConfig { activation: activation_of_conv, ..conv };
    let conv = conv2d(in_channels, out_channels, kernel, conv, vb_conv)?;
    Ok(ConvNorm { conv, norm: NormActivation::build(out_channels, by, activation, vb_norm)? })
}

/// Whether the norm has a factor for each channel.
fn has_weight(norm: NormConfig) -> bool {
    match norm {
        NormConfig::None | NormConfig::LocalResponse(_) => false,
        NormConfig::Batch(config) => config.affine,
        NormConfig::BatchRenorm(config) => config.affine,
        NormConfig::GhostBatch(config) => config.norm.affine,
        NormConfig::FrozenBatch(_) => true,
        NormConfig::Layer(config) => config.affine,
        NormConfig::Rms(config) => config.elementwise_affine,
        NormConfig::Group { affine, .. } => affine,
        NormConfig::Instance(config) => config.affine,
    }
}

/// A convolution, its normalization and its activation: what networks of convolutions are made of.
///
/// # Equation
/// y = f(norm(W ⋆ x)), or f(norm(W ⋆ x) + r) with a residual r:
///
/// ```text
/// x ── conv k×k ── norm ── (+ r) ── f ── y
/// ```
///
/// It has k · l · in_channels / groups · out_channels weights and the norm's 2 · out_channels, and costs the first times
/// H′ · W′ MACs. A convolution of kernel size 1 is the *pointwise* convolution: at each place the same linear layer
/// from in_channels to out_channels.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, out_channels, H′, W′), H′ = ⌊(H + 2p − d (k − 1) − 1) / s⌋ + 1 and W′ likewise;
/// r as y.
///
/// # Parameters
/// - `kernel_size`: a number or (height, width).
///
/// Of [`ConvNormConfig`]:
/// - `stride` s: 1; at least 1.
/// - `padding` p: `None`, which is ⌊d (k − 1) / 2⌋: with an odd kernel and stride 1 the size of x stays.
/// - `dilation` d: 1; at least 1.
/// - `groups`: 1; a divisor of both numbers of channels. With as many as channels it is a depthwise convolution.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other. The convolution has a bias only where the
///   norm is none or local response normalization, which have none.
/// - `activation` f: [`Activation::Relu`].
/// - `zero_init`: false. With true, y begins as f(r).
///
/// The weight begins as N(0, 2 / (k · l · out_channels)), He's normal distribution by fan-out.
///
/// # Numerics
/// Those of [`Conv2d`] and of the norm. On the CPU norm, residual and a rectifier are one operation.
///
/// # Deviations
/// 1. From `torchvision.ops.Conv2dNormActivation`: any norm, a residual, square strides and dilations; no `inplace`.
/// 2. From a convolution of its own: the initial values of networks with rectifiers.
///
/// # Errors
/// Those of [`Conv2d`] and of the norm: groups that do not divide the channels, an image smaller than the kernel.
///
/// # References
/// - Ioffe and Szegedy 2015, Batch normalization, <https://arxiv.org/abs/1502.03167>, for norm before activation.
/// - He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, <https://arxiv.org/abs/1502.01852>, for how it begins.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{ConvNormConfig, conv_norm, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let pointwise =
///     conv_norm(8, 4, 1, ConvNormConfig::default(), vb.pp("conv1"), vb.pp("bn1"))?;
/// let y = pointwise.forward_t(&Tensor::ones((2, 8, 5, 5), DType::F32, &Device::Cpu)?, true)?;
/// assert_eq!(y.dims(), [2, 4, 5, 5]);
/// let total = summary(&pointwise, &[2, 8, 5, 5])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (8 * 4 + 2 * 4, 2 * 25 * 8 * 4));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: NormActivation,
}

impl ConvNorm {
    /// The convolution.
    pub fn conv(&self) -> &Conv2d {
        &self.conv
    }

    /// The normalization, which applies the activation if it can.
    pub fn norm(&self) -> &Norm {
        self.norm.norm()
    }

    /// [`forward_t`](ModuleT::forward_t) with a residual of the shape of y.
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        self.norm.forward_residual_t(&self.plain().forward(x)?, residual, train)
    }

    /// The convolution without an activation.
    fn plain(&self) -> Conv2d {
        self.conv.clone().with_activation(Activation::Identity)
    }

    /// Counts convolution and norm under these names.
    pub(crate) fn count_as(
        &self,
        [conv, norm]: [&str; 2],
        x: &Flow,
        residual: Option<&Flow>,
        counter: &mut Counter,
    ) -> Result<Flow> {
        match (self.norm(), residual) {
            (Norm::None, None) => counter.layer(conv, &self.conv, x),
            (Norm::None, Some(residual)) => {
                let y = counter.layer(conv, &self.plain(), x)?;
                counter.sum(&y, Some(residual), self.norm.activation())
            }
            (_, residual) => {
                let y = counter.layer(conv, &self.conv, x)?;
                counter.layer(norm, &self.norm.with(residual), &y)
            }
        }
    }
}

impl ModuleT for ConvNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = self.conv.forward(x)?;
        // A convolution alone has applied the activation.
        if matches!(self.norm(), Norm::None) { Ok(y) } else { self.norm.forward_t(&y, train) }
    }
}

impl Counted for ConvNorm {
    fn kind(&self) -> &'static str {
        "ConvNorm"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.count_as(["0", "1"], x, None, counter)
    }
}
