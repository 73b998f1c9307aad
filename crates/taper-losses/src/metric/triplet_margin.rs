//! The triplet margin loss.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::arguments::beside;
use crate::embeddings::{elements, hinge, rows};
use crate::{Distance, LossOptions};

const NAME: &str = "triplet_margin";

/// The options of [`triplet_margin`].
#[derive(Debug, Clone)]
pub struct TripletMarginOptions {
    /// By how much the negative should be farther than the positive: m, above 0.
    pub margin: f64,
    /// What far means.
    pub distance: Distance,
    /// Whether the negative is as near as it is to the anchor or the positive, whichever is nearer.
    pub swap: bool,
    /// What every loss has; the elements are the triplets.
    pub loss: LossOptions,
}

impl Default for TripletMarginOptions {
    fn default() -> Self {
        let (distance, loss) = (Distance::default(), LossOptions::default());
        Self { margin: 1.0, distance, swap: false, loss }
    }
}

/// The triplet margin loss: an anchor should be nearer to its positive than to its negative, by a margin.
///
/// # Equation
/// lᵢ = max(0, d(aᵢ, pᵢ) − d(aᵢ, nᵢ) + m)
///
/// for the anchors a, positives p and negatives n and a [`Distance`] d; swapped, min(d(aᵢ, nᵢ), d(pᵢ, nᵢ)) is in
/// place of d(aᵢ, nᵢ). Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Anchors, positives and negatives (N, D), of the same shape, in any unit; the value () in that of the distance, or
/// (N), one for each triplet, with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`TripletMarginOptions`]:
/// - `margin`: 1, in the unit of the distance; above 0 and finite. For embeddings of length 1, 0.2 is that of
///   FaceNet with the squared distance.
/// - `distance`: [`Distance::Euclidean`].
/// - `swap`: false; true is the anchor swap of Balntas et al.
/// - `loss`: [`LossOptions`]; `sample_weights` and `mask` (N) are of the triplets.
///
/// # Numerics
/// All three have a gradient. It is 0 where the loss is 0, and through a distance of 0, as of the [`Distance`] said;
/// where the two distances of a swap are equal, both have half of it. f64 stays f64; f32, bf16 and f16 are computed
/// and returned in f32.
///
/// # Deviations
/// 1. From PyTorch: the distance is of a closed set, not any function, and its default is the Euclidean one without
///    the 1e-6 that PyTorch adds to each difference.
/// 2. From PyTorch: another shape is an error; there it is broadcast. The value of half-precision input is f32.
/// 3. From pytorch-metric-learning: embeddings are not normalised, the mean is over all triplets, also those without
///    a loss, and the margin is 1; there it is 0.05.
/// 4. From Schroff et al.: the distance is not squared by default, and the loss is a mean, not a sum.
///
/// # Errors
/// Anchors that are not (N, D) or not floating-point; positives and negatives of another shape or dtype; a margin
/// that is not above 0 and finite; weights and a mask that do not fit, a weight that is negative or not finite;
/// nothing to average, as where a miner found no triplet, unless `empty` says otherwise.
///
/// # References
/// - Schroff, Kalenichenko and Philbin 2015, FaceNet: a unified embedding for face recognition and clustering,
///   <https://arxiv.org/abs/1503.03832>.
/// - Balntas, Riba, Ponsa and Mikolajczyk 2016, Learning local feature descriptors with triplets and
///   shallow convolutional neural networks, <https://doi.org/10.5244/C.30.119>.
/// - `torch.nn.TripletMarginWithDistanceLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.TripletMarginWithDistanceLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{TripletMarginOptions, triplet_margin};
///
/// // The first negative is farther by 4 - 3, which is enough; the second is as near as the positive.
/// let anchor = Tensor::new(&[[0.0, 0.0], [0.0, 0.0]], &Device::Cpu)?;
/// let positive = Tensor::new(&[[3.0, 0.0], [3.0, 0.0]], &Device::Cpu)?;
/// let negative = Tensor::new(&[[0.0, 4.0], [0.0, 3.0]], &Device::Cpu)?;
/// let loss = triplet_margin(&anchor, &positive, &negative, &TripletMarginOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.0 + 1.0) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn triplet_margin(
    anchor: &Tensor,
    positive: &Tensor,
    negative: &Tensor,
    options: &TripletMarginOptions,
) -> Result<Tensor> {
    let TripletMarginOptions { margin, distance, swap, ref loss } = *options;
    if !(margin > 0.0 && margin.is_finite()) {
        return Err(Error::argument(NAME, "margin", "above 0 and finite", margin));
    }
    let wide = rows(NAME, "anchor", anchor)?;
    let positive = beside(NAME, "positive", positive, "anchor", anchor)?;
    let negative = beside(NAME, "negative", negative, "anchor", anchor)?;
    let elements = elements(NAME, "anchor", &wide, loss)?;
    let anchor = elements.hide(&wide)?;
    let (positive, negative) = (elements.hide(&positive)?, elements.hide(&negative)?);
    let near = distance.of(&anchor, &positive)?;
    let mut far = distance.of(&anchor, &negative)?;
    if swap {
        far = far.minimum(&distance.of(&positive, &negative)?)?;
    }
    elements.reduce_losses(hinge(&((near - far)? + margin)?)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_with_and_without_the_swap() -> Result<()> {
        // On a line: the positive at 2, the negatives at 3, which is nearer to it, at -1 and at 9.
        let anchor = Tensor::new(&[[0.0], [0.0], [0.0]], &Device::Cpu)?;
        let positive = Tensor::new(&[[2.0], [2.0], [2.0]], &Device::Cpu)?;
        let negative = Tensor::new(&[[3.0], [-1.0], [9.0]], &Device::Cpu)?;
        let of = |swap, distance| -> Result<Vec<f64>> {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = TripletMarginOptions { margin: 1.5, distance, swap, loss };
            Ok(triplet_margin(&anchor, &positive, &negative, &options)?.to_vec1()?)
        };
        assert_eq!(of(false, Distance::Euclidean)?, [0.5, 2.5, 0.0]);
        assert_eq!(of(true, Distance::Euclidean)?, [2.5, 2.5, 0.0]);
        assert_eq!(of(true, Distance::SquaredEuclidean)?, [4.5, 4.5, 0.0]);
        Ok(())
    }
}
