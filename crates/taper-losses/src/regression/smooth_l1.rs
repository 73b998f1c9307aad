//! The smooth L1 loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::{Element, Scalar};
use taper_core::{Error, Result};
use taper_kernels::loss::{Pointwise, Wanted};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`smooth_l1`].
#[derive(Debug, Clone)]
pub struct SmoothL1Options {
    /// Where the square becomes a line: β, at least 0.
    pub beta: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for SmoothL1Options {
    fn default() -> Self {
        Self { beta: 1.0, loss: LossOptions::default() }
    }
}

/// The smooth L1 loss: the absolute error with a parabola in place of its kink, the loss of box regression.
///
/// # Equation
/// lᵢ = dᵢ² / (2 β) where |dᵢ| ≤ β, else |dᵢ| − β / 2, with dᵢ = xᵢ − yᵢ
///
/// for the input x and the target y; reduced as [`Reduction`](crate::Reduction) says. It is
/// [`huber`](crate::huber) with δ = β, divided by β.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in any unit; the value () in that
/// unit, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`SmoothL1Options`]:
/// - `beta`: 1, in the input's unit; at least 0 and finite. With 0 it is [`mae`](crate::mae).
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// With c = d / β clipped to ±1 the loss is c (d − β c / 2) and its derivative c, so that no square overflows. With
/// β = 0 the derivative is 0 where input and target are equal. f64 stays f64; f32, bf16 and f16 are computed and
/// returned in f32.
///
/// # Deviations
/// 1. From PyTorch: another shape is an error, not a warning and a broadcast.
/// 2. From PyTorch: it takes weights and a mask.
/// 3. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; a β that is negative or not finite;
/// weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty`
/// says otherwise.
///
/// # References
/// - Girshick 2015, Fast R-CNN, <https://arxiv.org/abs/1504.08083> (with β = 1).
/// - `torch.nn.SmoothL1Loss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.SmoothL1Loss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{SmoothL1Options, smooth_l1};
///
/// // Off by 1, on the square, and by 5, on the line.
/// let input = Tensor::new(&[1.0, 5.0], &Device::Cpu)?;
/// let options = SmoothL1Options { beta: 2.0, ..Default::default() };
/// let loss = smooth_l1(&input, &input.zeros_like()?, &options)?;
/// assert_eq!(loss.to_scalar::<f64>()?, (1.0 / 4.0 + (5.0 - 1.0)) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn smooth_l1(input: &Tensor, target: &Tensor, options: &SmoothL1Options) -> Result<Tensor> {
    let beta = options.beta;
    if !(beta >= 0.0 && beta.is_finite()) {
        return Err(Error::argument(SmoothL1::NAME, "beta", "at least 0 and finite", beta));
    }
    elementwise(SmoothL1 { beta }, "input", input, target, &options.loss)
}

struct SmoothL1 {
    beta: f64,
}

impl Elementwise for SmoothL1 {
    const NAME: &'static str = "smooth_l1";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        // What vanishes in T would divide by 0.
        let beta = Element::to_f64(T::of(self.beta));
        Ok(Pointwise::SmoothL1 { beta }.evaluate(x, target, wanted))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let d = (x - target)?;
        if self.beta == 0.0 {
            return super::mae::magnitude(&d);
        }
        // Clipped by a choice: candle's clamp has the wrong derivative at its ends.
        let (above, below) = (d.gt(self.beta)?, d.lt(-self.beta)?);
        let one = d.ones_like()?;
        let inner = (&d * (1.0 / self.beta))?;
        let clipped = above.where_cond(&one, &below.where_cond(&one.neg()?, &inner)?)?;
        Ok((&clipped * (d - (&clipped * (self.beta / 2.0))?)?)?)
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
        fn the_twins_agree(random in random(), beta in prop_oneof![Just(0.0), 0.1..3.0]) {
            twins_agree(&random, || SmoothL1 { beta });
        }
    }

    #[test]
    fn hand_numbers_of_both_parts() -> Result<()> {
        let input = Tensor::new(&[-3.0, -0.5, 0.0, 0.25, 1.0], &Device::Cpu)?;
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = SmoothL1Options { beta: 0.5, loss };
        let losses = smooth_l1(&input, &input.zeros_like()?, &options)?;
        assert_eq!(losses.to_vec1::<f64>()?, [2.75, 0.25, 0.0, 0.0625, 0.75]);
        Ok(())
    }

    #[test]
    fn a_beta_that_vanishes_in_f32_is_none() -> Result<()> {
        let input = Tensor::new(&[0f32, 2.0], &Device::Cpu)?;
        let options = SmoothL1Options { beta: 1e-60, ..Default::default() };
        let loss = smooth_l1(&input, &input.zeros_like()?, &options)?;
        assert_eq!(loss.to_scalar::<f32>()?, 1.0);
        Ok(())
    }
}
