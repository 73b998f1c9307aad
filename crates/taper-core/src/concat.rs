//! Tensors joined along an axis.

use candle_core::{Shape, Tensor};
use taper_kernels::{Concat, buffer};

use crate::op::{self, Destination, Field, Operation, Scalar, Values, Work};
use crate::{Error, Result};

/// Tensors one after the other along an axis, in one operation.
///
/// # Equation
/// y\[..., k, ...\] = xᵢ\[..., k − Σ_{j<i} Kⱼ, ...\] for the i whose part k lies in, Kⱼ the size of xⱼ along the axis
///
/// # Shapes
/// x₁, x₂, ... of one shape but for the axis `dim`, at least one of them; y the same, with Σ Kⱼ along `dim`.
///
/// # Parameters
/// - `dim`: the axis, from 0.
///
/// # Numerics
/// Exact. Each part is copied once; the gradient of y is cut into those of the parts.
///
/// # Deviations
/// 1. From `Tensor::cat` of candle: the copies run in parallel, and those of the gradients go where they are wanted.
/// 2. From `torch.cat`: no negative axes, dtypes are not promoted, and an empty tensor of rank 1 is no exception.
///
/// # Errors
/// No tensors, a `dim` that they do not have, and tensors that are not floating-point or differ in dtype, rank or an
/// axis other than `dim`.
///
/// # References
/// - Szegedy et al. 2015, Going deeper with convolutions, <https://arxiv.org/abs/1409.4842>.
/// - `torch.cat`, <https://docs.pytorch.org/docs/stable/generated/torch.cat.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_core::concat;
///
/// let a = Tensor::new(&[[1.0, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[5.0], [6.0]], &Device::Cpu)?;
/// let y = concat(&[&a, &b, &a], 1)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[1.0, 2.0, 5.0, 1.0, 2.0], [3.0, 4.0, 6.0, 3.0, 4.0]]);
/// # Ok(())
/// # }
/// ```
pub fn concat(tensors: &[&Tensor], dim: usize) -> Result<Tensor> {
    let [first, ..] = tensors else {
        return Err(Error::argument("concat", "tensors", "at least one", 0));
    };
    if !first.dtype().is_float() {
        let received = format!("{:?}", first.dtype());
        return Err(Error::argument("concat", "tensors[0]", "floating-point", received));
    }
    if dim >= first.rank() {
        let expected = format!("an axis of {:?}", first.dims());
        return Err(Error::argument("concat", "dim", expected, dim));
    }
    for (at, tensor) in tensors.iter().enumerate() {
        expect_like(first, tensor, at, dim)?;
    }
    let wide = tensors.iter().map(|it| op::widen(it)).collect::<candle_core::Result<Vec<_>>>()?;
    let y =
        if wide.iter().all(op::has_kernels) { fused(&wide, dim)? } else { composed(&wide, dim)? };
    Ok(y.to_dtype(first.dtype())?)
}

/// That a tensor fits the first.
fn expect_like(first: &Tensor, tensor: &Tensor, at: usize, dim: usize) -> Result<()> {
    let same_axis = |(axis, (a, b))| axis == dim || a == b;
    let same_axes = first.dims().iter().zip(tensor.dims()).enumerate().all(same_axis);
    if same_axes && tensor.rank() == first.rank() && tensor.dtype() == first.dtype() {
        return Ok(());
    }
    Err(Error::argument(
        "concat",
        format!("tensors[{at}]"),
        format!(
            "{:?} of shape {:?} but for axis {dim}, as the first is",
            first.dtype(),
            first.dims()
        ),
        format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims()),
    ))
}

fn fused(tensors: &[Tensor], dim: usize) -> candle_core::Result<Tensor> {
    let mut shape = tensors[0].dims().to_vec();
    shape[dim] = tensors.iter().map(|it| it.dims()[dim]).sum();
    let length = |it: &Tensor| it.dims()[dim..].iter().product();
    let sizes = Concat {
        outer: shape[..dim].iter().product(),
        lengths: tensors.iter().map(length).collect(),
    };
    let arguments: Vec<&Tensor> = tensors.iter().collect();
    op::apply(Fused { sizes, dim }, &arguments, shape)
}

/// The twin in candle's operations.
fn composed(tensors: &[Tensor], dim: usize) -> candle_core::Result<Tensor> {
    Tensor::cat(tensors, dim)
}

struct Fused {
    sizes: Concat,
    dim: usize,
}

impl Operation for Fused {
    const NAME: &'static str = "concat";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut y = buffer(arguments.iter().map(|it| it.len()).sum());
        self.sizes.forward(arguments, &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        for (at, gradient) in gradients.iter_mut().enumerate() {
            if let Some((gradient, update)) = gradient.place() {
                self.sizes.backward(values.upstream, at, gradient, update);
            }
        }
        Ok(())
    }

    /// Along rows or columns of images the places move.
    fn work(&self, _: &[&Shape]) -> Work {
        let field = if self.dim < 2 { Field::Point } else { Field::Whole };
        Work { field, ..Work::default() }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::assert_close;
    use crate::{Gradients, stream};

    const CPU: &Device = &Device::Cpu;

    #[test]
    fn hand_numbers() -> Result<()> {
        let (a, b) = (Var::new(&[[1.0], [2.0]], CPU)?, Var::new(&[[3.0, 4.0], [5.0, 6.0]], CPU)?);
        let y = concat(&[&a, &b], 1)?;
        assert_eq!(y.to_vec2::<f64>()?, [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]);
        let gradients = y.sqr()?.sum_all()?.backward()?;
        let of = |var| gradients.get(var).map(|it| it.to_vec2::<f64>()).transpose();
        assert_eq!(of(&a)?, Some(vec![vec![2.0], vec![4.0]]));
        assert_eq!(of(&b)?, Some(vec![vec![6.0, 8.0], vec![10.0, 12.0]]));
        Ok(())
    }

    #[test]
    fn fused_and_composed_agree() -> Result<()> {
        let mut noise = stream(1, "concat");
        for dtype in [DType::F64, DType::F32] {
            for dim in 0..4 {
                for count in [1, 2, 5, 9] {
                    let mut variable = |size: usize| {
                        let mut shape = [3, 4, 5, 6];
                        shape[dim] = size;
                        Var::from_tensor(&noise.normal(0.0, 1.0, &shape, dtype, CPU)?)
                    };
                    let variables = (0..count).map(|at| variable(at * 7 % 11 + 1));
                    let variables = variables.collect::<candle_core::Result<Vec<_>>>()?;
                    // The first is there twice; each is a view.
                    let views = variables.iter().chain(variables.first());
                    let views: Vec<Tensor> = views
                        .map(|var| var.transpose(0, 3)?.contiguous()?.transpose(0, 3))
                        .collect::<candle_core::Result<_>>()?;
                    let y = concat(&views.iter().collect::<Vec<_>>(), dim)?;
                    let expected = composed(&views, dim)?;
                    assert_close(&y, &expected, 0.0);
                    let loss = y.sqr()?.sum_all()?;
                    let (fresh, twin) = (loss.backward()?, expected.sqr()?.sum_all()?.backward()?);
                    let mut in_place = Gradients::new(&variables)?;
                    in_place.backward(&loss)?;
                    for variable in &variables {
                        let expected = twin.get(variable).expect("a gradient");
                        assert_close(fresh.get(variable).expect("a gradient"), expected, 1e-7);
                        let found = in_place.gradient(variable)?.expect("a gradient");
                        assert_close(&found, expected, 1e-7);
                    }
                }
            }
        }
        Ok(())
    }
}
