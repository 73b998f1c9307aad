//! The mean squared error.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Pointwise, Wanted};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The mean squared error.
///
/// # Equation
/// lᵢ = (xᵢ − yᵢ)²
///
/// with the input x and the target y; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in any unit; the value () in the
/// unit's square, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// f64 stays f64; f32, bf16 and f16 are computed and returned in f32. A difference above 1.8e19 squares to
/// infinity in f32.
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
/// - Legendre 1805, Nouvelles méthodes pour la détermination des orbites des comètes (least squares).
/// - `torch.nn.MSELoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.MSELoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, Reduction, mse};
///
/// let input = Tensor::new(&[[1.0, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[[1.0, 0.0], [0.0, 4.0]], &Device::Cpu)?;
/// let mean = mse(&input, &target, &LossOptions::default())?;
/// assert_eq!(mean.to_scalar::<f64>()?, (0.0 + 4.0 + 9.0 + 0.0) / 4.0);
///
/// let each = LossOptions { reduction: Reduction::None, ..Default::default() };
/// let losses = mse(&input, &target, &each)?;
/// assert_eq!(losses.to_vec2::<f64>()?, [[0.0, 4.0], [9.0, 0.0]]);
/// # Ok(())
/// # }
/// ```
pub fn mse(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    elementwise(Squared, "input", input, target, options)
}

struct Squared;

impl Elementwise for Squared {
    const NAME: &'static str = "mse";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(Pointwise::Squared.evaluate(x, target, wanted))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        Ok((x - target)?.sqr()?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            twins_agree(&random, || Squared);
        }
    }

    #[test]
    fn hand_numbers_of_every_reduction() -> Result<()> {
        let input = Tensor::new(&[[1.0, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        let target = Tensor::new(&[[0.0, 0.0], [0.0, 5.0]], &Device::Cpu)?;
        // Squares 1, 4, 9, 1; the mask leaves 1, 4, 9; the rows weigh 3 and 1.
        let value = |reduction| {
            let options = LossOptions {
                reduction,
                sample_weights: Some(Tensor::new(&[3.0, 1.0], &Device::Cpu)?),
                mask: Some(Tensor::new(&[[1u8, 1], [1, 0]], &Device::Cpu)?),
                ..Default::default()
            };
            mse(&input, &target, &options)
        };
        assert_eq!(value(Reduction::None)?.to_vec2::<f64>()?, [[3.0, 12.0], [9.0, 0.0]]);
        assert_eq!(value(Reduction::Sum)?.to_scalar::<f64>()?, 24.0);
        assert_eq!(value(Reduction::Mean)?.to_scalar::<f64>()?, 8.0);
        assert_eq!(value(Reduction::WeightedMean)?.to_scalar::<f64>()?, 24.0 / 7.0);
        Ok(())
    }
}
