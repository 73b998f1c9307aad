//! The hinge loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`hinge`].
#[derive(Debug, Clone)]
pub struct HingeOptions {
    /// How far on the right side a score is pushed: m, at least 0.
    pub margin: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for HingeOptions {
    fn default() -> Self {
        Self { margin: 1.0, loss: LossOptions::default() }
    }
}

/// The hinge loss of binary decisions, that of the support vector machine: a line on the wrong side of the margin,
/// and nothing beyond it.
///
/// # Equation
/// lᵢ = max(0, m − tᵢ xᵢ)
///
/// with the score x, the label t of −1 or 1, and the margin m; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in the margin's unit and without one; the value
/// () in the margin's unit, or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`HingeOptions`]:
/// - `margin`: 1, in the input's unit; at least 0 and finite. 0 is the loss of the perceptron.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// The derivative is −t within the margin, and 0 beyond it and at it. f64 stays f64; f32, bf16 and f16 are computed
/// and returned in f32. Labels are checked on the host, which waits for an accelerator.
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
/// - Cortes and Vapnik 1995, Support-vector networks, Machine Learning 20, <https://doi.org/10.1007/BF00994018>.
/// - `keras.losses.Hinge`, <https://keras.io/api/losses/hinge_losses/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{HingeOptions, hinge};
///
/// // Beyond the margin, within it, and on the wrong side.
/// let input = Tensor::new(&[2.0, 0.25, 3.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 1.0, -1.0], &Device::Cpu)?;
/// let loss = hinge(&input, &target, &HingeOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.0 + 0.75 + 4.0) / 3.0);
/// # Ok(())
/// # }
/// ```
pub fn hinge(input: &Tensor, target: &Tensor, options: &HingeOptions) -> Result<Tensor> {
    let margin = options.margin;
    check_margin(Hinge::NAME, margin)?;
    elementwise(Hinge { margin }, "input", input, target, &options.loss)
}

struct Hinge {
    margin: f64,
}

impl Elementwise for Hinge {
    const NAME: &'static str = "hinge";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |x, t| {
            let missing = self.margin - t * x;
            // What is not beyond the margin is kept, so that NaN stays.
            if missing <= 0.0 { (0.0, 0.0) } else { (missing, -t) }
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        missing(x, target, self.margin)
    }

    fn check(&self, _x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        expect_signs(target, elements)
    }
}

pub(super) fn check_margin(operation: &'static str, margin: f64) -> Result<()> {
    if margin >= 0.0 && margin.is_finite() {
        return Ok(());
    }
    Err(Error::argument(operation, "margin", "at least 0 and finite", margin))
}

/// That the labels that count are −1 or 1.
pub(super) fn expect_signs(target: &Tensor, elements: &Elements) -> Result<()> {
    elements.expect("target", target, "-1 or 1", |label| label.abs() == 1.0)
}

/// max(0, m − t x), with the derivative 0 where it is 0, where that of candle's relu is 1.
pub(super) fn missing(x: &Tensor, target: &Tensor, margin: f64) -> Result<Tensor> {
    let missing = (x * target)?.affine(-1.0, margin)?;
    Ok(missing.le(0.0)?.where_cond(&missing.zeros_like()?, &missing)?)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elements::tests::{Random, random};
    use crate::elementwise::tests::twins_agree_against;

    /// Labels of −1 and 1.
    pub(crate) fn signs(random: &Random) -> Tensor {
        let right = random.normal("target", (random.rows, random.columns)).ge(0.0).unwrap();
        right.to_dtype(candle_core::DType::F64).unwrap().affine(2.0, -1.0).unwrap()
    }

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), margin in 0.0..3.0) {
            twins_agree_against(&random, &signs(&random), || Hinge { margin });
        }
    }
}
