//! The focal loss of logits, each a decision of its own.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Pointwise, Wanted};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`sigmoid_focal`].
#[derive(Debug, Clone)]
pub struct SigmoidFocalOptions {
    /// What a positive weighs, beside 1 − α of a negative: α, from 0 to 1; `None` makes both 1.
    pub alpha: Option<f64>,
    /// How much decisions that are already right are turned down: γ, at least 0.
    pub gamma: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for SigmoidFocalOptions {
    fn default() -> Self {
        Self { alpha: Some(0.25), gamma: 2.0, loss: LossOptions::default() }
    }
}

/// The focal loss of logits that are each a decision of its own, as in dense detection: the binary cross-entropy,
/// turned down where the prediction is already right.
///
/// Of classes that exclude each other, use [`focal`](crate::focal).
///
/// # Equation
/// lᵢ = (α yᵢ + (1 − α) (1 − yᵢ)) mᵢ^γ (− yᵢ log pᵢ − (1 − yᵢ) log (1 − pᵢ)), with
/// mᵢ = (1 − yᵢ) pᵢ + yᵢ (1 − pᵢ)
///
/// with the logit z, pᵢ = 1 / (1 + exp(−zᵢ)) and the target y; the first factor is 1 without α. Reduced as
/// [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Logits, in nats, and target (...), of the same shape with any number of axes; the value (), in nats, or
/// (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`SigmoidFocalOptions`]:
/// - `alpha`: 1/4, the paper's best beside a γ of 2; from 0 to 1, or `None`. It is no part of what a weighted mean
///   divides by.
/// - `gamma`: 2, the paper's best; at least 0 and finite. 0 is the binary cross-entropy.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for logits (N, D) weigh the rows.
///
/// # Numerics
/// − log p and − log (1 − p) as in [`bce_with_logits`](crate::bce_with_logits), and m from both sigmoids, of which
/// neither is one minus the other: value and gradient keep their relative precision where a prediction is almost
/// certain, and are finite at logits of ±1e4, also with γ below 1. A γ of 2 is fast; another costs a power in f64 for
/// each element. A logit of ±∞ is a certain one: its loss is 0 where the target agrees and infinite elsewhere. f64
/// stays f64; f32, bf16 and f16 are computed and returned in f32. A target outside 0 to 1 is not refused.
///
/// # Deviations
/// 1. From the paper: its sum is divided by the number of positive anchors. That is [`Reduction::Sum`
///    ](crate::Reduction::Sum) and a division.
/// 2. From torchvision: its `reduction` is none by default; here it is the mean, and weights and a mask are added.
/// 3. From torchvision: no α is `None`, not −1.
/// 4. From torchvision: m is 1 − p_t there, which has no digits left where a prediction is almost right, so that a γ
///    below 1 makes the gradient NaN where it rounds to 0.
/// 5. From torchvision: the value of half-precision logits is f32, and the target has no gradient.
///
/// # Errors
/// Logits and target of different shapes or dtypes or not floating-point; an α outside 0 to 1, a γ that is negative or
/// not finite; weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless
/// `empty` says otherwise.
///
/// # References
/// - Lin et al. 2017, Focal loss for dense object detection, <https://arxiv.org/abs/1708.02002>.
/// - `torchvision.ops.sigmoid_focal_loss`,
///   <https://docs.pytorch.org/vision/stable/generated/torchvision.ops.sigmoid_focal_loss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{SigmoidFocalOptions, sigmoid_focal};
///
/// // Odds of 3 : 1 for a positive and of 1 : 1 for a negative, which lack 1/4 and 1/2.
/// let logits = Tensor::new(&[3f64.ln(), 0.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 0.0], &Device::Cpu)?;
/// let loss = sigmoid_focal(&logits, &target, &SigmoidFocalOptions::default())?;
/// let by_hand = (0.25 / 16.0 * (4.0f64 / 3.0).ln() + 0.75 / 4.0 * 2f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn sigmoid_focal(
    logits: &Tensor,
    target: &Tensor,
    options: &SigmoidFocalOptions,
) -> Result<Tensor> {
    let (alpha, gamma) = (options.alpha, options.gamma);
    if let Some(alpha) = alpha.filter(|alpha| !(0.0..=1.0).contains(alpha)) {
        return Err(Error::argument(SigmoidFocal::NAME, "alpha", "from 0 to 1, or None", alpha));
    }
    if !(gamma >= 0.0 && gamma.is_finite()) {
        return Err(Error::argument(SigmoidFocal::NAME, "gamma", "at least 0 and finite", gamma));
    }
    elementwise(SigmoidFocal { alpha, gamma }, "logits", logits, target, &options.loss)
}

struct SigmoidFocal {
    alpha: Option<f64>,
    gamma: f64,
}

impl Elementwise for SigmoidFocal {
    const NAME: &'static str = "sigmoid_focal";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        let Self { alpha, gamma } = *self;
        Ok(Pointwise::SigmoidFocal { alpha, gamma }.evaluate(x, target, wanted))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let decision = Decision::of(x)?;
        let negative = target.affine(-1.0, 1.0)?;
        let lacking = ((&negative * &decision.p)? + (target * &decision.rest)?)?;
        let as_negative = share(&negative, &decision.as_negative)?;
        let as_positive = share(target, &decision.as_positive)?;
        let losses = (power(&lacking, self.gamma)? * (as_negative + as_positive)?)?;
        match self.alpha {
            None => Ok(losses),
            Some(alpha) => share(&target.affine(2.0 * alpha - 1.0, 1.0 - alpha)?, &losses),
        }
    }
}

/// A logit as a decision, in candle's operations.
pub(super) struct Decision {
    /// The probability p of a positive.
    pub(super) p: Tensor,
    /// 1 − p, to its own relative precision.
    pub(super) rest: Tensor,
    /// − log p.
    pub(super) as_positive: Tensor,
    /// − log (1 − p).
    pub(super) as_negative: Tensor,
}

impl Decision {
    pub(super) fn of(x: &Tensor) -> Result<Self> {
        // All choose by the same mask, so that the slopes at 0 are right.
        let (zeros, right) = (x.zeros_like()?, x.ge(0.0)?);
        let e = right.where_cond(&x.neg()?, x)?.exp()?;
        let of_larger = (&e + 1.0)?.recip()?;
        let of_smaller = (&e * &of_larger)?;
        let log = (e + 1.0)?.log()?;
        Ok(Self {
            p: right.where_cond(&of_larger, &of_smaller)?,
            rest: right.where_cond(&of_smaller, &of_larger)?,
            as_positive: (right.where_cond(&zeros, &x.neg()?)? + &log)?,
            as_negative: (right.where_cond(x, &zeros)? + &log)?,
        })
    }
}

/// m^γ of m not below 0, with the derivative 0 at 0, where candle's own may be infinite.
pub(super) fn power(m: &Tensor, gamma: f64) -> Result<Tensor> {
    if gamma == 0.0 {
        return Ok(m.ones_like()?);
    }
    let none = m.le(0.0)?;
    let powers = none.where_cond(&m.ones_like()?, m)?.powf(gamma)?;
    Ok(none.where_cond(&m.zeros_like()?, &powers)?)
}

/// `share` · `losses`, with 0 · ∞ = 0.
pub(super) fn share(share: &Tensor, losses: &Tensor) -> Result<Tensor> {
    Ok(share.eq(0.0)?.where_cond(&losses.zeros_like()?, &(share * losses)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree_against;

    proptest! {
        #[test]
        fn the_twins_agree(
            random in random(),
            alpha in prop::option::of(0.0..=1.0),
            gamma in prop_oneof![Just(0.0), Just(1.0), Just(2.0), 0.3..4.0],
            soft: bool,
        ) {
            let target = random.normal("target", (random.rows, random.columns));
            let target = match soft {
                true => (target.tanh().unwrap().abs().unwrap() * 0.9).unwrap(),
                false => target.ge(0.0).unwrap().to_dtype(DType::F64).unwrap(),
            };
            twins_agree_against(&random, &target, || SigmoidFocal { alpha, gamma });
        }
    }

    #[test]
    fn hand_numbers_with_and_without_a_balance() -> Result<()> {
        // Odds of 3 : 1, of 1 : 1 for a positive, and of 1 : 4 for a negative, which lack 1/4, 1/2 and 1/5.
        let logits = Tensor::new(&[3f64.ln(), 0.0, 0.25f64.ln()], &Device::Cpu)?;
        let target = Tensor::new(&[1.0, 1.0, 0.0], &Device::Cpu)?;
        let (a, b, c) = ((4.0f64 / 3.0).ln(), 2f64.ln(), 1.25f64.ln());
        let cases = [
            (Some(0.25), 2.0, [a / 64.0, b / 16.0, 0.75 * c / 25.0]),
            (None, 2.0, [a / 16.0, b / 4.0, c / 25.0]),
            (None, 0.5, [a / 2.0, b * 0.5f64.sqrt(), c * 0.2f64.sqrt()]),
            (Some(1.0), 0.0, [a, b, 0.0]),
        ];
        for (alpha, gamma, expected) in cases {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = SigmoidFocalOptions { alpha, gamma, loss };
            let losses = sigmoid_focal(&logits, &target, &options)?.to_vec1::<f64>()?;
            for (loss, expected) in losses.iter().zip(expected) {
                assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
            }
        }
        Ok(())
    }
}
