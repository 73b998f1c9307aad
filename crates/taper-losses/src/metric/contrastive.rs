//! The contrastive loss of pairs.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::arguments::beside;
use crate::embeddings::{elements, hinge, kinds, rows};
use crate::{Distance, LossOptions};

const NAME: &str = "contrastive";

/// The options of [`contrastive`].
#[derive(Debug, Clone)]
pub struct ContrastiveOptions {
    /// How far from each other dissimilar embeddings should be: m, above 0.
    pub margin: f64,
    /// What far means.
    pub distance: Distance,
    /// What every loss has; the elements are the pairs.
    pub loss: LossOptions,
}

impl Default for ContrastiveOptions {
    fn default() -> Self {
        let (distance, loss) = (Distance::default(), LossOptions::default());
        Self { margin: 1.0, distance, loss }
    }
}

/// The contrastive loss: similar embeddings should be at one place, dissimilar ones apart by a margin.
///
/// # Equation
/// lᵢ = yᵢ dᵢ² / 2 + (1 − yᵢ) max(0, m − dᵢ)² / 2, with dᵢ = d(aᵢ, bᵢ)
///
/// for the first embeddings a and the second b of pairs, a [`Distance`] d, and the target y: 1 where a pair is
/// similar, 0 where it is not. Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// First and second (N, D), of the same shape, in any unit, and target (N); the value () in the square of the
/// distance's unit, or (N), one for each pair, with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`ContrastiveOptions`]:
/// - `margin`: 1, in the unit of the distance; above 0 and finite.
/// - `distance`: [`Distance::Euclidean`], the paper's. A squared one is squared again.
/// - `loss`: [`LossOptions`]; `sample_weights` and `mask` (N) are of the pairs.
///
/// # Numerics
/// Both embeddings have a gradient. That of dissimilar embeddings at one place is 0, though they cost most: no way
/// apart is better than another. The target may be of any dtype, as comparisons of labels give it. f64 stays f64;
/// f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: its Y is 0 for similar and 1 for dissimilar pairs, so that y = 1 − Y.
/// 2. From pytorch-metric-learning: it has d and max(0, m − d) without square and half; it takes pairs from labels;
///    it normalises the embeddings; and it adds the means over the losses above 0 of the positive and of the negative
///    pairs. Here one mean is over all pairs.
///
/// # Errors
/// First embeddings that are not (N, D) or not floating-point, second ones of another shape or dtype; a target that
/// is not (N) or not 0 or 1; a margin that is not above 0 and finite; weights and a mask that do not fit, a weight
/// that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Hadsell, Chopra and LeCun 2006, Dimensionality reduction by learning an invariant mapping,
///   <https://doi.org/10.1109/CVPR.2006.100>.
/// - `pytorch_metric_learning.losses.ContrastiveLoss`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/losses/#contrastiveloss>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{ContrastiveOptions, contrastive};
///
/// // Two pairs 3 apart, the first of them similar, and 5 should be between others.
/// let first = Tensor::new(&[[0.0, 0.0], [0.0, 0.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[[3.0, 0.0], [0.0, 3.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[1u8, 0], &Device::Cpu)?;
/// let options = ContrastiveOptions { margin: 5.0, ..Default::default() };
/// let loss = contrastive(&first, &second, &target, &options)?;
/// assert_eq!(loss.to_scalar::<f64>()?, (3.0 * 3.0 / 2.0 + 2.0 * 2.0 / 2.0) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn contrastive(
    first: &Tensor,
    second: &Tensor,
    target: &Tensor,
    options: &ContrastiveOptions,
) -> Result<Tensor> {
    let ContrastiveOptions { margin, distance, ref loss } = *options;
    if !(margin > 0.0 && margin.is_finite()) {
        return Err(Error::argument(NAME, "margin", "above 0 and finite", margin));
    }
    let wide = rows(NAME, "first", first)?;
    let second = beside(NAME, "second", second, "first", first)?;
    let elements = elements(NAME, "first", &wide, loss)?;
    let similar = kinds(NAME, target, [1, 0], wide.dtype(), &elements)?.eq(1.0)?;
    let d = distance.of(&elements.hide(&wide)?, &elements.hide(&second)?)?;
    let apart = hinge(&d.affine(-1.0, margin)?)?;
    elements.reduce_losses((similar.where_cond(&d, &apart)?.sqr()? / 2.0)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_both_kinds() -> Result<()> {
        // At 5 from each other, at 1, and at one place.
        let first = Tensor::new(&[[3.0, 0.0], [1.0, 0.0], [2.0, 2.0]], &Device::Cpu)?;
        let second = Tensor::new(&[[0.0, 4.0], [0.0, 0.0], [2.0, 2.0]], &Device::Cpu)?;
        let of = |kind: i64| -> Result<Vec<f64>> {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = ContrastiveOptions { margin: 2.0, loss, ..Default::default() };
            let target = Tensor::new(&[kind; 3], &Device::Cpu)?;
            Ok(contrastive(&first, &second, &target, &options)?.to_vec1()?)
        };
        assert_eq!(of(1)?, [12.5, 0.5, 0.0]);
        assert_eq!(of(0)?, [0.0, 0.5, 2.0]);
        Ok(())
    }
}
