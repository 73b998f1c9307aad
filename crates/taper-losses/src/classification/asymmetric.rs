//! The asymmetric loss of logits, each a decision of its own.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Wanted, pointwise_by};

use super::sigmoid_focal::{Decision, power, share};
use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`asymmetric`].
#[derive(Debug, Clone)]
pub struct AsymmetricOptions {
    /// How much positives that are already right are turned down: γ₊, at least 0.
    pub gamma_positive: f64,
    /// How much negatives that are already right are turned down: γ₋, at least 0.
    pub gamma_negative: f64,
    /// The probability up to which a negative costs nothing: m, at least 0 and below 1.
    pub clip: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for AsymmetricOptions {
    fn default() -> Self {
        let loss = LossOptions::default();
        Self { gamma_positive: 0.0, gamma_negative: 4.0, clip: 0.05, loss }
    }
}

/// The asymmetric loss for labels of which each sample has a few out of many: negatives that are already right are
/// turned down more than positives, and easy ones left out.
///
/// # Equation
/// lᵢ = − yᵢ (1 − pᵢ)^γ₊ log pᵢ − (1 − yᵢ) rᵢ^γ₋ log (1 − rᵢ), with rᵢ = max(pᵢ − m, 0)
///
/// with the logit z, pᵢ = 1 / (1 + exp(−zᵢ)), the target y and the margin m; reduced as
/// [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Logits, in nats, and target (...), of the same shape with any number of axes; the value (), in nats, or
/// (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`AsymmetricOptions`]:
/// - `gamma_positive`: 0, the paper's choice; at least 0 and finite.
/// - `gamma_negative`: 4, the paper's choice; at least 0 and finite. With both 0 and no margin the loss is the binary
///   cross-entropy, with both γ and no margin the focal loss without its α.
/// - `clip`: 0.05, the paper's choice; at least 0 and below 1. A negative up to this probability has no gradient.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for logits (N, D) weigh the rows.
///
/// # Numerics
/// − log p as in [`bce_with_logits`](crate::bce_with_logits), and p and 1 − p are both sigmoids, of which neither is
/// one minus the other; 1 − r is 1 − p + m. Computed in f64 for every dtype; finite at logits of ±1e4, also with a γ
/// below 1. At p = m the derivative is 0, that from below. f64 stays f64; f32, bf16 and f16 are returned in f32. A
/// target outside 0 to 1 is not refused: the loss is linear in it.
///
/// # Deviations
/// 1. From the authors' code: its γ₊ is 1; here it is the paper's 0.
/// 2. From the authors' code: it returns the sum. That is [`Reduction::Sum`](crate::Reduction::Sum) here; the default is
///    the mean.
/// 3. From the authors' code: it has no probability below 1e-8 in a logarithm, where the gradient ends; here none
///    is limited.
/// 4. From the authors' code: it raises y (1 − p) + (1 − y) r to the power y γ₊ + (1 − y) γ₋; the same for hard
///    targets. Here a soft target is a share of either loss.
///
/// # Errors
/// Logits and target of different shapes or dtypes or not floating-point; a γ that is negative or not finite, a margin
/// outside 0 to 1; weights and a mask that do not fit, a weight that is negative or not finite; nothing to average,
/// unless `empty` says otherwise.
///
/// # References
/// - Ridnik et al. 2021, Asymmetric loss for multi-label classification, <https://arxiv.org/abs/2009.14119>.
/// - `AsymmetricLoss` of the authors, <https://github.com/Alibaba-MIIL/ASL>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{AsymmetricOptions, asymmetric};
///
/// // Probabilities of 3/4 for a positive, and of 1/2 and 1/21, which is below the margin, for negatives.
/// let logits = Tensor::new(&[3f64.ln(), 0.0, 0.05f64.ln()], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 0.0, 0.0], &Device::Cpu)?;
/// let loss = asymmetric(&logits, &target, &AsymmetricOptions::default())?;
/// let by_hand = (-0.75f64.ln() - 0.45f64.powi(4) * 0.55f64.ln() + 0.0) / 3.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn asymmetric(logits: &Tensor, target: &Tensor, options: &AsymmetricOptions) -> Result<Tensor> {
    let AsymmetricOptions { gamma_positive, gamma_negative, clip, ref loss } = *options;
    for (name, gamma) in [("gamma_positive", gamma_positive), ("gamma_negative", gamma_negative)] {
        if !(gamma >= 0.0 && gamma.is_finite()) {
            return Err(Error::argument(Asymmetric::NAME, name, "at least 0 and finite", gamma));
        }
    }
    if !(0.0..1.0).contains(&clip) {
        return Err(Error::argument(Asymmetric::NAME, "clip", "at least 0 and below 1", clip));
    }
    let rule = Asymmetric { gamma_positive, gamma_negative, clip };
    elementwise(rule, "logits", logits, target, loss)
}

struct Asymmetric {
    gamma_positive: f64,
    gamma_negative: f64,
    clip: f64,
}

impl Asymmetric {
    /// The loss of a positive and its derivative: of p, 1 − p and − log p.
    fn positive(&self, p: f64, rest: f64, cost: f64) -> (f64, f64) {
        let factor = rest.powf(self.gamma_positive);
        // Where p is 0 the cost may be infinite, and their product is to be 0.
        let turning = self.gamma_positive * factor * p * cost.min(f64::MAX);
        (factor * cost, -turning - factor * rest)
    }

    /// The loss of a negative and its derivative: of p, 1 − p and − log (1 − p).
    fn negative(&self, p: f64, rest: f64, cost: f64) -> (f64, f64) {
        let r = p - self.clip;
        if r <= 0.0 {
            return (0.0, 0.0);
        }
        // − log (1 − r), and what p (1 − p) over 1 − r is.
        let (cost, slope) = match self.clip {
            0.0 => (cost, p),
            clip if r < 0.5 => (-(-r).ln_1p(), p * rest / (rest + clip)),
            clip => (-(rest + clip).ln(), p * rest / (rest + clip)),
        };
        let factor = r.powf(self.gamma_negative);
        let turning = self.gamma_negative * factor / r * (p * rest) * cost.min(f64::MAX);
        (factor * cost, turning + factor * slope)
    }
}

impl Elementwise for Asymmetric {
    const NAME: &'static str = "asymmetric";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |x, y| {
            let e = (-x.abs()).exp();
            let (of_larger, of_smaller, log) = (1.0 / (1.0 + e), e / (1.0 + e), e.ln_1p());
            let (p, rest) =
                if x >= 0.0 { (of_larger, of_smaller) } else { (of_smaller, of_larger) };
            if p.is_nan() {
                return (f64::NAN, f64::NAN);
            }
            let part = |share: f64, (loss, slope): (f64, f64)| match share {
                0.0 => (0.0, 0.0),
                share => (share * loss, share * slope),
            };
            let positive = part(y, self.positive(p, rest, (-x).max(0.0) + log));
            let negative = part(1.0 - y, self.negative(p, rest, x.max(0.0) + log));
            (positive.0 + negative.0, positive.1 + negative.1)
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let Decision { p, rest, as_positive, as_negative } = Decision::of(x)?;
        let positive = (power(&rest, self.gamma_positive)? * as_positive)?;
        // What is not above the margin is set to a half before the equation, and its loss to 0 after it.
        let above = p.gt(self.clip)?;
        let halves = (p.ones_like()? * 0.5)?;
        let r = above.where_cond(&(p - self.clip)?, &halves)?;
        let cost = match self.clip {
            0.0 => as_negative,
            clip => above.where_cond(&(rest + clip)?, &halves)?.log()?.neg()?,
        };
        let negative = (power(&r, self.gamma_negative)? * cost)?;
        let negative = above.where_cond(&negative, &negative.zeros_like()?)?;
        Ok((share(target, &positive)? + share(&target.affine(-1.0, 1.0)?, &negative)?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree_against;

    fn gamma() -> impl Strategy<Value = f64> {
        prop_oneof![Just(0.0), Just(1.0), Just(4.0), 0.3..4.0]
    }

    proptest! {
        #[test]
        fn the_twins_agree(
            random in random(),
            gammas in (gamma(), gamma()),
            clip in prop_oneof![Just(0.0), 0.01..0.9],
            soft: bool,
        ) {
            let target = random.normal("target", (random.rows, random.columns));
            let target = match soft {
                true => (target.tanh().unwrap().abs().unwrap() * 0.9).unwrap(),
                false => target.ge(0.0).unwrap().to_dtype(DType::F64).unwrap(),
            };
            let (gamma_positive, gamma_negative) = gammas;
            twins_agree_against(&random, &target, || {
                Asymmetric { gamma_positive, gamma_negative, clip }
            });
        }
    }

    #[test]
    fn hand_numbers_of_both_sides() -> Result<()> {
        // A probability of 3/4: r is 1/2.
        let logits = Tensor::new(&[3f64.ln(), 3f64.ln(), 3f64.ln()], &Device::Cpu)?;
        let target = Tensor::new(&[1.0, 0.0, 0.5], &Device::Cpu)?;
        let options = AsymmetricOptions {
            gamma_positive: 1.0,
            gamma_negative: 2.0,
            clip: 0.25,
            loss: LossOptions { reduction: Reduction::None, ..Default::default() },
        };
        let losses = asymmetric(&logits, &target, &options)?.to_vec1::<f64>()?;
        let (positive, negative) = ((4.0f64 / 3.0).ln() / 4.0, 2f64.ln() / 4.0);
        for (loss, expected) in losses.iter().zip([positive, negative, (positive + negative) / 2.0])
        {
            assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
        }
        Ok(())
    }
}
