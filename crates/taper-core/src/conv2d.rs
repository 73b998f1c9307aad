//! Convolution over images.

use candle_core::{Module, Shape, Tensor};
use candle_nn::VarBuilder;
use taper_kernels::{Axis, Convolution};

use crate::convolution::{
    ConvolutionOp, Direction, check_groups, check_input, check_size, check_tensors,
};
use crate::initializer::affine;
use crate::{Activation, Error, FanMode, Initializer, Nonlinearity, Padding2d, Result, Size2d};

/// How [`conv2d`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conv2dConfig {
    /// How far the kernel moves.
    pub stride: Size2d,
    /// The zeros around the image.
    pub padding: Padding2d,
    /// How far the taps of the kernel are apart.
    pub dilation: Size2d,
    /// Parts into which the channels are divided, each convolved by itself.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weight begins.
    pub weight_init: Initializer,
    /// How the bias begins; `None` is PyTorch's U(−b, b) with b = 1 / √fan_in.
    pub bias_init: Option<Initializer>,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self {
            stride: 1.into(),
            padding: 0.into(),
            dilation: 1.into(),
            groups: 1,
            bias: true,
            // Gain sqrt(1/3): U(-b, b) with b = 1 / sqrt(fan_in).
            weight_init: Initializer::KaimingUniform {
                mode: FanMode::FanIn,
                nonlinearity: Nonlinearity::LeakyRelu { negative_slope: 5f64.sqrt() },
            },
            bias_init: None,
            activation: Activation::Identity,
        }
    }
}

/// A convolution of `vb`'s parameters `weight` and, if there is one, `bias`; see [`Conv2d`].
///
/// `kernel_size` is a number or (height, width).
pub fn conv2d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: impl Into<Size2d>,
    config: Conv2dConfig,
    vb: VarBuilder,
) -> Result<Conv2d> {
    let kernel = kernel_size.into();
    check_size("conv2d", "kernel_size", kernel)?;
    let channels = [("in_channels", in_channels), ("out_channels", out_channels)];
    check_groups("conv2d", config.groups, &channels)?;
    check_config("conv2d", &config)?;
    let inputs = in_channels / config.groups;
    let shape = Shape::from((out_channels, inputs, kernel.height, kernel.width));
    let bias_init = config.bias.then_some(config.bias_init);
    let (weight, bias) = affine(shape, out_channels, config.weight_init, bias_init, &vb)?;
    Conv2d::new(weight, bias, config)
}

fn check_config(operation: &'static str, config: &Conv2dConfig) -> Result<()> {
    check_size(operation, "stride", config.stride)?;
    check_size(operation, "dilation", config.dilation)
}

/// A convolution over images.
///
/// # Equation
/// y\[n, o, i, j\] = f(b\[o\] + Σ W\[o, c, k, l\] · x\[n, c', i · s − p + k · d, j · s − p + l · d\]), the sum
/// over the channels c of o's group (c' is c counted from the group's first) and the taps (k, l), where s is the
/// stride, p the padding, d the dilation, of rows and columns each, x is 0 outside, and the activation f is the
/// identity by default.
///
/// # Shapes
/// x (batch, in_channels, height, width) to y (batch, out_channels, height', width') with
/// height' = ⌊(height + top + bottom − d · (k − 1) − 1) / s⌋ + 1, and width' likewise;
/// W (out_channels, in_channels / groups, k, l), b (out_channels).
///
/// # Parameters
/// Of [`Conv2dConfig`]; a number stands for rows and columns alike, a pair is (rows, columns):
/// - `stride`: 1; at least 1.
/// - `padding`: 0; also one number for each side.
/// - `dilation`: 1; at least 1.
/// - `groups`: 1; a divisor of in_channels and out_channels. With as many groups as channels it is a depthwise
///   convolution.
/// - `bias`: true.
/// - `weight_init`: U(−b, b) with b = 1 / √fan_in and fan_in = k · l · in_channels / groups, PyTorch's default.
/// - `bias_init`: the same distribution.
/// - `activation`: [`Activation::Identity`]. Given here rather than applied afterwards, it saves a pass over
///   memory in each direction.
///
/// # Numerics
/// On the CPU in f32 and f64 convolution, bias and activation are one operation, whose result does not depend
/// on the number of threads; half precision is computed in f32 and rounded at the end. Products are added up in
/// the dtype of the weight; the gradient of the weight in some tens of partial sums, that of the bias in f64.
///
/// # Deviations
/// 1. From `candle_nn::conv2d`: rows and columns have their own stride, padding and dilation, each side its own
///    padding, and PyTorch's initial values instead of Kaiming normal.
/// 2. From PyTorch: zeros are the only `padding_mode`; there are no strings for padding; an image without a
///    batch dimension and an empty batch are errors.
///
/// # Errors
/// [`conv2d`] and [`Conv2d::new`] refuse sizes of 0, groups that do not divide the channels, and a weight and
/// bias that do not fit; `forward` an x of other channels or dtype, an empty one, and an image that, padded, is
/// smaller than the dilated kernel.
///
/// # References
/// - Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning,
///   <https://arxiv.org/abs/1603.07285>.
/// - `torch.nn.Conv2d`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::{Conv2d, Conv2dConfig};
///
/// // The difference of neighbours in a row.
/// let weight = Tensor::new(&[[[[-1.0, 1.0]]]], &Device::Cpu)?;
/// let x = Tensor::new(&[[[[1.0, 4.0, 9.0], [2.0, 2.0, 0.0]]]], &Device::Cpu)?;
/// let y = Conv2d::new(weight, None, Conv2dConfig::default())?.forward(&x)?;
/// assert_eq!(y.dims(), [1, 1, 2, 2]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [3.0, 5.0, 0.0, -2.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: Conv2dConfig,
}

impl Conv2d {
    /// A layer of these tensors: `weight` (out_channels, in_channels / groups, height, width), `bias`
    /// (out_channels). Of `config`, what says how parameters are made is not looked at.
    pub fn new(weight: Tensor, bias: Option<Tensor>, config: Conv2dConfig) -> Result<Self> {
        let shape = "(out_channels, in_channels / groups, height, width)";
        check_tensors("Conv2d::new", &weight, shape, bias.as_ref(), |dims| dims[0])?;
        check_groups("Conv2d::new", config.groups, &[("out_channels", weight.dims()[0])])?;
        check_config("Conv2d::new", &config)?;
        Ok(Self { weight, bias, config })
    }

    /// The same layer with this activation of its output.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.config.activation = activation;
        self
    }

    /// The weight, (out_channels, in_channels / groups, height, width).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What the layer was made with.
    pub fn config(&self) -> &Conv2dConfig {
        &self.config
    }

    /// The operation for x.
    fn operation(&self, x: &Tensor) -> Result<ConvolutionOp> {
        let Conv2dConfig { stride, padding, dilation, groups, .. } = self.config;
        let (outputs, inputs, tall, wide) = self.weight.dims4()?;
        let inputs = inputs * groups;
        let [batch, _, height, width] =
            check_input("Conv2d::forward", x, inputs, self.weight.dtype())?;
        let axis = |input: usize, kernel: usize, stride: usize, before, after, dilation: usize| {
            let padded = input + before + after;
            let covered = dilation * (kernel - 1) + 1;
            if padded < covered {
                return Err(Error::argument(
                    "Conv2d::forward",
                    "x",
                    format!("an image of at least {covered} with its padding, as the kernel is"),
                    format!("{input}, which is {padded} with padding, in {:?}", x.dims()),
                ));
            }
            let output = (padded - covered) / stride + 1;
            Ok(Axis { input, output, kernel, stride, padding: before, dilation })
        };
        let height =
            axis(height, tall, stride.height, padding.top, padding.bottom, dilation.height)?;
        let width = axis(width, wide, stride.width, padding.left, padding.right, dilation.width)?;
        let shape = Convolution { batch, inputs, outputs, groups, height, width };
        Ok(ConvolutionOp { shape, direction: Direction::Forward })
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let operation = self.operation(x)?;
        operation.forward(x, &self.weight, self.bias.as_ref(), self.config.activation)
    }
}
