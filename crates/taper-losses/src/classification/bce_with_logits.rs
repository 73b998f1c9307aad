//! The binary cross-entropy of logits.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::{self, Scalar};
use taper_core::{Error, Result};
use taper_kernels::loss::{Pointwise, Wanted};

use crate::LossOptions;
use crate::arguments::checked_weights;
use crate::elementwise::{Elementwise, elementwise};

const OPERATION: &str = "bce_with_logits";

/// The options of [`bce_with_logits`].
#[derive(Debug, Clone, Default)]
pub struct BceWithLogitsOptions {
    /// Weights of the positive class, of the trailing part of the logits' shape, finite and not negative.
    pub pos_weight: Option<Tensor>,
    /// What every loss has.
    pub loss: LossOptions,
}

/// The binary cross-entropy of logits: each element is a decision of its own.
///
/// # Equation
/// lᵢ = − q yᵢ log σ(zᵢ) − (1 − yᵢ) log (1 − σ(zᵢ))
///
/// with the logit z, the target y, σ(z) = 1 / (1 + exp(−z)), and the weight q of the positive class; reduced
/// as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Logits, in nats, and target (...), of the same shape with any number of axes; the value (), in nats, or
/// (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`BceWithLogitsOptions`]:
/// - `pos_weight`: none; at least 0. (D) for logits (N, D) is one for each column, () one for all. It is no part
///   of what a weighted mean divides by.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for logits (N, D) weigh the rows.
///
/// # Numerics
/// − log σ(z) = max(−z, 0) + log(1 + exp(−|z|)), finite at logits of ±1e4, and value and gradient keep their
/// relative precision where a prediction is almost certain. A logit of ±∞ is a certain one: its loss is 0 where
/// the target agrees and infinite elsewhere. f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
/// A target outside 0 to 1 is not refused: the loss is linear in it.
///
/// # Deviations
/// 1. From PyTorch: with sample weights its mean divides by the number of elements. That is
///    [`Reduction::Mean`](crate::Reduction::Mean) here.
/// 2. From PyTorch: weights are broadcast along trailing axes, those of samples, or along leading axes, those
///    of the positive class; its own along any.
/// 3. From PyTorch: 0 · log 0 is 0, not NaN.
/// 4. From PyTorch: a mean over nothing is an error, not NaN.
/// 5. From PyTorch: the value of half-precision logits is f32, and the target has no gradient.
///
/// # Errors
/// Logits and target of different shapes or dtypes or not floating-point; weights and a mask that do not
/// fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Cox 1958, The regression analysis of binary sequences, JRSS B 20(2).
/// - `torch.nn.BCEWithLogitsLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{BceWithLogitsOptions, bce_with_logits};
///
/// // Odds of 3 : 1 and of 1 : 1, so probabilities of 3/4 and 1/2.
/// let logits = Tensor::new(&[3f64.ln(), 0.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 0.0], &Device::Cpu)?;
/// let loss = bce_with_logits(&logits, &target, &BceWithLogitsOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn bce_with_logits(
    logits: &Tensor,
    target: &Tensor,
    options: &BceWithLogitsOptions,
) -> Result<Tensor> {
    let pos_weight = pos_weight(options, logits.dims())?;
    elementwise(Binary { pos_weight }, "logits", logits, target, &options.loss)
}

fn pos_weight(options: &BceWithLogitsOptions, shape: &[usize]) -> Result<Option<Tensor>> {
    let Some(weights) = &options.pos_weight else {
        return Ok(None);
    };
    if !shape.ends_with(weights.dims()) {
        let expected = format!("of the trailing part of the logits' shape {shape:?}");
        let received = format!("{:?}", weights.dims());
        return Err(Error::argument(OPERATION, "pos_weight", expected, received));
    }
    checked_weights(OPERATION, "pos_weight", weights)?;
    Ok(Some(weights.detach().contiguous()?))
}

struct Binary {
    pos_weight: Option<Tensor>,
}

impl Elementwise for Binary {
    const NAME: &'static str = OPERATION;

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        let weights = self.pos_weight.as_ref().map(|w| w.to_dtype(T::DTYPE)).transpose()?;
        let weights = weights.as_ref().map(op::Elements::of).transpose()?;
        let positive_weights = weights.as_ref().map(|weights| weights.slice()).transpose()?;
        Ok(Pointwise::BceWithLogits { positive_weights }.evaluate(x, target, wanted))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        // Both choose by the same mask, so that the slopes at 0 are right.
        let (zeros, right) = (x.zeros_like()?, x.ge(0.0)?);
        let log = (right.where_cond(&x.neg()?, x)?.exp()? + 1.0)?.log()?;
        let as_negative = (right.where_cond(x, &zeros)? + &log)?;
        let as_positive = (right.where_cond(&zeros, &x.neg()?)? + &log)?;
        let negative = target.affine(-1.0, 1.0)?;
        let positive = match &self.pos_weight {
            Some(weights) => target.broadcast_mul(&weights.to_dtype(x.dtype())?)?,
            None => target.clone(),
        };
        let part =
            |share: Tensor, losses: Tensor| share.eq(0.0)?.where_cond(&zeros, &(share * losses)?);
        Ok((part(negative, as_negative)? + part(positive, as_positive)?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree_against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), axes in 0usize..3) {
            let shape = [random.rows, random.columns];
            let target = random.normal("target", &shape[..]).ge(0.0).unwrap();
            let target = target.to_dtype(candle_core::DType::F64).unwrap();
            let weights = |axes: usize| random.normal("pos_weight", &shape[2 - axes..]).abs();
            let pos_weight = Some(axes).filter(|axes| *axes < 2).map(|axes| weights(axes).unwrap());
            twins_agree_against(&random, &target, || Binary { pos_weight: pos_weight.clone() });
        }
    }

    #[test]
    fn hand_numbers_of_every_reduction() -> Result<()> {
        // Probabilities 3/4, 1/2 and 1/2, 1/5; with the weights of the columns the losses are ln(4/3), 3 ln 2
        // and ln 2, ln(5/4); the mask leaves the first three; the rows weigh 2 and 1.
        let logits = Tensor::new(&[[3f64.ln(), 0.0], [0.0, 0.25f64.ln()]], &Device::Cpu)?;
        let target = Tensor::new(&[[1.0, 1.0], [0.0, 0.0]], &Device::Cpu)?;
        let value = |reduction| {
            let options = BceWithLogitsOptions {
                pos_weight: Some(Tensor::new(&[1.0, 3.0], &Device::Cpu)?),
                loss: LossOptions {
                    reduction,
                    sample_weights: Some(Tensor::new(&[2.0, 1.0], &Device::Cpu)?),
                    mask: Some(Tensor::new(&[[1u8, 1], [1, 0]], &Device::Cpu)?),
                    ..Default::default()
                },
            };
            bce_with_logits(&logits, &target, &options)
        };
        let expected = [2.0 * (4.0f64 / 3.0).ln(), 6.0 * 2f64.ln(), 2f64.ln(), 0.0];
        let losses = value(Reduction::None)?.flatten_all()?.to_vec1::<f64>()?;
        for (loss, expected) in losses.iter().zip(expected) {
            assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
        }
        let sum: f64 = expected.iter().sum();
        for (reduction, divisor) in
            [(Reduction::Sum, 1.0), (Reduction::Mean, 3.0), (Reduction::WeightedMean, 5.0)]
        {
            let value = value(reduction)?.to_scalar::<f64>()?;
            assert!((value - sum / divisor).abs() < 1e-15, "{value}");
        }
        Ok(())
    }
}
