//! The cross-entropy of finding the key of each query.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::arguments::{beside, expect_shape};
use crate::elements::Elements;
use crate::embeddings::{check_temperature, chosen, elements, none, placed, rows, similarities};
use crate::{ClassOptions, LossOptions, Reduction, Target, cross_entropy};

const NAME: &str = "info_nce";

/// The options of [`info_nce`].
#[derive(Debug, Clone)]
pub struct InfoNceOptions {
    /// What the cosines are divided by: τ, above 0.
    pub temperature: f64,
    /// Whether keys also look for their queries, as in CLIP.
    pub symmetric: bool,
    /// What every loss has; the elements are the queries.
    pub loss: LossOptions,
}

impl Default for InfoNceOptions {
    fn default() -> Self {
        Self { temperature: 0.07, symmetric: false, loss: LossOptions::default() }
    }
}

/// The InfoNCE loss: the cross-entropy of finding the key of each query among all keys.
///
/// # Equation
/// lᵢ = − log (exp sᵢᵢ / Σ_j exp sᵢⱼ), with sᵢⱼ = qᵢ · kⱼ / (‖qᵢ‖ ‖kⱼ‖ τ)
///
/// for the queries q and the keys k, of which kᵢ is the positive of qᵢ and all others are its negatives. Symmetric, it
/// is the mean of this and − log (exp sᵢᵢ / Σ_j exp sⱼᵢ). Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Queries (N, D) and keys (M, D) with M at least N, of any scale; symmetric, M is N. The value (), in nats, or (N),
/// one for each query, with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`InfoNceOptions`]:
/// - `temperature`: 0.07, as MoCo has it and CLIP begins; above 0 and finite.
/// - `symmetric`: false; true is CLIP's loss.
/// - `loss`: [`LossOptions`]. `sample_weights` (N) weigh the queries, symmetric with them their keys; the key of a
///   query of weight 0 still is a negative of the others. What the `mask` (N) leaves out goes with its key: the loss
///   is that of the batch without the pair. The keys behind the first N are negatives in any case.
///
/// # Numerics
/// Queries and keys have a gradient; that of keys which should have none, as MoCo's, ends at a `detach`. An
/// embedding with a norm below 1e-12 is divided by 1e-12, and has the gradient 0. The logarithm of the softmax as in
/// [`cross_entropy`](crate::cross_entropy). f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From van den Oord et al.: the score is the cosine over the temperature, as in MoCo and CLIP, not log-bilinear.
/// 2. From CLIP: the temperature is a number, not learned.
/// 3. From `torch.nn.functional.normalize`: where the norm is below 1e-12 the gradient is 0, not 1e12 times
///    that of the direction, which f16 could not hold.
///
/// # Errors
/// Queries that are not (N, D), keys of another D or dtype or fewer than the queries, and as many of
/// them where symmetric; embeddings that are not floating-point; a temperature that is not above 0 and finite; weights
/// and a mask that do not fit, a weight that is negative or not finite; nothing to average, unless `empty` says
/// otherwise.
///
/// # References
/// - van den Oord, Li and Vinyals 2018, Representation learning with contrastive predictive coding,
///   <https://arxiv.org/abs/1807.03748>.
/// - He et al. 2020, Momentum contrast for unsupervised visual representation learning,
///   <https://arxiv.org/abs/1911.05722>.
/// - Radford et al. 2021, Learning transferable visual models from natural language supervision,
///   <https://arxiv.org/abs/2103.00020>.
/// - `pytorch_metric_learning.losses.NTXentLoss` with `ref_emb`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/losses/#ntxentloss>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{InfoNceOptions, info_nce};
///
/// // One query, its key in the same direction, and one negative at a right angle.
/// let queries = Tensor::new(&[[2.0, 0.0]], &Device::Cpu)?;
/// let keys = Tensor::new(&[[3.0, 0.0], [0.0, 5.0]], &Device::Cpu)?;
/// let options = InfoNceOptions { temperature: 0.5, ..Default::default() };
/// let loss = info_nce(&queries, &keys, &options)?;
/// let by_hand = -(2f64.exp() / (2f64.exp() + 1.0)).ln();
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn info_nce(queries: &Tensor, keys: &Tensor, options: &InfoNceOptions) -> Result<Tensor> {
    check_temperature(NAME, options.temperature)?;
    let wide = rows(NAME, "queries", queries)?;
    let keys = keys_beside(queries, keys, options.symmetric)?;
    let elements = elements(NAME, "queries", &wide, &options.loss)?;
    let losses = losses(&wide, &keys, options, &elements)?;
    elements.reduce_losses(losses, None)
}

/// The keys in the dtype of the computation, if they fit the queries.
fn keys_beside(queries: &Tensor, keys: &Tensor, symmetric: bool) -> Result<Tensor> {
    let (count, dimension) = queries.dims2()?;
    match keys.dims() {
        _ if symmetric => expect_shape(NAME, "keys", keys, queries.dims())?,
        [several, length] if *several >= count && *length == dimension => {}
        dims => {
            let expected = format!("of shape [M, {dimension}] with M at least {count}");
            return Err(Error::argument(NAME, "keys", expected, format!("{dims:?}")));
        }
    }
    // Of the shape there is nothing left to compare.
    beside(NAME, "keys", keys, "queries", &keys.zeros_like()?.to_dtype(queries.dtype())?)
}

/// The loss of each query, without its weight.
fn losses(
    queries: &Tensor,
    keys: &Tensor,
    options: &InfoNceOptions,
    elements: &Elements,
) -> Result<Tensor> {
    let few = chosen(elements, queries)?;
    let count = few.dim(0)?;
    if count == 0 {
        return none(queries);
    }
    let scores = similarities(&few, &chosen(elements, keys)?, options.temperature)?;
    let own = Tensor::arange(0, count as u32, scores.device())?;
    let each = LossOptions { reduction: Reduction::None, ..Default::default() };
    let each = ClassOptions { loss: each, ..Default::default() };
    let mut losses = cross_entropy(&scores, Target::Indices(&own), &each)?;
    if options.symmetric {
        let back = cross_entropy(&scores.t()?, Target::Indices(&own), &each)?;
        losses = ((losses + back)? / 2.0)?;
    }
    placed(elements, &losses)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers_of_both_directions() -> Result<()> {
        // The second query is at a right angle to both keys.
        let queries = Tensor::new(&[[1.0, 0.0, 0.0], [0.0, 0.0, 3.0]], &Device::Cpu)?;
        let keys = Tensor::new(&[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], &Device::Cpu)?;
        let of = |symmetric| -> Result<Vec<f64>> {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let options = InfoNceOptions { temperature: 1.0, symmetric, loss };
            Ok(info_nce(&queries, &keys, &options)?.to_vec1()?)
        };
        let (found, even) = ((1.0 + (-1f64).exp()).ln(), 2f64.ln());
        for (actual, expected) in of(false)?.into_iter().zip([found, even]) {
            assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}");
        }
        // Both keys meet the same two angles from the other side.
        for (actual, expected) in of(true)?.into_iter().zip([found, even]) {
            assert!((actual - expected).abs() < 1e-14, "{actual} is not {expected}");
        }
        Ok(())
    }
}
