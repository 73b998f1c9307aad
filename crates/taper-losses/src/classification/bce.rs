//! The binary cross-entropy of probabilities.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};

/// The least logarithm of a probability.
const LEAST_LOG: f64 = -100.0;

/// The least p (1 − p) that the gradient is divided by: PyTorch's, which is of f32 for f64 too.
const LEAST_VARIANCE: f64 = 1e-12f32 as f64;

/// The binary cross-entropy of probabilities: each element is a decision of its own.
///
/// Of logits, use [`bce_with_logits`](crate::bce_with_logits): it needs no limits.
///
/// # Equation
/// lᵢ = − yᵢ max(log pᵢ, −100) − (1 − yᵢ) max(log (1 − pᵢ), −100)
///
/// with the probability p and the target y; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Probabilities and target (...), of the same shape with any number of axes; the value (), in nats, or
/// (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// As PyTorch's: a logarithm is at least −100, so that a wrong certainty costs 100, and the gradient is
/// (p − y) / max(p (1 − p), 1e-12), also where the logarithm is limited. log (1 − p) is log1p(−p); computed in f64 for
/// every dtype. Near 1 a probability of low precision has few digits, which no loss can bring back. f64 stays
/// f64; f32, bf16 and f16 are returned in f32. Probabilities and target are checked on the host, which waits for an
/// accelerator.
///
/// # Deviations
/// 1. From PyTorch: with sample weights its mean divides by the number of elements. That is
///    [`Reduction::Mean`](crate::Reduction::Mean) here.
/// 2. From PyTorch: weights may have the leading part of the shape; its `weight` is broadcast along any axis.
/// 3. From PyTorch: a mean over nothing is an error, not NaN.
/// 4. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; the first probability or target outside
/// 0 to 1, with its position; weights and a mask that do not fit, a weight that is negative or not finite; nothing to
/// average, unless `empty` says otherwise.
///
/// # References
/// - Cox 1958, The regression analysis of binary sequences, JRSS B 20(2).
/// - `torch.nn.BCELoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, bce};
///
/// let input = Tensor::new(&[0.75, 0.5, 0.0], &Device::Cpu)?;
/// let target = Tensor::new(&[1.0, 0.0, 1.0], &Device::Cpu)?;
/// let loss = bce(&input, &target, &LossOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 2f64.ln() + 100.0) / 3.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn bce(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    elementwise(BinaryCrossEntropy, "input", input, target, options)
}

struct BinaryCrossEntropy;

impl Elementwise for BinaryCrossEntropy {
    const NAME: &'static str = "bce";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |p, y| {
            let (log, log_rest) = (p.ln().max(LEAST_LOG), (-p).ln_1p().max(LEAST_LOG));
            let slope = (p - y) / (p * (1.0 - p)).max(LEAST_VARIANCE);
            (-y * log - (1.0 - y) * log_rest, slope)
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let p = x.detach();
        let rest = p.affine(-1.0, 1.0)?;
        let log = |p: &Tensor| p.log()?.maximum(LEAST_LOG);
        let losses = ((target * log(&p)?)? + (target.affine(-1.0, 1.0)? * log(&rest)?)?)?.neg()?;
        // The gradient is given, not derived: the limits of the two are not the same.
        let slope = ((&p - target)? / (&p * rest)?.maximum(LEAST_VARIANCE)?)?;
        Ok((losses + ((x - p)? * slope)?)?)
    }

    fn check(&self, x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        let is_right = |value: f64| (0.0..=1.0).contains(&value);
        elements.expect("input", x, "a probability, from 0 to 1", is_right)?;
        elements.expect("target", target, "from 0 to 1", is_right)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::Against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            let shape = (random.rows, random.columns);
            // Between 0.05 and 0.95: near the ends 1 − p, which the twin takes, has fewer digits.
            let inside = |name: &str| {
                random.normal(name, shape).tanh().unwrap().affine(0.45, 0.5).unwrap()
            };
            let target = inside("target");
            let against = || Against { loss: BinaryCrossEntropy, target: target.clone() };
            random.twins_agree(&inside("x"), shape, against);
        }
    }

    #[test]
    fn hand_numbers_of_both_sides() -> Result<()> {
        let input = Tensor::new(&[0.75, 0.75, 0.75, 0.0, 1.0], &Device::Cpu)?;
        let target = Tensor::new(&[1.0, 0.0, 0.5, 0.25, 1.0], &Device::Cpu)?;
        let options = LossOptions { reduction: Reduction::None, ..Default::default() };
        let losses = bce(&input, &target, &options)?.to_vec1::<f64>()?;
        let (right, wrong) = ((4.0f64 / 3.0).ln(), 4f64.ln());
        let expected = [right, wrong, (right + wrong) / 2.0, 25.0, 0.0];
        for (loss, expected) in losses.iter().zip(expected) {
            assert!((loss - expected).abs() < 1e-15, "{loss} is not {expected}");
        }
        Ok(())
    }
}
