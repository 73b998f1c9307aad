//! The Tversky loss.

use candle_core::Tensor;
use taper_core::Result;

use super::overlap::{Regions, check_not_negative};
use crate::LossOptions;

const NAME: &str = "tversky";

/// The options of [`tversky`].
#[derive(Debug, Clone)]
pub struct TverskyOptions {
    /// The weight of false positives, found where nothing is: α, at least 0.
    pub alpha: f64,
    /// The weight of false negatives, not found where something is: β, at least 0.
    pub beta: f64,
    /// What is added to both sides of the fraction: s, at least 0.
    pub smoothing: f64,
    /// The axis of the classes, each of which has a loss of its own, 1 by default; `None` makes one region of a
    /// sample.
    pub class_axis: Option<usize>,
    /// What every loss has; the elements are the samples, or the classes of each.
    pub loss: LossOptions,
}

impl Default for TverskyOptions {
    fn default() -> Self {
        Self {
            alpha: 0.3,
            beta: 0.7,
            smoothing: 1e-5,
            class_axis: Some(1),
            loss: LossOptions::default(),
        }
    }
}

/// The Tversky loss: the soft Dice loss, with weights of their own for what was found too much and too little.
///
/// # Equation
/// lᵢ = 1 − (TP + s) / (TP + α FP + β FN + s)
///
/// with TP = Σ_j pᵢ_j gᵢ_j, the false positives FP = Σ_j pᵢ_j (1 − gᵢ_j) and the false negatives FN = Σ_j (1 − pᵢ_j)
/// gᵢ_j, for the probability p of the input and the target g over all places j of the region i, that of a sample and
/// class; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (N, C, ...), of the same shape, without a unit; the class axis C may be any but the first.
/// Without a class axis (N, ...), the region is all of a sample. The value is (), or with
/// [`Reduction::None`](crate::Reduction::None) (N, C) or (N). `sample_weights` and `mask` (N) are of the samples, (N,
/// C) of their classes: a mask can leave out the background.
///
/// # Parameters
/// Of [`TverskyOptions`]:
/// - `alpha`, `beta`: 0.3 and 0.7, the paper's best, for which a lesion that is missed is worse than one too many; at
///   least 0 and finite. 1/2 and 1/2 are [`dice`](crate::dice) of twice the smoothing, 1 and 1 the Jaccard index.
/// - `smoothing`: 1e-5, s; at least 0 and finite.
/// - `class_axis`: `Some(1)`. A binary segmentation is (N, 1, ...), or (N, ...) with `None`.
/// - `loss`: [`LossOptions`].
///
/// # Numerics
/// Computed as (α FP + β FN) / (TP + α FP + β FN + s): no 1 is left of which a small loss would be taken. Where that
/// is nothing over nothing the loss is 0, with the gradient 0. f64 stays f64; f32, bf16 and f16 are computed and
/// returned in f32. Probabilities are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From the paper: smoothing, which it does not have; a loss to be minimized, not an index.
/// 2. From Keras: α is of the false positives and β of the false negatives, as in the paper and in Keras's
///    documentation. Its code has them the other way round: there α weighs what is missed. Exchange them to have the
///    same.
/// 3. From Keras: 0.3 and 0.7 by default, not 1/2 and 1/2.
/// 4. From Keras: a loss for each sample and class, then their mean. Its default, `axis=None`, makes one region of
///    the whole batch.
/// 5. From Keras: it adds 1e-7 to the denominator only, so that the loss of a region that is nowhere is 1; here 0.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; a class axis that is not there or the first;
/// the first probability outside 0 to 1, with its position; an α, β or smoothing that is negative or not finite;
/// weights and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty`
/// says otherwise.
///
/// # References
/// - Salehi, Erdogmus and Gholipour 2017, Tversky loss function for image segmentation using 3D fully convolutional
///   deep networks, <https://arxiv.org/abs/1706.05721>.
/// - `keras.losses.Tversky`, <https://keras.io/api/losses/regression_losses/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{TverskyOptions, tversky};
///
/// // One sample with one class: three places were found, of which two are right, and one was missed.
/// let input = Tensor::new(&[[[1.0, 1.0, 1.0, 0.0]]], &Device::Cpu)?;
/// let target = Tensor::new(&[[[1.0, 1.0, 0.0, 1.0]]], &Device::Cpu)?;
/// let options = TverskyOptions { alpha: 0.25, beta: 1.0, smoothing: 0.0, ..Default::default() };
/// let loss = tversky(&input, &target, &options)?.to_scalar::<f64>()?;
/// assert!((loss - (1.0 - 2.0 / (2.0 + 0.25 * 1.0 + 1.0 * 1.0))).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn tversky(input: &Tensor, target: &Tensor, options: &TverskyOptions) -> Result<Tensor> {
    let TverskyOptions { alpha, beta, smoothing, .. } = *options;
    for (name, value) in [("alpha", alpha), ("beta", beta), ("smoothing", smoothing)] {
        check_not_negative(NAME, name, value)?;
    }
    let regions = Regions::new(NAME, input, target, options.class_axis, &options.loss)?;
    let disagreement = ((regions.too_much()? * alpha)? + (regions.too_little()? * beta)?)?;
    let whole = ((regions.both()? + &disagreement)? + smoothing)?;
    regions.reduce(&disagreement, &whole)
}
