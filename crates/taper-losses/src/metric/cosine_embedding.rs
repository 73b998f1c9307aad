//! The cosine embedding loss.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::arguments::beside;
use crate::embeddings::{elements, hinge, kinds, rows};
use crate::{Distance, LossOptions};

const NAME: &str = "cosine_embedding";

/// The options of [`cosine_embedding`].
#[derive(Debug, Clone, Default)]
pub struct CosineEmbeddingOptions {
    /// Up to which cosine dissimilar embeddings cost nothing: m, from -1 to 1.
    pub margin: f64,
    /// What every loss has; the elements are the pairs.
    pub loss: LossOptions,
}

/// The cosine embedding loss: similar embeddings should be in one direction, dissimilar ones not.
///
/// # Equation
/// lᵢ = 1 − cosᵢ where yᵢ is 1, max(0, cosᵢ − m) where it is −1, with cosᵢ = aᵢ · bᵢ / (‖aᵢ‖ ‖bᵢ‖)
///
/// for the first embeddings a and the second b of pairs and the target y: 1 where a pair is similar, −1 where it
/// is not. Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// First and second (N, D), of the same shape and of any scale, and target (N); the value (), without a unit, or (N),
/// one for each pair, with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`CosineEmbeddingOptions`]:
/// - `margin`: 0; from −1 to 1. PyTorch suggests up to 0.5.
/// - `loss`: [`LossOptions`]; `sample_weights` and `mask` (N) are of the pairs.
///
/// # Numerics
/// Both embeddings have a gradient; it is 0 where the loss is 0. 1 − cos is
/// [`Distance::Cosine`](crate::Distance::Cosine), which keeps its digits near 0. An embedding with a norm below 1e-12
/// has the cosine 0 and no gradient. The target may be of any dtype that has −1. f64 stays f64; f32, bf16 and
/// f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From PyTorch: nothing is added to the squares of the norms; there 1e-12 is, so that an embedding of norm 1e-6
///    in the right direction costs 0.29, and one of zeros has a gradient of 1e6.
/// 2. From PyTorch: a target other than 1 and −1 is an error; there it costs nothing.
/// 3. From PyTorch: single embeddings (D) are an error; another shape is, too, and the value of half-precision input
///    is f32.
///
/// # Errors
/// First embeddings that are not (N, D) or not floating-point, second ones of another shape or dtype; a target that
/// is not (N) or not 1 or −1; a margin that is not from −1 to 1; weights and a mask that do not fit, a weight that is
/// negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Bromley, Guyon, LeCun, Säckinger and Shah 1993, Signature verification using a "Siamese" time delay neural
///   network, <https://papers.nips.cc/paper/1993/hash/288cc0ff022877bd3df94bc9360b9c5d-Abstract.html>, which learns
///   from the cosine of pairs.
/// - `torch.nn.CosineEmbeddingLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.CosineEmbeddingLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{CosineEmbeddingOptions, cosine_embedding};
///
/// // Both pairs have the cosine 3/5; the first should be similar, the second not.
/// let first = Tensor::new(&[[1.0, 0.0], [2.0, 0.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[[3.0, 4.0], [3.0, 4.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[1i64, -1], &Device::Cpu)?;
/// let options = CosineEmbeddingOptions { margin: 0.5, ..Default::default() };
/// let loss = cosine_embedding(&first, &second, &target, &options)?;
/// assert!((loss.to_scalar::<f64>()? - (0.4 + 0.1) / 2.0).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub fn cosine_embedding(
    first: &Tensor,
    second: &Tensor,
    target: &Tensor,
    options: &CosineEmbeddingOptions,
) -> Result<Tensor> {
    let margin = options.margin;
    if !(-1.0..=1.0).contains(&margin) {
        return Err(Error::argument(NAME, "margin", "from -1 to 1", margin));
    }
    let wide = rows(NAME, "first", first)?;
    let second = beside(NAME, "second", second, "first", first)?;
    let elements = elements(NAME, "first", &wide, &options.loss)?;
    let similar = kinds(NAME, target, [1, -1], wide.dtype(), &elements)?.eq(1.0)?;
    let away = Distance::Cosine.of(&elements.hide(&wide)?, &elements.hide(&second)?)?;
    let too_near = hinge(&away.affine(-1.0, 1.0 - margin)?)?;
    elements.reduce_losses(similar.where_cond(&away, &too_near)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_both_kinds() -> Result<()> {
        // In one direction, at a right angle, in opposite directions, and without one.
        let first = Tensor::new(&[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 0.0]], &Device::Cpu)?;
        let second = Tensor::new(&[[5.0, 0.0], [0.0, 4.0], [-1.0, 0.0], [1.0, 0.0]], &Device::Cpu)?;
        let of = |sign: i64, margin| -> Result<Vec<f64>> {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = CosineEmbeddingOptions { margin, loss };
            let target = Tensor::new(&[sign; 4], &Device::Cpu)?;
            Ok(cosine_embedding(&first, &second, &target, &options)?.to_vec1()?)
        };
        assert_eq!(of(1, 0.25)?, [0.0, 1.0, 2.0, 1.0]);
        assert_eq!(of(-1, 0.25)?, [0.75, 0.0, 0.0, 0.0]);
        assert_eq!(of(-1, -0.5)?, [1.5, 0.5, 0.0, 0.5]);
        Ok(())
    }
}
