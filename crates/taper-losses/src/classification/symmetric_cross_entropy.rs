//! The symmetric cross-entropy of logits over classes.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::classes::{Classes, expected, log_softmax};
use crate::{ClassOptions, Target};

const OPERATION: &str = "symmetric_cross_entropy";

/// The options of [`symmetric_cross_entropy`].
#[derive(Debug, Clone)]
pub struct SymmetricCrossEntropyOptions {
    /// What the cross-entropy weighs: α, at least 0.
    pub alpha: f64,
    /// What the reverse cross-entropy weighs: β, at least 0.
    pub beta: f64,
    /// The least logarithm of a target, so that of 0: A, at most 0.
    pub log_zero: f64,
    /// What every loss over classes has.
    pub classes: ClassOptions,
}

impl Default for SymmetricCrossEntropyOptions {
    fn default() -> Self {
        Self { alpha: 0.1, beta: 1.0, log_zero: -4.0, classes: ClassOptions::default() }
    }
}

/// The symmetric cross-entropy: the cross-entropy, and that of the target under the prediction, to learn from labels of
/// which some are wrong.
///
/// The reverse part is bounded by −A, so that a wrong label has less of a say than with the cross-entropy alone; the
/// cross-entropy's part, α of it, is not.
///
/// # Equation
/// lᵢ = − α Σ_c w_c q′ᵢ_c log pᵢ_c − β Wᵢ Σ_c pᵢ_c max(log q′ᵢ_c, A), with Wᵢ = Σ_c w_c q′ᵢ_c
///
/// with the softmax pᵢ of the logits of sample i, the class weights w and the smoothed target
/// q′ = (1 − ε) q + ε / C; q is 1 at the class of an index target and 0 elsewhere. Reduced as
/// [`Reduction`](crate::Reduction) says, where the class weight of sample i is Σ_c w_c qᵢ_c.
///
/// # Shapes
/// Logits (N, C, ...), in nats, or (C) for a single sample; the class axis C may be any. Index targets
/// have the shape without C, (N, ...) or (), probabilities that of the logits. The value is (), in nats, or
/// (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`SymmetricCrossEntropyOptions`]:
/// - `alpha`: 0.1; at least 0 and finite. The harder the task, the more of the cross-entropy it needs to learn at all.
/// - `beta`: 1; at least 0 and finite. 0 is the cross-entropy, times α.
/// - `log_zero`: −4; at most 0 and finite. With hard labels the reverse part is −A (1 − p) of the label, at −2 the
///   absolute error Σ_c |p_c − q_c|.
/// - `classes`: [`ClassOptions`].
///
/// # Numerics
/// log p as in [`cross_entropy`](crate::cross_entropy), p its exponential; finite at logits of ±1e4. A target that is
/// not above exp(A), be it negative, has the logarithm A in the reverse part. f64 stays f64; f32, bf16 and f16 are
/// computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: it has hard labels. A soft or smoothed target has its own logarithm where that is above A.
/// 2. From the paper: class weights weigh both parts; the paper has none.
/// 3. From the authors' code: it limits the target to 1e-4, which is an A of −9.2, and p to 1e-7 in the cross-entropy.
///
/// # Errors
/// An α or β that is negative or not finite, an A that is above 0 or not finite, and those of
/// [`cross_entropy`](crate::cross_entropy).
///
/// # References
/// - Wang et al. 2019, Symmetric cross entropy for robust learning with noisy labels,
///   <https://arxiv.org/abs/1908.06112>.
/// - The authors' code, <https://github.com/YisenWang/symmetric_cross_entropy_for_noisy_labels>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{SymmetricCrossEntropyOptions, Target, symmetric_cross_entropy};
///
/// // A probability of 3/4 for the right class.
/// let logits = Tensor::new(&[[0.0, 3f64.ln()]], &Device::Cpu)?;
/// let target = Tensor::new(&[1u32], &Device::Cpu)?;
/// let options = SymmetricCrossEntropyOptions::default();
/// let loss = symmetric_cross_entropy(&logits, Target::Indices(&target), &options)?;
/// let by_hand = 0.1 * (4.0f64 / 3.0).ln() + 4.0 * 0.25;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn symmetric_cross_entropy(
    logits: &Tensor,
    target: Target<'_>,
    options: &SymmetricCrossEntropyOptions,
) -> Result<Tensor> {
    let SymmetricCrossEntropyOptions { alpha, beta, log_zero, classes } = options;
    for (name, weight) in [("alpha", *alpha), ("beta", *beta)] {
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(Error::argument(OPERATION, name, "at least 0 and finite", weight));
        }
    }
    if !(*log_zero <= 0.0 && log_zero.is_finite()) {
        return Err(Error::argument(OPERATION, "log_zero", "at most 0 and finite", log_zero));
    }
    let classes = Classes::new(OPERATION, "logits", logits, target, classes)?;
    let target = classes.target()?;
    let weighted = target.broadcast_mul(&classes.class_weights()?)?;
    let log_p = log_softmax(&classes.rows()?)?;
    let least = (target.ones_like()? * *log_zero)?;
    let seen = target.gt(log_zero.exp())?;
    let log_target = seen.where_cond(&target, &target.ones_like()?)?.log()?;
    let log_target = seen.where_cond(&log_target, &least)?;
    let forward = expected(&log_p, &weighted)?;
    let reverse = ((log_p.exp()? * log_target)?.sum(1)? * weighted.sum(1)?)?;
    classes.reduce_losses(&((forward * -alpha)? + (reverse * -beta)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{LossOptions, Reduction};

    #[test]
    fn hand_numbers_of_soft_targets_and_weights() -> Result<()> {
        // Probabilities of 3/4 and 1/4.
        let logits = Tensor::new(&[[3f64.ln(), 0.0], [3f64.ln(), 0.0]], &Device::Cpu)?;
        let target = Tensor::new(&[[0.5, 0.5], [1.0, 0.0]], &Device::Cpu)?;
        let classes = ClassOptions {
            class_weights: Some(Tensor::new(&[1.0, 3.0], &Device::Cpu)?),
            loss: LossOptions { reduction: Reduction::None, ..Default::default() },
            ..Default::default()
        };
        let options =
            SymmetricCrossEntropyOptions { alpha: 2.0, beta: 0.5, log_zero: -3.0, classes };
        let losses = symmetric_cross_entropy(&logits, Target::Probabilities(&target), &options)?;
        let (right, wrong) = ((4.0f64 / 3.0).ln(), 4f64.ln());
        let expected = [
            2.0 * (0.5 * right + 1.5 * wrong) + 0.5 * 2.0 * 2f64.ln(),
            2.0 * right + 0.5 * 3.0 * 0.25,
        ];
        for (loss, expected) in losses.to_vec1::<f64>()?.iter().zip(expected) {
            assert!((loss - expected).abs() < 1e-14, "{loss} is not {expected}");
        }
        Ok(())
    }
}
