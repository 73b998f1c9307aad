//! The focal loss of logits over classes.

use candle_core::Tensor;
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{CrossEntropy, Wanted};

use crate::classes::{Classes, OfLogProbability};
use crate::{ClassOptions, Target};

/// The options of [`focal`].
#[derive(Debug, Clone)]
pub struct FocalOptions {
    /// How much samples that are already right are turned down: γ, at least 0.
    pub gamma: f64,
    /// What every loss over classes has; `class_weights` are the paper's α.
    pub classes: ClassOptions,
}

impl Default for FocalOptions {
    fn default() -> Self {
        Self { gamma: 2.0, classes: ClassOptions::default() }
    }
}

/// The focal loss: the cross-entropy, turned down where the prediction is already right.
///
/// Of decisions that are each their own, use [`sigmoid_focal`](crate::sigmoid_focal).
///
/// # Equation
/// lᵢ = − Σ_c w_c q′ᵢ_c (1 − pᵢ_c)^γ log pᵢ_c
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
/// Of [`FocalOptions`]:
/// - `gamma`: 2, the paper's best; at least 0 and finite. 0 is the cross-entropy.
/// - `classes`: [`ClassOptions`].
///
/// # Numerics
/// log p as in [`cross_entropy`](crate::cross_entropy), and 1 − p = −expm1(log p), in f64 for every dtype; finite at
/// logits of ±1e4, also with γ below 1, where the derivative of (1 − p)^γ has no limit at p = 1. f64 stays
/// f64; f32, bf16 and f16 are returned in f32.
///
/// # Deviations
/// 1. From the paper: it has sigmoids; the softmax is the form for classes that exclude each other.
/// 2. From the paper: its sum is divided by the number of positive anchors. That is [`Reduction::Sum`
///    ](crate::Reduction::Sum) and a division.
///
/// # Errors
/// A γ that is negative or not finite, and those of [`cross_entropy`](crate::cross_entropy).
///
/// # References
/// - Lin et al. 2017, Focal loss for dense object detection, <https://arxiv.org/abs/1708.02002>.
/// - `keras.losses.categorical_focal_crossentropy`, <https://keras.io/api/losses/probabilistic_losses/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{FocalOptions, Target, focal};
///
/// // A probability of 3/4 for the right class.
/// let logits = Tensor::new(&[[0.0, 3f64.ln()]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32], &Device::Cpu)?;
/// let loss = focal(&logits, Target::Indices(&labels), &FocalOptions::default())?;
/// let by_hand = 0.25f64.powi(2) * (4.0f64 / 3.0).ln();
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn focal(logits: &Tensor, target: Target<'_>, options: &FocalOptions) -> Result<Tensor> {
    let gamma = options.gamma;
    if !(gamma >= 0.0 && gamma.is_finite()) {
        return Err(Error::argument(Focal::NAME, "gamma", "at least 0 and finite", gamma));
    }
    Classes::new(Focal::NAME, "logits", logits, target, &options.classes)?.reduce(Focal { gamma })
}

/// − (1 − p)^γ log p.
struct Focal {
    gamma: f64,
}

impl OfLogProbability for Focal {
    const NAME: &'static str = "focal";

    fn evaluate<T: Scalar>(
        &self,
        rows: CrossEntropy<'_, T>,
        logits: &[T],
        wanted: Wanted<'_, T>,
    ) -> f64 {
        let gamma = self.gamma;
        rows.evaluate_by(logits, wanted, move |log_p| {
            let rest = -log_p.exp_m1();
            let factor = rest.powf(gamma);
            // γ (1 − p)^(γ − 1) p log p, whose last factors go to 0 with 1 − p.
            let turning = match gamma == 0.0 || rest == 0.0 {
                true => 0.0,
                false => gamma * factor / rest * log_p.exp() * log_p.max(f64::MIN),
            };
            (-factor * log_p, turning - factor)
        })
    }

    fn composed(&self, log_p: &Tensor) -> Result<Tensor> {
        if self.gamma == 0.0 {
            return Ok(log_p.neg()?);
        }
        // Where nothing is left of 1 − p its power has no derivative, and the loss is 0.
        let rest = log_p.exp()?.affine(-1.0, 1.0)?;
        let none = rest.le(0.0)?;
        let rest = none.where_cond(&rest.ones_like()?, &rest)?;
        let losses = (rest.powf(self.gamma)? * log_p.neg()?)?;
        Ok(none.where_cond(&losses.zeros_like()?, &losses)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::classes::tests::{random_classes, twins_agree};
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(
            random in random(),
            classes in random_classes(),
            gamma in prop_oneof![Just(0.0), Just(2.0), 0.3..4.0],
        ) {
            // The softmax of a single class is 1, where the twin has no digits left.
            prop_assume!(random.columns > 1);
            twins_agree(&random, classes, || Focal { gamma });
        }
    }
}
