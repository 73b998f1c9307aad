//! The fully connected layer.

use candle_core::{D, Module, Shape, Tensor};
use candle_nn::VarBuilder;
use taper_kernels::buffer;

use crate::initializer::affine;
use crate::op::{self, Destination, Field, Operation, Scalar, Values, Work};
use crate::{Activation, Error, FanMode, Initializer, Nonlinearity, Result};

/// How [`linear`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearConfig {
    /// Whether a bias is added.
    pub bias: bool,
    /// How the weight begins.
    pub weight_init: Initializer,
    /// How the bias begins; `None` is PyTorch's U(−b, b) with b = 1 / √in_features.
    pub bias_init: Option<Initializer>,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
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
            activation: Activation::Identity,
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
    let (shape, bias_init) = ((out_features, in_features), config.bias.then_some(config.bias_init));
    let (weight, bias) = affine(shape, out_features, config.weight_init, bias_init, &vb)?;
    Ok(Linear::new(weight, bias)?.with_activation(config.activation))
}

/// A fully connected layer.
///
/// # Equation
/// y = f(x Wᵀ + b), where the activation f is the identity by default.
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
/// - `activation`: [`Activation::Identity`]. Given here rather than applied afterwards, it saves a pass over
///   memory in each direction.
///
/// # Numerics
/// One matrix product over all leading dimensions, in the dtype of the weight. On the CPU product, bias and
/// activation are one operation, whose result does not depend on the number of threads; f16 and bf16 are
/// computed in f32.
///
/// # Deviations
/// 1. From `candle_nn::linear`: PyTorch's initial values instead of Kaiming normal with gain √2.
///
/// # Errors
/// [`linear`] refuses 0 features, [`Linear::new`] a weight and bias that do not fit, and `forward` an
/// x of another dtype or whose last dimension is not in_features.
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
    activation: Activation,
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
        Ok(Self { weight, bias, activation: Activation::Identity })
    }

    /// The same layer with this activation of its output.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// What is applied to the output.
    pub fn activation(&self) -> Activation {
        self.activation
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
        let (_, in_features) = self.weight.dims2()?;
        let dtype = self.weight.dtype();
        if x.dims().last() != Some(&in_features) || x.dtype() != dtype {
            let expected = format!("{dtype:?} of shape (..., {in_features})");
            let received = format!("{:?} of shape {:?}", x.dtype(), x.dims());
            return Err(Error::argument("Linear::forward", "x", expected, received).into());
        }
        if x.device().is_cpu() { self.fused(x) } else { self.composed(x) }
    }
}

impl Linear {
    /// One operation for product, bias and activation.
    fn fused(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let dtype = x.dtype();
        let (x, weight) = (op::widen(x)?, op::widen(&self.weight)?);
        let (outputs, inputs) = weight.dims2()?;
        let mut shape = x.dims().to_vec();
        shape.pop();
        let rows = shape.iter().product();
        shape.push(outputs);
        let sizes = taper_kernels::Linear { rows, inputs, outputs };
        let (activation, rest) = self.activation.fused();
        let bias = self.bias.as_ref().map(op::widen).transpose()?;
        let arguments: Vec<&Tensor> = [&x, &weight].into_iter().chain(&bias).collect();
        let y = op::apply(FusedLinear { sizes, activation }, &arguments, shape)?;
        rest.forward(&y)?.to_dtype(dtype)
    }

    /// The twin of [`fused`](Self::fused) in candle's operations.
    fn composed(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        // One product: a batched one is much slower in candle.
        let product = x.reshape(((), x.dim(D::Minus1)?))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        };
        let mut shape = x.dims().to_vec();
        shape.pop();
        shape.push(self.weight.dim(0)?);
        self.activation.composed(&y.reshape(shape)?)
    }
}

/// f(x Wᵀ + b), f invertible.
struct FusedLinear {
    sizes: taper_kernels::Linear,
    activation: taper_kernels::Activation,
}

impl Operation for FusedLinear {
    const NAME: &'static str = "linear";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut y = buffer(self.sizes.rows * self.sizes.outputs);
        let bias = arguments.get(2).copied();
        self.sizes.forward(arguments[0], arguments[1], bias, self.activation, &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let Values { arguments, result, upstream } = values;
        let [of_x, of_weight, of_bias] = op::places(gradients);
        self.sizes.backward(
            arguments[0],
            arguments[1],
            result,
            upstream,
            self.activation,
            of_x,
            of_weight,
            of_bias,
        );
        Ok(())
    }

    fn work(&self, arguments: &[&Shape]) -> Work {
        let taper_kernels::Linear { rows, inputs, outputs } = self.sizes;
        let (macs, elements) = ((rows * inputs * outputs) as u64, rows * outputs);
        let bias = Work::of_elements(elements, u64::from(arguments.len() > 2));
        // A sample that is features alone has no places: all of it is seen.
        let field = if arguments[0].rank() == 2 { Field::Whole } else { Field::Point };
        Work { macs, flops: 2 * macs + bias.flops, field, ..bias }
            .activated(elements, self.activation)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::stream;
    use crate::testing::assert_close;

    const ACTIVATIONS: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu { negative_slope: 0.1 },
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Gelu,
        Activation::Silu,
        Activation::Softplus,
    ];

    type Twin = fn(&Linear, &Tensor) -> candle_core::Result<Tensor>;

    /// The output and the gradients of x, weight and bias, of inputs that are not contiguous.
    fn run(twin: Twin, activation: Activation, bias: bool, dtype: DType) -> Result<Vec<Tensor>> {
        let mut noise = stream(3, "linear");
        let mut variable =
            |shape: Shape| Var::from_tensor(&noise.normal(0.0, 1.0, shape, dtype, &Device::Cpu)?);
        let (x, weight) = (variable((7, 5).into())?, variable((7, 9).into())?);
        let variables = [x.clone(), weight.clone(), variable(9.into())?];
        let layer = Linear::new(weight.t()?, bias.then(|| variables[2].as_tensor().clone()))?
            .with_activation(activation);
        let y = twin(&layer, &x.t()?)?;
        let upstream = noise.normal(0.0, 1.0, y.shape(), dtype, &Device::Cpu)?;
        let gradients = (&y * upstream)?.sum_all()?.backward()?;
        let of = variables.iter().filter_map(|variable| gradients.get(variable).cloned());
        Ok(std::iter::once(y.clone()).chain(of).collect())
    }

    #[test]
    fn fused_and_composed_agree() -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            for (activation, bias) in ACTIVATIONS.into_iter().zip([true, false].into_iter().cycle())
            {
                let fused = run(Linear::fused, activation, bias, dtype)?;
                let composed = run(Linear::composed, activation, bias, dtype)?;
                assert_eq!(fused.len(), 3 + usize::from(bias));
                assert_eq!(composed.len(), fused.len());
                for (fused, composed) in fused.iter().zip(&composed) {
                    assert_close(fused, composed, tolerance);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn half_precision_is_computed_in_f32() -> Result<()> {
        for dtype in [DType::BF16, DType::F16] {
            let half = run(Linear::fused, Activation::Relu, true, dtype)?;
            for tensor in &half {
                assert_eq!(tensor.dtype(), dtype);
                assert!(tensor.to_dtype(DType::F32)?.sqr()?.sum_all()?.to_scalar::<f32>()? > 0.0);
            }
        }
        Ok(())
    }
}
