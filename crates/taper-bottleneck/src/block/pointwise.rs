//! The 1x1 convolution.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Activation, Conv2d, Conv2dConfig, Error, Initializer, LinearConfig, Result};

use crate::{Counted, Counter, Flow};

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
    let weight = config.weight_init.parameter((out_channels, in_channels), "weight", &vb)?;
    let bound = 1.0 / (in_channels as f64).sqrt();
    let usual = Initializer::Uniform { low: -bound, high: bound };
    let bias_init = config.bias.then_some(config.bias_init.unwrap_or(usual));
    let bias = bias_init.map(|init| init.parameter(out_channels, "bias", &vb)).transpose()?;
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
/// A product of matrices for each sample, W times (in_channels, places), as [`Conv2d`] makes it: nothing is transposed. On
/// (N, n, c) it mixes the n points of a sample, as [`Linear`](taper_core::Linear) mixes the c channels.
///
/// # Deviations
/// 1. From a `Conv2d` of kernel size 1: the weight has two axes, as a linear layer's has, so a state dict's
///    (out_channels, in_channels, 1, 1) is reshaped first; no stride (take [`Conv2d`] for the 1x1 of a shortcut), no groups.
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
/// use taper_bottleneck::Pointwise;
/// use taper_core::Activation;
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
    /// As it was given, (out_channels, in_channels).
    weight: Tensor,
    conv: Conv2d,
}

impl Pointwise {
    /// A layer of these tensors: `weight` (out_channels, in_channels), `bias` (out_channels).
    pub fn new(weight: Tensor, bias: Option<Tensor>, activation: Activation) -> Result<Self> {
        let &[outputs, inputs] = weight.dims() else {
            let received = format!("{:?}", weight.dims());
            let expected = "(out_channels, in_channels)";
            return Err(Error::argument("Pointwise::new", "weight", expected, received));
        };
        let kernel = weight.reshape((outputs, inputs, 1, 1))?;
        let config = Conv2dConfig { bias: bias.is_some(), activation, ..Default::default() };
        Ok(Self { weight, conv: Conv2d::new(kernel, bias, config)? })
    }

    /// The weight, (out_channels, in_channels).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, (out_channels).
    pub fn bias(&self) -> Option<&Tensor> {
        self.conv.bias()
    }

    /// What is applied to the output.
    pub fn activation(&self) -> Activation {
        self.conv.config().activation
    }
}

impl Module for Pointwise {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let &[samples, channels, ref places @ ..] = x.dims() else {
            let received = format!("{:?}", x.dims());
            let expected = format!("(batch, {inputs}, places...)");
            return Err(Error::argument("Pointwise::forward", "x", expected, received).into());
        };
        if channels != inputs {
            let expected = format!("{inputs} channels in axis 1");
            let received = format!("shape {:?}", x.dims());
            return Err(Error::argument("Pointwise::forward", "x", expected, received).into());
        }
        let images = x.reshape((samples, channels, places.iter().product::<usize>(), 1))?;
        let shape = [&[samples, outputs], places].concat();
        self.conv.forward(&images)?.reshape(shape)
    }
}

impl Counted for Pointwise {
    fn kind(&self) -> &'static str {
        "Pointwise"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let &[samples, channels, ref places @ ..] = x.dims() else {
            let received = format!("{:?}", x.dims());
            return Err(Error::argument(
                "Pointwise",
                "x",
                "(batch, channels, places...)",
                received,
            ));
        };
        let images = x.reshaped(&[samples, channels, places.iter().product(), 1]);
        let y = self.conv.count(&images, counter)?;
        Ok(y.reshaped(&[&y.dims()[..2], places].concat()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::testing::assert_close;
    use taper_core::{Linear, Parameters, stream};

    use super::*;

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
            layer.forward(&x).unwrap_err().to_string()
        };
        assert!(
            message(&[4, 2, 5]).contains("x should be 3 channels in axis 1, got shape [4, 2, 5]")
        );
        assert!(message(&[3]).contains("x should be (batch, 3, places...), got [3]"));
        Ok(())
    }
}
