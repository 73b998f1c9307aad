//! The alignment of two views.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::embeddings::{elements, unit, views};
use crate::{Distance, LossOptions};

const NAME: &str = "alignment";

/// The options of [`alignment`].
#[derive(Debug, Clone)]
pub struct AlignmentOptions {
    /// The power of the distances: α, above 0.
    pub alpha: f64,
    /// What every loss has; the elements are the pairs.
    pub loss: LossOptions,
}

impl Default for AlignmentOptions {
    fn default() -> Self {
        Self { alpha: 2.0, loss: LossOptions::default() }
    }
}

/// The alignment of two views: how far the directions of the embeddings of a sample are from each other.
///
/// Nothing here keeps embeddings of different samples apart; all in one direction have the least loss. That is
/// [`uniformity`](crate::uniformity)'s part, or what an experiment without negatives is to show.
///
/// # Equation
/// lᵢ = ‖xᵢ / ‖xᵢ‖ − yᵢ / ‖yᵢ‖‖^α
///
/// for the embeddings x of the first view and y of the second; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// First and second view (N, D), of the same shape, of any scale; the value (), without a unit, or (N), one for each
/// pair, with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`AlignmentOptions`]:
/// - `alpha`: 2, with which the loss is 2 − 2 cos; above 0 and finite.
/// - `loss`: [`LossOptions`]; `sample_weights` and `mask` (N) are of the pairs.
///
/// # Numerics
/// Both views have a gradient; that of a target which should have none ends at a `detach`. It is 0 where both are in
/// one direction, also for α up to 1. The difference is taken, not 2 − 2 cos, so that near directions keep their
/// digits. An embedding with a norm below 1e-12 is divided by 1e-12, and has the gradient 0. Costs one pass over the
/// views; no row meets another. f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the authors' code: it takes embeddings that are of length 1 already, as the paper's are by definition.
///
/// # Errors
/// Views that are not (N, D) or of different shapes or dtypes or not floating-point; an α that is not above 0 and
/// finite; weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless
/// `empty` says otherwise.
///
/// # References
/// - Wang and Isola 2020, Understanding contrastive representation learning through alignment and uniformity on the
///   hypersphere, <https://arxiv.org/abs/2005.10242>; their code, <https://github.com/ssnl/align_uniform>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{AlignmentOptions, alignment};
///
/// // The views of a sample are in one direction, those of the other at a right angle.
/// let first = Tensor::new(&[[1.0, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[[3.0, 0.0], [4.0, 0.0]], &Device::Cpu)?;
/// let loss = alignment(&first, &second, &AlignmentOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.0 + 2.0) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn alignment(first: &Tensor, second: &Tensor, options: &AlignmentOptions) -> Result<Tensor> {
    let alpha = options.alpha;
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(Error::argument(NAME, "alpha", "above 0 and finite", alpha));
    }
    let (first, second) = views(NAME, first, second)?;
    let elements = elements(NAME, "first", &first, &options.loss)?;
    let (first, second) = (unit(&elements.hide(&first)?)?, unit(&elements.hide(&second)?)?);
    let mut losses = Distance::SquaredEuclidean.of(&first, &second)?;
    if alpha != 2.0 {
        // Below 2 the power of 0 has an infinite derivative.
        let nothing = losses.eq(0.0)?;
        let power = nothing.where_cond(&losses.ones_like()?, &losses)?.powf(alpha / 2.0)?;
        losses = nothing.where_cond(&losses.zeros_like()?, &power)?;
    }
    elements.reduce_losses(losses, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_three_powers() -> Result<()> {
        // In one direction, at a right angle, and in opposite ones.
        let first = Tensor::new(&[[2.0, 0.0], [2.0, 0.0], [2.0, 0.0]], &Device::Cpu)?;
        let second = Tensor::new(&[[1.0, 0.0], [0.0, 8.0], [-4.0, 0.0]], &Device::Cpu)?;
        for alpha in [1.0, 2.0, 4.0] {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let losses = alignment(&first, &second, &AlignmentOptions { alpha, loss })?;
            let expected = [0.0, 2f64.powf(alpha / 2.0), 2f64.powf(alpha)];
            for (actual, expected) in losses.to_vec1::<f64>()?.into_iter().zip(expected) {
                assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}");
            }
        }
        Ok(())
    }
}
