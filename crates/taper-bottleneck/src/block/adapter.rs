//! A small bottleneck beside a layer that stays as it is.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Activation, Error, Initializer, Linear, LinearConfig, Result, add, linear};

use crate::{Counted, Counter, Flow};

/// How [`adapter`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdapterConfig {
    /// How many times narrower than its ends the middle is.
    pub reduction: usize,
    /// What follows the narrow layer.
    pub activation: Activation,
    /// Whether the last layer begins as 0, and the block as its input.
    pub zero_init: bool,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self { reduction: 4, activation: Activation::Gelu, zero_init: true }
    }
}

/// An adapter of `vb`'s parameters `down` and `up`; see [`Adapter`].
pub fn adapter(channels: usize, config: AdapterConfig, vb: VarBuilder) -> Result<Adapter> {
    let AdapterConfig { reduction, activation, zero_init } = config;
    if reduction == 0 || channels == 0 || !channels.is_multiple_of(reduction) {
        let expected = format!("at least 1 and a divisor of channels ({channels})");
        return Err(Error::argument("adapter", "reduction", expected, reduction));
    }
    let width = channels / reduction;
    let zero = Initializer::Constant(0.0);
    let last = match zero_init {
        true => LinearConfig { weight_init: zero, bias_init: Some(zero), ..Default::default() },
        false => LinearConfig::default(),
    };
    let first = LinearConfig { activation, ..Default::default() };
    Ok(Adapter {
        down: linear(channels, width, first, vb.pp("down"))?,
        up: linear(width, channels, last, vb.pp("up"))?,
    })
}

/// Two layers with few channels between them, and the input added: what is trained beside layers that stay as they are.
///
/// # Equation
/// y = x + W₂ f(W₁ x + b₁) + b₂, for each point
///
/// ```text
///        ┌──────────────────────────────┐
///     x ─┴─ down, c → w ── f ── up, w → c ─ + ── y
/// ```
///
/// with w = c / reduction it has 2 c w weights and w + c biases, and costs the weights as MACs at each point.
///
/// # Shapes
/// x (..., c) to y (..., c).
///
/// # Parameters
/// Of [`AdapterConfig`]:
/// - `reduction`: 4; a divisor of c.
/// - `activation` f: [`Activation::Gelu`].
/// - `zero_init`: true. The last layer begins as 0, so that a network into which adapters are put computes what it did.
///
/// # Numerics
/// Two products with bias (and an activation that can be told from its output) in the same pass, and a sum.
///
/// # Deviations
/// 1. The paper begins near the identity with small normal weights; here it is the identity, as `zero_init` says. The gradient
///    of the first layer is 0 in the first step only.
/// 2. The paper leaves the nonlinearity open; with BERT it was the GELU of the model.
///
/// # Errors
/// [`adapter`] refuses a `reduction` that does not divide c; `forward` an x of other channels or another dtype.
///
/// # References
/// - Houlsby et al. 2019, Parameter-efficient transfer learning for NLP, figure 2, <https://arxiv.org/abs/1902.00751>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_bottleneck::{AdapterConfig, adapter, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let block = adapter(8, AdapterConfig::default(), vb)?;
/// let x = Tensor::new(&[[1.0, -2.0, 3.0, 0.5, 0.0, 4.0, 1.5, -1.0]], &Device::Cpu)?;
/// assert_eq!(block.forward(&x)?.to_vec2::<f64>()?, x.to_vec2::<f64>()?);
/// assert_eq!(summary(&block, &[1, 8])?.total.cost.parameters, 2 * 8 * 2 + 2 + 8);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Adapter {
    down: Linear,
    up: Linear,
}

impl Module for Adapter {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = self.up.forward(&self.down.forward(x)?)?;
        Ok(add(&y, x, Activation::Identity)?)
    }
}

impl Counted for Adapter {
    fn kind(&self) -> &'static str {
        "Adapter"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let y = counter.layer("down", &self.down, x)?;
        let y = counter.layer("up", &self.up, &y)?;
        counter.sum(&y, Some(x), Activation::Identity)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        let down = Linear::new(Tensor::new(&[[1.0, -1.0]], &Device::Cpu)?, None)?;
        let up = Linear::new(
            Tensor::new(&[[2.0], [-1.0]], &Device::Cpu)?,
            Some(Tensor::new(&[0.5, 0.0], &Device::Cpu)?),
        )?;
        let block = Adapter { down: down.with_activation(Activation::Relu), up };
        // 3 - 1 = 2 and 1 - 3, which is cut off.
        let x = Tensor::new(&[[3.0, 1.0], [1.0, 3.0]], &Device::Cpu)?;
        assert_eq!(block.forward(&x)?.to_vec2::<f64>()?, [[7.5, -1.0], [1.5, 3.0]]);
        Ok(())
    }

    #[test]
    fn a_bad_reduction_is_named() {
        let config = AdapterConfig { reduction: 3, ..Default::default() };
        let error = adapter(8, config, crate::meta(DType::F32)).unwrap_err().to_string();
        assert_eq!(
            error,
            "adapter: reduction should be at least 1 and a divisor of channels (8), got 3"
        );
    }
}
