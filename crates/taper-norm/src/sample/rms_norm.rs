//! Root-mean-square normalization over any trailing axes.

use candle_core::{DType, Module, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_core::{Activation, Result};
use taper_kernels::norm::RowNorm;

use super::terms::{Terms, scaled};
use super::{expect_normalized_shape, expect_trailing, fused};
use crate::arguments::{expect_eps, expect_values};

const NAME: &str = "RmsNorm";
const FORWARD: &str = "RmsNorm::forward";

/// How [`rms_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsNormConfig {
    /// What is added to the mean square before the square root; `None` is the machine epsilon of the dtype that
    /// computes.
    pub eps: Option<f64>,
    /// Whether there is a `weight`.
    pub elementwise_affine: bool,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for RmsNormConfig {
    fn default() -> Self {
        Self { eps: None, elementwise_affine: true, activation: Activation::Identity }
    }
}

/// A root-mean-square normalization of `vb`'s parameter `weight`, if `config` has it; see [`RmsNorm`].
pub fn rms_norm(
    normalized_shape: impl Into<Shape>,
    config: RmsNormConfig,
    vb: VarBuilder,
) -> Result<RmsNorm> {
    let shape = normalized_shape.into();
    let weight = match config.elementwise_affine {
        true => Some(vb.get_with_hints(&shape, "weight", Init::Const(1.0))?),
        false => None,
    };
    RmsNorm::new(shape, weight, config)
}

/// Root-mean-square normalization: each sample is divided by the root of the mean of its squares, then each feature is
/// scaled as learned. The mean stays.
///
/// # Equation
/// y = f(γ x / √(mean x² + ε) + r)
///
/// with an activation f, the identity by default, a residual r in `forward_residual`, 0 else, and the mean over the
/// trailing axes S, for each index of the axes before.
///
/// # Shapes
/// x (..., S) with any number of leading axes, also none; r and y the same; γ (`weight`) of the shape S.
///
/// # Parameters
/// - `normalized_shape`: S, as `64` or `(8, 8)`; at least one axis, none empty.
///
/// Of [`RmsNormConfig`]:
/// - `eps`: `None`, which is 2⁻²³ where f32 computes and 2⁻⁵² in f64; above 0.
/// - `elementwise_affine`: true.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// On the CPU it is one operation in each direction, with the residual and a rectifier in it, whose result does not
/// depend on the number of threads; squares that overflow f32 are summed in f64. Elsewhere candle's operations
/// compute. f16 and bf16 are computed in f32, with the ε of f32; y has the dtype of x. The gradient goes through the
/// mean of the squares.
///
/// # Deviations
/// 1. From candle-nn: there is a gradient at all (its layer stops all gradients without an error).
/// 2. From the paper: there is an ε.
/// 3. From PyTorch: an x without samples has a y without samples.
///
/// # Errors
/// [`rms_norm`] and [`RmsNorm::new`] refuse a shape without elements, an `eps` out of range and a weight
/// that does not fit. `forward` refuses an x that is not floating-point or does not end in S; `forward_residual` also
/// a residual of another shape or dtype than x.
///
/// # References
/// - Zhang and Sennrich 2019, Root mean square layer normalization, <https://arxiv.org/abs/1910.07467>.
/// - `torch.nn.RMSNorm`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.RMSNorm.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Parameters, stream};
/// use taper_norm::{RmsNormConfig, rms_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let norm = rms_norm(2, RmsNormConfig::default(), parameters.builder(DType::F64, &Device::Cpu))?;
///
/// // The mean square is 25.
/// let x = Tensor::new(&[[1.0, 7.0]], &Device::Cpu)?;
/// let y = norm.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([0.2, 1.4]).all(|(y, expected)| (y - expected).abs() < 1e-12));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RmsNorm {
    normalized_shape: Shape,
    weight: Option<Tensor>,
    config: RmsNormConfig,
}

impl RmsNorm {
    /// A layer of this weight, of the shape that is normalised over. It says whether there is one; `config` says the
    /// rest.
    pub fn new(
        normalized_shape: impl Into<Shape>,
        weight: Option<Tensor>,
        config: RmsNormConfig,
    ) -> Result<Self> {
        let normalized_shape = normalized_shape.into();
        expect_normalized_shape(NAME, &normalized_shape)?;
        if let Some(eps) = config.eps {
            expect_eps(NAME, eps)?;
        }
        if let Some(weight) = &weight {
            expect_values(NAME, "weight", weight, normalized_shape.dims())?;
        }
        Ok(Self { normalized_shape, weight, config })
    }

    /// γ, of the shape that is normalised over.
    pub fn weight(&self) -> Option<&Tensor> {
        self.weight.as_ref()
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
                let sizes = RowNorm { rows, columns, centred: false, rectify };
                Ok(fused::apply(sizes, terms, self.eps(terms.x))?.0)
            },
            |terms| self.composed(terms),
        )
    }

    fn terms<'a>(&'a self, x: &'a Tensor, residual: Option<&'a Tensor>) -> Terms<'a> {
        Terms { x, residual, weight: self.weight.as_ref(), bias: None }
    }

    /// ε for x in the dtype that computes.
    fn eps(&self, x: &Tensor) -> f64 {
        let machine = if x.dtype() == DType::F64 { f64::EPSILON } else { f32::EPSILON.into() };
        self.config.eps.unwrap_or(machine)
    }

    /// The twin of the fused operation in candle's operations.
    fn composed(&self, terms: Terms<'_>) -> candle_core::Result<Tensor> {
        let columns = self.normalized_shape.elem_count();
        let rows = terms.x.reshape((terms.x.elem_count() / columns, columns))?;
        let normal = scaled(&rows, self.eps(&rows))?;
        terms.affine(normal, &[1, columns])?.reshape(terms.x.shape())
    }
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, None)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        // The mean square is 25, with ε 100, so that x is divided by 10.
        let x = Tensor::new(&[[1.0, 7.0]], &Device::Cpu)?;
        let weight = Tensor::new(&[5.0, 10.0], &Device::Cpu)?;
        let activation = Activation::Relu;
        let config = RmsNormConfig { eps: Some(75.0), activation, ..Default::default() };
        let norm = RmsNorm::new(2, Some(weight), config)?;
        assert_close(&norm.forward(&x)?, &Tensor::new(&[[0.5, 7.0]], &Device::Cpu)?, 1e-15);
        let residual = Tensor::new(&[[2.0, -8.0]], &Device::Cpu)?;
        let y = norm.forward_residual(&x, &residual)?;
        assert_close(&y, &Tensor::new(&[[2.5, 0.0]], &Device::Cpu)?, 1e-15);
        Ok(())
    }

    #[test]
    fn the_default_epsilon_is_that_of_the_dtype_that_computes() -> Result<()> {
        let norm = RmsNorm::new(2, None, RmsNormConfig::default())?;
        // As `torch.nn.functional.rms_norm` has it, measured.
        for (dtype, eps) in [
            (DType::F64, f64::EPSILON),
            (DType::F32, f32::EPSILON.into()),
            (DType::BF16, f32::EPSILON.into()),
        ] {
            let x = Tensor::new(&[[1e-8, 1e-8]], &Device::Cpu)?.to_dtype(dtype)?;
            let y = norm.forward(&x)?.to_dtype(DType::F64)?;
            let x = x.to_dtype(DType::F64)?;
            assert_close(&y, &(x / (1e-16 + eps).sqrt())?, 1e-2);
        }
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
                let (residual, weight) = (variable(&shape)?, variable(last)?);
                for case in 0..8 {
                    let [affine, add, relu] = [1, 2, 4].map(|bit| case & bit != 0);
                    let activation = if relu { Activation::Relu } else { Activation::Tanh };
                    let config = RmsNormConfig { activation, ..Default::default() };
                    let weight = affine.then(|| weight.as_tensor().clone());
                    let norm = RmsNorm::new(last, weight.clone(), config)?;
                    let run = |y: Tensor| -> Result<Vec<Tensor>> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        let mut gradients = loss.backward()?;
                        let variables = [Some(x.as_tensor()), Some(&residual), weight.as_ref()];
                        let mut results = vec![y];
                        for variable in variables.into_iter().flatten() {
                            results.extend(gradients.remove(variable));
                        }
                        Ok(results)
                    };
                    let addend = add.then_some(residual.as_tensor());
                    let fused = run(norm.normalize(&x, addend)?)?;
                    let twin = norm.terms(&x, addend);
                    let composed = run(twin.composed(activation, |it| norm.composed(it))?)?;
                    let results = 2 + usize::from(affine) + usize::from(add);
                    assert_eq!((fused.len(), composed.len()), (results, results));
                    for (fused, composed) in fused.iter().zip(composed) {
                        assert_close(fused, &composed, tolerance);
                    }
                }
            }
        }
        Ok(())
    }
}
