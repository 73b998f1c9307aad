//! The soft margin loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Wanted, pointwise_by};

use super::hinge::expect_signs;
use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};

/// The soft margin loss of binary decisions: the logistic loss, for labels of −1 and 1.
///
/// It is [`bce_with_logits`](crate::bce_with_logits) with the target (1 + t) / 2.
///
/// # Equation
/// lᵢ = log(1 + exp(− tᵢ xᵢ))
///
/// with the logit x and the label t of −1 or 1; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in nats and without a unit; the value (), in
/// nats, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// max(−t x, 0) + log1p(exp(−|x|)), in f64 for every dtype: finite at logits of ±1e4, and value and gradient keep
/// their relative precision where a prediction is almost certain. f64 stays f64; f32, bf16 and f16 are returned in
/// f32. Labels are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From PyTorch: a logit that is far on the wrong side has its loss. PyTorch takes the exponential of −t x, so
///    that the loss is infinite and the gradient NaN from a logit of some 89 in f32.
/// 2. From PyTorch: a label that is not −1 or 1 is an error.
/// 3. From PyTorch: weights and a mask, which it has not.
/// 4. From PyTorch: another shape is an error, not a broadcast; the value of half-precision input is f32, and the
///    target has no gradient.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; the first label that is not −1 or 1, with
/// its position; weights and a mask that do not fit, a weight that is negative or not finite; nothing to average,
/// unless `empty` says otherwise.
///
/// # References
/// - Cox 1958, The regression analysis of binary sequences, JRSS B 20(2).
/// - `torch.nn.SoftMarginLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.SoftMarginLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, soft_margin};
///
/// // Odds of 3 : 1, right and wrong.
/// let input = Tensor::new(&[3f64.ln(), 3f64.ln()], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, -1.0], &Device::Cpu)?;
/// let loss = soft_margin(&input, &target, &LossOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 4f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn soft_margin(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    elementwise(SoftMargin, "input", input, target, options)
}

struct SoftMargin;

impl Elementwise for SoftMargin {
    const NAME: &'static str = "soft_margin";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |x, t| {
            let against = -t * x;
            let e = (-against.abs()).exp();
            let (wrong, loss) = if against > 0.0 {
                (1.0 / (1.0 + e), against + e.ln_1p())
            } else {
                (e / (1.0 + e), e.ln_1p())
            };
            (loss, -t * wrong)
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let against = (x * target)?.neg()?;
        let wrong = against.gt(0.0)?;
        // Both choose by the same mask, so that the slope at 0 is right.
        let log = (wrong.where_cond(&against.neg()?, &against)?.exp()? + 1.0)?.log()?;
        Ok((wrong.where_cond(&against, &against.zeros_like()?)? + log)?)
    }

    fn check(&self, _x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        expect_signs(target, elements)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::super::hinge::tests::signs;
    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree_against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            twins_agree_against(&random, &signs(&random), || SoftMargin);
        }
    }

    #[test]
    fn hand_numbers_from_certain_to_wrong() -> Result<()> {
        let input = Tensor::new(&[50.0, 0.0, -50.0, f64::NAN], &Device::Cpu)?;
        let options = LossOptions { reduction: Reduction::None, ..Default::default() };
        let losses = soft_margin(&input, &input.ones_like()?, &options)?.to_vec1::<f64>()?;
        assert!((losses[0] / (-50f64).exp() - 1.0).abs() < 1e-12);
        assert_eq!(losses[1..3], [2f64.ln(), 50.0]);
        assert!(losses[3].is_nan());
        Ok(())
    }
}
