//! SqueezeNet's fire module.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{
    Activation, Conv2d, Conv2dConfig, FanMode, Initializer, Nonlinearity, Result, concat, conv2d,
};

use crate::{Counted, Counter, Flow};

/// How [`fire`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FireConfig {
    /// What follows each convolution.
    pub activation: Activation,
}

impl Default for FireConfig {
    fn default() -> Self {
        Self { activation: Activation::Relu }
    }
}

/// A fire module of `vb`'s parameters `squeeze`, `expand1x1` and `expand3x3`; see [`Fire`].
pub fn fire(
    in_channels: usize,
    squeeze: usize,
    expand1x1: usize,
    expand3x3: usize,
    config: FireConfig,
    vb: VarBuilder,
) -> Result<Fire> {
    let part = |inputs, outputs, kernel: usize, name: &str| {
        let config = Conv2dConfig {
            padding: (kernel / 2).into(),
            weight_init: Initializer::KaimingUniform {
                mode: FanMode::FanIn,
                nonlinearity: Nonlinearity::Relu,
            },
            bias_init: Some(Initializer::Constant(0.0)),
            activation: config.activation,
            ..Default::default()
        };
        conv2d(inputs, outputs, kernel, config, vb.pp(name))
    };
    Ok(Fire {
        squeeze: part(in_channels, squeeze, 1, "squeeze")?,
        expand1x1: part(squeeze, expand1x1, 1, "expand1x1")?,
        expand3x3: part(squeeze, expand3x3, 3, "expand3x3")?,
    })
}

/// SqueezeNet's fire module: a 1x1 convolution to few channels, then a 1x1 and a 3x3 side by side.
///
/// # Equation
/// s = f(Wₛ ⋆ x + bₛ), y = (f(W₁ ⋆ s + b₁), f(W₃ ⋆ s + b₃)) one behind the other along the channels:
///
/// ```text
///                             ┌── 1x1, s → p ── f ──┐
///     x ── 1x1, c → s ── f ───┤                     ├── y
///                             └── 3x3, s → q ── f ──┘
/// ```
///
/// with c = in_channels and the widths s, p and q of squeeze, expand1x1 and expand3x3 it has s (c + p + 9 q) weights and
/// s + p + q biases, and costs the weights times H · W MACs.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, expand1x1 + expand3x3, H, W).
///
/// # Parameters
/// - `squeeze`, `expand1x1`, `expand3x3`: channels; at least 1 each.
///
/// Of [`FireConfig`]:
/// - `activation` f: [`Activation::Relu`].
///
/// # Numerics
/// Those of its layers. On the CPU a convolution, its bias and its rectifier are one operation.
///
/// # Deviations
/// 1. Like the paper and torchvision, and unlike the other blocks here, it has biases and no norm.
/// 2. Weights begin as U(−b, b) with b = √(6 / fan_in), biases as 0, as torchvision's network, not as a single convolution
///    does in PyTorch; the paper does not say.
/// 3. The paper's bypass around some of its modules is the network's affair.
///
/// # Errors
/// [`fire`] refuses 0 channels; `forward` an x of other channels.
///
/// # References
/// - Iandola et al. 2016, SqueezeNet, figure 1, <https://arxiv.org/abs/1602.07360>.
/// - `torchvision.models.squeezenet.Fire`, <https://docs.pytorch.org/vision/stable/models/squeezenet.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_bottleneck::{FireConfig, fire, summary};
/// use taper_core::{Parameters, stream};
///
/// // The first one of SqueezeNet 1.1.
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = fire(64, 16, 64, 64, FireConfig::default(), vb)?;
/// let x = Tensor::ones((2, 64, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&x)?.dims(), [2, 128, 8, 8]);
///
/// let total = summary(&block, &[1, 64, 8, 8])?.total;
/// let (c, s, p, q) = (64, 16, 64, 64);
/// assert_eq!(total.cost.parameters, s * (c + p + 9 * q) + s + p + q);
/// assert_eq!(total.cost.macs, 64 * s * (c + p + 9 * q));
/// assert_eq!((total.depth, total.cost.nonlinearities), (2, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

impl Module for Fire {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let squeezed = self.squeeze.forward(x)?;
        let parts = [self.expand1x1.forward(&squeezed)?, self.expand3x3.forward(&squeezed)?];
        Ok(concat(&[&parts[0], &parts[1]], 1)?)
    }
}

impl Counted for Fire {
    fn kind(&self) -> &'static str {
        "Fire"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let squeezed = counter.layer("squeeze", &self.squeeze, x)?;
        let parts = [
            counter.layer("expand1x1", &self.expand1x1, &squeezed)?,
            counter.layer("expand3x3", &self.expand3x3, &squeezed)?,
        ];
        counter.concat(&parts)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device};

    use super::*;
    use crate::meta;

    #[test]
    fn hand_numbers() -> Result<()> {
        // The difference of two channels; its half, less 1; the sum of its neighbours in the row.
        let sum = vec![0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0];
        let tensor = |values: Vec<f64>, inputs: usize, kernel: usize| {
            Tensor::from_vec(values, (1, inputs, kernel, kernel), &Device::Cpu)
        };
        let bias = |value: f64| Tensor::new(&[value], &Device::Cpu);
        let entries = HashMap::from([
            ("squeeze.weight".to_owned(), tensor(vec![1.0, -1.0], 2, 1)?),
            ("squeeze.bias".to_owned(), bias(0.0)?),
            ("expand1x1.weight".to_owned(), tensor(vec![0.5], 1, 1)?),
            ("expand1x1.bias".to_owned(), bias(-1.0)?),
            ("expand3x3.weight".to_owned(), tensor(sum, 1, 3)?),
            ("expand3x3.bias".to_owned(), bias(0.25)?),
        ]);
        let vb = VarBuilder::from_tensors(entries, DType::F64, &Device::Cpu);
        let block = fire(2, 1, 1, 1, FireConfig::default(), vb)?;
        // Squeezed: 4, 0, 3.
        let x = Tensor::new(&[[[[5.0, 1.0, 4.0]], [[1.0, 2.0, 1.0]]]], &Device::Cpu)?;
        let y = block.forward(&x)?;
        assert_eq!(y.dims(), [1, 2, 1, 3]);
        let y = y.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(y, [1.0, 0.0, 0.5, 0.25, 7.25, 0.25]);
        Ok(())
    }

    #[test]
    fn widths_of_0_are_errors() {
        let error = |widths: [usize; 4]| {
            let [inputs, squeeze, one, three] = widths;
            let config = FireConfig::default();
            fire(inputs, squeeze, one, three, config, meta(DType::F32)).unwrap_err().to_string()
        };
        assert_eq!(error([0, 1, 1, 1]), "conv2d: in_channels should be at least 1, got 0");
        for widths in [[1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]] {
            assert_eq!(error(widths), "conv2d: out_channels should be at least 1, got 0");
        }
    }
}
