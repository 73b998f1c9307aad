//! The cross-entropy of logits against class indices or probabilities.

use candle_core::Tensor;
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{self, Wanted};

use crate::classes::{Classes, OfLogProbability};
use crate::{ClassOptions, Target};

/// The cross-entropy of logits against class indices or probabilities.
///
/// # Equation
/// lᵢ = − Σ_c w_c q′ᵢ_c log pᵢ_c
///
/// with the softmax pᵢ of the logits of sample i, the class weights w and the smoothed target
/// q′ = (1 − ε) q + ε / C; q is 1 at the class of an index target and 0 elsewhere. Reduced as [`Reduction`](crate::Reduction)
/// says, where the class weight of sample i is Σ_c w_c qᵢ_c: that of its class for an index target.
///
/// # Shapes
/// Logits (N, C, ...), in nats, or (C) for a single sample; the class axis C may be any. Index targets
/// have the shape without C, (N, ...) or (), probabilities that of the logits. The value is (), in nats, or
/// (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`ClassOptions`]. The default reduction, [`Reduction::WeightedMean`](crate::Reduction::WeightedMean), is PyTorch's
/// mean for index targets.
///
/// # Numerics
/// log p = (z − max z) − log Σ exp(z − max z), finite at logits of ±1e4; the maximum is a constant to the
/// backward pass. A logit of −∞ is a class of probability 0: it has no part in the loss where its target
/// (or weight) is 0, and makes it infinite elsewhere. f64 stays f64; f32, bf16 and f16 are computed and returned
/// in f32. Labels and weights are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From PyTorch: with class weights and probabilities its mean divides by the number of samples. That
///    is [`Reduction::Mean`](crate::Reduction::Mean) here; the default divides by the weights, so that one-hot probabilities and
///    indices give the same value.
/// 2. From PyTorch: `ignore_index` is none, not −100; a label outside the classes is an error.
/// 3. From PyTorch: 0 · log 0 is 0 for soft targets, not NaN.
/// 4. From PyTorch: a mean over nothing is an error, not NaN.
/// 5. From PyTorch: the value of half-precision logits is f32, and the target has no gradient.
///
/// # Errors
/// Logits without classes or not floating-point; a target, weights or a mask that do not fit; the first
/// label outside the classes, with its position; a weight that is negative or not finite; a smoothing
/// outside 0 to 1; `ignore_index` with probabilities; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Szegedy et al. 2016, Rethinking the Inception architecture (label smoothing),
///   <https://arxiv.org/abs/1512.00567>.
/// - `torch.nn.CrossEntropyLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{ClassOptions, Target, cross_entropy};
///
/// // Odds of 1 : 3 and of 1 : 1, so probabilities of 3/4 and 1/2 for the right class.
/// let logits = Tensor::new(&[[0.0, 3f64.ln()], [5.0, 5.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let loss = cross_entropy(&logits, Target::Indices(&labels), &ClassOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn cross_entropy(
    logits: &Tensor,
    target: Target<'_>,
    options: &ClassOptions,
) -> Result<Tensor> {
    Classes::new(Minus::NAME, "logits", logits, target, options)?.reduce(Minus)
}

/// − log p.
struct Minus;

impl OfLogProbability for Minus {
    const NAME: &'static str = "cross_entropy";

    fn evaluate<T: Scalar>(
        &self,
        rows: loss::CrossEntropy<'_, T>,
        logits: &[T],
        wanted: Wanted<'_, T>,
    ) -> f64 {
        rows.evaluate(logits, wanted)
    }

    fn composed(&self, log_p: &Tensor) -> Result<Tensor> {
        Ok(log_p.neg()?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::classes::tests::{random_classes, twins_agree};
    use crate::elements::tests::random;
    use crate::{LossOptions, Reduction};

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), classes in random_classes()) {
            twins_agree(&random, classes, || Minus);
        }
    }

    /// Probabilities 1/4 and 3/4; then 1/2 each.
    fn logits() -> Result<Tensor> {
        Ok(Tensor::new(&[[0.0, 3f64.ln()], [5.0, 5.0]], &Device::Cpu)?)
    }

    fn assert_near(value: Tensor, expected: f64) -> Result<()> {
        let value = value.to_scalar::<f64>()?;
        assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
        Ok(())
    }

    #[test]
    fn hand_numbers_of_class_weights_in_every_reduction() -> Result<()> {
        let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
        let (first, second) = (3.0 * (4.0f64 / 3.0).ln(), 2f64.ln());
        let value = |reduction| {
            let class_weights = Some(Tensor::new(&[1.0, 3.0], &Device::Cpu)?);
            let loss = LossOptions { reduction, ..Default::default() };
            let options = ClassOptions { class_weights, loss, ..Default::default() };
            cross_entropy(&logits()?, Target::Indices(&labels), &options)
        };
        assert_near(value(Reduction::Sum)?, first + second)?;
        assert_near(value(Reduction::Mean)?, (first + second) / 2.0)?;
        assert_near(value(Reduction::WeightedMean)?, (first + second) / 4.0)?;
        assert_near(value(Reduction::None)?.get(0)?, first)
    }

    #[test]
    fn hand_numbers_of_smoothing_and_ignored_labels() -> Result<()> {
        let labels = Tensor::new(&[1i64, -100], &Device::Cpu)?;
        let options =
            ClassOptions { label_smoothing: 0.5, ignore_index: Some(-100), ..Default::default() };
        // The smoothed target of the only sample left is (1/4, 3/4).
        let expected = 0.25 * 4f64.ln() + 0.75 * (4.0f64 / 3.0).ln();
        assert_near(cross_entropy(&logits()?, Target::Indices(&labels), &options)?, expected)
    }

    #[test]
    fn hand_numbers_of_probabilities() -> Result<()> {
        let target = Tensor::new(&[[0.5, 0.5], [1.0, 0.0]], &Device::Cpu)?;
        let options = ClassOptions::default();
        let expected = (0.5 * 4f64.ln() + 0.5 * (4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
        assert_near(cross_entropy(&logits()?, Target::Probabilities(&target), &options)?, expected)
    }
}
