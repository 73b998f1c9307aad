//! The Huber loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Pointwise, Wanted};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`huber`].
#[derive(Debug, Clone)]
pub struct HuberOptions {
    /// Where the square becomes a line: δ, above 0.
    pub delta: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for HuberOptions {
    fn default() -> Self {
        Self { delta: 1.0, loss: LossOptions::default() }
    }
}

/// The Huber loss: a square near the target, a line of slope δ away from it.
///
/// # Equation
/// lᵢ = dᵢ² / 2 where |dᵢ| ≤ δ, else δ (|dᵢ| − δ / 2), with dᵢ = xᵢ − yᵢ
///
/// for the input x and the target y; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in any unit; the value () in the
/// unit's square, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`HuberOptions`]:
/// - `delta`: 1, in the input's unit; above 0 and finite.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// With c = d clipped to ±δ the loss is c (d − c / 2) and its derivative c, so that no square overflows.
/// f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From PyTorch: another shape is an error, not a warning and a broadcast.
/// 2. From PyTorch: weights may have the leading part of the shape; its `weight` must have all of it.
/// 3. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; a δ that is not above 0 and finite;
/// weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty`
/// says otherwise.
///
/// # References
/// - Huber 1964, Robust estimation of a location parameter, Annals of Mathematical Statistics 35(1).
/// - `torch.nn.HuberLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{HuberOptions, huber};
///
/// // Off by 1, on the square, and by 5, on the line.
/// let input = Tensor::new(&[1.0, 5.0], &Device::Cpu)?;
/// let options = HuberOptions { delta: 2.0, ..Default::default() };
/// let loss = huber(&input, &input.zeros_like()?, &options)?;
/// assert_eq!(loss.to_scalar::<f64>()?, (1.0 / 2.0 + 2.0 * (5.0 - 1.0)) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn huber(input: &Tensor, target: &Tensor, options: &HuberOptions) -> Result<Tensor> {
    let delta = options.delta;
    if !(delta > 0.0 && delta.is_finite()) {
        return Err(Error::argument(Huber::NAME, "delta", "above 0 and finite", delta));
    }
    elementwise(Huber { delta }, "input", input, target, &options.loss)
}

struct Huber {
    delta: f64,
}

impl Elementwise for Huber {
    const NAME: &'static str = "huber";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(Pointwise::Huber { delta: self.delta }.evaluate(x, target, wanted))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let d = (x - target)?;
        // Clipped by a choice: candle's clamp has the wrong derivative at its ends.
        let (above, below) = (d.gt(self.delta)?, d.lt(-self.delta)?);
        let delta = (d.ones_like()? * self.delta)?;
        let clipped = above.where_cond(&delta, &below.where_cond(&delta.neg()?, &d)?)?;
        Ok((&clipped * (d - (&clipped * 0.5)?)?)?)
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
        fn the_twins_agree(random in random(), delta in 0.1..3.0) {
            twins_agree(&random, || Huber { delta });
        }
    }

    #[test]
    fn hand_numbers_of_both_parts() -> Result<()> {
        let input = Tensor::new(&[-3.0, -0.5, 0.0, 0.5, 1.0], &Device::Cpu)?;
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let losses = huber(&input, &input.zeros_like()?, &HuberOptions { delta: 0.5, loss })?;
        assert_eq!(losses.to_vec1::<f64>()?, [1.375, 0.125, 0.0, 0.125, 0.375]);
        Ok(())
    }
}
