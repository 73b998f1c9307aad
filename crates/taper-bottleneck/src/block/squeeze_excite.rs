//! The gate of channels of SE networks.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{
    Activation, AdaptiveAvgPool2d, Conv2d, Conv2dConfig, Error, Result, conv2d, scale,
};

use crate::{Counted, Counter, Flow};

/// How [`squeeze_excite`] makes a gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SqueezeExciteConfig {
    /// How many times narrower the squeezed middle is.
    pub reduction: usize,
    /// What the middle's width is rounded to a multiple of; with 1 it is not rounded.
    pub multiple_of: usize,
    /// What follows the first layer.
    pub activation: Activation,
    /// What follows the second.
    pub gate: Activation,
}

impl Default for SqueezeExciteConfig {
    fn default() -> Self {
        Self {
            reduction: 16,
            multiple_of: 1,
            activation: Activation::Relu,
            gate: Activation::Sigmoid,
        }
    }
}

impl SqueezeExciteConfig {
    /// The channels of the middle.
    fn width(&self, channels: usize) -> Result<usize> {
        const NAME: &str = "squeeze_excite";
        let Self { reduction, multiple_of, .. } = *self;
        if multiple_of == 0 {
            return Err(Error::argument(NAME, "multiple_of", "at least 1", 0));
        }
        if reduction == 0 || (multiple_of == 1 && !channels.is_multiple_of(reduction)) {
            let expected = format!(
                "at least 1 and, unless multiple_of rounds, a divisor of the {channels} channels"
            );
            return Err(Error::argument(NAME, "reduction", expected, reduction));
        }
        let steps = (channels as f64 / reduction as f64 / multiple_of as f64 + 0.5).floor();
        Ok((steps as usize).max(1).saturating_mul(multiple_of))
    }
}

/// A gate of `vb`'s parameters `fc1` and `fc2`; see [`SqueezeExcite`].
pub fn squeeze_excite(
    channels: usize,
    config: SqueezeExciteConfig,
    vb: VarBuilder,
) -> Result<SqueezeExcite> {
    let width = config.width(channels)?;
    let part = |inputs, outputs, activation, name: &str| {
        let config = Conv2dConfig { activation, ..Default::default() };
        conv2d(inputs, outputs, 1, config, vb.pp(name))
    };
    Ok(SqueezeExcite {
        avgpool: AdaptiveAvgPool2d::new(1)?,
        fc1: part(channels, width, config.activation, "fc1")?,
        fc2: part(width, channels, config.gate, "fc2")?,
    })
}

/// Squeeze and excitation: each channel of a sample times a number from 0 to 1 that the means of all its channels decide.
///
/// # Equation
/// y = x ⊙ σ(W₂ f(W₁ m + b₁) + b₂), where m are the means of x over rows and columns:
///
/// ```text
///        ┌── mean ── 1x1, c → w ── f ── 1x1, w → c ── σ ──┐
///     x ─┴─────────────────────────────────────────────── × ── y
/// ```
///
/// with c channels and w = c / reduction it has 2 c·w weights and w + c biases, and costs 2 c·w MACs, whatever the size of the
/// image; its other 2 c·H·W FLOPs are the means and the products with the gate.
///
/// # Shapes
/// x (N, channels, H, W); y the same. The parameters are those of 1x1 convolutions, (w, c, 1, 1) and (c, w, 1, 1).
///
/// # Parameters
/// Of [`SqueezeExciteConfig`]:
/// - `reduction`: 16; a divisor of channels unless `multiple_of` rounds.
/// - `multiple_of`: 1; at least 1. With another number, w is the multiple of it that is nearest to channels / reduction, and at
///   least one of it: 8 gives timm's widths.
/// - `activation` f: [`Activation::Relu`].
/// - `gate` σ: [`Activation::Sigmoid`].
///
/// # Numerics
/// Those of its layers. The means of f16 and bf16 are rounded to x's dtype before the first layer.
///
/// # Deviations
/// 1. From `torchvision.ops.SqueezeExcitation`: a reduction rather than the number of squeezed channels.
/// 2. From timm's `SEModule`: w is exactly channels / 16 by default, as in the paper; timm rounds it to a multiple of 8, so that
///    64 channels have 8 and not 4. Neither a norm nor a maximum.
/// 3. Parameters begin as a single convolution's in PyTorch, also within blocks, whose other convolutions begin by He's rule.
///
/// # Errors
/// [`squeeze_excite`] refuses a `reduction` that does not divide channels where nothing is rounded, and sizes of 0; `forward` an
/// x of other channels.
///
/// # References
/// - Hu, Shen, Albanie, Sun and Wu 2017, Squeeze-and-excitation networks, equation 3, <https://arxiv.org/abs/1709.01507>.
/// - `torchvision.ops.SqueezeExcitation`,
///   <https://docs.pytorch.org/vision/stable/generated/torchvision.ops.SqueezeExcitation.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_bottleneck::{SqueezeExciteConfig, squeeze_excite, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let gate = squeeze_excite(64, SqueezeExciteConfig::default(), vb)?;
/// let x = Tensor::ones((2, 64, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(gate.forward(&x)?.dims(), [2, 64, 8, 8]);
///
/// let total = summary(&gate, &[1, 64, 8, 8])?.total;
/// let (c, w) = (64, 4);
/// assert_eq!((total.cost.parameters, total.cost.macs), (2 * c * w + w + c, 2 * c * w));
/// // Means and products; two a MAC; biases; the rectifiers and sigmoids.
/// assert_eq!(total.cost.flops, 2 * c * 64 + 4 * c * w + (w + c) + (w + c));
/// assert_eq!((total.depth, total.cost.nonlinearities), (2, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqueezeExcite {
    avgpool: AdaptiveAvgPool2d,
    fc1: Conv2d,
    fc2: Conv2d,
}

impl Module for SqueezeExcite {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let squeezed = self.fc1.forward(&self.avgpool.forward(x)?)?;
        Ok(scale(x, &self.fc2.forward(&squeezed)?)?)
    }
}

impl Counted for SqueezeExcite {
    fn kind(&self) -> &'static str {
        "SqueezeExcite"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let squeezed = counter.layer("avgpool", &self.avgpool, x)?;
        let squeezed = counter.layer("fc1", &self.fc1, &squeezed)?;
        let gate = counter.layer("fc2", &self.fc2, &squeezed)?;
        Ok(counter.scale(x, &gate))
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
        // Means 2 and -1, of which the sum is 1: gates σ(0) and σ(ln 3).
        let weight = |values: [f64; 2], outputs: usize, inputs: usize| {
            Tensor::from_vec(values.to_vec(), (outputs, inputs, 1, 1), &Device::Cpu)
        };
        let entries = HashMap::from([
            ("fc1.weight".to_owned(), weight([1.0, 1.0], 1, 2)?),
            ("fc1.bias".to_owned(), Tensor::new(&[0.0], &Device::Cpu)?),
            ("fc2.weight".to_owned(), weight([1.0, 3f64.ln()], 2, 1)?),
            ("fc2.bias".to_owned(), Tensor::new(&[-1.0, 0.0], &Device::Cpu)?),
        ]);
        let vb = VarBuilder::from_tensors(entries, DType::F64, &Device::Cpu);
        let config = SqueezeExciteConfig { reduction: 2, ..Default::default() };
        let x = Tensor::new(&[[[[4.0, 0.0]], [[-4.0, 2.0]]]], &Device::Cpu)?;
        let y = squeeze_excite(2, config, vb)?.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
        let expected = [2.0, 0.0, -3.0, 1.5];
        assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-14), "{y:?}");
        Ok(())
    }

    #[test]
    fn widths_are_exact_or_those_of_timm() -> Result<()> {
        let width = |channels, reduction, multiple_of| {
            SqueezeExciteConfig { reduction, multiple_of, ..Default::default() }.width(channels)
        };
        assert_eq!(width(64, 16, 1)?, 4);
        // timm.layers.make_divisible(channels / 16, 8, round_limit=0).
        for (channels, expected) in [(8, 8), (64, 8), (128, 8), (192, 16), (256, 16), (320, 24)] {
            assert_eq!(width(channels, 16, 8)?, expected, "{channels}");
        }
        Ok(())
    }

    #[test]
    fn reductions_that_do_not_divide_are_errors() {
        let error = |channels, reduction, multiple_of| {
            let config = SqueezeExciteConfig { reduction, multiple_of, ..Default::default() };
            squeeze_excite(channels, config, meta(DType::F32)).unwrap_err().to_string()
        };
        for reduction in [0, 3] {
            assert_eq!(
                error(8, reduction, 1),
                format!(
                    "squeeze_excite: reduction should be at least 1 and, unless multiple_of rounds, a divisor of the 8 \
                     channels, got {reduction}"
                )
            );
        }
        assert_eq!(error(8, 4, 0), "squeeze_excite: multiple_of should be at least 1, got 0");
        assert_eq!(error(0, 4, 8), "conv2d: in_channels should be at least 1, got 0");
    }
}
