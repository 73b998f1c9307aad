//! Transposed convolution over images.

use candle_core::{Module, Shape, Tensor};
use candle_nn::VarBuilder;
use taper_kernels::{Axis, Convolution};

use crate::convolution::{
    ConvolutionOp, Direction, check_groups, check_input, check_size, check_tensors,
};
use crate::initializer::affine;
use crate::{Activation, Error, FanMode, Initializer, Nonlinearity, Padding2d, Result, Size2d};

/// How [`conv_transpose2d`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvTranspose2dConfig {
    /// How far the kernel moves in the output.
    pub stride: Size2d,
    /// What is cut off the output.
    pub padding: Padding2d,
    /// Rows added below and columns added on the right of the output.
    pub output_padding: Size2d,
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

impl Default for ConvTranspose2dConfig {
    fn default() -> Self {
        Self {
            stride: 1.into(),
            padding: 0.into(),
            output_padding: 0.into(),
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

/// A transposed convolution of `vb`'s parameters `weight` and, if there is one, `bias`; see
/// [`ConvTranspose2d`].
///
/// `kernel_size` is a number or (height, width).
pub fn conv_transpose2d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: impl Into<Size2d>,
    config: ConvTranspose2dConfig,
    vb: VarBuilder,
) -> Result<ConvTranspose2d> {
    let kernel = kernel_size.into();
    check_size("conv_transpose2d", "kernel_size", kernel)?;
    let channels = [("in_channels", in_channels), ("out_channels", out_channels)];
    check_groups("conv_transpose2d", config.groups, &channels)?;
    check_config("conv_transpose2d", &config)?;
    let outputs = out_channels / config.groups;
    let shape = Shape::from((in_channels, outputs, kernel.height, kernel.width));
    let bias_init = config.bias.then_some(config.bias_init);
    let (weight, bias) = affine(shape, out_channels, config.weight_init, bias_init, &vb)?;
    ConvTranspose2d::new(weight, bias, config)
}

fn check_config(operation: &'static str, config: &ConvTranspose2dConfig) -> Result<()> {
    let ConvTranspose2dConfig { stride, dilation, output_padding: added, .. } = *config;
    check_size(operation, "stride", stride)?;
    check_size(operation, "dilation", dilation)?;
    let most = (stride.height.max(dilation.height), stride.width.max(dilation.width));
    if added.height >= most.0 || added.width >= most.1 {
        return Err(Error::argument(
            operation,
            "output_padding",
            format!("below the larger of stride and dilation, {} and {}", most.0, most.1),
            format!("{} and {}", added.height, added.width),
        ));
    }
    Ok(())
}

/// A transposed convolution over images: the adjoint of a convolution's linear map.
///
/// # Equation
/// y\[n, o, i · s − p + k · d, j · s − p + l · d\] = f(b\[o\] + Σ W\[c, o', k, l\] · x\[n, c, i, j\]), the sum
/// over the channels c of o's group (o' is o counted from the group's first) and all (i, j, k, l) that meet that
/// element, where s is the stride, p the padding, d the dilation, of rows and columns each, and the activation f
/// is the identity by default.
///
/// # Shapes
/// x (batch, in_channels, height, width) to y (batch, out_channels, height', width') with
/// height' = (height − 1) · s − top − bottom + d · (k − 1) + output_padding + 1, and width' likewise;
/// W (in_channels, out_channels / groups, k, l), b (out_channels).
///
/// # Parameters
/// Of [`ConvTranspose2dConfig`]; a number stands for rows and columns alike, a pair is (rows, columns):
/// - `stride`: 1; at least 1.
/// - `padding`: 0; also one number for each side.
/// - `output_padding`: 0; below the larger of stride and dilation. Tells which of the sizes that a strided
///   convolution maps to the same one is meant.
/// - `dilation`: 1; at least 1.
/// - `groups`: 1; a divisor of in_channels and out_channels.
/// - `bias`: true.
/// - `weight_init`: U(−b, b) with b = 1 / √fan_in and fan_in = k · l · out_channels / groups, PyTorch's default.
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
/// 1. From `candle_nn::conv_transpose2d`: there are groups, rows and columns have their own stride, padding and
///    dilation, each side its own padding, and PyTorch's initial values.
/// 2. From PyTorch: no `output_size` in `forward`; an image without a batch dimension and an empty batch are
///    errors.
///
/// # Errors
/// [`conv_transpose2d`] and [`ConvTranspose2d::new`] refuse sizes of 0, groups that do not divide the channels,
/// an `output_padding` that is too large, and a weight and bias that do not fit; `forward` an x of other channels
/// or dtype, an empty one, and an image of whose result the padding leaves nothing.
///
/// # References
/// - Zeiler, Krishnan, Taylor and Fergus 2010, Deconvolutional networks.
/// - Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning,
///   <https://arxiv.org/abs/1603.07285>.
/// - `torch.nn.ConvTranspose2d`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.ConvTranspose2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::{ConvTranspose2d, ConvTranspose2dConfig};
///
/// // Each element becomes a row of two.
/// let weight = Tensor::new(&[[[[1.0, 10.0]]]], &Device::Cpu)?;
/// let config = ConvTranspose2dConfig { stride: (1, 2).into(), ..Default::default() };
/// let x = Tensor::new(&[[[[1.0, 2.0], [3.0, 4.0]]]], &Device::Cpu)?;
/// let y = ConvTranspose2d::new(weight, None, config)?.forward(&x)?;
/// assert_eq!(y.dims(), [1, 1, 2, 4]);
/// assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: ConvTranspose2dConfig,
}

impl ConvTranspose2d {
    /// A layer of these tensors: `weight` (in_channels, out_channels / groups, height, width), `bias`
    /// (out_channels). Of `config`, what says how parameters are made is not looked at.
    pub fn new(
        weight: Tensor,
        bias: Option<Tensor>,
        config: ConvTranspose2dConfig,
    ) -> Result<Self> {
        let shape = "(in_channels, out_channels / groups, height, width)";
        let outputs = |dims: &[usize]| dims[1] * config.groups;
        check_tensors("ConvTranspose2d::new", &weight, shape, bias.as_ref(), outputs)?;
        let channels = [("in_channels", weight.dims()[0])];
        check_groups("ConvTranspose2d::new", config.groups, &channels)?;
        check_config("ConvTranspose2d::new", &config)?;
        Ok(Self { weight, bias, config })
    }

    /// The weight, (in_channels, out_channels / groups, height, width).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What the layer was made with.
    pub fn config(&self) -> &ConvTranspose2dConfig {
        &self.config
    }

    /// The operation for x.
    fn operation(&self, x: &Tensor) -> Result<ConvolutionOp> {
        let ConvTranspose2dConfig { stride, padding, output_padding, dilation, groups, .. } =
            self.config;
        let (outputs, inputs, tall, wide) = self.weight.dims4()?;
        let inputs = inputs * groups;
        let [batch, _, height, width] =
            check_input("ConvTranspose2d::forward", x, outputs, self.weight.dtype())?;
        let axis = |output: usize,
                    kernel: usize,
                    stride: usize,
                    before: usize,
                    after: usize,
                    added: usize,
                    dilation: usize| {
            let whole = (output - 1) * stride + dilation * (kernel - 1) + added + 1;
            let Some(input) = whole.checked_sub(before + after).filter(|input| *input > 0) else {
                return Err(Error::argument(
                    "ConvTranspose2d::forward",
                    "x",
                    format!(
                        "an image whose result is larger than the padding of {before} + {after}"
                    ),
                    format!("{output}, whose result is {whole}, in {:?}", x.dims()),
                ));
            };
            Ok(Axis { input, output, kernel, stride, padding: before, dilation })
        };
        let height = axis(
            height,
            tall,
            stride.height,
            padding.top,
            padding.bottom,
            output_padding.height,
            dilation.height,
        )?;
        let width = axis(
            width,
            wide,
            stride.width,
            padding.left,
            padding.right,
            output_padding.width,
            dilation.width,
        )?;
        let shape = Convolution { batch, inputs, outputs, groups, height, width };
        Ok(ConvolutionOp { shape, direction: Direction::Transposed })
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let operation = self.operation(x)?;
        operation.forward(x, &self.weight, self.bias.as_ref(), self.config.activation)
    }
}
