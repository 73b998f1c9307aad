//! The 1x1 convolution.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_kernels::{Axis, Convolution};

use crate::convolution::{ConvolutionOp, Direction};
use crate::initializer::affine;
use crate::{Activation, Error, Initializer, LinearConfig, Result};

/// How [`pointwise`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PointwiseConfig {
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weight begins.
    pub weight_init: Initializer,
    /// How the bias begins; `None` is PyTorch's U(−b, b) with b = 1 / √in_channels.
    pub bias_init: Option<Initializer>,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for PointwiseConfig {
    fn default() -> Self {
        let LinearConfig { bias, weight_init, bias_init, activation } = LinearConfig::default();
        Self { bias, weight_init, bias_init, activation }
    }
}

/// A pointwise convolution of `vb`'s parameters `weight` and, if there is one, `bias`; see [`Pointwise`].
pub fn pointwise(
    in_channels: usize,
    out_channels: usize,
    config: PointwiseConfig,
    vb: VarBuilder,
) -> Result<Pointwise> {
    for (name, channels) in [("in_channels", in_channels), ("out_channels", out_channels)] {
        if channels == 0 {
            return Err(Error::argument("pointwise", name, "at least 1", 0));
        }
    }
    let bias_init = config.bias.then_some(config.bias_init);
    let shape = (out_channels, in_channels);
    let (weight, bias) = affine(shape, out_channels, config.weight_init, bias_init, &vb)?;
    Pointwise::new(weight, bias, config.activation)
}

/// The 1x1 convolution: the same linear layer at every place.
///
/// # Equation
/// y\[n, o, p\] = f(b\[o\] + Σ_c W\[o, c\] · x\[n, c, p\]) at each place p
///
/// ```text
/// channels   in ──┐      at each place by itself;
/// places          ├─ W ─ out           no place sees another
/// ```
///
/// It has in_channels · out_channels weights, and costs as many MACs a place.
///
/// # Shapes
/// x (N, in_channels, places...) to y (N, out_channels, places...), with any number of axes of places, also none;
/// W (out_channels, in_channels), b (out_channels).
///
/// # Parameters
/// Of [`PointwiseConfig`]:
/// - `bias`: true.
/// - `weight_init`: U(−b, b) with b = 1 / √in_channels, PyTorch's default.
/// - `bias_init`: the same distribution.
/// - `activation` f: [`Activation::Identity`]. Given here rather than applied afterwards, it saves a pass over memory in each
///   direction, where it can be told from its output.
///
/// # Numerics
/// A product of matrices for each sample, W times (in_channels, places), as [`Conv2d`](crate::Conv2d) makes it: nothing is transposed. On
/// (N, n, c) it mixes the n points of a sample, as [`Linear`](crate::Linear) mixes the c channels.
///
/// # Deviations
/// 1. From a `Conv2d` of kernel size 1: the weight has two axes, as a linear layer's has, so a state dict's
///    (out_channels, in_channels, 1, 1) is reshaped first; no stride (take [`Conv2d`](crate::Conv2d) for the 1x1 of a shortcut), no groups.
///
/// # Errors
/// [`pointwise`] refuses 0 channels, [`Pointwise::new`] a weight and bias that do not fit, and `forward` an x without channels, of
/// other channels or another dtype, or without elements.
///
/// # References
/// - Lin, Chen and Yan 2013, Network in network, section 3.1, <https://arxiv.org/abs/1312.4400>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::{Activation, Pointwise};
///
/// // The sum and the difference of two channels, at three places.
/// let weight = Tensor::new(&[[1.0, 1.0], [1.0, -1.0]], &Device::Cpu)?;
/// let layer = Pointwise::new(weight, None, Activation::Identity)?;
/// let x = Tensor::new(&[[[1.0, 2.0, 3.0], [10.0, 0.0, 5.0]]], &Device::Cpu)?;
/// assert_eq!(layer.forward(&x)?.to_vec3::<f64>()?, [[[11.0, 2.0, 8.0], [-9.0, 2.0, -2.0]]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Pointwise {
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
}

impl Pointwise {
    /// A layer of these tensors: `weight` (out_channels, in_channels), `bias` (out_channels).
    pub fn new(weight: Tensor, bias: Option<Tensor>, activation: Activation) -> Result<Self> {
        let &[outputs, inputs] = weight.dims() else {
            let received = format!("{:?}", weight.dims());
            let expected = "(out_channels, in_channels)";
            return Err(Error::argument("Pointwise::new", "weight", expected, received));
        };
        if outputs == 0 || inputs == 0 {
            let received = format!("{:?}", weight.dims());
            return Err(Error::argument("Pointwise::new", "weight", "no axis of 0", received));
        }
        if let Some(bias) = &bias
            && (bias.dims() != [outputs] || bias.dtype() != weight.dtype())
        {
            return Err(Error::argument(
                "Pointwise::new",
                "bias",
                format!("{:?} of shape [{outputs}], as the weight has it", weight.dtype()),
                format!("{:?} of shape {:?}", bias.dtype(), bias.dims()),
            ));
        }
        Ok(Self { weight, bias, activation })
    }

    /// The weight, (out_channels, in_channels).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// What is applied to the output.
    pub fn activation(&self) -> Activation {
        self.activation
    }
}

impl Module for Pointwise {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let dtype = self.weight.dtype();
        let (samples, places) = match x.dims() {
            [samples, channels, places @ ..]
                if *channels == inputs && x.elem_count() > 0 && x.dtype() == dtype =>
            {
                (*samples, places)
            }
            dims => {
                let expected =
                    format!("{dtype:?} of shape (batch, {inputs}, places...), none of them 0");
                let received = format!("{:?} of shape {dims:?}", x.dtype());
                let operation = "Pointwise::forward";
                return Err(Error::argument(operation, "x", expected, received).into());
            }
        };
        // Images of one column.
        let number = places.iter().product();
        let images = x.reshape((samples, inputs, number, 1))?;
        let axis = |size| Axis {
            input: size,
            output: size,
            kernel: 1,
            stride: 1,
            padding: 0,
            dilation: 1,
        };
        let (height, width) = (axis(number), axis(1));
        let shape = Convolution { batch: samples, inputs, outputs, groups: 1, height, width };
        let operation = ConvolutionOp { shape, direction: Direction::Forward };
        let y = operation.forward(&images, &self.weight, self.bias.as_ref(), self.activation)?;
        y.reshape([&[samples, outputs], places].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;
    use crate::{Conv2d, Conv2dConfig, Linear, Parameters, stream};
    use candle_core::{DType, Device};

    #[test]
    fn it_is_a_1x1_convolution_and_a_linear_layer_at_each_place() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        let layer = pointwise(5, 7, PointwiseConfig::default(), vb)?;
        let shape = (3, 5, 4, 6);
        let x = stream(1, "x").normal(0.0, 1.0, shape, DType::F64, &Device::Cpu)?;
        let y = layer.forward(&x)?;
        let kernel = layer.weight().reshape((7, 5, 1, 1))?;
        let conv = Conv2d::new(kernel, layer.bias().cloned(), Conv2dConfig::default())?;
        assert_close(&y, &conv.forward(&x)?, 1e-14);
        let linear = Linear::new(layer.weight().clone(), layer.bias().cloned())?;
        let points = x.permute((0, 2, 3, 1))?;
        assert_close(&y, &linear.forward(&points)?.permute((0, 3, 1, 2))?, 1e-13);
        Ok(())
    }

    #[test]
    fn no_place_sees_another() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        let layer = pointwise(5, 7, PointwiseConfig::default(), vb)?;
        let x = stream(1, "x").normal(0.0, 1.0, (3, 5, 4), DType::F64, &Device::Cpu)?;
        let order = Tensor::new(&[2u32, 0, 3, 1], &Device::Cpu)?;
        let permuted = layer.forward(&x.index_select(&order, 2)?)?;
        assert_close(&permuted, &layer.forward(&x)?.index_select(&order, 2)?, 1e-14);
        Ok(())
    }

    #[test]
    fn bad_input_is_named() -> Result<()> {
        let layer = Pointwise::new(
            Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?,
            None,
            Activation::Identity,
        )?;
        let message = |shape: &[usize]| {
            let x = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            layer.forward(&x).unwrap_err().to_string().lines().next().unwrap().to_owned()
        };
        let expected = "Pointwise::forward: x should be F32 of shape (batch, 3, places...), none of them 0, got";
        for shape in [vec![4, 2, 5], vec![3], vec![4, 3, 0]] {
            assert_eq!(message(&shape), format!("{expected} F32 of shape {shape:?}"));
        }
        Ok(())
    }
}
