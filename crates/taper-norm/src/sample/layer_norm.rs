//! Layer normalization over any trailing axes.

mod fused;

use candle_core::{D, DType, Module, Shape, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_core::{Error, Result, op};

use crate::arguments::{expect_computable, expect_eps, expect_values, is_half};

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
}

impl Default for LayerNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, elementwise_affine: true, bias: true }
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
    LayerNorm::new(shape, weight, bias, config.eps)
}

/// Layer normalization: each sample is brought to mean 0 and variance 1 over its own features, then to a learned
/// scale and shift of each feature.
///
/// # Equation
/// y = γ (x − μ) / √(σ² + ε) + β
///
/// with the mean μ and the biased variance σ² of x over the trailing axes S, for each index of the axes before.
///
/// # Shapes
/// x (..., S) with any number of leading axes, also none; y the same; γ (`weight`) and β (`bias`) of the shape S.
///
/// # Parameters
/// - `normalized_shape`: S, as `64` or `(8, 8)`; at least one axis, none empty.
///
/// Of [`LayerNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `elementwise_affine`: true.
/// - `bias`: true.
///
/// # Numerics
/// The variance is that of the distances from the mean, so that a mean of 1e4 and a standard deviation of 1e-2
/// come out right. On the CPU it is one operation in each direction, whose result does not depend on the
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
/// that do not fit. `forward` refuses an x that is not floating-point or does not end in S.
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
    eps: f64,
}

impl LayerNorm {
    /// A layer of these tensors, each of the shape that is normalised over.
    pub fn new(
        normalized_shape: impl Into<Shape>,
        weight: Option<Tensor>,
        bias: Option<Tensor>,
        eps: f64,
    ) -> Result<Self> {
        let normalized_shape = normalized_shape.into();
        if normalized_shape.rank() == 0 || normalized_shape.elem_count() == 0 {
            let expected = "at least one axis, none of them empty";
            let received = format!("{normalized_shape:?}");
            return Err(Error::argument(NAME, "normalized_shape", expected, received));
        }
        expect_eps(NAME, eps)?;
        for (name, tensor) in [("weight", &weight), ("bias", &bias)] {
            if let Some(tensor) = tensor {
                expect_values(NAME, name, tensor, normalized_shape.dims())?;
            }
        }
        Ok(Self { normalized_shape, weight, bias, eps })
    }

    /// γ, of the shape that is normalised over.
    pub fn weight(&self) -> Option<&Tensor> {
        self.weight.as_ref()
    }

    /// β, of the shape that is normalised over.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The twin of the fused operation in candle's operations.
    fn composed(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let like_rows = |tensor: &Tensor| tensor.to_dtype(x.dtype())?.flatten_all();
        let rows = x.reshape(((), self.normalized_shape.elem_count()))?;
        // Any shift leaves the result as it is and needs no gradient; one near the mean makes the distances
        // small, so that their own mean has no rounding of the mean's size.
        let rows = rows.broadcast_sub(&rows.detach().mean_keepdim(D::Minus1)?)?;
        let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let mut y = centred.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        if let Some(weight) = &self.weight {
            y = y.broadcast_mul(&like_rows(weight)?)?;
        }
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(&like_rows(bias)?)?;
        }
        y.reshape(x.shape())
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let shape = self.normalized_shape.dims();
        if !x.dims().ends_with(shape) {
            let expected = format!("of a shape that ends in {shape:?}");
            let received = format!("{:?}", x.dims());
            return Err(Error::argument(FORWARD, "x", expected, received).into());
        }
        expect_computable(FORWARD, "x", x)?;
        if is_half(x.dtype()) {
            return self.forward(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype());
        }
        if !op::has_kernels(x) {
            return self.composed(x);
        }
        let features = self.normalized_shape.elem_count();
        fused::apply(x, self.weight.as_ref(), self.bias.as_ref(), features, self.eps)
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
        // Mean 4 and variance 9, with ε a standard deviation of 5.
        let x = Tensor::new(&[[1.0, 7.0]], &Device::Cpu)?;
        let weight = Tensor::new(&[5.0, 10.0], &Device::Cpu)?;
        let bias = Tensor::new(&[0.5, 1.0], &Device::Cpu)?;
        let norm = LayerNorm::new(2, Some(weight), Some(bias), 16.0)?;
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
                let (weight, bias) = (variable(last)?, variable(last)?);
                for case in 0..4 {
                    let [with_weight, with_bias] = [1, 2].map(|bit| case & bit != 0);
                    let norm = LayerNorm::new(
                        last,
                        with_weight.then(|| weight.as_tensor().clone()),
                        with_bias.then(|| bias.as_tensor().clone()),
                        1e-5,
                    )?;
                    let run = |y: Tensor| -> Result<Vec<Tensor>> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        let mut gradients = loss.backward()?;
                        let mut results = vec![y];
                        for variable in [&x, &weight, &bias] {
                            results.extend(gradients.remove(variable));
                        }
                        Ok(results)
                    };
                    let (fused, composed) = (run(norm.forward(&x)?)?, run(norm.composed(&x)?)?);
                    let results = 2 + usize::from(with_weight) + usize::from(with_bias);
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
        let norm = LayerNorm::new(256, None, None, 1e-12)?;
        for y in [norm.forward(&x)?, norm.composed(&x)?] {
            let spread = y.to_dtype(DType::F64)?.sqr()?.mean(1)?;
            assert_close(&spread, &spread.ones_like()?, 1e-5);
        }
        Ok(())
    }
}
