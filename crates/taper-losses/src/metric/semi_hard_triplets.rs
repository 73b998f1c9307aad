//! The semi-hard triplets of a batch.

use candle_core::Tensor;
use taper_core::{Error, Result};

use super::all_triplets::{Triplets, batch, negatives, positives};
use crate::Distance;

const NAME: &str = "semi_hard_triplets";

/// The semi-hard triplets of a batch: the negative is farther than the positive, but not by more than a margin.
///
/// # Equation
/// {(a, p, n) : p ≠ a, y_p = y_a, y_n ≠ y_a, 0 < d(a, n) − d(a, p) ≤ m}
///
/// for the labels y and the [`Distance`] d of the embeddings, in the order of a, then of p, then of n.
///
/// # Shapes
/// Embeddings (N, D) and labels (N); each tensor of [`Triplets`] (T), on the embeddings' device.
///
/// # Parameters
/// - `distance`: which; it should be that of the loss. FaceNet's is [`Distance::SquaredEuclidean`].
/// - `margin`: m, in the unit of the distance, that of the loss; above 0 and finite. FaceNet's is 0.2.
///
/// # Numerics
/// Indices have no gradient, and the embeddings are detached; [`Triplets::select`] passes their gradient on.
/// Distances are compared on the host, which waits for an accelerator. Often no triplet is semi-hard: the tensors are
/// (0) then, and a mean over them is what the `empty` of its loss says, of which [`Empty::Zero`](crate::Empty::Zero)
/// goes on without a step.
///
/// # Deviations
/// 1. From the paper: all semi-hard negatives of a pair of anchor and positive are taken, where it selects one for
///    each without saying which.
/// 2. From pytorch-metric-learning's `TripletMarginMiner` of type `semihard`: embeddings are not normalised first, as
///    its distance does by default; the margin has no default.
///
/// # Errors
/// Embeddings that are not (N, D), not floating-point or not finite; labels that are not (N) or no integers; a margin
/// that is not above 0 and finite.
///
/// # References
/// - Schroff, Kalenichenko and Philbin 2015, FaceNet: a unified embedding for face recognition and clustering,
///   <https://arxiv.org/abs/1503.03832>.
/// - `pytorch_metric_learning.miners.TripletMarginMiner`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/miners/#tripletmarginminer>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{Distance, semi_hard_triplets};
///
/// // On a line: two of one label at 0 and 2, and others at 1, which is nearer, at 3 and at 9, which is far enough.
/// let embeddings = Tensor::new(&[[0.0], [2.0], [1.0], [3.0], [9.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 1, 2, 3], &Device::Cpu)?;
/// let triplets = semi_hard_triplets(&embeddings, &labels, Distance::Euclidean, 1.5)?;
/// // From 2, the one at 3 is nearer than the positive at 0.
/// assert_eq!(triplets.anchor.to_vec1::<u32>()?, [0]);
/// assert_eq!(triplets.positive.to_vec1::<u32>()?, [1]);
/// assert_eq!(triplets.negative.to_vec1::<u32>()?, [3]);
/// # Ok(())
/// # }
/// ```
pub fn semi_hard_triplets(
    embeddings: &Tensor,
    labels: &Tensor,
    distance: Distance,
    margin: f64,
) -> Result<Triplets> {
    if !(margin > 0.0 && margin.is_finite()) {
        return Err(Error::argument(NAME, "margin", "above 0 and finite", margin));
    }
    let (labels, distances) = batch(NAME, embeddings, labels, distance)?;
    let mut triplets = Vec::new();
    for (anchor, d) in distances.iter().enumerate() {
        for positive in positives(&labels, anchor) {
            let is_semi_hard = |negative: &usize| {
                let farther = d[*negative] - d[positive];
                farther > 0.0 && farther <= margin
            };
            let semi_hard = negatives(&labels, anchor).filter(is_semi_hard);
            triplets.extend(semi_hard.map(|negative| [anchor, positive, negative]));
        }
    }
    Triplets::new(&triplets, embeddings.device())
}
