//! The poly-1 cross-entropy of logits over classes.

use candle_core::Tensor;
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{CrossEntropy, Wanted};

use crate::classes::{Classes, OfLogProbability};
use crate::{ClassOptions, Target};

/// The options of [`poly1`].
#[derive(Debug, Clone)]
pub struct Poly1Options {
    /// What is added to the first coefficient of the cross-entropy's series in 1 − p: ε₁, at least −1.
    pub epsilon: f64,
    /// What every loss over classes has; `label_smoothing` is another ε.
    pub classes: ClassOptions,
}

impl Default for Poly1Options {
    fn default() -> Self {
        Self { epsilon: 2.0, classes: ClassOptions::default() }
    }
}

/// The poly-1 cross-entropy: the cross-entropy and ε₁ times what the right class's probability lacks.
///
/// The cross-entropy is Σ_j (1 − p)^j / j; this loss has another first coefficient, 1 + ε₁.
///
/// # Equation
/// lᵢ = Σ_c w_c q′ᵢ_c (− log pᵢ_c + ε₁ (1 − pᵢ_c))
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
/// Of [`Poly1Options`]:
/// - `epsilon`: 2, the paper's choice for ImageNet, to be tuned for each task; at least −1 and finite. 0 is the
///   cross-entropy; at −1 the series lacks its first term, and samples that are nearly right count less.
/// - `classes`: [`ClassOptions`].
///
/// # Numerics
/// log p as in [`cross_entropy`](crate::cross_entropy), and 1 − p = −expm1(log p), in f64 for every dtype; finite at
/// logits of ±1e4. f64 stays f64; f32, bf16 and f16 are returned in f32.
///
/// # Deviations
/// 1. From the paper: with class weights the added term is weighed as the cross-entropy is; the paper has no
///    weights.
///
/// # Errors
/// An ε₁ that is below −1 or not finite, and those of [`cross_entropy`](crate::cross_entropy).
///
/// # References
/// - Leng et al. 2022, PolyLoss: a polynomial expansion perspective of classification loss functions,
///   <https://arxiv.org/abs/2204.12511>.
/// - `optax.losses.poly_loss_cross_entropy`, whose default ε₁ is 2 as well,
///   <https://optax.readthedocs.io/en/latest/api/losses.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{Poly1Options, Target, poly1};
///
/// // A probability of 3/4 for the right class.
/// let logits = Tensor::new(&[[0.0, 3f64.ln()]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32], &Device::Cpu)?;
/// let loss = poly1(&logits, Target::Indices(&labels), &Poly1Options::default())?;
/// let by_hand = (4.0f64 / 3.0).ln() + 2.0 * 0.25;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn poly1(logits: &Tensor, target: Target<'_>, options: &Poly1Options) -> Result<Tensor> {
    let epsilon = options.epsilon;
    if !(epsilon >= -1.0 && epsilon.is_finite()) {
        return Err(Error::argument(Poly1::NAME, "epsilon", "at least -1 and finite", epsilon));
    }
    Classes::new(Poly1::NAME, "logits", logits, target, &options.classes)?.reduce(Poly1 { epsilon })
}

/// − log p + ε₁ (1 − p).
struct Poly1 {
    epsilon: f64,
}

impl OfLogProbability for Poly1 {
    const NAME: &'static str = "poly1";

    fn evaluate<T: Scalar>(
        &self,
        rows: CrossEntropy<'_, T>,
        logits: &[T],
        wanted: Wanted<'_, T>,
    ) -> f64 {
        let epsilon = self.epsilon;
        rows.evaluate_by(logits, wanted, move |log_p| {
            (-log_p - epsilon * log_p.exp_m1(), -1.0 - epsilon * log_p.exp())
        })
    }

    fn composed(&self, log_p: &Tensor) -> Result<Tensor> {
        let rest = log_p.exp()?.affine(-self.epsilon, self.epsilon)?;
        Ok((rest - log_p)?)
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
            epsilon in prop_oneof![Just(0.0), -1.0..4.0],
        ) {
            twins_agree(&random, classes, || Poly1 { epsilon });
        }
    }
}
