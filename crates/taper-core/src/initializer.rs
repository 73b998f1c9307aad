//! Initial values of weights, after PyTorch's `torch.nn.init`.

use candle_core::Shape;
use candle_nn::Init;

use crate::{Error, Result};

/// How a weight begins; a layer hands it to [`VarBuilder`](candle_nn::VarBuilder) as candle's `Init`.
///
/// # Equation
/// With fan_in = inputs · k, fan_out = outputs · k, k the product of the kernel's sizes:
/// - `Constant(c)`: c
/// - `Uniform { low, high }`: U(low, high)
/// - `Normal { mean, std }`: N(mean, std²)
/// - `XavierUniform { gain }`: U(−b, b), b = gain · √(6 / (fan_in + fan_out))
/// - `XavierNormal { gain }`: N(0, gain² · 2 / (fan_in + fan_out))
/// - `KaimingUniform { mode, nonlinearity }`: U(−b, b), b = gain(nonlinearity) · √(3 / fan)
/// - `KaimingNormal { mode, nonlinearity }`: N(0, gain(nonlinearity)² / fan)
///
/// # Shapes
/// A weight is (outputs, inputs, kernel...), as PyTorch and candle have it. Xavier and Kaiming need
/// both of the first two; the others take any shape.
///
/// # Parameters
/// - `gain`: a factor on the standard deviation; [`Nonlinearity::gain`] recommends one.
/// - `mode`: the fan that is kept constant: [`FanMode::FanIn`] keeps the variance of the activations,
///   [`FanMode::FanOut`] that of the gradients.
/// - `nonlinearity`: what follows the layer.
///
/// # Numerics
/// Drawn in f64 and rounded to the parameter's dtype: f32 and f64 models begin alike.
///
/// # Deviations
/// 1. From PyTorch: the random numbers are those of Taper's streams, so values differ while
///    distributions agree.
///
/// # Errors
/// [`Initializer::hint`] refuses a negative standard deviation, and Xavier and Kaiming for fewer than
/// two dimensions or a fan of 0.
///
/// # References
/// - Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
///   networks.
/// - He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, <https://arxiv.org/abs/1502.01852>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device};
/// use taper_core::{Initializer, Parameters, stream};
///
/// let parameters = Parameters::new(&stream(7, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let init = Initializer::XavierUniform { gain: 1.0 }.hint(&(200, 100).into())?;
/// let weight = vb.get_with_hints((200, 100), "weight", init)?;
/// // b = sqrt(6 / 300) = 0.1414
/// let largest = weight.abs()?.max_all()?.to_scalar::<f64>()?;
/// assert!((0.1413..0.1415).contains(&largest));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initializer {
    /// The same value everywhere.
    Constant(f64),
    /// Uniform on [low, high).
    Uniform {
        /// The least value.
        low: f64,
        /// The bound that is not reached.
        high: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Uniform, with a variance between what forward and backward pass want.
    XavierUniform {
        /// A factor on the standard deviation.
        gain: f64,
    },
    /// Normal, with a variance between what forward and backward pass want.
    XavierNormal {
        /// A factor on the standard deviation.
        gain: f64,
    },
    /// Uniform, keeping the variance in one direction.
    KaimingUniform {
        /// Which direction.
        mode: FanMode,
        /// What follows the layer.
        nonlinearity: Nonlinearity,
    },
    /// Normal, keeping the variance in one direction.
    KaimingNormal {
        /// Which direction.
        mode: FanMode,
        /// What follows the layer.
        nonlinearity: Nonlinearity,
    },
}

/// Which number of connections Kaiming's initialisers divide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanMode {
    /// The connections into one output: the forward pass keeps its variance.
    FanIn,
    /// The connections out of one input: the backward pass keeps its variance.
    FanOut,
}

/// What follows a layer, for the gain that makes up for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nonlinearity {
    /// Nothing, or the next linear layer.
    Linear,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0).
    Relu,
    /// A rectifier that leaks.
    LeakyRelu {
        /// The slope below 0.
        negative_slope: f64,
    },
    /// The self-normalizing exponential unit.
    Selu,
}

impl Nonlinearity {
    /// PyTorch's `calculate_gain`.
    pub fn gain(self) -> f64 {
        match self {
            Self::Linear | Self::Sigmoid => 1.0,
            Self::Tanh => 5.0 / 3.0,
            Self::Relu => 2f64.sqrt(),
            Self::LeakyRelu { negative_slope } => (2.0 / (1.0 + negative_slope.powi(2))).sqrt(),
            Self::Selu => 0.75,
        }
    }
}

impl Initializer {
    /// This initialiser for a weight of this shape, in the form that candle's builder takes.
    pub fn hint(self, shape: &Shape) -> Result<Init> {
        let uniform = |std: f64| {
            let bound = 3f64.sqrt() * std;
            Init::Uniform { lo: -bound, up: bound }
        };
        let normal = |std: f64| Init::Randn { mean: 0.0, stdev: std };
        Ok(match self {
            Self::Constant(value) => Init::Const(value),
            Self::Uniform { low, high } => Init::Uniform { lo: low, up: high },
            Self::Normal { mean, std } if std >= 0.0 => Init::Randn { mean, stdev: std },
            Self::Normal { std, .. } => {
                return Err(Error::argument("Initializer::hint", "std", "at least 0", std));
            }
            Self::XavierUniform { gain } => uniform(xavier_std(gain, shape)?),
            Self::XavierNormal { gain } => normal(xavier_std(gain, shape)?),
            Self::KaimingUniform { mode, nonlinearity } => {
                uniform(kaiming_std(mode, nonlinearity, shape)?)
            }
            Self::KaimingNormal { mode, nonlinearity } => {
                normal(kaiming_std(mode, nonlinearity, shape)?)
            }
        })
    }
}

fn xavier_std(gain: f64, shape: &Shape) -> Result<f64> {
    let (fan_in, fan_out) = fans(shape)?;
    Ok(gain * (2.0 / (fan_in + fan_out)).sqrt())
}

fn kaiming_std(mode: FanMode, nonlinearity: Nonlinearity, shape: &Shape) -> Result<f64> {
    let (fan_in, fan_out) = fans(shape)?;
    let fan = match mode {
        FanMode::FanIn => fan_in,
        FanMode::FanOut => fan_out,
    };
    Ok(nonlinearity.gain() / fan.sqrt())
}

fn fans(shape: &Shape) -> Result<(f64, f64)> {
    match *shape.dims() {
        [outputs, inputs, ref kernel @ ..] if shape.elem_count() > 0 => {
            let size: usize = kernel.iter().product();
            Ok(((inputs * size) as f64, (outputs * size) as f64))
        }
        ref dims => Err(Error::argument(
            "Initializer::hint",
            "shape",
            "(outputs, inputs, kernel...), none of them 0; use Constant, Uniform or Normal for a vector",
            format!("{dims:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn std_of(initializer: Initializer, shape: &[usize]) -> f64 {
        match initializer.hint(&shape.into()).unwrap() {
            Init::Uniform { lo, up } => (up - lo) / 12f64.sqrt(),
            Init::Randn { stdev, .. } => stdev,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_standard_deviations_are_those_of_the_papers() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        // 3x3 kernels: fan_in 4 * 9 = 36, fan_out 8 * 9 = 72.
        let shape = [8, 4, 3, 3];
        close(
            std_of(Initializer::XavierUniform { gain: 2.0 }, &shape),
            2.0 * (2.0 / 108.0f64).sqrt(),
        );
        close(std_of(Initializer::XavierNormal { gain: 1.0 }, &shape), (2.0 / 108.0f64).sqrt());
        let (relu, leaky) =
            (Nonlinearity::Relu, Nonlinearity::LeakyRelu { negative_slope: 5f64.sqrt() });
        let (fan_in, fan_out) = (FanMode::FanIn, FanMode::FanOut);
        let normal = |mode, nonlinearity| Initializer::KaimingNormal { mode, nonlinearity };
        let uniform = |mode, nonlinearity| Initializer::KaimingUniform { mode, nonlinearity };
        close(std_of(normal(fan_in, relu), &shape), (2.0 / 36.0f64).sqrt());
        close(std_of(normal(fan_out, relu), &shape), (2.0 / 72.0f64).sqrt());
        // PyTorch's default for linear layers: U(-b, b) with b = 1 / sqrt(fan_in).
        close(std_of(uniform(fan_in, leaky), &[7, 16]), 0.25 / 3f64.sqrt());
    }

    #[test]
    fn a_vector_has_no_fans() {
        let error = Initializer::XavierNormal { gain: 1.0 }.hint(&10.into()).unwrap_err();
        assert!(error.to_string().contains("got [10]"), "{error}");
        assert!(Initializer::Constant(1.0).hint(&10.into()).is_ok());
        assert!(Initializer::XavierNormal { gain: 1.0 }.hint(&(3, 0).into()).is_err());
    }
}
