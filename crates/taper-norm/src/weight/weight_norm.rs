//! Weight normalization.

mod fused;

use candle_core::{Shape, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Error, Initializer, LinearConfig, Result, op};

use super::parameters::{known, parameter};
use crate::arguments::{expect_values, is_half};

const NAME: &str = "WeightNorm";

/// How [`weight_norm`] makes a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightNormConfig {
    /// The axis of the weight each index of which has a length of its own; `None`: one length for the whole weight.
    pub dim: Option<usize>,
    /// How the weight begins.
    pub weight_init: Initializer,
}

impl Default for WeightNormConfig {
    fn default() -> Self {
        Self { dim: Some(0), weight_init: LinearConfig::default().weight_init }
    }
}

/// A normalized weight of this shape, of `vb`'s parameters `parametrizations.weight.original0` (g) and
/// `parametrizations.weight.original1` (v), or of `weight_g` and `weight_v` where `vb` has those; see [`WeightNorm`].
pub fn weight_norm(
    shape: impl Into<Shape>,
    config: WeightNormConfig,
    vb: VarBuilder,
) -> Result<WeightNorm> {
    let (shape, dim) = (shape.into(), config.dim);
    let of_magnitude = magnitude_shape(&shape, dim)?;
    let name = known(&vb, ["parametrizations.weight.original1", "weight_v"]);
    let direction = config.weight_init.parameter(shape, name, &vb)?;
    let name = known(&vb, ["parametrizations.weight.original0", "weight_g"]);
    let count = of_magnitude.elem_count();
    let magnitude = parameter(of_magnitude, name, &vb, || {
        lengths(&rows(&op::widen(&direction)?, dim)?, count)
    })?;
    WeightNorm::new(magnitude, direction, dim)
}

/// Weight normalization: a weight by its length and its direction, each learned by itself.
///
/// # Equation
/// w = g v / ‖v‖
///
/// with the Euclidean length ‖v‖ of the part of v that belongs to each index of the axis `dim`, for each output with
/// `dim` 0; or of all of v.
///
/// # Shapes
/// v (`parametrizations.weight.original1`) and w of any shape, such as (out_features, in_features) or
/// (out_channels, in_channels / groups, height, width); g (`parametrizations.weight.original0`) of as many axes, of
/// which all but `dim` are 1, or () without a `dim`.
///
/// # Parameters
/// - `shape`: that of the weight; at least one axis, none empty.
///
/// Of [`WeightNormConfig`]:
/// - `dim`: `Some(0)`, the axis of the outputs; for a transposed convolution the outputs are the axis 1.
/// - `weight_init`: U(−b, b) with b = 1 / √fan_in, PyTorch's default of linear layers and convolutions. g begins as
///   the length of v: w is v at first.
///
/// # Numerics
/// Call [`weight`](WeightNorm::weight) once a step, after the optimizer moved g and v. Where v has the length 0 it has
/// no direction: w is 0, and g and v have no gradient. On the CPU it is one operation in each direction, whose
/// result does not depend on the number of threads; lengths whose squares overflow or underflow f32 are taken in f64.
/// Elsewhere candle's operations compute. f16 and bf16 are computed in f32; w has the dtype of v.
/// The gradient of v is at right angles to v: steps of plain gradient descent only make v longer.
///
/// # Deviations
/// 1. From the paper: g begins as ‖v‖, as in PyTorch, and not by what makes the outputs of a first batch normal.
/// 2. From PyTorch: v of length 0 gives w 0 instead of NaN.
/// 3. From PyTorch: no negative `dim`; there a `dim` of −1 is the whole weight, here `None`.
///
/// # Errors
/// [`weight_norm`] and [`WeightNorm::new`] refuse a shape without elements, a `dim` that it does not have, and tensors
/// that do not fit.
///
/// # References
/// - Salimans and Kingma 2016, Weight normalization: a simple reparameterization to accelerate training of deep
///   neural networks, <https://arxiv.org/abs/1602.07868>.
/// - `torch.nn.utils.parametrizations.weight_norm`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.parametrizations.weight_norm.html>.
///
/// # Example
/// A convolution whose weight is normalized: the norm and the bias are what is kept, the layer is made of them in each
/// step.
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Conv2d, Conv2dConfig, Linear, Parameters, stream};
/// use taper_norm::{WeightNorm, WeightNormConfig, weight_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu).pp("conv");
/// let norm = weight_norm((8, 3, 3, 3), WeightNormConfig::default(), vb.clone())?;
/// let bias = vb.get(8, "bias")?;
/// let x = Tensor::zeros((2, 3, 16, 16), DType::F32, &Device::Cpu)?;
/// let conv = Conv2d::new(norm.weight()?, Some(bias), Conv2dConfig::default())?;
/// assert_eq!(conv.forward(&x)?.dims(), [2, 8, 14, 14]);
///
/// // (3, 4) has the length 5; its part of the weight gets the length 10.
/// let v = Tensor::new(&[[3.0, 4.0], [1.0, 0.0]], &Device::Cpu)?;
/// let g = Tensor::new(&[[10.0], [2.0]], &Device::Cpu)?;
/// let linear = Linear::new(WeightNorm::new(g, v, Some(0))?.weight()?, None)?;
/// assert_eq!(linear.weight().to_vec2::<f64>()?, [[6.0, 8.0], [2.0, 0.0]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct WeightNorm {
    magnitude: Tensor,
    direction: Tensor,
    dim: Option<usize>,
}

impl WeightNorm {
    /// A weight of the lengths `magnitude`, of the shape of `direction` in `dim` and 1 else, or () without a `dim`.
    pub fn new(magnitude: Tensor, direction: Tensor, dim: Option<usize>) -> Result<Self> {
        let shape = magnitude_shape(direction.shape(), dim)?;
        expect_values(NAME, "direction", &direction, direction.dims())?;
        expect_values(NAME, "magnitude", &magnitude, shape.dims())?;
        Ok(Self { magnitude, direction, dim })
    }

    /// w, for the layer of this step.
    pub fn weight(&self) -> Result<Tensor> {
        let dtype = self.direction.dtype();
        let (direction, magnitude) = (op::widen(&self.direction)?, self.magnitude.flatten_all()?);
        let magnitude = magnitude.to_dtype(direction.dtype())?;
        let rows = rows(&direction, self.dim)?;
        let scaled = match op::has_kernels(&rows) {
            true => fused::apply(&magnitude, &rows)?,
            false => composed(&magnitude, &rows)?,
        };
        let weight = match self.dim {
            Some(dim) if dim > 0 => scaled.transpose(0, dim)?.contiguous()?,
            _ => scaled,
        };
        Ok(if is_half(dtype) { weight.to_dtype(dtype)? } else { weight })
    }

    /// g, of as many axes as v.
    pub fn magnitude(&self) -> &Tensor {
        &self.magnitude
    }

    /// v, of the shape of the weight.
    pub fn direction(&self) -> &Tensor {
        &self.direction
    }
}

/// The shape of g.
fn magnitude_shape(shape: &Shape, dim: Option<usize>) -> Result<Shape> {
    let dims = shape.dims();
    if dims.is_empty() || shape.elem_count() == 0 {
        let expected = "at least one axis, none of them empty";
        return Err(Error::argument(NAME, "shape", expected, format!("{dims:?}")));
    }
    let Some(dim) = dim else {
        return Ok(Shape::from(()));
    };
    let Some(length) = dims.get(dim) else {
        let expected = format!("an axis of the weight, below {}", dims.len());
        return Err(Error::argument(NAME, "dim", expected, dim));
    };
    let mut ones = vec![1; dims.len()];
    ones[dim] = *length;
    Ok(Shape::from(ones))
}

/// `direction` with what has one length behind an index of the first axis. As it is where that is so: an operation of
/// candle's between two of ours costs two tensors more on the way back.
fn rows(direction: &Tensor, dim: Option<usize>) -> Result<Tensor> {
    Ok(match dim {
        Some(dim) if dim > 0 => direction.transpose(0, dim)?.contiguous()?,
        _ => direction.clone(),
    })
}

/// The lengths of `count` rows, (count, 1).
fn lengths(rows: &Tensor, count: usize) -> Result<Tensor> {
    Ok(rows.reshape((count, ()))?.sqr()?.sum_keepdim(1)?.sqrt()?)
}

/// The twin of the fused operation in candle's operations.
fn composed(magnitude: &Tensor, direction: &Tensor) -> Result<Tensor> {
    let rows = direction.reshape((magnitude.elem_count(), ()))?;
    let squares = rows.sqr()?.sum_keepdim(1)?;
    // A choice before the root, whose gradient at 0 is infinite.
    let (nothing, ones) = (squares.eq(0.0)?, squares.ones_like()?);
    let lengths = nothing.where_cond(&ones, &squares)?.sqrt()?;
    let magnitude = nothing.where_cond(&squares.zeros_like()?, &magnitude.unsqueeze(1)?)?;
    Ok(rows.broadcast_mul(&(magnitude / lengths)?)?.reshape(direction.shape())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    /// The result, and the gradients of g and v, by the fused operation and by its twin.
    fn both(g: &Tensor, v: &Tensor) -> Result<[Vec<Tensor>; 2]> {
        let (g, v) = (Var::from_tensor(g)?, Var::from_tensor(v)?);
        let run = |weight: Tensor| -> Result<Vec<Tensor>> {
            let mut gradients = weight.sin()?.sum_all()?.backward()?;
            let gradients = [&g, &v].map(|it| gradients.remove(it).expect("a gradient"));
            Ok([weight].into_iter().chain(gradients).collect())
        };
        Ok([run(fused::apply(&g, &v)?)?, run(composed(&g, &v)?)?])
    }

    #[test]
    fn hand_numbers() -> Result<()> {
        let v = Var::new(&[[3.0, 4.0]], &Device::Cpu)?;
        let g = Var::new(&[[10.0]], &Device::Cpu)?;
        let norm = WeightNorm::new(g.as_tensor().clone(), v.as_tensor().clone(), Some(0))?;
        let weight = norm.weight()?;
        assert_close(&weight, &Tensor::new(&[[6.0, 8.0]], &Device::Cpu)?, 1e-15);
        let upstream = Tensor::new(&[[1.0, 0.0]], &Device::Cpu)?;
        let gradients = (weight * upstream)?.sum_all()?.backward()?;
        let of = |var: &Var| gradients.get(var).cloned().expect("a gradient");
        assert_close(&of(&g), &Tensor::new(&[[0.6]], &Device::Cpu)?, 1e-15);
        // 10 / 5 of what (1, 0) has at right angles to (0.6, 0.8).
        assert_close(&of(&v), &Tensor::new(&[[1.28, -0.96]], &Device::Cpu)?, 1e-14);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            for shape in [vec![4, 7], vec![1, 2, 3, 3], vec![5, 2]] {
                let v = noise.normal(0.0, 1.0, &shape[..], dtype, &Device::Cpu)?;
                let g = noise.normal(0.0, 1.0, shape[0], dtype, &Device::Cpu)?;
                let [fused, composed] = both(&g, &v)?;
                for (fused, composed) in fused.iter().zip(&composed) {
                    assert_close(fused, composed, tolerance);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn both_give_a_direction_of_length_0_nothing() -> Result<()> {
        let v = Tensor::new(&[[0.0, 0.0], [3.0, 4.0]], &Device::Cpu)?;
        for results in both(&Tensor::new(&[2.0, 5.0], &Device::Cpu)?, &v)? {
            for result in results {
                let rows = result.reshape((2, ()))?.to_vec2::<f64>()?;
                assert!(rows[0].iter().all(|value| *value == 0.0), "{rows:?}");
                assert!(rows[1].iter().all(|value| *value != 0.0), "{rows:?}");
            }
        }
        Ok(())
    }
}
