//! The hinge embedding loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};
use crate::embeddings::hinge;

/// The options of [`hinge_embedding`].
#[derive(Debug, Clone)]
pub struct HingeEmbeddingOptions {
    /// How far from each other dissimilar inputs should be: m, above 0.
    pub margin: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for HingeEmbeddingOptions {
    fn default() -> Self {
        Self { margin: 1.0, loss: LossOptions::default() }
    }
}

/// The hinge embedding loss: distances of similar inputs should be small, those of dissimilar ones a margin.
///
/// # Equation
/// lᵢ = xᵢ where yᵢ is 1, max(0, m − xᵢ) where it is −1
///
/// for the input x, distances of pairs such as [`Distance`](crate::Distance) gives them, and the target y: 1 where a
/// pair is similar, −1 where it is not. Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, in any unit; the value () in that unit, or
/// (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`HingeEmbeddingOptions`]:
/// - `margin`: 1, in the unit of the input; above 0 and finite.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// The derivative is 1, or −1 below the margin and 0 from it on. The loss of a similar pair is the input itself, also
/// below 0. The target may be of any dtype that has −1. f64 stays f64; f32, bf16 and f16 are computed and returned in
/// f32.
///
/// # Deviations
/// 1. From PyTorch: a target other than 1 and −1 is an error; there it costs the sum of both cases.
/// 2. From PyTorch: another shape is an error; there it is broadcast. A margin that is not above 0 is an error, too.
/// 3. From PyTorch: the value of half-precision input is f32.
///
/// # Errors
/// An input that is not floating-point; a target of another shape, or not 1 or −1; a margin that is not above 0 and
/// finite; weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless
/// `empty` says otherwise.
///
/// # References
/// - Hadsell, Chopra and LeCun 2006, Dimensionality reduction by learning an invariant mapping,
///   <https://doi.org/10.1109/CVPR.2006.100>, of which this has the hinge without the squares.
/// - `torch.nn.HingeEmbeddingLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.HingeEmbeddingLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{HingeEmbeddingOptions, hinge_embedding};
///
/// // A similar pair at 0.5, a dissimilar one at 0.75, which is too near, and one at 3.
/// let input = Tensor::new(&[0.5, 0.75, 3.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1i64, -1, -1], &Device::Cpu)?;
/// let loss = hinge_embedding(&input, &target, &HingeEmbeddingOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.5 + 0.25 + 0.0) / 3.0);
/// # Ok(())
/// # }
/// ```
pub fn hinge_embedding(
    input: &Tensor,
    target: &Tensor,
    options: &HingeEmbeddingOptions,
) -> Result<Tensor> {
    let margin = options.margin;
    if !(margin > 0.0 && margin.is_finite()) {
        return Err(Error::argument(Hinge::NAME, "margin", "above 0 and finite", margin));
    }
    let target = match input.dtype().is_float() {
        true => target.to_dtype(input.dtype())?,
        false => target.clone(),
    };
    elementwise(Hinge { margin }, "input", input, &target, &options.loss)
}

struct Hinge {
    margin: f64,
}

impl Elementwise for Hinge {
    const NAME: &'static str = "hinge_embedding";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        let margin = self.margin;
        Ok(pointwise_by(x, target, wanted, |x, y| {
            if y > 0.0 {
                (x, 1.0)
            } else if x >= margin {
                (0.0, 0.0)
            } else {
                (margin - x, -1.0)
            }
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        Ok(target.gt(0.0)?.where_cond(x, &hinge(&x.affine(-1.0, self.margin)?)?)?)
    }

    fn check(&self, _x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        elements.expect("target", target, "1 or -1", |value| value == 1.0 || value == -1.0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree_against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), margin in 0.1..3.0) {
            let target = random.normal("target", (random.rows, random.columns)).sign().unwrap();
            twins_agree_against(&random, &target, || Hinge { margin });
        }
    }

    #[test]
    fn hand_numbers_of_both_kinds() -> Result<()> {
        let input = Tensor::new(&[-1.0, 0.0, 0.5, 2.0], &Device::Cpu)?;
        let of = |sign: i64| -> Result<Vec<f64>> {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = HingeEmbeddingOptions { margin: 1.5, loss };
            Ok(hinge_embedding(&input, &Tensor::new(&[sign; 4], &Device::Cpu)?, &options)?
                .to_vec1()?)
        };
        assert_eq!(of(1)?, [-1.0, 0.0, 0.5, 2.0]);
        assert_eq!(of(-1)?, [2.5, 1.5, 1.0, 0.0]);
        Ok(())
    }
}
