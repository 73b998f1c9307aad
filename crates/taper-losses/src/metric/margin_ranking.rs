//! The margin ranking loss.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::LossOptions;
use crate::arguments::{beside, precision};
use crate::elements::Elements;
use crate::embeddings::{hinge, kinds};

const NAME: &str = "margin_ranking";

/// The options of [`margin_ranking`].
#[derive(Debug, Clone, Default)]
pub struct MarginRankingOptions {
    /// By how much the higher score should be above the lower: m, at least 0.
    pub margin: f64,
    /// What every loss has; the elements are the pairs of scores.
    pub loss: LossOptions,
}

/// The margin ranking loss: of two scores, the one that should be higher should be so by a margin.
///
/// # Equation
/// lᵢ = max(0, m − yᵢ (aᵢ − bᵢ))
///
/// for the first scores a, the second b and the target y: 1 where the first should be higher, −1 where the
/// second should. Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// First, second and target (...), of the same shape with any number of axes, in any unit; the value () in that unit,
/// or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`MarginRankingOptions`]:
/// - `margin`: 0, in the unit of the scores; at least 0 and finite.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for scores (N, D) weigh their rows.
///
/// # Numerics
/// Both scores have a gradient: ∓y, and 0 where the loss is 0. So with the margin 0 equal scores have none and stay
/// equal. The target may be of any dtype that has −1. f64 stays f64; f32, bf16 and f16 are computed and returned in
/// f32.
///
/// # Deviations
/// 1. From PyTorch: a target other than 1 and −1 is an error; there it scales the difference.
/// 2. From PyTorch: shapes that differ are an error, also those of as many axes; there they are broadcast.
/// 3. From PyTorch: a negative margin is an error, and the value of half-precision input is f32.
///
/// # Errors
/// Scores of different shapes or dtypes or not floating-point; a target of another shape, or not 1 or −1; a margin
/// that is negative or not finite; weights and a mask that do not fit, a weight that is negative or not finite;
/// nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Herbrich, Graepel and Obermayer 2000, Large margin rank boundaries for ordinal regression, in: Advances in large
///   margin classifiers, <https://doi.org/10.7551/mitpress/1113.003.0010>.
/// - `torch.nn.MarginRankingLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.MarginRankingLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{MarginRankingOptions, margin_ranking};
///
/// // The first should be higher in both pairs: it is by 3, and it is lower by 1.
/// let first = Tensor::new(&[5.0, 1.0], &Device::Cpu)?;
/// let second = Tensor::new(&[2.0, 2.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 1.0], &Device::Cpu)?;
/// let options = MarginRankingOptions { margin: 0.5, ..Default::default() };
/// let loss = margin_ranking(&first, &second, &target, &options)?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.0 + 1.5) / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn margin_ranking(
    first: &Tensor,
    second: &Tensor,
    target: &Tensor,
    options: &MarginRankingOptions,
) -> Result<Tensor> {
    let margin = options.margin;
    if !(margin >= 0.0 && margin.is_finite()) {
        return Err(Error::argument(NAME, "margin", "at least 0 and finite", margin));
    }
    let dtype = precision(NAME, "first", first)?;
    let second = beside(NAME, "second", second, "first", first)?;
    let elements = Elements::new(NAME, "first", first.shape(), &options.loss)?;
    let sign = kinds(NAME, target, [1, -1], dtype, &elements)?;
    let higher = (elements.hide(&first.to_dtype(dtype)?)? - elements.hide(&second)?)?;
    elements.reduce_losses(hinge(&(higher * sign)?.affine(-1.0, margin)?)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_both_orders() -> Result<()> {
        let first = Tensor::new(&[3.0, 1.0, 1.0, 2.0], &Device::Cpu)?;
        let second = Tensor::new(&[1.0, 3.0, 1.0, 1.0], &Device::Cpu)?;
        let of = |sign: i64| -> Result<Vec<f64>> {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = MarginRankingOptions { margin: 1.5, loss };
            let target = Tensor::new(&[sign; 4], &Device::Cpu)?;
            Ok(margin_ranking(&first, &second, &target, &options)?.to_vec1()?)
        };
        assert_eq!(of(1)?, [0.0, 3.5, 1.5, 0.5]);
        assert_eq!(of(-1)?, [3.5, 0.0, 1.5, 2.5]);
        Ok(())
    }
}
