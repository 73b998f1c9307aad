//! The generalized cross-entropy of logits over classes.

use candle_core::Tensor;
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{CrossEntropy, Wanted};

use crate::classes::{Classes, OfLogProbability};
use crate::{ClassOptions, Target};

/// The options of [`generalized_cross_entropy`].
#[derive(Debug, Clone)]
pub struct GeneralizedCrossEntropyOptions {
    /// From the cross-entropy, its limit at 0, to the error of the probability, at 1: q, above 0 and at most 1.
    pub q: f64,
    /// What every loss over classes has.
    pub classes: ClassOptions,
}

impl Default for GeneralizedCrossEntropyOptions {
    fn default() -> Self {
        Self { q: 0.7, classes: ClassOptions::default() }
    }
}

/// The generalized cross-entropy: between the cross-entropy and the mean absolute error, to learn from labels of which
/// some are wrong.
///
/// A sample that the model finds impossible has little gradient, so a wrong label is not learnt by heart.
///
/// # Equation
/// lᵢ = Σ_c w_c q′ᵢ_c (1 − pᵢ_c^q) / q
///
/// with the softmax pᵢ of the logits of sample i, the exponent q, the class weights w and the smoothed target
/// q′ = (1 − ε) t + ε / C; t is 1 at the class of an index target and 0 elsewhere. Reduced as
/// [`Reduction`](crate::Reduction) says, where the class weight of sample i is Σ_c w_c tᵢ_c.
///
/// # Shapes
/// Logits (N, C, ...), in nats, or (C) for a single sample; the class axis C may be any. Index targets
/// have the shape without C, (N, ...) or (), probabilities that of the logits. The value is (), without a unit, or
/// (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`GeneralizedCrossEntropyOptions`]:
/// - `q`: 0.7, the paper's choice; above 0 and at most 1. Towards 0 the loss is the cross-entropy, at 1 it is 1 − p,
///   half the absolute error of the probabilities. The loss of a sample of weight 1 is below 1 / q.
/// - `classes`: [`ClassOptions`].
///
/// # Numerics
/// (1 − p^q) / q = −expm1(q log p) / q, with log p as in [`cross_entropy`](crate::cross_entropy), in f64 for every
/// dtype; it keeps its relative precision where q is near 0, and is finite at logits of ±1e4 and of −∞. f64 stays
/// f64; f32, bf16 and f16 are returned in f32.
///
/// # Deviations
/// 1. From the paper: its truncated loss, which is constant where p is below a threshold, is left out. Its pruning of
///    samples is a `mask`.
/// 2. From the paper: it has hard labels; here the loss is linear in the target's probabilities.
///
/// # Errors
/// A q that is not above 0 and at most 1, and those of [`cross_entropy`](crate::cross_entropy).
///
/// # References
/// - Zhang and Sabuncu 2018, Generalized cross entropy loss for training deep neural networks with noisy labels,
///   <https://arxiv.org/abs/1805.07836>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{GeneralizedCrossEntropyOptions, Target, generalized_cross_entropy};
///
/// // A probability of 1/4 for the right class.
/// let logits = Tensor::new(&[[3f64.ln(), 0.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[1u32], &Device::Cpu)?;
/// let options = GeneralizedCrossEntropyOptions { q: 0.5, ..Default::default() };
/// let loss = generalized_cross_entropy(&logits, Target::Indices(&target), &options)?;
/// assert!((loss.to_scalar::<f64>()? - (1.0 - 0.25f64.sqrt()) / 0.5).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn generalized_cross_entropy(
    logits: &Tensor,
    target: Target<'_>,
    options: &GeneralizedCrossEntropyOptions,
) -> Result<Tensor> {
    let q = options.q;
    if !(q > 0.0 && q <= 1.0) {
        return Err(Error::argument(BoxCox::NAME, "q", "above 0 and at most 1", q));
    }
    Classes::new(BoxCox::NAME, "logits", logits, target, &options.classes)?.reduce(BoxCox { q })
}

/// (1 − p^q) / q: minus the Box-Cox transform of the probability.
struct BoxCox {
    q: f64,
}

impl OfLogProbability for BoxCox {
    const NAME: &'static str = "generalized_cross_entropy";

    fn evaluate<T: Scalar>(
        &self,
        rows: CrossEntropy<'_, T>,
        logits: &[T],
        wanted: Wanted<'_, T>,
    ) -> f64 {
        let q = self.q;
        rows.evaluate_by(logits, wanted, move |log_p| {
            (-(q * log_p).exp_m1() / q, -(q * log_p).exp())
        })
    }

    fn composed(&self, log_p: &Tensor) -> Result<Tensor> {
        Ok((((log_p * self.q)?.exp()?.neg()? + 1.0)? / self.q)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::classes::tests::{random_classes, twins_agree};
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(
            random in random(),
            classes in random_classes(),
            q in prop_oneof![Just(1.0), 0.1..1.0],
        ) {
            twins_agree(&random, classes, || BoxCox { q });
        }
    }

    #[test]
    fn hand_numbers_of_both_ends() -> Result<()> {
        // A probability of 3/4 for the right class.
        let logits = Tensor::new(&[[0.0, 3f64.ln()]], &Device::Cpu)?;
        let labels = Tensor::new(&[1u32], &Device::Cpu)?;
        for (q, expected) in [(1.0, 0.25), (1e-15, (4.0f64 / 3.0).ln())] {
            let options = GeneralizedCrossEntropyOptions { q, ..Default::default() };
            let loss = generalized_cross_entropy(&logits, Target::Indices(&labels), &options)?;
            assert!((loss.to_scalar::<f64>()? - expected).abs() < 1e-14, "{loss} for {q}");
        }
        Ok(())
    }
}
