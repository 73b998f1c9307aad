//! The pairs of a batch with labels.

use candle_core::Tensor;
use taper_core::Result;

use crate::embeddings::{labels as labels_of, select};

const NAME: &str = "all_pairs";

/// Pairs of rows of a batch: where each has its two, and whether they have one label.
#[derive(Debug, Clone)]
pub struct Pairs {
    /// The row of the first of each pair, (P) u32.
    pub first: Tensor,
    /// The row of the second, (P) u32.
    pub second: Tensor,
    /// 1 where both have one label, 0 where they do not, (P) u8: the target of [`contrastive`](crate::contrastive),
    /// and the mask that leaves the positive pairs.
    pub similar: Tensor,
}

impl Pairs {
    /// First and second of each pair, (P, D) and with their gradients, of the embeddings (N, D) of the batch.
    ///
    /// # Errors
    /// Embeddings without one of the rows, or on another device.
    pub fn select(&self, embeddings: &Tensor) -> Result<[Tensor; 2]> {
        let of = |places| select("Pairs::select", embeddings, places);
        Ok([of(&self.first)?, of(&self.second)?])
    }
}

/// All pairs of a batch with labels, each once.
///
/// # Equation
/// {(i, j) : i < j}, similar where the labels i and j are equal
///
/// in the order of i, then of j.
///
/// # Shapes
/// Labels (N); each tensor of [`Pairs`] (P) with P = N (N − 1) / 2, on the labels' device.
///
/// # Parameters
/// None.
///
/// # Numerics
/// Indices have no gradient; [`Pairs::select`] passes that of the embeddings on. Labels are compared on the host,
/// which waits for an accelerator. Fewer than two labels have no pairs: the tensors are (0), of which a mean is what
/// the `empty` of its loss says.
///
/// # Deviations
/// 1. From pytorch-metric-learning: each pair is there once, not in both orders, which costs half and is the same
///    mean for every symmetric loss; positive and negative pairs are in one list.
///
/// # Errors
/// Labels that are not (N) or no integers.
///
/// # References
/// - Hadsell, Chopra and LeCun 2006, Dimensionality reduction by learning an invariant mapping,
///   <https://doi.org/10.1109/CVPR.2006.100>.
/// - `pytorch_metric_learning.utils.loss_and_miner_utils.get_all_pairs_indices`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/miners/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{ContrastiveOptions, all_pairs, contrastive};
///
/// let labels = Tensor::new(&[7u32, 7, 3], &Device::Cpu)?;
/// let pairs = all_pairs(&labels)?;
/// assert_eq!(pairs.first.to_vec1::<u32>()?, [0, 0, 1]);
/// assert_eq!(pairs.second.to_vec1::<u32>()?, [1, 2, 2]);
/// assert_eq!(pairs.similar.to_vec1::<u8>()?, [1, 0, 0]);
/// // On a line: the two of one label are 0.5 apart, the third is 2 from the first and 1.5 from the second.
/// let embeddings = Tensor::new(&[[0.0], [0.5], [2.0]], &Device::Cpu)?;
/// let [first, second] = pairs.select(&embeddings)?;
/// let options = ContrastiveOptions { margin: 2.0, ..Default::default() };
/// let loss = contrastive(&first, &second, &pairs.similar, &options)?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.125 + 0.0 + 0.125) / 3.0);
/// # Ok(())
/// # }
/// ```
pub fn all_pairs(labels: &Tensor) -> Result<Pairs> {
    let device = labels.device();
    let labels = labels_of(NAME, labels, labels.elem_count())?;
    let (mut first, mut second, mut similar) = (Vec::new(), Vec::new(), Vec::new());
    for (i, label) in labels.iter().enumerate() {
        for (j, other) in labels.iter().enumerate().skip(i + 1) {
            first.push(i as u32);
            second.push(j as u32);
            similar.push(u8::from(label == other));
        }
    }
    let count = first.len();
    Ok(Pairs {
        first: Tensor::from_vec(first, count, device)?,
        second: Tensor::from_vec(second, count, device)?,
        similar: Tensor::from_vec(similar, count, device)?,
    })
}
