//! The mean absolute error.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Pointwise, Wanted};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The mean absolute error: PyTorch's L1 loss.
///
/// # Equation
/// lᵢ = |xᵢ − yᵢ|
///
/// with the input x and the target y; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in any unit; the value () in that
/// unit, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// The derivative is the sign of x − y, and 0 where they are equal. f64 stays f64; f32, bf16 and f16 are
/// computed and returned in f32.
///
/// # Deviations
/// 1. From PyTorch: another shape is an error, not a warning and a broadcast.
/// 2. From PyTorch: weights may have the leading part of the shape; its `weight` must have all of it.
/// 3. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; weights and a mask that do not
/// fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Laplace 1774, Mémoire sur la probabilité des causes par les évènemens (the median as the estimate of least
///   absolute error).
/// - `torch.nn.L1Loss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, mae};
///
/// let input = Tensor::new(&[[1.0, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[[1.0, 0.0], [0.0, 4.0]], &Device::Cpu)?;
/// let loss = mae(&input, &target, &LossOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.0 + 2.0 + 3.0 + 0.0) / 4.0);
/// # Ok(())
/// # }
/// ```
pub fn mae(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    elementwise(Absolute, "input", input, target, options)
}

struct Absolute;

impl Elementwise for Absolute {
    const NAME: &'static str = "mae";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(Pointwise::Absolute.evaluate(x, target, wanted))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        magnitude(&(x - target)?)
    }
}

/// |d| with the derivative 0 at 0, where candle's own is 1.
pub(super) fn magnitude(d: &Tensor) -> Result<Tensor> {
    Ok((d * d.detach().sign()?)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            twins_agree(&random, || Absolute);
        }
    }
}
