//! The fully connected layer.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;

use crate::{Error, FanMode, Initializer, Nonlinearity, Result};

/// How [`linear`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearConfig {
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weight begins.
    pub weight_init: Initializer,
    /// How the bias begins; `None` is PyTorch's U(−b, b) with b = 1 / √in_features.
    pub bias_init: Option<Initializer>,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            bias: true,
            // Gain sqrt(1/3): U(-b, b) with b = 1 / sqrt(in_features).
            weight_init: Initializer::KaimingUniform {
                mode: FanMode::FanIn,
                nonlinearity: Nonlinearity::LeakyRelu { negative_slope: 5f64.sqrt() },
            },
            bias_init: None,
        }
    }
}

/// A linear layer of `vb`'s parameters `weight` and, if there is one, `bias`; see [`Linear`].
pub fn linear(
    in_features: usize,
    out_features: usize,
    config: LinearConfig,
    vb: VarBuilder,
) -> Result<Linear> {
    for (argument, features) in [("in_features", in_features), ("out_features", out_features)] {
        if features == 0 {
            return Err(Error::argument("linear", argument, "at least 1", features));
        }
    }
    let weight = config.weight_init.parameter((out_features, in_features), "weight", &vb)?;
    if !config.bias {
        return Linear::new(weight, None);
    }
    let bound = 1.0 / (in_features as f64).sqrt();
    let bias_init = config.bias_init.unwrap_or(Initializer::Uniform { low: -bound, high: bound });
    let bias = bias_init.parameter(out_features, "bias", &vb)?;
    Linear::new(weight, Some(bias))
}

/// A fully connected layer.
///
/// # Equation
/// y = x Wᵀ + b
///
/// # Shapes
/// x (..., in_features) to y (..., out_features), with any number of leading dimensions, also none;
/// W (out_features, in_features), b (out_features).
///
/// # Parameters
/// Of [`LinearConfig`]:
/// - `bias`: true.
/// - `weight_init`: U(−b, b) with b = 1 / √in_features, PyTorch's default.
/// - `bias_init`: the same distribution.
///
/// # Numerics
/// One matrix product over all leading dimensions, in the dtype of the weight.
///
/// # Deviations
/// 1. From `candle_nn::linear`: PyTorch's initial values instead of Kaiming normal with gain √2.
///
/// # Errors
/// [`linear`] refuses 0 features, [`Linear::new`] a weight and bias that do not fit, and `forward` an
/// x whose last dimension is not in_features.
///
/// # References
/// - `torch.nn.Linear`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::Linear;
///
/// let weight = Tensor::new(&[[1.0, 2.0], [0.0, -1.0]], &Device::Cpu)?;
/// let bias = Tensor::new(&[0.5, 0.0], &Device::Cpu)?;
/// let x = Tensor::new(&[[3.0, 4.0]], &Device::Cpu)?;
/// let y = Linear::new(weight, Some(bias))?.forward(&x)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[11.5, -4.0]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of these tensors: `weight` (out_features, in_features), `bias` (out_features).
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let &[out_features, _] = weight.dims() else {
            let received = format!("{:?}", weight.dims());
            return Err(Error::argument(
                "Linear::new",
                "weight",
                "(out_features, in_features)",
                received,
            ));
        };
        if let Some(bias) = &bias
            && (bias.dims() != [out_features] || bias.dtype() != weight.dtype())
        {
            return Err(Error::argument(
                "Linear::new",
                "bias",
                format!("{:?} of shape [{out_features}], as the weight has it", weight.dtype()),
                format!("{:?} of shape {:?}", bias.dtype(), bias.dims()),
            ));
        }
        Ok(Self { weight, bias })
    }

    /// The weight, (out_features, in_features).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, (out_features).
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (out_features, in_features) = self.weight.dims2()?;
        let Some((&last, leading)) =
            x.dims().split_last().filter(|(last, _)| **last == in_features)
        else {
            let expected = format!("(..., {in_features})");
            let received = format!("{:?}", x.dims());
            return Err(Error::argument("Linear::forward", "x", expected, received).into());
        };
        // One product: a batched one is much slower in candle.
        let rows = leading.iter().product::<usize>();
        let product = x.reshape((rows, last))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        };
        y.reshape([leading, &[out_features]].concat())
    }
}
