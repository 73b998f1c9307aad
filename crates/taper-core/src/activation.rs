//! Elementwise nonlinearities with PyTorch's values and gradients.

use candle_core::{Module, Result, Shape, Tensor};
use serde::{Deserialize, Serialize};
use taper_kernels::buffer;

use crate::Error;
use crate::op::{self, Destination, Operation, Scalar, Values, Work};

/// An elementwise nonlinearity.
///
/// # Equation
/// - `Identity`: x
/// - `Relu`: max(x, 0)
/// - `Relu6`: min(max(x, 0), 6)
/// - `LeakyRelu { negative_slope: a }`: x where x > 0, else a · x
/// - `Sigmoid`: σ(x) = 1 / (1 + exp(−x))
/// - `Tanh`: tanh(x)
/// - `Gelu`: x · Φ(x) = x · (1 + erf(x / √2)) / 2
/// - `Silu`: x · σ(x)
/// - `Softplus`: log(1 + exp(x))
///
/// # Shapes
/// Any; y as x.
///
/// # Parameters
/// - `negative_slope`: the slope of `LeakyRelu` below 0 (PyTorch's default is 0.01).
///
/// # Numerics
/// Values and gradients are finite at ±1e4 in f32 and f64. `Softplus` is max(x, 0) + log(1 + exp(−|x|)),
/// right to one rounding of max(1, |y|): below about −16 (f32) or −36 (f64) its value is 0, while
/// its gradient keeps its relative precision.
///
/// # Deviations
/// 1. From candle: the derivative of `Relu` at 0 is 0, and of `Relu6` at 0 and 6, as in PyTorch; that of `Gelu` is not built from
///    constants of six digits.
/// 2. From PyTorch: `Softplus` has no threshold above which it becomes the identity (at most 2e-9
///    apart).
///
/// # Errors
/// An x that is not floating-point.
///
/// # References
/// - Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10 (ReLU6).
/// - Hendrycks and Gimpel 2016, Gaussian error linear units, <https://arxiv.org/abs/1606.08415>.
/// - Ramachandran, Zoph and Le 2017, Searching for activation functions (SiLU),
///   <https://arxiv.org/abs/1710.05941>.
///
/// # Example
/// ```
/// # fn main() -> candle_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::Activation;
///
/// let x = Tensor::new(&[-1.0, 0.0, 3.0], &Device::Cpu)?;
/// assert_eq!(Activation::Relu.forward(&x)?.to_vec1::<f64>()?, [0.0, 0.0, 3.0]);
/// let y = Activation::Sigmoid.forward(&x)?.to_vec1::<f64>()?;
/// assert!((y[0] - 0.268_941).abs() < 1e-6 && y[1] == 0.5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Activation {
    /// x.
    Identity,
    /// max(x, 0).
    Relu,
    /// max(x, 0), but at most 6.
    Relu6,
    /// x above 0, a little of it below.
    LeakyRelu {
        /// The slope below 0.
        negative_slope: f64,
    },
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x times the normal distribution function.
    Gelu,
    /// x times the logistic function.
    Silu,
    /// A smooth max(x, 0).
    Softplus,
}

impl Module for Activation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !x.dtype().is_float() {
            let received = format!("{:?}", x.dtype());
            return Err(
                Error::argument("Activation::forward", "x", "floating-point", received).into()
            );
        }
        match self {
            Self::Identity => Ok(x.clone()),
            _ if x.device().is_cpu() => {
                let y = op::apply(FusedActivation(self.kernel()), &[&op::widen(x)?], x.shape())?;
                y.to_dtype(x.dtype())
            }
            _ => self.composed(x),
        }
    }
}

impl Activation {
    /// The same choice for the kernels.
    pub fn kernel(self) -> taper_kernels::Activation {
        match self {
            Self::Identity => taper_kernels::Activation::Identity,
            Self::Relu => taper_kernels::Activation::Relu,
            Self::Relu6 => taper_kernels::Activation::Relu6,
            Self::LeakyRelu { negative_slope } => {
                taper_kernels::Activation::LeakyRelu(negative_slope)
            }
            Self::Sigmoid => taper_kernels::Activation::Sigmoid,
            Self::Tanh => taper_kernels::Activation::Tanh,
            Self::Gelu => taper_kernels::Activation::Gelu,
            Self::Silu => taper_kernels::Activation::Silu,
            Self::Softplus => taper_kernels::Activation::Softplus,
        }
    }

    /// What an operation can apply within itself, and what then remains to be applied to its output: an activation that
    /// cannot be told from its output is an operation of its own.
    pub(crate) fn fused(self) -> (taper_kernels::Activation, Self) {
        let kernel = self.kernel();
        match kernel.invertible() {
            true => (kernel, Self::Identity),
            false => (taper_kernels::Activation::Identity, self),
        }
    }

    /// The twin of the fused operation in candle's operations.
    pub(crate) fn composed(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            // A choice rather than a product, which would be NaN at infinity; NaN goes through.
            Self::Relu => x.le(0.0)?.where_cond(&x.zeros_like()?, x),
            Self::Relu6 => {
                let x = Self::Relu.composed(x)?;
                x.ge(6.0)?.where_cond(&(x.ones_like()? * 6.0)?, &x)
            }
            Self::LeakyRelu { negative_slope } => x.gt(0.0)?.where_cond(x, &(x * negative_slope)?),
            Self::Sigmoid => candle_nn::ops::sigmoid(x),
            Self::Tanh => x.tanh(),
            // Not candle's gelu_erf and silu: their backward is rounded to six digits, or cancels.
            Self::Gelu => x * ((x / 2f64.sqrt())?.erf()?.affine(0.5, 0.5)?),
            Self::Silu => x * candle_nn::ops::sigmoid(x)?,
            Self::Softplus => softplus(x),
        }
    }
}

/// One pass over memory in each direction.
struct FusedActivation(taper_kernels::Activation);

impl Operation for FusedActivation {
    const NAME: &'static str = "activation";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> Result<Vec<T>> {
        let mut y = buffer(arguments[0].len());
        self.0.forward(arguments[0], &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> Result<()> {
        let [of_x] = op::places(gradients);
        if let Some((gradient, update)) = of_x {
            self.0.backward(values.arguments[0], values.upstream, gradient, update);
        }
        Ok(())
    }

    fn work(&self, arguments: &[&Shape]) -> Work {
        Work::default().activated(arguments[0].elem_count(), self.0)
    }
}

/// Both parts choose by the same mask, so their slopes at 0 add up to 1 - 1/2.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let positive = x.ge(0.0)?;
    let larger = positive.where_cond(x, &x.zeros_like()?)?;
    let minus_magnitude = positive.where_cond(&x.neg()?, x)?;
    larger + (minus_magnitude.exp()? + 1.0)?.log()?
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::assert_close;

    #[test]
    fn fused_and_composed_agree() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
            let values = Tensor::arange_step(-6.0, 6.0, 0.37, &Device::Cpu)?.to_dtype(dtype)?;
            let x = Var::from_tensor(&values)?;
            for activation in [
                Activation::Relu,
                Activation::Relu6,
                Activation::LeakyRelu { negative_slope: -0.3 },
                Activation::Sigmoid,
                Activation::Tanh,
                Activation::Gelu,
                Activation::Silu,
                Activation::Softplus,
            ] {
                let run = |y: Tensor| -> Result<(Tensor, Option<Tensor>)> {
                    let gradients = y.sqr()?.sum_all()?.backward()?;
                    Ok((y, gradients.get(&x).cloned()))
                };
                let (fused, of_fused) = run(activation.forward(&x)?)?;
                let (composed, of_composed) = run(activation.composed(&x)?)?;
                assert_close(&fused, &composed, tolerance);
                let (Some(of_fused), Some(of_composed)) = (of_fused, of_composed) else {
                    panic!("{activation:?} has no gradient");
                };
                assert_close(&of_fused, &of_composed, tolerance);
            }
        }
        Ok(())
    }
}
