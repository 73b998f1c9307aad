//! The soft Dice loss.

use candle_core::Tensor;
use taper_core::Result;

use super::overlap::{Regions, check_not_negative};
use crate::LossOptions;

const NAME: &str = "dice";

/// The options of [`dice`].
#[derive(Debug, Clone)]
pub struct DiceOptions {
    /// What is added to both sides of the fraction: s, at least 0.
    pub smoothing: f64,
    /// Whether the denominator has squares, as in the paper.
    pub squared: bool,
    /// The axis of the classes, each of which has a loss of its own, 1 by default; `None` makes one region of a
    /// sample.
    pub class_axis: Option<usize>,
    /// What every loss has; the elements are the samples, or the classes of each.
    pub loss: LossOptions,
}

impl Default for DiceOptions {
    fn default() -> Self {
        Self { smoothing: 1e-5, squared: false, class_axis: Some(1), loss: LossOptions::default() }
    }
}

/// The soft Dice loss: how little the region that was found and the one that is there overlap, whatever their size.
///
/// # Equation
/// lᵢ = 1 − (2 Σ_j pᵢ_j gᵢ_j + s) / (Σ_j aᵢ_j + s), a = p + g, or a = p² + g² where `squared`
///
/// with the probability p of the input and the target g over all places j of the region i, that of a sample and
/// class; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (N, C, ...), of the same shape, without a unit; the class axis C may be any but the first.
/// Without a class axis (N, ...), the region is all of a sample. The value is (), or with
/// [`Reduction::None`](crate::Reduction::None) (N, C) or (N). `sample_weights` and `mask` (N) are of the samples, (N,
/// C) of their classes: a mask can leave out the background.
///
/// # Parameters
/// Of [`DiceOptions`]:
/// - `smoothing`: 1e-5, s; at least 0 and finite.
/// - `squared`: false.
/// - `class_axis`: `Some(1)`. A binary segmentation is (N, 1, ...), or (N, ...) with `None`. With `None` the classes
///   of (N, C, ...) would be one region, in which the large ones are most of it.
/// - `loss`: [`LossOptions`].
///
/// # Numerics
/// Computed as (Σ a − 2 Σ p g) / (Σ a + s), whose upper side is Σ (p (1 − g) + (1 − p) g), or Σ (p − g)² where
/// `squared`: no 1 is left of which a small loss would be taken. Where a region is nowhere, in the input nor in the
/// target, the loss is 0, also without smoothing, then with the gradient 0. f64 stays f64; f32, bf16 and f16 are
/// computed and returned in f32. Probabilities are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From the paper: without `squared` its squares are left out of the denominator, as is usual since and in Keras.
///    Only with them is p = g the best answer to a target between 0 and 1.
/// 2. From the paper: smoothing, which it does not have; a loss to be minimized, not a coefficient.
/// 3. From Keras: a loss for each sample and class, then their mean. Its default, `axis=None`, makes one region of
///    the whole batch.
/// 4. From Keras: it adds 1e-7 to the denominator only, so that the loss of a region that is nowhere is 1; here 0.
/// 5. From MONAI: it takes logits by options, adds 1e-5 to each side by two parameters, and calls `squared`
///    `squared_pred`.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; a class axis that is not there or the first;
/// the first probability outside 0 to 1, with its position; a smoothing that is negative or not finite; weights and a
/// mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Milletari, Navab and Ahmadi 2016, V-Net: fully convolutional neural networks for volumetric medical image
///   segmentation, <https://arxiv.org/abs/1606.04797>.
/// - `keras.losses.Dice`, <https://keras.io/api/losses/regression_losses/>; `monai.losses.DiceLoss`,
///   <https://docs.monai.io/en/stable/losses.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{DiceOptions, dice};
///
/// // One sample with one class: three places were found, of which two are right.
/// let input = Tensor::new(&[[[1.0, 1.0, 1.0, 0.0]]], &Device::Cpu)?;
/// let target = Tensor::new(&[[[1.0, 1.0, 0.0, 0.0]]], &Device::Cpu)?;
/// let options = DiceOptions { smoothing: 0.0, ..Default::default() };
/// let loss = dice(&input, &target, &options)?.to_scalar::<f64>()?;
/// assert!((loss - (1.0 - 2.0 * 2.0 / (3.0 + 2.0))).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn dice(input: &Tensor, target: &Tensor, options: &DiceOptions) -> Result<Tensor> {
    check_not_negative(NAME, "smoothing", options.smoothing)?;
    let regions = Regions::new(NAME, input, target, options.class_axis, &options.loss)?;
    let (p, g) = (&regions.input, &regions.target);
    let (disagreement, whole) = match options.squared {
        true => ((p - g)?.sqr()?.sum(1)?, (p.sqr()? + g.sqr()?)?.sum(1)?),
        false => ((regions.too_much()? + regions.too_little()?)?, (p + g)?.sum(1)?),
    };
    regions.reduce(&disagreement, &(whole + options.smoothing)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_both_denominators() -> Result<()> {
        // Half sure of both places, of which one is there; and of a class that is nowhere.
        let input = Tensor::new(&[[[0.5, 0.5], [0.0, 0.0]]], &Device::Cpu)?;
        let target = Tensor::new(&[[[1.0, 0.0], [0.0, 0.0]]], &Device::Cpu)?;
        for (squared, smoothing, expected) in [
            (false, 0.0, 1.0 - 1.0 / 2.0),
            (false, 1.0, 1.0 - 2.0 / 3.0),
            (true, 0.0, 1.0 - 1.0 / 1.5),
            (true, 1.0, 1.0 - 2.0 / 2.5),
        ] {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = DiceOptions { smoothing, squared, loss, ..Default::default() };
            let losses = dice(&input, &target, &options)?.to_vec2::<f64>()?;
            assert!((losses[0][0] - expected).abs() < 1e-15, "{losses:?} {expected}");
            assert_eq!(losses[0][1], 0.0);
        }
        Ok(())
    }
}
