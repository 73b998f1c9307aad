//! The sum at the end of a residual block.

use candle_core::{Module, Shape, Tensor};
use taper_kernels::{Add, buffer};

use crate::op::{self, Destination, Operation, Scalar, Values, Work};
use crate::{Activation, Error, Result};

/// The sum of two tensors, and an activation of it, in one pass.
///
/// # Equation
/// y = f(x + r)
///
/// # Shapes
/// x and r any, of one shape; y as x.
///
/// # Parameters
/// - `activation`: f; [`Activation::Identity`] for the sum alone.
///
/// # Numerics
/// The sum is rounded to the dtype, f16 and bf16 after the activation only. Without an activation the gradients of x and
/// r are that of y itself, which is not copied; with one that its output tells (all but GELU and SiLU) nothing is kept
/// besides y.
///
/// # Deviations
/// 1. From `+` of candle and PyTorch: shapes are not broadcast, and dtypes not promoted: each is an error.
///
/// # Errors
/// An x that is not floating-point, and an r of another shape or dtype, or on another device.
///
/// # References
/// - He, Zhang, Ren and Sun 2016, Deep residual learning for image recognition,
///   <https://arxiv.org/abs/1512.03385>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_core::{Activation, add};
///
/// let x = Tensor::new(&[1.0, -2.0, 3.0], &Device::Cpu)?;
/// let residual = Tensor::new(&[0.5, 1.0, -4.0], &Device::Cpu)?;
/// assert_eq!(add(&x, &residual, Activation::Identity)?.to_vec1::<f64>()?, [1.5, -1.0, -1.0]);
/// assert_eq!(add(&x, &residual, Activation::Relu)?.to_vec1::<f64>()?, [1.5, 0.0, 0.0]);
/// # Ok(())
/// # }
/// ```
pub fn add(x: &Tensor, residual: &Tensor, activation: Activation) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(Error::argument("add", "x", "floating-point", format!("{:?}", x.dtype())));
    }
    if residual.dims() != x.dims() || residual.dtype() != x.dtype() {
        let expected = format!("{:?} of shape {:?}, as x is", x.dtype(), x.dims());
        let received = format!("{:?} of shape {:?}", residual.dtype(), residual.dims());
        return Err(Error::argument("add", "residual", expected, received));
    }
    let (wide, other) = (op::widen(x)?, op::widen(residual)?);
    let y = if op::has_kernels(&wide) {
        let (activation, rest) = activation.fused();
        rest.forward(&op::apply(Fused(Add { activation }), &[&wide, &other], x.shape())?)?
    } else {
        composed(&wide, &other, activation)?
    };
    Ok(y.to_dtype(x.dtype())?)
}

/// The twin in candle's operations.
fn composed(x: &Tensor, residual: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
    activation.composed(&(x + residual)?)
}

struct Fused(Add);

impl Operation for Fused {
    const NAME: &'static str = "add";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut y = buffer(arguments[0].len());
        self.0.forward(arguments[0], arguments[1], &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        if self.0.activation == taper_kernels::Activation::Identity {
            gradients.iter_mut().for_each(|gradient| gradient.hand_upstream(values.upstream));
            return Ok(());
        }
        let [of_x, of_residual] = op::places(gradients);
        self.0.backward(values.result, values.upstream, of_x, of_residual);
        Ok(())
    }

    fn work(&self, arguments: &[&Shape]) -> Work {
        let elements = arguments[0].elem_count();
        Work::of_elements(elements, 1).activated(elements, self.0.activation)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::testing::assert_close;
    use crate::{Gradients, stream};

    const CPU: &Device = &Device::Cpu;

    const ACTIVATIONS: [Activation; 5] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu { negative_slope: 0.1 },
        Activation::Sigmoid,
        Activation::Gelu,
    ];

    #[test]
    fn hand_numbers() -> Result<()> {
        let (x, r) = (Var::new(&[1.0, -2.0, 3.0], CPU)?, Var::new(&[1.0, 1.0, -3.0], CPU)?);
        let y = add(&x, &r, Activation::LeakyRelu { negative_slope: 0.5 })?;
        assert_eq!(y.to_vec1::<f64>()?, [2.0, -0.5, 0.0]);
        let gradients = (y * Tensor::new(&[1.0, 10.0, 100.0], CPU)?)?.sum_all()?.backward()?;
        for variable in [&x, &r] {
            let gradient = gradients.get(variable).map(|it| it.to_vec1::<f64>()).transpose()?;
            assert_eq!(gradient, Some(vec![1.0, 5.0, 50.0]));
        }
        Ok(())
    }

    #[test]
    fn fused_and_composed_agree() -> Result<()> {
        let mut noise = stream(1, "add");
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-6)] {
            let mut normal = || noise.normal(0.0, 1.0, (7, 33, 5, 41), dtype, CPU);
            let (x, r) = (Var::from_tensor(&normal()?)?, Var::from_tensor(&normal()?)?);
            let upstream = normal()?;
            for activation in ACTIVATIONS {
                // One is a view, and x is an argument twice.
                let view = r.transpose(2, 3)?.contiguous()?.transpose(2, 3)?;
                let run = |f: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| -> Result<_> {
                    let y = f(&f(&x, &view)?, &x)?;
                    let loss = (&y * &upstream)?.sum_all()?;
                    Ok((y, loss))
                };
                let (y, loss) = run(&|x, r| add(x, r, activation))?;
                let (expected, twin) = run(&|x, r| Ok(composed(x, r, activation)?))?;
                assert_close(&y, &expected, tolerance);
                let (fresh, twin) = (loss.backward()?, twin.backward()?);
                let mut in_place = Gradients::new([&x, &r])?;
                in_place.backward(&loss)?;
                for variable in [&x, &r] {
                    let expected = twin.get(variable).expect("a gradient");
                    assert_close(fresh.get(variable).expect("a gradient"), expected, tolerance);
                    let found = in_place.gradient(variable)?.expect("a gradient");
                    assert_close(&found, expected, tolerance);
                }
            }
        }
        Ok(())
    }
}
