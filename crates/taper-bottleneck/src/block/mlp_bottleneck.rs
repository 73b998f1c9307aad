//! The bottleneck of a multilayer perceptron.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Activation, Error, Initializer, Linear, LinearConfig, Result, add, linear};

use crate::{Counted, Counter, Flow};

/// How [`mlp_bottleneck`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlpBottleneckConfig {
    /// How many times narrower than its ends the middle is.
    pub reduction: usize,
    /// What follows each of the three layers.
    pub activations: [Activation; 3],
    /// Whether the input is added.
    pub residual: bool,
    /// Whether the layers have biases.
    pub bias: bool,
    /// Whether the last layer begins as 0, and the block as its input.
    pub zero_init: bool,
}

impl Default for MlpBottleneckConfig {
    fn default() -> Self {
        Self {
            reduction: 4,
            activations: [Activation::Relu; 3],
            residual: true,
            bias: true,
            zero_init: false,
        }
    }
}

/// A bottleneck of `vb`'s parameters `fc1`, `fc2` and `fc3`; see [`MlpBottleneck`].
pub fn mlp_bottleneck(
    channels: usize,
    config: MlpBottleneckConfig,
    vb: VarBuilder,
) -> Result<MlpBottleneck> {
    let MlpBottleneckConfig { reduction, activations, residual, bias, zero_init } = config;
    if reduction == 0 || channels == 0 || !channels.is_multiple_of(reduction) {
        let expected = format!("at least 1 and a divisor of channels ({channels})");
        return Err(Error::argument("mlp_bottleneck", "reduction", expected, reduction));
    }
    let [first, second, last] = activations;
    if zero_init && last == Activation::Relu {
        return Err(Error::argument(
            "mlp_bottleneck",
            "zero_init",
            "false, or a last activation with a slope at 0 (the identity): behind a rectifier a layer of zeros has no gradient",
            "true",
        ));
    }
    let width = channels / reduction;
    let part = |activation| LinearConfig { bias, activation, ..Default::default() };
    let zero = Initializer::Constant(0.0);
    let of_last = match zero_init {
        true => LinearConfig { weight_init: zero, bias_init: Some(zero), ..part(last) },
        false => part(last),
    };
    Ok(MlpBottleneck {
        fc1: linear(channels, width, part(first), vb.pp("fc1"))?,
        fc2: linear(width, width, part(second), vb.pp("fc2"))?,
        fc3: linear(width, channels, of_last, vb.pp("fc3"))?,
        residual,
    })
}

/// Three layers with few channels in the middle, at each point by itself, and the input added.
///
/// # Equation
/// y = x + f₃(W₃ f₂(W₂ f₁(W₁ x + b₁) + b₂) + b₃), for each of the n points
///
/// ```text
///        ┌───────────────────────────────────────────────────────────┐
///     x ─┴─ c → w ── f₁ ── w → w ── f₂ ── w → c ── f₃ ─────────────── + ── y
/// ```
///
/// with w = c / reduction it has 2 c w + w² weights and 2 w + c biases, and costs the weights as MACs at each point. With w = c / 4
/// that is 9/16 c²: 16/3 times fewer than three layers c → c, and 16/9 times fewer than one.
///
/// # Shapes
/// x (batch, n, c), or any other number of axes before the channels; y the same. A layer c → w at each point is a 1x1
/// convolution ([`Pointwise`](crate::Pointwise)) with the channels as the last axis.
///
/// # Parameters
/// Of [`MlpBottleneckConfig`]:
/// - `reduction`: 4; a divisor of c.
/// - `activations` f₁, f₂, f₃: [`Activation::Relu`] each; [`Activation::Identity`] takes one out.
/// - `residual`: true. With false, y = f₃(...).
/// - `bias`: true.
/// - `zero_init`: false. With true, the last layer begins as 0, so that y begins as x; f₃ must then have a slope at 0.
///
/// # Numerics
/// Three products with bias and activation in the same pass, and a sum, in the dtype of the weights.
///
/// # Deviations
/// 1. With a rectifier as f₃ the block can only add to its input. It is so in the notes that this crate puts to the
///    test; the blocks of ResNet have the last activation behind the sum.
///
/// # Errors
/// [`mlp_bottleneck`] refuses a `reduction` that does not divide c, and `zero_init` before a rectifier; `forward` an x of other
/// channels or another dtype.
///
/// # References
/// - He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, figure 5, <https://arxiv.org/abs/1512.03385>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::DType;
/// use taper_bottleneck::{MlpBottleneckConfig, meta, mlp_bottleneck, summary};
///
/// let block = mlp_bottleneck(256, MlpBottleneckConfig::default(), meta(DType::F32))?;
/// let total = summary(&block, &[1, 10, 256])?.total;
/// assert_eq!(total.cost.parameters, 37_248);
/// assert_eq!(total.cost.macs, 10 * 9 * 256 * 256 / 16);
/// // Three full layers have 197,376.
/// let full = MlpBottleneckConfig { reduction: 1, ..Default::default() };
/// let full = summary(&mlp_bottleneck(256, full, meta(DType::F32))?, &[1, 10, 256])?;
/// assert_eq!(full.total.cost.parameters, 197_376);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MlpBottleneck {
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    residual: bool,
}

impl Module for MlpBottleneck {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.fc3.forward(&self.fc2.forward(&self.fc1.forward(x)?)?)?;
        if self.residual { Ok(add(&y, x, Activation::Identity)?) } else { Ok(y) }
    }
}

impl Counted for MlpBottleneck {
    fn kind(&self) -> &'static str {
        "MlpBottleneck"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let y = counter.layer("fc1", &self.fc1, x)?;
        let y = counter.layer("fc2", &self.fc2, &y)?;
        let y = counter.layer("fc3", &self.fc3, &y)?;
        counter.sum(&y, self.residual.then_some(x), Activation::Identity)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::testing::assert_close;
    use taper_core::{Parameters, stream};

    use super::*;
    use crate::Pointwise;

    fn made(config: MlpBottleneckConfig) -> Result<(MlpBottleneck, Tensor)> {
        let parameters = Parameters::new(&stream(0, "init"));
        let block = mlp_bottleneck(8, config, parameters.builder(DType::F64, &Device::Cpu))?;
        let x = stream(1, "x").normal(0.0, 1.0, (3, 5, 8), DType::F64, &Device::Cpu)?;
        Ok((block, x))
    }

    #[test]
    fn hand_numbers() -> Result<()> {
        let layer = |weight: [[f64; 2]; 2], bias: [f64; 2]| {
            let weight = Tensor::new(&weight, &Device::Cpu)?;
            let linear = Linear::new(weight, Some(Tensor::new(&bias, &Device::Cpu)?))?;
            Ok::<_, Error>(linear.with_activation(Activation::Relu))
        };
        let block = MlpBottleneck {
            fc1: layer([[1.0, 2.0], [0.0, 1.0]], [0.0, -3.0])?,
            fc2: layer([[1.0, 1.0], [-1.0, 0.0]], [0.5, 6.0])?,
            fc3: layer([[2.0, 0.0], [0.0, -1.0]], [1.0, 0.5])?,
            residual: true,
        };
        // (1, 2): 5, 0; 5.5, 1; 12, 0.
        let x = Tensor::new(&[[[1.0, 2.0]]], &Device::Cpu)?;
        assert_eq!(block.forward(&x)?.flatten_all()?.to_vec1::<f64>()?, [13.0, 2.0]);
        Ok(())
    }

    #[test]
    fn a_last_layer_of_zeros_leaves_the_input() -> Result<()> {
        let activations = [Activation::Relu, Activation::Relu, Activation::Identity];
        let (block, x) =
            made(MlpBottleneckConfig { zero_init: true, activations, ..Default::default() })?;
        assert_close(&block.forward(&x)?, &x, 0.0);
        Ok(())
    }

    #[test]
    fn its_layers_are_1x1_convolutions_and_no_point_sees_another() -> Result<()> {
        let (block, x) = made(MlpBottleneckConfig::default())?;
        let y = block.forward(&x)?;
        let mut channels = x.transpose(1, 2)?;
        for layer in [&block.fc1, &block.fc2, &block.fc3] {
            let (weight, bias) = (layer.weight().clone(), layer.bias().cloned());
            channels = Pointwise::new(weight, bias, Activation::Relu)?.forward(&channels)?;
        }
        assert_close(&y, &(channels.transpose(1, 2)? + &x)?, 1e-13);
        let order = Tensor::new(&[3u32, 1, 4, 0, 2], &Device::Cpu)?;
        let permuted = block.forward(&x.index_select(&order, 1)?)?;
        assert_close(&permuted, &y.index_select(&order, 1)?, 1e-14);
        Ok(())
    }

    #[test]
    fn bad_configurations_are_named() {
        let message = |channels, config| {
            mlp_bottleneck(channels, config, crate::meta(DType::F32)).unwrap_err().to_string()
        };
        let default = MlpBottleneckConfig::default();
        assert_eq!(
            message(10, default),
            "mlp_bottleneck: reduction should be at least 1 and a divisor of channels (10), got 4"
        );
        assert!(
            message(8, MlpBottleneckConfig { zero_init: true, ..default }).contains("zero_init")
        );
    }
}
