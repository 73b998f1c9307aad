//! The hardest triplet of each anchor of a batch.

use candle_core::Tensor;
use taper_core::Result;

use super::all_triplets::{Triplets, batch, negatives, positives};
use crate::Distance;

const NAME: &str = "batch_hard_triplets";

/// The hardest triplet of each anchor: its farthest positive and its nearest negative.
///
/// # Equation
/// {(a, argmax_{p ≠ a, y_p = y_a} d(a, p), argmin_{y_n ≠ y_a} d(a, n))}
///
/// for the labels y and the [`Distance`] d of the embeddings, in the order of a; of several that are as far, that of
/// the lowest row. Anchors without a positive or a negative are left out.
///
/// # Shapes
/// Embeddings (N, D) and labels (N); each tensor of [`Triplets`] (T) with T up to N, on the embeddings' device.
///
/// # Parameters
/// - `distance`: which; it should be that of the loss. [`Distance::Euclidean`] and its square find the same.
///
/// # Numerics
/// Indices have no gradient, and the embeddings are detached; [`Triplets::select`] passes their gradient on.
/// Distances are compared on the host, which waits for an accelerator. Where no label is there twice, or only one is
/// there, the tensors are (0): a mean over them is what the `empty` of its loss says.
///
/// # Deviations
/// 1. From the paper: an anchor is not its own positive, so that a label that is there once has no triplet, not one
///    whose positive is at the distance 0.
/// 2. From pytorch-metric-learning: embeddings are not normalised first, as its distance does by default. Ties
///    are broken by the lowest row.
///
/// # Errors
/// Embeddings that are not (N, D), not floating-point or not finite; labels that are not (N) or no integers.
///
/// # References
/// - Hermans, Beyer and Leibe 2017, In defense of the triplet loss for person re-identification,
///   <https://arxiv.org/abs/1703.07737>.
/// - `pytorch_metric_learning.miners.BatchHardMiner`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/miners/#batchhardminer>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{Distance, batch_hard_triplets};
///
/// // On a line: three of one label at 0, 1 and 5, and two of another at 2 and 9.
/// let embeddings = Tensor::new(&[[0.0], [1.0], [5.0], [2.0], [9.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 0, 1, 1], &Device::Cpu)?;
/// let triplets = batch_hard_triplets(&embeddings, &labels, Distance::Euclidean)?;
/// assert_eq!(triplets.anchor.to_vec1::<u32>()?, [0, 1, 2, 3, 4]);
/// assert_eq!(triplets.positive.to_vec1::<u32>()?, [2, 2, 0, 4, 3]);
/// assert_eq!(triplets.negative.to_vec1::<u32>()?, [3, 3, 3, 1, 2]);
/// # Ok(())
/// # }
/// ```
pub fn batch_hard_triplets(
    embeddings: &Tensor,
    labels: &Tensor,
    distance: Distance,
) -> Result<Triplets> {
    let (labels, distances) = batch(NAME, embeddings, labels, distance)?;
    let mut triplets = Vec::new();
    for (anchor, d) in distances.iter().enumerate() {
        // Of equal ones the first stays.
        let farthest = |best, other| if d[other] > d[best] { other } else { best };
        let nearest = |best, other| if d[other] < d[best] { other } else { best };
        let positive = positives(&labels, anchor).reduce(farthest);
        let negative = negatives(&labels, anchor).reduce(nearest);
        triplets.extend(positive.zip(negative).map(|(p, n)| [anchor, p, n]));
    }
    Triplets::new(&triplets, embeddings.device())
}
