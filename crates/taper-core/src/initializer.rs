//! Initial values of weights, after PyTorch's `torch.nn.init`.

mod orthogonal;
mod truncated_normal;

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use orthogonal::orthogonalize;
use truncated_normal::TruncatedNormal;

use crate::{Error, Result};

const PARAMETER: &str = "Initializer::parameter";

/// How a weight begins; a layer makes its parameters with [`Initializer::parameter`].
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
/// - `TruncatedNormal { mean, std, low, high }`: N(mean, std²) given that it is in [low, high], as
///   F⁻¹(F(low) + (F(high) − F(low)) Φ(z)), F the cumulative distribution of N(mean, std²), z ~ N(0, 1)
/// - `Orthogonal { gain }`: gain · Q, Z = Q R with r_ii > 0, Z the outputs × (inputs · k) matrix of
///   N(0, 1) draws, or its transpose, and then Qᵀ, if it has more columns than rows
///
/// # Shapes
/// A weight is (outputs, inputs, kernel...), as PyTorch and candle have it. Xavier and Kaiming need
/// both of the first two, and so does Orthogonal; the others take any shape.
///
/// # Parameters
/// - `gain`: a factor on the standard deviation; [`Nonlinearity::gain`] recommends one.
/// - `mode`: the fan that is kept constant: [`FanMode::FanIn`] keeps the variance of the activations,
///   [`FanMode::FanOut`] that of the gradients.
/// - `nonlinearity`: what follows the layer.
/// - `low`, `high`: the bounds, PyTorch's `a` (−2) and `b` (2), which may be infinite.
///
/// # Numerics
/// Drawn in f64 and rounded to the parameter's dtype: f32 and f64 models begin alike. Orthogonal and
/// TruncatedNormal are made in f64 of standard normal draws that are rounded to f32, or to a narrower
/// dtype of the parameter, before: by modified Gram-Schmidt in two passes, orthonormal to 1e-14; and
/// by the inverse of F to 1e-14 of a standard deviation, in the tails, too. One draw makes one value,
/// and rounding can bring a value out of its bounds by half a unit in the last place.
///
/// # Deviations
/// 1. From PyTorch: the random numbers are those of Taper's streams, so values differ while
///    distributions agree.
/// 2. From PyTorch's `trunc_normal_`: it draws again what falls outside; here bounds more than 35
///    standard deviations to one side of the mean are refused.
/// 3. From PyTorch's `orthogonal_`: a weight without elements is refused.
///
/// # Errors
/// [`Initializer::parameter`] refuses a standard deviation that is negative, for TruncatedNormal also
/// 0 or infinite, bounds that are not in order or hold next to nothing, a `gain` of Orthogonal that is
/// not finite, and for Xavier, Kaiming and Orthogonal fewer than two dimensions or one of 0.
/// [`Initializer::hint`] also refuses TruncatedNormal and Orthogonal.
///
/// # References
/// - Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural
///   networks.
/// - Saxe, McClelland and Ganguli 2013, Exact solutions to the nonlinear dynamics of learning in deep
///   linear neural networks, <https://arxiv.org/abs/1312.6120> (orthogonal).
/// - Mezzadri 2007, How to generate random matrices from the classical compact groups,
///   <https://arxiv.org/abs/math-ph/0609050> (the sign of R).
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
/// let init = Initializer::XavierUniform { gain: 1.0 };
/// let weight = init.parameter((200, 100), "weight", &vb)?;
/// // b = sqrt(6 / 300) = 0.1414
/// let largest = weight.abs()?.max_all()?.to_scalar::<f64>()?;
/// assert!((0.1413..0.1415).contains(&largest));
///
/// let weight = Initializer::Orthogonal { gain: 2.0 }.parameter((2, 8), "other", &vb)?;
/// let products = weight.matmul(&weight.t()?)?.to_vec2::<f64>()?;
/// assert!((products[0][0] - 4.0).abs() < 1e-14 && products[0][1].abs() < 1e-14);
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
    /// Normal between two bounds.
    TruncatedNormal {
        /// The mean before truncation.
        mean: f64,
        /// The standard deviation before truncation.
        std: f64,
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
    },
    /// Rows, or columns where there are fewer of them, that are orthonormal up to a factor.
    Orthogonal {
        /// The factor.
        gain: f64,
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
    /// The parameter `name` of `vb`, which begins so if `vb` makes it now. What `vb` has already, be it
    /// loaded or shared, stays as it is.
    ///
    /// TruncatedNormal and Orthogonal have `vb`, which can be any of candle's, draw normal numbers and
    /// put the values in their place: another thread must not ask for the same name meanwhile.
    pub fn parameter(self, shape: impl Into<Shape>, name: &str, vb: &VarBuilder) -> Result<Tensor> {
        let shape = shape.into();
        match self {
            Self::TruncatedNormal { mean, std, low, high } => {
                let law = TruncatedNormal::new(mean, std, low, high)?;
                from_normal(&shape, name, vb, |draws| {
                    draws.iter_mut().for_each(|draw| *draw = law.of(*draw));
                })
            }
            Self::Orthogonal { gain } => {
                if !gain.is_finite() {
                    return Err(Error::argument(PARAMETER, "gain", "finite", gain));
                }
                let (rows, columns) = matrix(&shape)?;
                from_normal(&shape, name, vb, |draws| orthogonalize(draws, rows, columns, gain))
            }
            _ => Ok(vb.get_with_hints(&shape, name, self.hint(&shape)?)?),
        }
    }

    /// This initialiser for a weight of this shape, in the form that candle's builder takes; there is
    /// none for TruncatedNormal and Orthogonal.
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
            Self::TruncatedNormal { .. } | Self::Orthogonal { .. } => {
                let expected = "one that candle's Init has a form for; use Initializer::parameter";
                let received = format!("{self:?}");
                return Err(Error::argument("Initializer::hint", "self", expected, received));
            }
        })
    }
}

/// The parameter `name`, and if it is new with what `transform` makes of its standard normal draws.
fn from_normal(
    shape: &Shape,
    name: &str,
    vb: &VarBuilder,
    transform: impl FnOnce(&mut [f64]),
) -> Result<Tensor> {
    let is_new = !vb.contains_tensor(name);
    let parameter = vb.get_with_hints(shape, name, Init::Randn { mean: 0.0, stdev: 1.0 })?;
    if !is_new || shape.elem_count() == 0 {
        return Ok(parameter);
    }
    // A view: what is written there is in the parameter, and in the variable behind it.
    let flat = parameter.flatten_all()?;
    let draws = flat.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    // An f32 model has its draws rounded already.
    let mut values: Vec<f64> = draws.into_iter().map(|draw| f64::from(draw as f32)).collect();
    transform(&mut values);
    let values = Tensor::from_vec(values, flat.dims(), &Device::Cpu)?;
    flat.slice_set(&values.to_dtype(flat.dtype())?.to_device(flat.device())?, 0, 0)?;
    Ok(parameter)
}

/// The rows and columns of a weight as a matrix.
fn matrix(shape: &Shape) -> Result<(usize, usize)> {
    match *shape.dims() {
        [rows, ref rest @ ..] if !rest.is_empty() && shape.elem_count() > 0 => {
            Ok((rows, rest.iter().product()))
        }
        ref dims => Err(Error::argument(
            PARAMETER,
            "shape",
            "(outputs, inputs, kernel...), none of them 0",
            format!("{dims:?}"),
        )),
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

/// The parameters `weight` and, if there is to be one, `bias` of a layer with these outputs. `bias_init` says whether
/// there is, and how it begins: `None` within is PyTorch's U(−b, b) with b = 1 / √fan_in.
pub(crate) fn affine(
    shape: impl Into<Shape>,
    outputs: usize,
    weight_init: Initializer,
    bias_init: Option<Option<Initializer>>,
    vb: &VarBuilder,
) -> Result<(Tensor, Option<Tensor>)> {
    let shape = shape.into();
    let (fan_in, _) = fans(&shape)?;
    let weight = weight_init.parameter(shape, "weight", vb)?;
    let bound = 1.0 / fan_in.sqrt();
    let bias = bias_init.map(|init| {
        let init = init.unwrap_or(Initializer::Uniform { low: -bound, high: bound });
        init.parameter(outputs, "bias", vb)
    });
    Ok((weight, bias.transpose()?))
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
