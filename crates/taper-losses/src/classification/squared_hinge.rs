//! The squared hinge loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Wanted, pointwise_by};

use super::hinge::{check_margin, expect_signs, missing};
use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`squared_hinge`].
#[derive(Debug, Clone)]
pub struct SquaredHingeOptions {
    /// How far on the right side a score is pushed: m, at least 0.
    pub margin: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for SquaredHingeOptions {
    fn default() -> Self {
        Self { margin: 1.0, loss: LossOptions::default() }
    }
}

/// The squared hinge loss of binary decisions: smooth where the hinge has its kink, and hard on what is far on the
/// wrong side.
///
/// # Equation
/// lᵢ = max(0, m − tᵢ xᵢ)²
///
/// with the score x, the label t of −1 or 1, and the margin m; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in the margin's unit and without one; the value
/// () in the unit's square, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`SquaredHingeOptions`]:
/// - `margin`: 1, in the input's unit; at least 0 and finite.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// The derivative is −2 t max(0, m − t x), without a jump. f64 stays f64; f32, bf16 and f16 are computed and returned
/// in f32, finite up to scores of some 1e19. Labels are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From Keras: labels are −1 and 1. It also takes 0 and 1, where all labels of a batch are one of them, so that
///    what a label means depends on the others; 0 is an error here.
/// 2. From Keras: the margin is an option; its own is 1.
/// 3. From Keras: another shape is an error, not a broadcast; its mean is over the last axis, then over the rest,
///    which without weights is the same.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; the first label that is not −1 or 1, with
/// its position; a margin that is negative or not finite; weights and a mask that do not fit, a weight that is
/// negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Lee and Mangasarian 2001, SSVM: a smooth support vector machine for classification, Computational Optimization
///   and Applications 20, <https://doi.org/10.1023/A:1011215321374>.
/// - `keras.losses.SquaredHinge`, <https://keras.io/api/losses/hinge_losses/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{SquaredHingeOptions, squared_hinge};
///
/// // Beyond the margin, within it, and on the wrong side.
/// let input = Tensor::new(&[2.0, 0.5, 3.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 1.0, -1.0], &Device::Cpu)?;
/// let loss = squared_hinge(&input, &target, &SquaredHingeOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.0 + 0.25 + 16.0) / 3.0);
/// # Ok(())
/// # }
/// ```
pub fn squared_hinge(
    input: &Tensor,
    target: &Tensor,
    options: &SquaredHingeOptions,
) -> Result<Tensor> {
    let margin = options.margin;
    check_margin(SquaredHinge::NAME, margin)?;
    elementwise(SquaredHinge { margin }, "input", input, target, &options.loss)
}

struct SquaredHinge {
    margin: f64,
}

impl Elementwise for SquaredHinge {
    const NAME: &'static str = "squared_hinge";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |x, t| {
            let missing = self.margin - t * x;
            // What is not beyond the margin is kept, so that NaN stays.
            if missing <= 0.0 { (0.0, 0.0) } else { (missing * missing, -2.0 * t * missing) }
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        Ok(missing(x, target, self.margin)?.sqr()?)
    }

    fn check(&self, _x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        expect_signs(target, elements)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::hinge::tests::signs;
    use super::*;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree_against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), margin in 0.0..3.0) {
            twins_agree_against(&random, &signs(&random), || SquaredHinge { margin });
        }
    }
}
