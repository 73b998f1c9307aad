//! The triplets of a batch with labels.

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::Distance;
use crate::arguments::{element, to_host};
use crate::embeddings::{labels as labels_of, rows, select};

const NAME: &str = "all_triplets";

/// Triplets of rows of a batch: an anchor, a positive of its label and a negative of another.
#[derive(Debug, Clone)]
pub struct Triplets {
    /// The row of the anchor of each triplet, (T) u32.
    pub anchor: Tensor,
    /// The row of the positive, (T) u32.
    pub positive: Tensor,
    /// The row of the negative, (T) u32.
    pub negative: Tensor,
}

impl Triplets {
    /// Of rows on the host.
    pub(super) fn new(triplets: &[[usize; 3]], device: &Device) -> Result<Self> {
        let part = |role: usize| -> Result<Tensor> {
            let rows: Vec<u32> = triplets.iter().map(|triplet| triplet[role] as u32).collect();
            Ok(Tensor::from_vec(rows, triplets.len(), device)?)
        };
        Ok(Self { anchor: part(0)?, positive: part(1)?, negative: part(2)? })
    }

    /// Anchor, positive and negative of each triplet, (T, D) and with their gradients, of the embeddings (N, D) of
    /// the batch.
    ///
    /// # Errors
    /// Embeddings without one of the rows, or on another device.
    pub fn select(&self, embeddings: &Tensor) -> Result<[Tensor; 3]> {
        let of = |places| select("Triplets::select", embeddings, places);
        Ok([of(&self.anchor)?, of(&self.positive)?, of(&self.negative)?])
    }
}

/// All triplets of a batch with labels.
///
/// # Equation
/// {(a, p, n) : p ≠ a, y_p = y_a, y_n ≠ y_a}
///
/// for the labels y, in the order of a, then of p, then of n.
///
/// # Shapes
/// Labels (N); each tensor of [`Triplets`] (T), on the labels' device. K labels that are there P times each have T =
/// K P (P − 1) (K − 1) P triplets, which grows with N³ where there are few labels.
///
/// # Parameters
/// None.
///
/// # Numerics
/// Indices have no gradient; [`Triplets::select`] passes that of the embeddings on. Labels are compared on the
/// host, which waits for an accelerator. Where no label is there twice, or only one is there, the tensors are (0): a
/// mean over them is what the `empty` of its loss says.
///
/// # Deviations
/// None from pytorch-metric-learning's `get_all_triplets_indices`, whose indices are i64.
///
/// # Errors
/// Labels that are not (N) or no integers.
///
/// # References
/// - Schroff, Kalenichenko and Philbin 2015, FaceNet: a unified embedding for face recognition and clustering,
///   <https://arxiv.org/abs/1503.03832>.
/// - `pytorch_metric_learning.utils.loss_and_miner_utils.get_all_triplets_indices`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/miners/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{TripletMarginOptions, all_triplets, triplet_margin};
///
/// let labels = Tensor::new(&[7u32, 3, 7], &Device::Cpu)?;
/// let triplets = all_triplets(&labels)?;
/// assert_eq!(triplets.anchor.to_vec1::<u32>()?, [0, 2]);
/// assert_eq!(triplets.positive.to_vec1::<u32>()?, [2, 0]);
/// assert_eq!(triplets.negative.to_vec1::<u32>()?, [1, 1]);
/// // On a line, with the negative in the middle: it is 1 nearer than the positive, and should be 1 farther.
/// let embeddings = Tensor::new(&[[0.0], [1.0], [2.0]], &Device::Cpu)?;
/// let [anchor, positive, negative] = triplets.select(&embeddings)?;
/// let loss = triplet_margin(&anchor, &positive, &negative, &TripletMarginOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, 2.0);
/// # Ok(())
/// # }
/// ```
pub fn all_triplets(labels: &Tensor) -> Result<Triplets> {
    let device = labels.device();
    let labels = labels_of(NAME, labels, labels.elem_count())?;
    let mut triplets = Vec::new();
    for anchor in 0..labels.len() {
        for positive in positives(&labels, anchor) {
            triplets
                .extend(negatives(&labels, anchor).map(|negative| [anchor, positive, negative]));
        }
    }
    Triplets::new(&triplets, device)
}

/// The others with the label of `anchor`.
pub(super) fn positives(labels: &[i64], anchor: usize) -> impl Iterator<Item = usize> {
    (0..labels.len()).filter(move |at| *at != anchor && labels[*at] == labels[anchor])
}

/// Those with another label than `anchor`.
pub(super) fn negatives(labels: &[i64], anchor: usize) -> impl Iterator<Item = usize> {
    (0..labels.len()).filter(move |at| labels[*at] != labels[anchor])
}

/// The labels of a batch and the distances of all to all, on the host, where the embeddings are finite.
pub(super) fn batch(
    operation: &'static str,
    embeddings: &Tensor,
    labels: &Tensor,
    distance: Distance,
) -> Result<(Vec<i64>, Vec<Vec<f64>>)> {
    let wide = rows(operation, "embeddings", &embeddings.detach())?;
    let labels = labels_of(operation, labels, wide.dim(0)?)?;
    let values = to_host(&wide)?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let argument = element("embeddings", at, wide.dims());
        return Err(Error::argument(operation, argument, "finite", values[at]));
    }
    let distances = distance.of_all(&wide, &wide)?.to_dtype(DType::F64)?;
    Ok((labels, distances.to_vec2()?))
}
