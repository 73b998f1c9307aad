//! Layer normalization over any trailing axes.

use candle_core::{Module, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_core::{Activation, Result};
use taper_kernels::norm::RowNorm;

use super::terms::{Terms, centred, scaled};
use super::{expect_normalized_shape, expect_trailing, fused};
use crate::arguments::{expect_eps, expect_values};

const NAME: &str = "LayerNorm";
const FORWARD: &str = "LayerNorm::forward";

/// How [`layer_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// Whether there is a `weight` and, with `bias`, a `bias`.
    pub elementwise_affine: bool,
    /// Whether there is a `bias`; without `elementwise_affine` there is none.
    pub bias: bool,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for LayerNormConfig {
    fn default() -> Self {
        let activation = Activation::Identity;
        Self { eps: 1e-5, elementwise_affine: true, bias: true, activation }
    }
}

/// A layer normalization of `vb`'s parameters `weight` and `bias`, as far as `config` has them; see
/// [`LayerNorm`].
pub fn layer_norm(
    normalized_shape: impl Into<Shape>,
    config: LayerNormConfig,
    vb: VarBuilder,
) -> Result<LayerNorm> {
    let shape = normalized_shape.into();
    let get = |wanted: bool, name, value| match wanted {
        true => vb.get_with_hints(&shape, name, Init::Const(value)).map(Some),
        false => Ok(None),
    };
    let weight = get(config.elementwise_affine, "weight", 1.0)?;
    let bias = get(config.elementwise_affine && config.bias, "bias", 0.0)?;
    LayerNorm::new(shape, weight, bias, config)
}

/// Layer normalization: each sample is brought to mean 0 and variance 1 over its own features, then to a learned
/// scale and shift of each feature.
///
/// # Equation
/// y = f(γ (x − μ) / √(σ² + ε) + β + r)
///
/// with an activation f, the identity by default, a residual r in `forward_residual`, 0 else, and the mean μ and the biased variance σ² of x over the trailing axes S, for each index of the axes before.
///
/// # Shapes
/// x (..., S) with any number of leading axes, also none; r and y the same; γ (`weight`) and β (`bias`) of the shape S.
///
/// # Parameters
/// - `normalized_shape`: S, as `64` or `(8, 8)`; at least one axis, none empty.
///
/// Of [`LayerNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `elementwise_affine`: true.
/// - `bias`: true.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// The variance is that of the distances from the mean, so that a mean of 1e4 and a standard deviation of 1e-2
/// come out right. On the CPU it is one operation in each direction, with the residual and a rectifier in it, whose result does not depend on the
/// number of threads; a variance that overflows f32 is taken in f64. Elsewhere candle's operations compute. f16
/// and bf16 are computed in f32; y has the dtype of x. The gradient goes through mean and variance.
///
/// # Deviations
/// 1. From candle-nn: there is a gradient at all (on contiguous input its layer stops all gradients without
///    an error).
/// 2. From PyTorch: an x without samples has a y without samples; a bias without a weight can be given.
///
/// # Errors
/// [`layer_norm`] and [`LayerNorm::new`] refuse a shape without elements, an `eps` out of range and tensors
/// that do not fit. `forward` refuses an x that is not floating-point or does not end in S;
/// `forward_residual` also a residual of another shape or dtype than x.
///
/// # References
/// - Ba, Kiros and Hinton 2016, Layer normalization, <https://arxiv.org/abs/1607.06450>.
/// - `torch.nn.LayerNorm`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Parameters, stream};
/// use taper_norm::{LayerNormConfig, layer_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = layer_norm(2, LayerNormConfig { eps: 1e-12, ..Default::default() }, vb)?;
///
/// // Means 3 and 4, variances 4 and 9.
/// let x = Tensor::new(&[[1.0, 5.0], [7.0, 1.0]], &Device::Cpu)?;
/// let y = norm.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([-1.0, 1.0, 1.0, -1.0]).all(|(y, expected)| (y - expected).abs() < 1e-9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LayerNorm {
    normalized_shape: Shape,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    config: LayerNormConfig,
}

impl LayerNorm {
    /// A layer of these tensors, each of the shape that is normalised over. They say whether there is a weight and a
    /// bias; `config` says the rest.
    pub fn new(
        normalized_shape: impl Into<Shape>,
        weight: Option<Tensor>,
        bias: Option<Tensor>,
        config: LayerNormConfig,
    ) -> Result<Self> {
        let normalized_shape = normalized_shape.into();
        expect_normalized_shape(NAME, &normalized_shape)?;
        expect_eps(NAME, config.eps)?;
        for (name, tensor) in [("weight", &weight), ("bias", &bias)] {
            if let Some(tensor) = tensor {
                expect_values(NAME, name, tensor, normalized_shape.dims())?;
            }
        }
        Ok(Self { normalized_shape, weight, bias, config })
    }

    /// γ, of the shape that is normalised over.
    pub fn weight(&self) -> Option<&Tensor> {
        self.weight.as_ref()
    }

    /// β, of the shape that is normalised over.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// [`forward`](Module::forward) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, Some(residual))
    }

    fn normalize(&self, x: &Tensor, residual: Option<&Tensor>) -> candle_core::Result<Tensor> {
        expect_trailing(FORWARD, x, &self.normalized_shape)?;
        let terms = self.terms(x, residual);
        terms.check(FORWARD)?;
        let columns = self.normalized_shape.elem_count();
        terms.forward(
            self.config.activation,
            |terms, rectify| {
                let rows = terms.x.elem_count() / columns;
                let sizes = RowNorm { rows, columns, centred: true, rectify };
                Ok(fused::apply(sizes, terms, self.config.eps)?.0)
            },
            |terms| self.composed(terms),
        )
    }

    fn terms<'a>(&'a self, x: &'a Tensor, residual: Option<&'a Tensor>) -> Terms<'a> {
        Terms { x, residual, weight: self.weight.as_ref(), bias: self.bias.as_ref() }
    }

    /// The twin of the fused operation in candle's operations.
    fn composed(&self, terms: Terms<'_>) -> candle_core::Result<Tensor> {
        let columns = self.normalized_shape.elem_count();
        let rows = terms.x.reshape((terms.x.elem_count() / columns, columns))?;
        let normal = scaled(&centred(&rows)?, self.config.eps)?;
        terms.affine(normal, &[1, columns])?.reshape(terms.x.shape())
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, None)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        // Mean 4 and variance 9, with ε a standard deviation of 5.
        let x = Tensor::new(&[[1.0, 7.0]], &Device::Cpu)?;
        let weight = Tensor::new(&[5.0, 10.0], &Device::Cpu)?;
        let bias = Tensor::new(&[0.5, 1.0], &Device::Cpu)?;
        let config = LayerNormConfig { eps: 16.0, ..Default::default() };
        let norm = LayerNorm::new(2, Some(weight), Some(bias), config)?;
        let y = norm.forward(&x)?;
        assert_close(&y, &Tensor::new(&[[-2.5, 7.0]], &Device::Cpu)?, 1e-15);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            for (shape, trailing) in [(vec![4], 1), (vec![6, 3], 1), (vec![2, 5, 33], 2)] {
                let mut variable = |shape: &[usize]| {
                    Var::from_tensor(&noise.normal(1.0, 2.0, shape, dtype, &Device::Cpu)?)
                };
                let last = &shape[shape.len() - trailing..];
                let (x, upstream) = (variable(&shape)?, variable(&shape)?);
                let residual = variable(&shape)?;
                let (weight, bias) = (variable(last)?, variable(last)?);
                for case in 0..16 {
                    let [with_weight, with_bias, add, relu] =
                        [1, 2, 4, 8].map(|bit| case & bit != 0);
                    let activation = if relu { Activation::Relu } else { Activation::Tanh };
                    let addend = add.then_some(residual.as_tensor());
                    let norm = LayerNorm::new(
                        last,
                        with_weight.then(|| weight.as_tensor().clone()),
                        with_bias.then(|| bias.as_tensor().clone()),
                        LayerNormConfig { activation, ..Default::default() },
                    )?;
                    let run = |y: Tensor| -> Result<Vec<Tensor>> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        let mut gradients = loss.backward()?;
                        let mut results = vec![y];
                        for variable in [&x, &residual, &weight, &bias] {
                            results.extend(gradients.remove(variable));
                        }
                        Ok(results)
                    };
                    let fused = run(norm.normalize(&x, addend)?)?;
                    let twin = norm.terms(&x, addend);
                    let composed = run(twin.composed(activation, |it| norm.composed(it))?)?;
                    let results =
                        2 + usize::from(add) + usize::from(with_weight) + usize::from(with_bias);
                    assert_eq!((fused.len(), composed.len()), (results, results));
                    for (fused, composed) in fused.iter().zip(composed) {
                        assert_close(fused, &composed, tolerance);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn both_keep_the_spread_around_a_far_mean() -> Result<()> {
        let x = stream(5, "test").normal(1e4, 1e-2, (4, 256), DType::F32, &Device::Cpu)?;
        let config = LayerNormConfig { eps: 1e-12, ..Default::default() };
        let norm = LayerNorm::new(256, None, None, config)?;
        for y in [norm.forward(&x)?, norm.composed(norm.terms(&x, None))?] {
            let spread = y.to_dtype(DType::F64)?.sqr()?.mean(1)?;
            assert_close(&spread, &spread.ones_like()?, 1e-5);
        }
        Ok(())
    }
}
