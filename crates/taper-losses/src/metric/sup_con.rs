//! The supervised contrastive loss.

use candle_core::{Device, Tensor};
use taper_core::Result;

use crate::embeddings::{
    check_temperature, chosen, elements, labels as labels_of, none, placed, rows, similarities,
    without_diagonal,
};
use crate::{ClassOptions, LossOptions, Reduction, Target, cross_entropy};

const NAME: &str = "sup_con";

/// The options of [`sup_con`].
#[derive(Debug, Clone)]
pub struct SupConOptions {
    /// What the cosines are divided by: τ, above 0.
    pub temperature: f64,
    /// What every loss has; the elements are the embeddings.
    pub loss: LossOptions,
}

impl Default for SupConOptions {
    fn default() -> Self {
        Self { temperature: 0.1, loss: LossOptions::default() }
    }
}

/// The supervised contrastive loss: all embeddings of a label are each other's positives.
///
/// # Equation
/// lᵢ = − 1 / |P(i)| Σ_{p ∈ P(i)} log (exp sᵢₚ / Σ_{a ≠ i} exp sᵢₐ), with sᵢₐ = zᵢ · zₐ / (‖zᵢ‖ ‖zₐ‖ τ)
///
/// for the embeddings z, where P(i) are the others with the label of i: the paper's L_out. Reduced as
/// [`Reduction`](crate::Reduction) says, where an anchor without a positive does not count.
///
/// # Shapes
/// Embeddings (N, D), of any scale, and labels (N); several views of a sample are rows with one label. The value (),
/// in nats, or (N) with [`Reduction::None`](crate::Reduction::None), 0 for an anchor without a positive.
///
/// # Parameters
/// Of [`SupConOptions`]:
/// - `temperature`: 0.1, the paper's best; above 0 and finite.
/// - `loss`: [`LossOptions`]. `sample_weights` (N) weigh the anchors; one of weight 0 still is a positive and a negative
///   of the others. What the `mask` (N) leaves out is neither: the loss is that of the batch without it.
///
/// # Numerics
/// The embeddings have a gradient. One with a norm below 1e-12 is divided by 1e-12, and has the gradient 0. The
/// logarithm of the softmax as in [`cross_entropy`](crate::cross_entropy), of which this is the case of even
/// probabilities over P(i). Labels are compared on the host, which waits for an accelerator. f64 stays f64; f32, bf16
/// and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: anchors without a positive, which it does not have with two views, do not count.
///    pytorch-metric-learning has 0 for them too; its own reducer also leaves out other losses of 0.
/// 2. From pytorch-metric-learning: a batch of one label has a loss; there it is 0 without negatives.
/// 3. From the authors' code: no factor τ / τ_base, which is 1 there by default.
/// 4. From `torch.nn.functional.normalize`: where the norm is below 1e-12 the gradient is 0, not 1e12 times
///    that of the direction, which f16 could not hold.
///
/// # Errors
/// Embeddings that are not (N, D) or not floating-point; labels that are not (N) or no integers; a temperature that is
/// not above 0 and finite; weights and a mask that do not fit, a weight that is negative or not finite; nothing to
/// average, as where no label is there twice, unless `empty` says otherwise.
///
/// # References
/// - Khosla et al. 2020, Supervised contrastive learning, <https://arxiv.org/abs/2004.11362>.
/// - `pytorch_metric_learning.losses.SupConLoss`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/losses/#supconloss>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{SupConOptions, sup_con};
///
/// // Two of a label in one direction, and at a right angle one of another label, which is no anchor.
/// let embeddings = Tensor::new(&[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32, 0, 1], &Device::Cpu)?;
/// let options = SupConOptions { temperature: 0.5, ..Default::default() };
/// let loss = sup_con(&embeddings, &labels, &options)?;
/// let by_hand = -(2f64.exp() / (2f64.exp() + 1.0)).ln();
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn sup_con(embeddings: &Tensor, labels: &Tensor, options: &SupConOptions) -> Result<Tensor> {
    check_temperature(NAME, options.temperature)?;
    let wide = rows(NAME, "embeddings", embeddings)?;
    let labels = labels_of(NAME, labels, embeddings.dim(0)?)?;
    let mut elements = elements(NAME, "embeddings", &wide, &options.loss)?;
    let few = chosen(&elements, &wide)?;
    let kept: Vec<usize> = match elements.chosen() {
        Some(rows) => rows.into_iter().map(|row| row as usize).collect(),
        None => (0..labels.len()).collect(),
    };
    let positives = Positives::new(&kept.iter().map(|row| labels[*row]).collect::<Vec<_>>());
    let losses = match positives.is_anchor.contains(&true) {
        false => none(&wide)?,
        true => {
            let similarities = similarities(&few, &few, options.temperature)?;
            let shares = Tensor::from_vec(positives.shares, similarities.shape(), &Device::Cpu)?;
            let shares = shares.to_dtype(few.dtype())?.to_device(few.device())?;
            let each = LossOptions { reduction: Reduction::None, ..Default::default() };
            let each = ClassOptions { loss: each, ..Default::default() };
            let target = Target::Probabilities(&shares);
            placed(&elements, &cross_entropy(&without_diagonal(&similarities)?, target, &each)?)?
        }
    };
    if positives.is_anchor.contains(&false) {
        let mut counts = vec![false; labels.len()];
        for (row, is_anchor) in kept.into_iter().zip(positives.is_anchor) {
            counts[row] = is_anchor;
        }
        elements = elements.keep("labels", &counts);
    }
    elements.reduce_losses(losses, None)
}

/// Who is a positive of whom.
struct Positives {
    /// 1 / |P(i)| for those in P(i), 0 for the others, row by row.
    shares: Vec<f64>,
    /// Whether P(i) has any.
    is_anchor: Vec<bool>,
}

impl Positives {
    fn new(labels: &[i64]) -> Self {
        let (mut shares, mut is_anchor) = (Vec::new(), Vec::new());
        for (at, label) in labels.iter().enumerate() {
            let is_positive = |other: usize| other != at && labels[other] == *label;
            let count = (0..labels.len()).filter(|other| is_positive(*other)).count();
            is_anchor.push(count > 0);
            let share = |other| if is_positive(other) { 1.0 / count as f64 } else { 0.0 };
            shares.extend((0..labels.len()).map(share));
        }
        Self { shares, is_anchor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers_of_two_positives_and_a_lone_label() -> Result<()> {
        let rows = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]];
        let embeddings = Tensor::new(&rows, &Device::Cpu)?;
        let labels = Tensor::new(&[7i64, 7, 7, -1], &Device::Cpu)?;
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = SupConOptions { temperature: 1.0, loss };
        let losses = sup_con(&embeddings, &labels, &options)?.to_vec1::<f64>()?;
        // Cosines of the first two to the others: 1, 0 and −1; of the third: 0 to all.
        let near = (1f64.exp() + 1.0 + (-1f64).exp()).ln() - 0.5;
        for (actual, expected) in losses.into_iter().zip([near, near, 3f64.ln(), 0.0]) {
            assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}");
        }
        Ok(())
    }
}
