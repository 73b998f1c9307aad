//! The soft margin loss of samples with several labels.

use candle_core::{D, Tensor};
use taper_core::Result;

use super::bce_with_logits::{BceWithLogitsOptions, bce_with_logits};
use crate::arguments::{checked_weights, expect_shape, precision, target_like};
use crate::classes::{class_axis, class_axis_last};
use crate::elements::Elements;
use crate::{LossOptions, Reduction};

const NAME: &str = "multilabel_soft_margin";

/// The options of [`multilabel_soft_margin`].
#[derive(Debug, Clone, Default)]
pub struct MultilabelSoftMarginOptions {
    /// The axis that holds the classes; `None` is 1, or 0 for a single sample (C).
    pub class_axis: Option<usize>,
    /// One weight a class (C), finite and not negative; none by default.
    pub class_weights: Option<Tensor>,
    /// What every loss has; the elements are the samples.
    pub loss: LossOptions,
}

/// The soft margin loss of samples with several labels: the mean over the classes of a binary cross-entropy each.
///
/// It is the [`bce_with_logits`](crate::bce_with_logits) of each class, averaged over the classes of a sample, so
/// that a sample, not a class, is what counts.
///
/// # Equation
/// lᵢ = − 1 / C Σ_c w_c (yᵢ_c log σ(zᵢ_c) + (1 − yᵢ_c) log (1 − σ(zᵢ_c)))
///
/// with the logit z, the target y of 0 or 1, the class weights w and σ(z) = 1 / (1 + exp(−z)); reduced as
/// [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Logits, in nats, and target (N, C, ...), of the same shape, or (C) for a single sample; the class axis C may be
/// any. The value is (), in nats, or (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`MultilabelSoftMarginOptions`]:
/// - `class_axis`: none, which is 1, or 0 for (C).
/// - `class_weights`: none; (C). They are no part of what a weighted mean divides by.
/// - `loss`: [`LossOptions`].
///
/// # Numerics
/// − log σ(z) = max(−z, 0) + log(1 + exp(−|z|)), finite at logits of ±1e4, with the precision of
/// [`bce_with_logits`](crate::bce_with_logits). f64 stays f64; f32, bf16 and f16 are computed and returned in f32. A
/// target outside 0 to 1 is not refused: the loss is linear in it.
///
/// # Deviations
/// 1. From PyTorch: the class axis is 1, not the last one, which for (N, C) is the same.
/// 2. From PyTorch: weights of samples and a mask, which it has not; its `weight` is `class_weights`.
/// 3. From PyTorch: another shape is an error, not a broadcast; the value of half-precision logits is f32, and the
///    target has no gradient.
///
/// # Errors
/// Logits and target of different shapes or dtypes or not floating-point, or without classes; weights and a mask that
/// do not fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Cox 1958, The regression analysis of binary sequences, JRSS B 20(2).
/// - `torch.nn.MultiLabelSoftMarginLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{MultilabelSoftMarginOptions, multilabel_soft_margin};
///
/// // Probabilities of 3/4 and 1/2 for what is there and what is not.
/// let logits = Tensor::new(&[[3f64.ln(), 0.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[[1.0, 0.0]], &Device::Cpu)?;
/// let loss = multilabel_soft_margin(&logits, &target, &MultilabelSoftMarginOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn multilabel_soft_margin(
    logits: &Tensor,
    target: &Tensor,
    options: &MultilabelSoftMarginOptions,
) -> Result<Tensor> {
    let dtype = precision(NAME, "logits", logits)?;
    let target = target_like(NAME, target, "logits", logits)?;
    let axis = class_axis(NAME, "logits", logits, options.class_axis)?;
    let classes = logits.dim(axis)?;
    let logits = class_axis_last(logits, axis)?.to_dtype(dtype)?;
    let shape = &logits.dims()[..logits.rank() - 1];
    let elements = Elements::new(NAME, "logits", shape, &options.loss)?;
    let (logits, target) =
        (elements.hide(&logits)?, elements.hide(&class_axis_last(&target, axis)?)?);
    let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
    let each = BceWithLogitsOptions { loss, ..Default::default() };
    let mut losses = bce_with_logits(&logits, &target, &each)?;
    if let Some(weights) = &options.class_weights {
        expect_shape(NAME, "class_weights", weights, &[classes])?;
        checked_weights(NAME, "class_weights", weights)?;
        let weights = weights.detach().to_dtype(dtype)?.to_device(logits.device())?;
        losses = losses.broadcast_mul(&weights)?;
    }
    elements.reduce_losses((losses.sum(D::Minus1)? / classes as f64)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers_of_class_weights() -> Result<()> {
        // Probabilities of 3/4 and 1/2 for what is right.
        let logits = Tensor::new(&[3f64.ln(), 0.0], &Device::Cpu)?;
        let target = Tensor::new(&[1.0, 0.0], &Device::Cpu)?;
        let class_weights = Some(Tensor::new(&[2.0, 3.0], &Device::Cpu)?);
        let options = MultilabelSoftMarginOptions { class_weights, ..Default::default() };
        let loss = multilabel_soft_margin(&logits, &target, &options)?.to_scalar::<f64>()?;
        let expected = (2.0 * (4.0f64 / 3.0).ln() + 3.0 * 2f64.ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
        Ok(())
    }
}
